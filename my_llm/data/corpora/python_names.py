"""Named entities in Python: what part does a name play in its line of code?

The corpus that is always there: no download, no network. A sentence is one logical line of the standard library, a word
is one token of it, and the entities are the names, dotted ones being entities of several words. A MODULE is imported; a
FUNCTION is defined or called; a CLASS is defined, called (with a capital letter), inherited or caught; an ARGUMENT is
declared, or handed over by name; a VARIABLE is given a value. The word alone does not tell: `self` is an ARGUMENT in
`def f(self):`, begins a VARIABLE in `self.x = 1` and a FUNCTION in `self.f()`, and is nothing in `return self`. The
truth comes from the parser; the files are parsed, never imported.

The name of a file decides its part, and no line stands in two parts or twice. It is code, not prose: a tagger that does
well here has learnt the grammar of Python, and a score is no forecast of one on news.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from my_llm.data.corpora.python_library import documents, part_of
from my_llm.data.corpora.tags import Sentences, TaggedSentence, bio_labels

KINDS = ("MODULE", "CLASS", "FUNCTION", "ARGUMENT", "VARIABLE")
LABELS = bio_labels(*KINDS)
CHOSEN = ("files", "testing")  # areas of the library: some fifteen thousand lines, tokenized in two seconds
SHORTEST, LONGEST = 3, 40  # tokens in a line
TEMPLATE = re.compile(r"[a-z]*[ft][a-z]*['\"]", re.IGNORECASE)  # an f-string, or from Python 3.12 on its beginning
LAYOUT = (tokenize.COMMENT, tokenize.NL, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)

Place = tuple[int, int]  # line, column
Entity = tuple[Place, Place, str]  # start, end, kind


def read(files: tuple[Path, ...]) -> Sentences:
    """Read the folder of the standard library."""
    return Sentences(*(list(part) for part in sentences(files[0])))


@cache  # tokenizing takes seconds
def sentences(library: Path) -> Sentences:
    """The tagged lines of the library in three parts, each line once."""
    parts, seen = Sentences([], [], []), set()
    for name, source in documents(library, CHOSEN):
        if source.isascii():  # else the parser counts bytes and the tokenizer characters
            for sentence in tagged_lines(source):
                if sentence.words not in seen:
                    seen.add(sentence.words)
                    getattr(parts, part_of(name, held_out=10)).append(sentence)
    return parts


def tagged_lines(source: str) -> Iterator[TaggedSentence]:
    """The logical lines of a source file, each token with the tag that the parser gives it.

    A string is one word, always the same. Lines with f-strings are left out: Python 3.11 parses them otherwise.
    """
    spans = {start: (end, kind) for start, end, kind in entities(ast.parse(source))}
    words, tags, end, kind = [], [], (0, 0), ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.NEWLINE:
            if SHORTEST <= len(words) <= LONGEST and not any(TEMPLATE.match(word) for word in words):
                yield TaggedSentence(tuple(words), tuple(tags))
            words, tags = [], []
        elif token.type not in LAYOUT:
            if token.start in spans:
                end, kind = spans[token.start]
                tags.append(LABELS.index(f"B-{kind}"))
            else:
                tags.append(LABELS.index(f"I-{kind}") if token.end <= end else 0)
            is_text = token.type == tokenize.STRING and not TEMPLATE.match(token.string)
            words.append('"..."' if is_text else token.string)


def entities(tree: ast.AST) -> Iterator[Entity]:
    """Every entity of a file."""
    nodes = [tree]
    while nodes:
        node = nodes.pop()
        if not isinstance(node, ast.JoinedStr):  # inside an f-string the places are not to be relied on
            yield from entities_of(node)
            nodes.extend(ast.iter_child_nodes(node))


def entities_of(node: ast.AST) -> Iterator[Entity]:
    """The entities that this node itself says something about."""
    match node:
        case ast.Import():
            yield from (named(alias, "", alias.name, "MODULE") for alias in node.names)
        case ast.ImportFrom():
            yield named(node, "from ", "." * node.level + (node.module or ""), "MODULE")
        case ast.ClassDef():
            yield named(node, "class ", node.name, "CLASS")
            yield from (dotted(base, "CLASS") for base in node.bases if isinstance(base, ast.Name | ast.Attribute))
        case ast.FunctionDef():
            yield named(node, "def ", node.name, "FUNCTION")
        case ast.AsyncFunctionDef():
            yield named(node, "async def ", node.name, "FUNCTION")
        case ast.Call(func=ast.Name() | ast.Attribute() as called):
            name = called.id if isinstance(called, ast.Name) else called.attr
            yield dotted(called, "CLASS" if name.lstrip("_")[:1].isupper() else "FUNCTION")
        case ast.arg() | ast.keyword(arg=str()):
            yield named(node, "", node.arg or "", "ARGUMENT")
        case ast.Name(ctx=ast.Store()) | ast.Attribute(ctx=ast.Store()):
            yield dotted(node, "VARIABLE")
        case ast.ExceptHandler(type=ast.expr() as caught):
            kinds = caught.elts if isinstance(caught, ast.Tuple) else [caught]
            yield from (dotted(kind, "CLASS") for kind in kinds if isinstance(kind, ast.Name | ast.Attribute))


def named(node: ast.stmt | ast.alias | ast.arg | ast.keyword, before: str, name: str, kind: str) -> Entity:
    """A name that stands behind the text `before`, with which its node begins."""
    column = node.col_offset + len(before)
    return (node.lineno, column), (node.lineno, column + len(name)), kind


def dotted(node: ast.Name | ast.Attribute, kind: str) -> Entity:
    """A name with the dots before it: all of `self.file.read`, but only the `read` of `open(x).read`."""
    assert node.end_lineno is not None and node.end_col_offset is not None  # the parser always sets them
    end, root = (node.end_lineno, node.end_col_offset), node
    while isinstance(root, ast.Attribute):
        root = root.value
    if isinstance(node, ast.Name) or isinstance(root, ast.Name):
        return (node.lineno, node.col_offset), end, kind
    return (end[0], end[1] - len(node.attr)), end, kind
