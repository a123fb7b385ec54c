"""Sources against the world: a real HTTP server that misbehaves in every way we know."""

import contextlib
import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from my_llm.data import sources
from my_llm.data.download import Unreachable, download
from my_llm.data.sources import ByPip, ByUrl, Embedded, LocalFolder, obtain
from my_llm.errors import DataError

CONTENT = bytes(range(256)) * 400  # 102,400 bytes
DIGEST = hashlib.sha256(CONTENT).hexdigest()
HALF = len(CONTENT) // 2


@pytest.fixture(autouse=True)
def private_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MY_LLM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MY_LLM_DATA", raising=False)
    monkeypatch.delenv("MY_LLM_OFFLINE", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


class Request(BaseHTTPRequestHandler):
    """One request; `answer` is the behaviour that a test gives to the server."""

    def do_GET(self) -> None:
        self.server.ranges.append(self.headers.get("Range"))  # type: ignore[attr-defined]
        with contextlib.suppress(OSError):  # the client hangs up: that is what the slow tests want
            self.server.answer(self)  # type: ignore[attr-defined]

    def log_message(self, format: str, *args: object) -> None:
        pass

    def head(self, status: int, **headers: object) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()


class Server(ThreadingHTTPServer):
    """`answer` decides what happens; `ranges` collects the Range header of each request, None without one."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Request)
        self.answer: Callable[[Request], None] = good
        self.ranges: list[str | None] = []
        self.url = f"http://127.0.0.1:{self.server_port}/corpus.bin"


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield running
    running.shutdown()
    running.server_close()


def good(request: Request, limit: int | None = None) -> None:
    """Honours Range; with `limit`, promises all and hangs up after so many bytes."""
    wanted = request.headers.get("Range")
    start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
    if start >= len(CONTENT):
        return request.head(416, Content_Length=0)
    if wanted:
        whole = f"bytes {start}-{len(CONTENT) - 1}/{len(CONTENT)}"
        request.head(206, Content_Length=len(CONTENT) - start, Content_Range=whole)
    else:
        request.head(200, Content_Length=len(CONTENT))
    request.wfile.write(CONTENT[start : None if limit is None else start + limit])


def ignores_range(request: Request) -> None:
    request.head(200, Content_Length=len(CONTENT))
    request.wfile.write(CONTENT)


def drip(request: Request) -> None:
    request.head(200, Content_Length=len(CONTENT))
    for byte in CONTENT[:100]:
        request.wfile.write(bytes([byte]))
        time.sleep(0.02)


def status(code: int) -> Callable[[Request], None]:
    return lambda request: request.head(code, Content_Length=0)


def in_turn(*answers: Callable[[Request], None]) -> Callable[[Request], None]:
    remaining = list(answers)
    return lambda request: remaining.pop(0)(request)


def fetch(server: Server, target: Path, attempts: int = 1) -> None:
    download(server.url, target, DIGEST, timeout=0.3, attempts=attempts, pause=0.01)


def test_a_good_server_gives_the_file_and_leaves_no_part(server: Server, tmp_path: Path) -> None:
    fetch(server, tmp_path / "new" / "corpus.bin")
    assert (tmp_path / "new" / "corpus.bin").read_bytes() == CONTENT
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["corpus.bin"]


def test_a_broken_download_resumes_from_the_middle(server: Server, tmp_path: Path) -> None:
    target = tmp_path / "corpus.bin"
    server.answer = lambda request: good(request, limit=HALF)
    with pytest.raises(Unreachable, match="broken off after 51,200 of 102,400 bytes|IncompleteRead"):
        fetch(server, target)
    assert not target.exists() and (tmp_path / "corpus.bin.part").read_bytes() == CONTENT[:HALF]
    server.answer = good
    fetch(server, target)
    assert server.ranges == [None, f"bytes={HALF}-"] and target.read_bytes() == CONTENT


def test_retries_inside_one_call_also_resume(server: Server, tmp_path: Path) -> None:
    server.answer = in_turn(lambda request: good(request, limit=1000), status(503), good)
    fetch(server, tmp_path / "corpus.bin", attempts=3)
    assert server.ranges == [None, "bytes=1000-", "bytes=1000-"]
    assert (tmp_path / "corpus.bin").read_bytes() == CONTENT


def test_a_server_that_ignores_range_restarts(server: Server, tmp_path: Path) -> None:
    (tmp_path / "corpus.bin.part").write_bytes(b"something else")
    server.answer = ignores_range
    fetch(server, tmp_path / "corpus.bin")
    assert server.ranges == ["bytes=14-"] and (tmp_path / "corpus.bin").read_bytes() == CONTENT


def test_a_whole_part_file_only_needs_its_name(server: Server, tmp_path: Path) -> None:
    (tmp_path / "corpus.bin.part").write_bytes(CONTENT)
    fetch(server, tmp_path / "corpus.bin")
    assert (tmp_path / "corpus.bin").read_bytes() == CONTENT


def test_wrong_content_is_deleted(server: Server, tmp_path: Path) -> None:
    def wrong(request: Request) -> None:
        request.head(200, Content_Length=5)
        request.wfile.write(b"<html")

    server.answer = wrong
    with pytest.raises(Unreachable, match=r"wrong content, sha256 .* instead of .*deleted"):
        fetch(server, tmp_path / "corpus.bin", attempts=3)
    assert list(tmp_path.iterdir()) == [] and len(server.ranges) == 1


@pytest.mark.parametrize("answer", [drip, lambda request: time.sleep(2)], ids=["drip", "silent"])
def test_a_slow_server_hits_the_timeout(server: Server, tmp_path: Path, answer: Callable[[Request], None]) -> None:
    server.answer = answer
    start = time.monotonic()
    with pytest.raises(Unreachable, match="slower than|timed out"):
        fetch(server, tmp_path / "corpus.bin")
    assert time.monotonic() - start < 1.5 and not (tmp_path / "corpus.bin").exists()


def test_patience_bounds_a_server_that_is_slow_but_alive(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("my_llm.data.download.SLOWEST", 0)  # it is never as good as dead
    server.answer = drip
    with pytest.raises(
        DataError, match=r"by URL: http.*: not done in 1 s \(1 of 1 attempts.* use --dataset toy_inside"
    ):
        obtain("toy", (ByUrl(((server.url, DIGEST),)),), seconds=0.6, instead="toy_inside")
    assert len(server.ranges) == 1 and not (tmp_path / "cache" / "corpora" / "toy" / "corpus.bin").exists()
    assert (tmp_path / "cache" / "corpora" / "toy" / "corpus.bin.part").stat().st_size > 0, "kept for the next time"


def test_not_found_is_not_tried_again_but_busy_is(server: Server, tmp_path: Path) -> None:
    server.answer = status(404)
    with pytest.raises(Unreachable, match="answered 404"):
        fetch(server, tmp_path / "corpus.bin", attempts=3)
    assert len(server.ranges) == 1
    server.answer = status(503)
    with pytest.raises(Unreachable, match=r"answered 503.*3 attempts"):
        fetch(server, tmp_path / "corpus.bin", attempts=3)
    assert len(server.ranges) == 4


def test_an_absent_server_is_said_at_once(server: Server, tmp_path: Path) -> None:
    server.shutdown()
    server.server_close()
    with pytest.raises(Unreachable, match="no connection"):
        fetch(server, tmp_path / "corpus.bin", attempts=3)


def test_by_url_fetches_once_and_mends_a_damaged_cache(server: Server) -> None:
    source = ByUrl(((server.url, DIGEST),))
    assert source.find("toy") is None
    found = obtain("toy", (source,))
    assert found.kind == "by URL" and found.files[0].read_bytes() == CONTENT
    assert obtain("toy", (source,)).kind == "cached" and len(server.ranges) == 1
    found.files[0].write_bytes(CONTENT[:-1])
    assert obtain("toy", (source,)).kind == "by URL" and found.files[0].read_bytes() == CONTENT


def test_a_cache_that_cannot_be_written_is_one_line(server: Server, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file where a folder should be")
    with pytest.raises(DataError, match="cannot use the cache for toy"):
        obtain("toy", (ByUrl(((server.url, DIGEST),)),))


def test_order_local_then_cache_then_embedded_then_network(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = ByUrl(((server.url, DIGEST),))
    everything = (LocalFolder(("toy/a.txt", "toy/b.txt")), url, Embedded("inside", lambda: tmp_path))
    assert obtain("toy", everything).kind == "embedded" and server.ranges == []
    url.fetch("toy")
    assert obtain("toy", everything).kind == "cached"
    (tmp_path / "data" / "toy").mkdir(parents=True)
    monkeypatch.setenv("MY_LLM_DATA", str(tmp_path / "data"))
    (tmp_path / "data" / "toy" / "a.txt").touch()
    assert obtain("toy", everything).kind == "cached", "half of the local files do not count"
    (tmp_path / "data" / "toy" / "b.txt").touch()
    assert obtain("toy", everything).kind == "local"


def test_offline_touches_neither_network_nor_pip(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_LLM_OFFLINE", "1")
    monkeypatch.setattr(sources.subprocess, "run", lambda *args, **kwargs: pytest.fail("pip was called"))
    both = (LocalFolder(("toy/a.txt",)), ByPip("toy", "1.0", "toy/", DIGEST), ByUrl(((server.url, DIGEST),)))
    with pytest.raises(DataError) as caught:
        obtain("toy", both)
    assert server.ranges == []
    assert "by pip: MY_LLM_OFFLINE is set; by URL: MY_LLM_OFFLINE is set" in caught.value.line()
    assert "put toy/a.txt into the folder that MY_LLM_DATA names, or use --dataset python_docs" in caught.value.line()
