"""One command that sets up and runs my_llm: `python3 start.py [command] [arguments that are passed on]`.

It uses nothing but the standard library. The first run makes a virtual environment beside this file, installs what
the command needs and leaves a stamp; later runs see the stamp and start at once. An installation that was interrupted
or failed has no stamp, and the next run repairs it. Any Python 3 can read this file, so that an old one gets a clear
line instead of a syntax error: that is why the annotations stand in quotes.
"""

import difflib
import hashlib
import importlib.util
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent
OLDEST = (3, 11)


class Command(NamedTuple):
    """What one word of the command line does."""

    what: str
    arguments: "list[str]"  # they follow `python`
    tools: bool = False  # needs the developer's tools, which live in an environment of their own


COMMANDS = {
    "tour": Command("train a small model of every stage and write runs/tour/report.html", ["-m", "lab", "tour"]),
    "doctor": Command("print what a bug report needs, and what to mend", ["-m", "lab", "doctor"]),
    "tables": Command("write the numbers of results/ into the pages", ["-m", "lab", "tables"]),
    "docs": Command("build the pages as a site in site/ that needs no network", ["-m", "lab", "docs"], tools=True),
    "bench": Command("measure speed on this machine", ["-m", "lab", "bench"]),
    "bench-reliability": Command("kill, damage, deceive: the long run", ["-m", "lab", "bench-reliability"], tools=True),
    "test": Command(
        "run all tests", ["-m", "pytest", "-n", "2", "--dist", "loadfile", "--no-loadscope-reorder"], tools=True
    ),
    "check": Command("format, lint, types, architecture, stale tables", ["-m", "lab", "check"], tools=True),
    "notebooks": Command("execute every notebook from top to bottom", ["-m", "lab", "notebooks"], tools=True),
    "format": Command("lay out the code", ["-m", "ruff", "format"], tools=True),
}

# Words in pip's output -> what is wrong and what to do. The first row that fits is printed.
REASONS = {
    "No space left": "the disk is full; next: make room (about 3 GB) and run this again",
    "Permission denied": "the folder may not be written; next: copy the repository to a folder of your own",
    "No matching distribution found": (
        "pip found no source for {package} on Python {python}, {system}; next: connect to the network and run this "
        'again, or point pip to a mirror that you can reach: set MY_LLM_PIP_ARGS to "--index-url ADDRESS"'
    ),
}


class Failure(Exception):
    """A set-up that cannot go on, told in one line."""


def main(arguments: "list[str]") -> int:
    """Prepares the environment of the command and becomes that command. Returns an exit code."""
    name, passed_on = (arguments[0], arguments[1:]) if arguments else ("tour", [])
    if name in ("-h", "--help", "help"):
        print(help_text())
        return 0
    try:
        python = prepare(choose(name))
    except (Failure, OSError) as failure:
        print(f"start.py: {failure}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstart.py: stopped; the next run goes on from here", file=sys.stderr)
        return 130
    return become([str(python), *COMMANDS[name].arguments, *passed_on])


def help_text() -> str:
    """All commands, and the one variable."""
    rows = [f"  {name:<18} {command.what}" for name, command in COMMANDS.items()]
    return "\n".join(
        [
            "python3 start.py [command] [arguments that are passed on]; without a command: tour",
            "",
            *rows,
            "",
            "MY_LLM_PIP_ARGS  arguments added to `pip install`, for example a mirror or the CPU build of torch",
        ]
    )


