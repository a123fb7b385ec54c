"""The reference of the site: public names with their signature and docstring, read from the source, never imported.

Of `my_llm` every module is described; of a stage what stands at its door, `models/__init__.py`.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
FOLDER = "docs/reference"  # where the pages would stand in the repository: their links start here
SECTION = re.compile(r"(Args|Returns|Yields|Raises):$")
ARGUMENT = re.compile(r"    (\*{0,2}\w[\w., ]*): (.*)")
SHOWN = 12  # lines of a constant


Described = ast.FunctionDef | ast.ClassDef


class Module(NamedTuple):
    """A module, its tree and its lines."""

    path: str
    tree: ast.Module
    lines: list[str]


def pages() -> dict[str, str]:
    """Path in the repository -> Markdown, in reading order."""
    floor = sorted(path.parent for path in ROOT.glob("my_llm/**/__init__.py") if path.parent.name != "corpora")
    doors = sorted(path.parent for path in ROOT.glob("stage*/models/__init__.py"))
    texts = [(folder, package_page(folder)) for folder in floor] + [(folder, door_page(folder)) for folder in doors]
    return {
        f"{FOLDER}/{dotted(folder)}.md": "\n\n".join([f"# {dotted(folder)}", *parts, ""]) for folder, parts in texts
    }


def package_page(folder: Path) -> Iterator[str]:
    """Every module of a package of the floor, its public names in the order of the source."""
    yield prose(read(folder / "__init__.py").tree)
    for file in sorted(folder.glob("[!_]*.py")):
        module = read(file)
        yield section(module, list(definitions(module)))


def door_page(folder: Path) -> Iterator[str]:
    """What a stage's models hand out, by the module that defines it."""
    door = read(folder / "__init__.py").tree
    yield prose(door)
    for line in door.body:
        if isinstance(line, ast.ImportFrom) and line.module:
            module = read(ROOT / f"{line.module.replace('.', '/')}.py")
            yield section(module, [name.name for name in line.names])


def section(module: Module, names: list[str]) -> str:
    """A module, its constants in one block, and the functions and classes among the names."""
    defined = definitions(module)
    nodes = [(name, defined[name]) for name in names if name in defined]
    constants = [code(definition(module, node)) for _, node in nodes if not isinstance(node, Described)]
    title = module.path.removesuffix(".py").replace("/", ".")
    parts = [f"## {title}", prose(module.tree), f"[{module.path}](../../{module.path})", *constants]
    return "\n\n".join(parts + [described(module, name, node) for name, node in nodes if isinstance(node, Described)])


def read(file: Path) -> Module:
    """A file of the repository."""
    text = file.read_text("utf-8")
    return Module(file.relative_to(ROOT).as_posix(), ast.parse(text), text.splitlines())


def dotted(path: Path) -> str:
    """A folder or file as Python imports it: my_llm.text.bpe."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def definitions(module: Module) -> dict[str, ast.stmt]:
    """Public functions, classes and constants; a single letter is a type variable."""
    found: dict[str, ast.stmt] = {}
    for node in module.tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = node
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id: node for target in targets if isinstance(target, ast.Name)}
    return {name: node for name, node in found.items() if not name.startswith("_") and len(name) > 1}


def described(module: Module, name: str, node: ast.FunctionDef | ast.ClassDef) -> str:
    """Heading, definition, docstring, and the public methods of a class."""
    source = f"[source](../../{module.path}#L-{node.lineno})"
    parts = [f"### {name}", code(definition(module, node)), prose(node)]
    for method in node.body if isinstance(node, ast.ClassDef) else []:
        if isinstance(method, ast.FunctionDef) and not method.name.startswith("_") and ast.get_docstring(method):
            parts += [code(definition(module, method)), prose(method)]
    return "\n\n".join([*(part for part in parts if part), source])


def definition(module: Module, node: ast.stmt) -> list[str]:
    """The lines that define a name: a function's signature, a class with its fields and how it is made, a constant."""
    if isinstance(node, ast.FunctionDef):
        return module.lines[node.lineno - 1 : max(node.lineno, node.body[0].lineno - 1)]
    if isinstance(node, ast.ClassDef):
        lines = module.lines[node.lineno - 1 : max(node.lineno, node.body[0].lineno - 1)]
        for child in node.body:
            if isinstance(child, ast.AnnAssign):
                lines += module.lines[child.lineno - 1 : child.end_lineno]
            elif isinstance(child, ast.FunctionDef) and child.name == "__init__":
                lines += definition(module, child)
        return lines
    lines = module.lines[node.lineno - 1 : node.end_lineno]
    return lines if len(lines) <= SHOWN else [*lines[:SHOWN], "    ..."]


def code(lines: list[str]) -> str:
    """A block of Python, at the left margin."""
    margin = len(lines[0]) - len(lines[0].lstrip())
    return "\n".join(["```python", *(line[margin:] for line in lines), "```"])


def prose(node: ast.Module | ast.FunctionDef | ast.ClassDef) -> str:
    """A docstring as Markdown: `Args:` and the like become a bold word and a list; what is indented stays as it is."""
    lines, listing = [], False
    for line in (ast.get_docstring(node) or "").splitlines():
        if SECTION.match(line):
            lines += ["", f"**{line[:-1]}**", ""]
            listing = True
        elif listing and (argument := ARGUMENT.match(line)):
            lines.append(f"- `{argument[1]}`: {plain(argument[2])}")
        elif line.startswith("    ") and not listing:
            lines.append(line)
        else:
            listing = listing and line.startswith(" ")
            lines.append(plain(line.strip()))
    return "\n".join(lines)


def plain(line: str) -> str:
    """What Markdown would take for markup outside of `code` is text here; pages that are named become links."""
    pieces = re.split(r"(`[^`]*`|docs/en/\w+\.md)", line)
    pieces[::2] = [re.sub(r"([<*$_#\[])", r"\\\1", piece) for piece in pieces[::2]]
    pieces[1::2] = [re.sub(r"^docs/(en/\w+\.md)$", r"[\g<0>](../\1)", piece) for piece in pieces[1::2]]
    return "".join(pieces)
