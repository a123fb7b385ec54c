"""Python's own documentation: what area of the standard library does this docstring describe?

The corpus that is always there: no download, no network, on Linux, macOS and Windows. The texts are the docstrings of
functions, methods and classes in the source files of the Python that runs; the label is the area that the module
belongs to. The files are parsed, never imported, so nothing of them is executed.

Other versions of Python have other docstrings: scores on this corpus compare only where the digest is the same.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from my_llm.data.corpora.classification import Example

# Modules that Python 3.11 to 3.14 share, and those that a later version moved (datetime -> _pydatetime).
AREAS = {
    "networking": "ftplib http imaplib ipaddress netrc poplib smtplib socket socketserver ssl urllib webbrowser wsgiref"
    " xmlrpc",
    "concurrency": "_threading_local asyncio concurrent multiprocessing queue sched selectors subprocess threading",
    "testing": "bdb cProfile cmd doctest logging pdb profile pstats timeit trace traceback tracemalloc unittest"
    " warnings",
    "files": "_pyio bz2 dbm filecmp fileinput fnmatch genericpath glob gzip linecache lzma mailbox ntpath os pathlib"
    " pickle posixpath shelve shutil stat tarfile tempfile zipfile",
    "text": "argparse base64 codecs configparser csv difflib email gettext getopt html json locale optparse plistlib"
    " quopri re shlex string textwrap tomllib xml",
    "data types": "_collections_abc _pydatetime _pydecimal _strptime abc bisect calendar collections colorsys"
    " contextlib copy dataclasses datetime decimal enum fractions functools graphlib hashlib heapq hmac numbers"
    " operator pprint random reprlib secrets statistics types uuid weakref zoneinfo",
    "language": "ast code codeop ctypes dis importlib inspect modulefinder pickletools pkgutil platform pydoc runpy"
    " site symtable sysconfig tokenize typing zipimport",
}
LABELS = tuple(AREAS)
FEWEST_WORDS = 6
FIRST_SENTENCE_ENDS = re.compile(r"\n\s*\n|[.:]\s")


def read(files: tuple[Path, ...]) -> tuple[list[Example], list[Example]]:
    """Read the folder of the standard library.

    Docstrings that begin with the same sentence (digits and punctuation aside) are near copies, often of an overridden
    method: only the first is kept, so that no test text has its twin in the training part.
    """
    return list(docstrings(files[0])), []


@cache  # parsing three hundred files takes a second or two
def docstrings(library: Path) -> tuple[Example, ...]:
    """The labelled docstrings of the library, one per first sentence."""
    first_of: dict[str, Example] = {}
    for label, modules in enumerate(AREAS.values()):
        for module in modules.split():
            own_name = re.compile(rf"\b{module.removeprefix('_py').strip('_')}\b\.? ?", re.IGNORECASE)
            for file in source_files(library, module):
                for text in docstrings_of(file):
                    if len(text.split()) >= FEWEST_WORDS:
                        sentence = FIRST_SENTENCE_ENDS.split(text, maxsplit=1)[0].lower()
                        key = " ".join(re.findall(r"[^\W\d_]+", sentence))
                        first_of.setdefault(key, Example(own_name.sub("", text).strip(), label))
    return tuple(first_of.values())


def source_files(library: Path, module: str) -> list[Path]:
    """The files of a module or package, its tests aside; none where this version of Python lacks it."""
    package = library / module
    if package.is_dir():
        files = sorted(package.rglob("*.py"))
        return [file for file in files if not {"test", "tests"} & set(file.relative_to(library).parts)]
    return [file] if (file := library / f"{module}.py").is_file() else []


def docstrings_of(file: Path) -> Iterator[str]:
    """The docstrings of every class, function and method of a file."""
    for node in ast.walk(ast.parse(file.read_bytes())):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and (
            text := ast.get_docstring(node)
        ):
            yield text
