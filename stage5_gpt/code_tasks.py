"""What the code assistant is asked: functions of the library that it has not read, and tasks that can be tried.

A function is cut behind its docstring: the model reads `def`, the arguments and what it should do, and writes the rest.
The functions come from files of the validation and test parts, so nobody trained on them (but code repeats itself, see
my_llm/data/corpora/python_library.py). Hardly any of them can be tried without its module. So there are TASKS, too:
written for this file, as simple as methods of the library are, each with examples that the model does not see.
"""

import ast
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from my_llm.data.corpora.python_library import CHOSEN, documents, part_of
from stage5_gpt.code_style import bound, parsed

LONGEST = 12  # lines of a body that a model is asked to write
HELD_OUT = ("validation", "test")


class Asked(NamedTuple):
    """One thing to write."""

    name: str
    prompt: str  # ends behind the docstring
    answer: str  # what a person wrote there
    known: frozenset[str] = frozenset()  # names of the module, which a function may use
    examples: str = ""  # as in a docstring; the model does not see them

    @property
    def indent(self) -> int:
        """Blanks before `def`: what stands there, or left of it, is no longer the function."""
        line = [line for line in self.prompt.splitlines() if line.lstrip().startswith("def ")][-1]
        return len(line) - len(line.lstrip())


def held_out_functions(library: Path) -> Iterator[Asked]:
    """Functions and methods with a docstring and a short body, of files that are not for training."""
    for name, text in documents(library, CHOSEN):
        if part_of(name, held_out=20) in HELD_OUT:
            tree, lines = ast.parse(text), text.splitlines(keepends=True)
            known = names_of_module(tree)
            inner = [node for block in tree.body if isinstance(block, ast.ClassDef) for node in block.body]
            for node in (*tree.body, *inner):
                if isinstance(node, ast.FunctionDef) and (asked := _asked(name, node, lines, known)):
                    yield asked


def names_of_module(tree: ast.Module) -> frozenset[str]:
    """What a function of this module may use: not what other functions call their own."""
    scopes = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return frozenset().union(*({node.name} if isinstance(node, scopes) else bound(node) for node in tree.body))


def _asked(file: str, node: ast.FunctionDef, lines: list[str], known: frozenset[str]) -> Asked | None:
    """The function cut behind its docstring; None if it has none, or if nothing is left to write, or too much."""
    end_of_docstring, end = node.body[0].end_lineno or 0, node.end_lineno or 0
    if not ast.get_docstring(node) or node.decorator_list or not 0 < end - end_of_docstring <= LONGEST:
        return None
    whole = textwrap.dedent("".join(lines[node.lineno - 1 : end])).splitlines(keepends=True)
    head = end_of_docstring - node.lineno + 1
    if parsed("".join(whole)) is None:  # a docstring that stands further left than its function
        return None
    return Asked(f"{file}:{node.name}", "".join(whole[:head]), "".join(whole[head:]), known)


def cut(asked: Asked, written: str, *, whole: bool = False) -> str:
    """What was written, as far as it belongs to the function: up to the first line that is not indented more than it.

    Args:
        whole: The text came to its end; else its last line may be half a line, and is left out.
    """
    lines = written.splitlines(keepends=True)
    if not whole and lines and not lines[-1].endswith("\n"):
        lines.pop()
    first = 0 if asked.prompt.endswith("\n") else 1  # the rest of a line that the prompt began
    for number, line in enumerate(lines[first:], first):
        if line.strip() and len(line) - len(line.lstrip()) <= asked.indent:
            lines = lines[:number]
            break
    return "".join(lines).rstrip() + "\n"


def ended(asked: Asked, written: str) -> bool:
    """Whether a line has begun that is no longer the function's."""
    before = "\n" if asked.prompt.endswith("\n") else ""
    return re.search(rf"\n {{0,{asked.indent}}}\S", before + written) is not None


def of_comment(comment: str) -> Asked:
    """The question of a person: `# what it should do`, or how a function begins."""
    text = comment.replace("\\n", "\n").rstrip()
    if text.startswith(("def ", "class ")):
        return Asked("asked", f"{text}\n", "")
    return Asked("asked", f"# {text.lstrip('# ')}\ndef ", "")


# --- tasks ------------------------------------------------------------------------------------------------------------

IN_CLASS = '''class {name}:
    def __init__(self, {arguments}):
{setting}

    def {method}:
        """{says}"""
'''


def _task(name: str, signature: str, says: str, answer: str, examples: str) -> Asked:
    """A function alone."""
    return Asked(name, f'def {signature}:\n    """{says}"""\n', f"    {answer}\n", examples=f"{examples}\n")


