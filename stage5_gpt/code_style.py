"""How well a function is written, as far as rules can say: eight of PEP 8's and of good sense, each met or not.

The score is the share that is met. It says nothing of whether the function does what it should; a function that does
nothing has a fine style. Which names are known is a question of its own: a name that is bound nowhere is what a model
writes that has learnt how code looks and not what it does.
"""

import ast
import builtins
import re
from collections.abc import Callable, Iterator

LONGEST_LINE, LONGEST_FUNCTION = 79, 40
NAME = re.compile(r"_{0,2}[a-z][a-z0-9_]*|_+|[A-Z][A-Z0-9_]*")  # snake_case, or a constant
BINDING = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.ExceptHandler)


def parsed(source: str) -> ast.Module | None:
    """The tree of a source; None if it is no Python. Nothing of it is run."""
    try:
        return ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):  # the last two: nested as no human nests
        return None


def docstrings(tree: ast.Module) -> str:
    """Those of all functions and classes, where examples may stand."""
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    return "\n\n".join(ast.get_docstring(node) or "" for node in nodes)


def bound(tree: ast.AST) -> set[str]:
    """All names that are given a meaning somewhere in the tree: arguments, targets, imports, functions, classes."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            found.add(node.id)
        elif isinstance(node, BINDING) and node.name:
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
    return found


def used(tree: ast.AST) -> Iterator[str]:
    """All names that are read."""
    return (node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load))


def unknown_names(tree: ast.AST, known: set[str]) -> set[str]:
    """Names that are read and bound neither in the tree nor among `known` nor by Python itself."""
    return {*used(tree)} - bound(tree) - known - {*dir(builtins), "__class__", "__file__", "__name__"}


def unknown_attributes(tree: ast.Module) -> set[str]:
    """What `self` is asked for in a class without a base that neither sets nor defines it."""
    found: set[str] = set()
    for block in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef) and not node.bases):
        own = [n for n in ast.walk(block) if isinstance(n, ast.Attribute) and ast.unparse(n.value) == "self"]
        there = {node.attr for node in own if not isinstance(node.ctx, ast.Load)} | bound(block)
        found |= {node.attr for node in own if node.attr not in there and not node.attr.startswith("__")}
    return found


def last_function(tree: ast.Module) -> ast.FunctionDef | None:
    """The function that stands last: the one that was asked for."""
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    return max(functions, key=lambda node: node.lineno, default=None)


def uses_arguments(function: ast.FunctionDef) -> bool:
    """Whether it reads all that it is given; what does not cannot depend on it."""
    arguments = {node.arg for node in ast.walk(function.args) if isinstance(node, ast.arg)}
    return arguments <= {*used(function)}


# --- the rules --------------------------------------------------------------------------------------------------------


def _lines_fit(source: str, tree: ast.Module) -> bool:
    return all(len(line) <= LONGEST_LINE for line in source.splitlines())


def _no_blanks_at_ends(source: str, tree: ast.Module) -> bool:
    return not any(line != line.rstrip() for line in source.splitlines())


def _indented_by_four(source: str, tree: ast.Module) -> bool:
    starts = [node.col_offset for node in ast.walk(tree) if isinstance(node, ast.stmt)]
    return "\t" not in source and all(start % 4 == 0 for start in starts)


def _named_well(source: str, tree: ast.Module) -> bool:
    classes = {node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    return all(NAME.fullmatch(name) for name in bound(tree) - classes)


def _nothing_unused(source: str, tree: ast.Module) -> bool:
    targets = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    return not {name for name in targets if not name.startswith("_")} - {*used(tree)}


def _short(source: str, tree: ast.Module) -> bool:
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    return all((node.end_lineno or 0) - node.lineno < LONGEST_FUNCTION for node in functions)


def _compares_none_by_is(source: str, tree: ast.Module) -> bool:
    compared = [node for node in ast.walk(tree) if isinstance(node, ast.Compare)]
    pairs = [(op, right) for node in compared for op, right in zip(node.ops, node.comparators, strict=True)]
    return not any(
        isinstance(op, ast.Eq | ast.NotEq) and isinstance(right, ast.Constant)
        for op, right in pairs
        if isinstance(getattr(right, "value", 0), bool | None)
    )


def _nothing_after_the_end(source: str, tree: ast.Module) -> bool:
    ends = ast.Return | ast.Raise | ast.Break | ast.Continue
    blocks = [b for node in ast.walk(tree) for b in (getattr(node, "body", []), getattr(node, "orelse", []))]
    return not any(isinstance(line, ends) for block in blocks if isinstance(block, list) for line in block[:-1])


RULES: dict[str, Callable[[str, ast.Module], bool]] = {
    "lines of at most 79 characters": _lines_fit,
    "no blanks at the ends of lines": _no_blanks_at_ends,
    "indented by fours, no tabs": _indented_by_four,
    "names in snake_case": _named_well,
    "no variable that nobody reads": _nothing_unused,
    "at most 40 lines": _short,
    "None, True and False compared by is": _compares_none_by_is,
    "no line that cannot be reached": _nothing_after_the_end,
}


def broken_rules(source: str) -> list[str]:
    """The rules that a source does not meet; all of them, if it is no Python."""
    tree = parsed(source)
    return [name for name, met in RULES.items() if tree is None or not met(source, tree)]


def style(source: str) -> float:
    """The share of the rules that are met, in [0, 1]; 0 if it is no Python."""
    return 1 - len(broken_rules(source)) / len(RULES)