def choose(name: str) -> Command:
    """The command of that name; a Failure names the nearest."""
    if name in COMMANDS:
        return COMMANDS[name]
    near = difflib.get_close_matches(name, COMMANDS, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise Failure(f"unknown command {name!r}; valid: {', '.join(COMMANDS)}{hint}")


# --- The environment -------------------------------------------------------------------------------------------------


def prepare(command: Command) -> Path:
    """The Python of the environment that the command needs; made, mended or brought up to date where necessary."""
    complaint = complaint_about_python(sys.version_info[:3]) or complaint_about_modules()
    if complaint:
        raise Failure(complaint)
    folder = ROOT / (".venv-test" if command.tools else ".venv")
    python, stamp, unfinished = interpreter(folder), folder / "my_llm.stamp", folder / "my_llm.unfinished"
    wanted = fingerprint()
    if stamp.is_file() and stamp.read_text() == wanted and os.access(python, os.X_OK):
        return python

    stamp.unlink(missing_ok=True)
    if unfinished.exists() or version_of(python) != sys.version:
        make_environment(folder, unfinished)
    unfinished.write_text(wanted)
    install(python, ["-r", "requirements.txt", *(["-e", ".[dev]"] if command.tools else [])], folder)
    os.replace(unfinished, stamp)  # in one step: never both, never neither
    return python


def complaint_about_python(version: "tuple[int, ...]") -> str:
    """One line that says how to get a newer Python, or nothing when this one will do."""
    if version[:2] >= OLDEST:
        return ""
    names = (f"python3.{minor}" for minor in (14, 13, 12, 11))
    newer = [name for name in names if shutil.which(name) and version_of(Path(name), needs="sys")]
    how = {"darwin": "brew install python@3.13", "win32": "winget install Python.Python.3.13"}.get(
        sys.platform, "sudo apt install python3.11 python3.11-venv"
    )
    use = {"darwin": "python3.13", "win32": "py -3.13"}.get(sys.platform, "python3.11")
    step = f"this machine has one: {newer[0]} start.py" if newer else f"{how}, then: {use} start.py"
    return f"my_llm needs Python 3.11 or newer, this is {'.'.join(map(str, version))} ({sys.executable}); next: {step}"


def complaint_about_modules() -> str:
    """One line that names the missing package (Debian ships Python without it), or nothing."""
    missing = [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]
    if not missing:
        return ""
    package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
    return f"this Python lacks its module {missing[0]}; next: sudo apt install {package} (Debian, Ubuntu)"


def interpreter(folder: Path) -> Path:
    """Where a virtual environment keeps its Python."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def fingerprint() -> str:
    """Everything that an installation depends on, as one short text: another text means install again."""
    files = [(ROOT / name).read_bytes() for name in ("requirements.txt", "pyproject.toml")]
    words = [sys.version, sys.platform, platform.machine(), str(ROOT)]
    return hashlib.sha256(b"\0".join(files + [word.encode() for word in words])).hexdigest()


def version_of(python: Path, needs: str = "pip") -> str:
    """The full version of a Python, or nothing where it is missing, broken or lacks the module that it needs."""
    command = [str(python), "-c", f"import {needs}, sys; print(sys.version)"]
    try:
        answer = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment())
    except OSError:
        return ""
    return answer.stdout.decode().strip() if answer.returncode == 0 else ""


def make_environment(folder: Path, unfinished: Path) -> None:
    """A fresh virtual environment, in place of whatever stood there."""
    if folder.is_dir() and any(folder.iterdir()):
        if not ((folder / "pyvenv.cfg").exists() or unfinished.exists()):
            raise Failure(f"{folder} is in the way and is no virtual environment; next: move it away")
        print(f"The environment {folder.name} is incomplete or belongs to another Python: making it anew.", flush=True)
        interpreter(folder).unlink(missing_ok=True)  # first, so that a removal cut short is seen as broken
        shutil.rmtree(folder)
    folder.mkdir(exist_ok=True)
    unfinished.touch()
    base = getattr(sys, "_base_executable", None) or sys.executable
    log = folder / "install.log"
    if run_quietly([base, "-m", "venv", str(folder)], log, f"Making the environment {folder.name}") != 0:
        raise Failure(f"no virtual environment could be made in {folder}: {last_lines(log, 1)}")


def install(python: Path, requirements: "list[str]", folder: Path) -> None:
    """Runs pip; a Failure tells the reason in one line."""
    extra = shlex.split(os.environ.get("MY_LLM_PIP_ARGS", ""), posix=os.name == "posix")
    command = [str(python), "-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--progress-bar=off"]
    log = folder / "install.log"
    first = "Installing the packages; the first time takes some minutes"
    if run_quietly([*command, *requirements, *extra], log, first) != 0:
        raise Failure(reason(log.read_text(errors="replace")) or f"pip failed, its last lines:\n{last_lines(log, 15)}")


def reason(output: str) -> str:
    """What pip's output means, in one line; nothing where it is not known."""
    for words, line in REASONS.items():
        if words in output:
            package = output.partition("No matching distribution found for ")[2].split("\n")[0].strip()
            system = f"{platform.system()} {platform.machine()}"
            return line.format(package=package, python=platform.python_version(), system=system)
    return ""


# --- Running ---------------------------------------------------------------------------------------------------------


def run_quietly(command: "list[str]", log: Path, what: str) -> int:
    """Runs a command with its output in a file, and says what goes on and for how long. Returns the exit code."""
    start, terminal = time.monotonic(), sys.stdout.isatty()
    print(f"{what} …", end="" if terminal else "\n", flush=True)
    with log.open("wb") as output:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT, env=environment()
        )
        try:
            while child.poll() is None:
                time.sleep(0.05)
                if terminal:
                    print(f"\r{what} … {time.monotonic() - start:.0f} s", end="", flush=True)
        finally:  # on Ctrl-C as well: nothing may go on installing behind our back
            if child.poll() is None:
                child.terminate()
            child.wait()
    result = "done" if child.returncode == 0 else "failed"
    print(f"{f'{chr(13)}{what} … ' if terminal else ''}{result} in {time.monotonic() - start:.0f} s", flush=True)
    return child.returncode


def last_lines(log: Path, count: int) -> str:
    """The end of a log, for people."""
    return "\n".join(log.read_text(errors="replace").rstrip().splitlines()[-count:])


def environment() -> "dict[str, str]":
    """The variables for a child: UTF-8 everywhere, and nothing that makes it install elsewhere."""
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONHOME", "__PYVENV_LAUNCHER__")}
    return {**kept, "PYTHONUTF8": "1", "PIP_USER": "0"}


def become(command: "list[str]") -> int:
    """Runs the command in the repository's root, with this terminal, these signals and its own exit code."""
    os.chdir(ROOT)
    sys.stdout.flush()
    if os.name == "posix":
        os.execve(command[0], command, environment())  # this process is now the command: Ctrl-C reaches it once
    child = subprocess.Popen(command, env=environment())
    while True:
        try:
            return child.wait()
        except KeyboardInterrupt:
            continue  # the child had it too, and decides


if __name__ == "__main__":
    if hasattr(sys.stdout, "reconfigure"):
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(errors="replace")  # type: ignore[attr-defined]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.exit(main(sys.argv[1:]))
