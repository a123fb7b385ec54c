"""One file by URL: resumed where it broke off, verified by digest, never half there under its final name.

The bytes go to `<name>.part`. Only when their SHA-256 is the expected one does the part file take the final name, in
one atomic step. A broken transfer leaves the part file for the next try, which asks the server for the rest only (HTTP
Range, RFC 9110 section 14). Wrong bytes are deleted at once. Two processes must not fetch the same file at once.
"""

import hashlib
import http.client
import math
import os
import ssl
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

TIMEOUT = 20.0  # seconds without an answer, and the window in which the slowest rate is measured
ATTEMPTS = 4
PAUSE = 1.0  # seconds before the second attempt; doubled before each further one
SLOWEST = 1024  # bytes per second; slower is as good as dead
BROKEN = (ConnectionError, TimeoutError, http.client.HTTPException, ssl.SSLError)


class Unreachable(Exception):
    """A source cannot deliver; the text says why in a few words. The next source is tried."""


def sha256_of(file: Path) -> str:
    """The SHA-256 of a file, in hexadecimal."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def download(
    url: str,
    target: Path,
    sha256: str,
    *,
    timeout: float = TIMEOUT,
    attempts: int = ATTEMPTS,
    pause: float = PAUSE,
    limit: float = math.inf,
) -> None:
    """Bring `url` to `target`; an attempt ends after `timeout` seconds of silence, or `limit` seconds in all.

    Raises:
        Unreachable: No server, an error answer, too slow, broken off in every attempt, or the wrong content.
        OSError: The disk is full or the folder is not writable.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    for attempt in range(1, attempts + 1):
        try:
            transfer(url, part, timeout, limit)
            break
        except urllib.error.HTTPError as error:
            problem = f"the server answered {error.code} {error.reason}"
            if error.code < 500 and error.code != 429:
                raise Unreachable(f"{url}: {problem}") from None
        except urllib.error.URLError as error:
            raise Unreachable(f"{url}: no connection ({error.reason})") from None
        except BROKEN as error:
            problem = str(error) or type(error).__name__
        if attempt == attempts:
            raise Unreachable(f"{url}: {problem} ({attempt} of {attempts} attempts; what arrived is kept for the next)")
        time.sleep(pause * 2 ** (attempt - 1))
    if (seen := sha256_of(part)) != sha256:
        part.unlink()
        raise Unreachable(f"{url}: wrong content, sha256 {seen[:12]}… instead of {sha256[:12]}…, deleted")
    os.replace(part, target)


def transfer(url: str, part: Path, timeout: float, limit: float) -> None:
    """One attempt: append what is missing to `part`, or start again where the server cannot resume."""
    have = part.stat().st_size if part.exists() else 0
    headers = {"User-Agent": "my_llm", **({"Range": f"bytes={have}-"} if have else {})}
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code == 416 and have:  # nothing is left to send: the digest decides whether `part` is whole
            return
        raise
    with response:
        resumed = response.status == 206
        have = have if resumed else 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else None
        with part.open("ab" if resumed else "wb") as stream:
            began = window = time.monotonic()
            received = 0
            while chunk := response.read1(1 << 16):
                stream.write(chunk)
                have, received = have + len(chunk), received + len(chunk)
                if time.monotonic() - began > limit:
                    raise TimeoutError(f"not done in {limit:.0f} s")
                if time.monotonic() - window > timeout:
                    if received < SLOWEST * timeout:
                        raise TimeoutError(f"slower than {SLOWEST} bytes a second")
                    window, received = time.monotonic(), 0
                show_progress(part.stem, have, total)
            stream.flush()
            os.fsync(stream.fileno())
    if total is not None and have < total:
        raise ConnectionError(f"broken off after {have:,} of {total:,} bytes")


def show_progress(name: str, have: int, total: int | None) -> None:
    """One line on a terminal that overwrites itself; nothing in a log file."""
    if sys.stderr.isatty():
        share = f" ({have / total:.0%})" if total else ""
        print(f"\r{name}: {have / 1e6:.1f} MB{share} ", end="\n" if have == total else "", file=sys.stderr, flush=True)