def _method(name: str, attributes: str, method: str, says: str, answer: str, examples: str) -> Asked:
    """A method of a small class whose attributes are its arguments."""
    names = attributes.split(", ")
    setting = "\n".join(f"        self.{attribute} = {attribute}" for attribute in names)
    prompt = IN_CLASS.format(name=name, arguments=attributes, setting=setting, method=method, says=says)
    return Asked(f"{name}.{method.partition('(')[0]}", prompt, f"        {answer}\n", examples=f"{examples}\n")


TASKS: tuple[Asked, ...] = (
    _method("Stack", "items", "__len__(self)", "Return the number of items.", "return len(self.items)",
            ">>> len(Stack([1, 2, 3])), len(Stack([]))\n(3, 0)"),
    _method("Person", "name", "get_name(self)", "Return the name.", "return self.name",
            ">>> Person('Ada').get_name(), Person('').get_name()\n('Ada', '')"),
    _method("Box", "value", "set_value(self, value)", "Set the value.", "self.value = value",
            ">>> box = Box(1)\n>>> box.set_value(2)\n>>> box.value\n2"),
    _method("Bag", "items", "__contains__(self, item)", "Return True if item is in the bag.",
            "return item in self.items", ">>> 1 in Bag([1, 2]), 3 in Bag([1, 2])\n(True, False)"),
    _method("Row", "items", "__getitem__(self, index)", "Return the item at index.", "return self.items[index]",
            ">>> Row([5, 6])[1], Row([5, 6])[0]\n(6, 5)"),
    _method("Row", "items", "__setitem__(self, index, item)", "Set the item at index.", "self.items[index] = item",
            ">>> row = Row([5, 6])\n>>> row[0] = 7\n>>> row.items\n[7, 6]"),
    _method("Row", "items", "__iter__(self)", "Return an iterator over the items.", "return iter(self.items)",
            ">>> list(Row([5, 6]))\n[5, 6]"),
    _method("Row", "items", "append(self, item)", "Add item to the end of items.", "self.items.append(item)",
            ">>> row = Row([5])\n>>> row.append(6)\n>>> row.items\n[5, 6]"),
    _method("Row", "items", "clear(self)", "Remove all items.", "self.items.clear()",
            ">>> row = Row([5])\n>>> row.clear()\n>>> list(row.items)\n[]"),
    _method("Point", "x, y", "__eq__(self, other)", "Return True if x and y are equal.",
            "return self.x == other.x and self.y == other.y",
            ">>> Point(1, 2) == Point(1, 2), Point(1, 2) == Point(1, 3)\n(True, False)"),
    _method("Name", "text", "__str__(self)", "Return the text.", "return self.text",
            ">>> str(Name('a')), str(Name('bc'))\n('a', 'bc')"),
    _method("Name", "text", "__bool__(self)", "Return True if the text is not empty.", "return bool(self.text)",
            ">>> bool(Name('a')), bool(Name(''))\n(True, False)"),
    _method("Table", "data", "keys(self)", "Return a list of the keys of data.", "return list(self.data)",
            ">>> list(Table({'a': 1, 'b': 2}).keys())\n['a', 'b']"),
    _method("Table", "data", "get(self, key, default=None)", "Return the value of key, or default.",
            "return self.data.get(key, default)", ">>> Table({'a': 1}).get('a'), Table({}).get('a', 3)\n(1, 3)"),
    _method("Table", "data", "__delitem__(self, key)", "Remove key from data.", "del self.data[key]",
            ">>> table = Table({'a': 1, 'b': 2})\n>>> del table['a']\n>>> table.data\n{'b': 2}"),
    _task("length", "length(items)", "Return the length of items.", "return len(items)",
          ">>> length([1, 2]), length('')\n(2, 0)"),
    _task("larger", "larger(a, b)", "Return the larger of a and b.", "return max(a, b)",
          ">>> larger(1, 2), larger(2, 1), larger(-3, -4)\n(2, 2, -3)"),
    _task("is_none", "is_none(value)", "Return True if value is None.", "return value is None",
          ">>> is_none(None), is_none(0)\n(True, False)"),
    _task("is_string", "is_string(value)", "Return True if value is a string.", "return isinstance(value, str)",
          ">>> is_string('a'), is_string(1)\n(True, False)"),
    _task("lower", "lower(text)", "Return a copy of text converted to lowercase.", "return text.lower()",
          ">>> lower('AbC'), lower('d')\n('abc', 'd')"),
    _task("first", "first(items)", "Return the first item of items.", "return items[0]",
          ">>> first([3, 4]), first('ab')\n(3, 'a')"),
    _task("absolute", "absolute(x)", "Return the absolute value of x.", "return abs(x)",
          ">>> absolute(-2), absolute(3)\n(2, 3)"),
    _task("add", "add(a, b)", "Same as a + b.", "return a + b", ">>> add(2, 3), add('a', 'b')\n(5, 'ab')"),
    _task("negative", "negative(a)", "Same as not a.", "return not a",
          ">>> negative(1), negative(0)\n(False, True)"),
)  # fmt: skip
