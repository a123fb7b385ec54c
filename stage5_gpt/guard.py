"""The inside of sandbox.py: runs one file that nobody has read, and its examples, in a process that may do little.

    python -I -S -B guard.py candidate.py examples.txt < word

It takes its own rights away before the file is run: the memory, the time, the files it may open, other programs, and
the network. Then the examples (as in a docstring: `>>> f(1)` and the answer) are tried. The last line of standard
output is the secret word from standard input, and how many were tried and failed; so a file that ends the process early
says nothing, unless it looks for the word on purpose.

Three layers, of which each may be missing on a system: limits of the kernel (`resource`), a network of its own with
nothing in it (`unshare`, Linux), and a hook that Python asks before it opens, connects or starts anything (PEP 578).
The hook is a fence, not a wall: who breaks Python's memory gets past it. A small model does not; do not run what an
enemy wrote.
"""

import contextlib
import ctypes
import doctest
import resource
import runpy
import sys
from pathlib import Path
from typing import Any

SECONDS, MEMORY, FILE, OPEN = 2, 512 * 2**20, 2**16, 16  # of processor time; bytes; bytes; files at once
HARMLESS = {"os.listdir", "os.scandir"}
REFUSED = (
    "os", "socket", "subprocess", "ctypes", "shutil", "pty", "signal", "mmap", "sqlite3", "syslog", "resource",
    "webbrowser", "urllib", "http", "ftplib", "smtplib", "poplib", "imaplib", "fcntl", "tempfile", "gc",
)  # fmt: skip
MODULES = {"_ctypes", "_posixsubprocess", "_socket", "_multiprocessing", "_posixshmem", "_winapi", "ctypes", "socket"}
NEW_USER, NEW_NETWORK = 0x10000000, 0x40000000  # of unshare(2)
CHANGES = 0o3 | 0o100 | 0o1000 | 0o2000  # flags of open(2): write, read and write, create, truncate, append


def limit() -> None:
    """Take rights away; nothing gives them back to this process."""
    kinds = [(resource.RLIMIT_CPU, SECONDS), (resource.RLIMIT_FSIZE, FILE), (resource.RLIMIT_CORE, 0)]
    kinds += [(resource.RLIMIT_AS, MEMORY), (resource.RLIMIT_NOFILE, OPEN), (resource.RLIMIT_NPROC, 0)]
    if hasattr(kernel := ctypes.CDLL(None), "unshare"):
        kernel.unshare(NEW_USER | NEW_NETWORK)
    del sys.modules["ctypes"]  # whoever wants it must ask, and is refused
    for kind, most in kinds:
        with contextlib.suppress(ValueError):  # macOS knows no limit of memory
            resource.setrlimit(kind, (most, most))


def fence(folder: Path) -> None:
    """From now on nothing is opened but what can be imported and the folder, and that for reading only."""
    readable = (str(folder), str(Path(doctest.__file__).parent), sys.prefix, sys.base_prefix)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            outside = ".." in Path(str(path)).parts or not str(path).startswith(readable)
            if isinstance(path, int) or (flags or 0) & CHANGES or outside:
                raise PermissionError("no file is opened here")
        elif event == "import":
            if arguments[0] in MODULES:
                raise PermissionError(f"{arguments[0]} is not there")
        elif event.split(".")[0] in REFUSED and event not in HARMLESS:
            raise PermissionError(f"{event} is not there")

    sys.addaudithook(hook)


def main(file: str, examples: str) -> None:
    """Run the file, try the examples, say the word."""
    word, path = sys.stdin.readline().strip(), Path(file).resolve()
    asked = Path(examples).read_text("utf-8")
    say = sys.stdout.write
    limit()
    fence(path.parent)
    names = runpy.run_path(str(path), run_name="candidate")
    test = doctest.DocTestParser().get_doctest(asked, names, "examples", None, None)
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    found = runner.run(test, out=lambda text: None)
    say(f"\n{word} {found.attempted} {found.failed}\n")


if __name__ == "__main__":
    main(*sys.argv[1:3])
