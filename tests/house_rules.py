"""The rules of the house, read from the source: rooms and doors, the "never" list, sizes, what may load torch.

Each checker takes a path inside the repository and a source, and returns one line per violation. They run in
test_architecture.py, on the repository and on planted violations.
"""

import ast
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import PurePosixPath

STAGES = [f"stage{n}" for n in range(1, 10)]
SCRIPTS = {"train", "evaluate", "predict", "generate", "translate", "compare", "experiments", "visualize"}
SCRIPTS |= {"finetune", "export", "sheet", "write_code", "write_verse"}
PICKLERS = {"pickle", "_pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
LIBRARY_LAYERS = {"RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell", "MultiheadAttention"}
LIGHT = ("my_llm/errors", "my_llm/cli", "my_llm/device", "my_llm/schedules", "my_llm/metrics", "my_llm/text/")
LIGHT = (*LIGHT, "my_llm/data/", "my_llm/translation/flags")
MAX_FILE, MAX_FUNCTION = 280, 60

Checker = Callable[[PurePosixPath, str], list[str]]
CHECKERS: list[Checker] = []


def checker(function: Checker) -> Checker:
    CHECKERS.append(function)
    return function


# --- Reading the source ----------------------------------------------------------------------------------------------

parse = lru_cache(maxsize=None)(ast.parse)


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and full dotted name of everything imported: `from a.b import c` is a.b.c."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def imports_at_start(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Those that run when the module is imported: not in functions, not for the type checker alone."""
    for node in tree.body:
        late = isinstance(node, ast.FunctionDef | ast.ClassDef)
        if not (late or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))):
            yield from imports(node)


def room(name: str) -> str:
    """The room that a path or a dotted name begins with: my_llm, stage1 …, lab, or nothing."""
    first = name.replace("/", ".").split(".")[0]
    return first.split("_")[0] if first.startswith("stage") else first if first in ("my_llm", "lab") else ""


def inside(name: str) -> str:
    """The second part of a path or a dotted name: train of stage1_mlp/train.py, models of stage1_mlp.models.mlp."""
    parts = name.removesuffix(".py").replace("/", ".").split(".")
    return parts[1] if len(parts) > 1 else ""


# --- Rooms and doors -------------------------------------------------------------------------------------------------


@checker
def floor_holds_no_module(path: PurePosixPath, source: str) -> list[str]:
    classes = [node for node in ast.walk(parse(source)) if isinstance(node, ast.ClassDef)]
    bases = [(node, ast.unparse(base)) for node in classes for base in node.bases]
    found = [(node, base) for node, base in bases if base.startswith(("nn.", "torch.nn.")) or base == "Module"]
    return [f"{path}:{node.lineno} {node.name} is a {base}" for node, base in found if room(str(path)) == "my_llm"]


@checker
def nobody_reads_ahead(path: PurePosixPath, source: str) -> list[str]:
    order = ["my_llm", *STAGES, "lab"]
    here = room(str(path))
    if here not in order:
        return []
    later = order[order.index(here) + 1 :]
    return [f"{path}:{line} {here} imports {name}" for line, name in imports(parse(source)) if room(name) in later]


@checker
def stages_are_entered_by_their_door(path: PurePosixPath, source: str) -> list[str]:
    """Only `from stageN_x.models import Y`; the roof may look into every file that is no script."""
    if room(str(path)) == "lab":
        return []
    doors = {}
    for node in ast.walk(parse(source)):
        if isinstance(node, ast.ImportFrom):
            doors |= {(node.lineno, f"{node.module}.{alias.name}"): node.module or "" for alias in node.names}
    foreign = [at for at in imports(parse(source)) if room(at[1]) in STAGES and room(at[1]) != room(str(path))]
    past = [at for at in foreign if doors.get(at, "").split(".")[1:] != ["models"]]
    return [f"{path}:{line} enters {name} past its door" for line, name in past]


@checker
def models_know_no_data_and_no_scripts(path: PurePosixPath, source: str) -> list[str]:
    if room(str(path)) not in STAGES or path.parts[1:2] != ("models",):
        return []
    names = list(imports(parse(source)))
    own = [at for at in names if room(at[1]) == room(str(path)) and inside(at[1]) != "models"]
    data = [at for at in names if at[1].startswith("my_llm.data")]
    return [f"{path}:{line} a model imports {name}" for line, name in own + data]


@checker
def nobody_imports_a_script(path: PurePosixPath, source: str) -> list[str]:
    names = imports(parse(source))
    return [f"{path}:{line} imports a script: {n}" for line, n in names if room(n) in STAGES and inside(n) in SCRIPTS]


@checker
def floor_keeps_its_inner_order(path: PurePosixPath, source: str) -> list[str]:
    """errors, files, device ◄ text ◄ data ◄ the rest."""
    if room(str(path)) != "my_llm" or str(path) == "my_llm/__init__.py":
        return []
    height = {"errors": 0, "files": 0, "device": 0, "text": 1, "data": 2}
    names = [(line, name) for line, name in imports(parse(source)) if room(name) == "my_llm"]
    here = height.get(inside(str(path)), 3)
    return [f"{path}:{line} imports {name} from above" for line, name in names if height.get(inside(name), 3) > here]


@checker
def imports_are_absolute(path: PurePosixPath, source: str) -> list[str]:
    nodes = [node for node in ast.walk(parse(source)) if isinstance(node, ast.ImportFrom)]
    relative = [f"{path}:{node.lineno} relative import" for node in nodes if node.level]
    local = {"models", "data", "studies", *SCRIPTS}
    names = imports(parse(source))
    return relative + [f"{path}:{line} which {name}?" for line, name in names if name.split(".")[0] in local]


# --- Never -----------------------------------------------------------------------------------------------------------


@checker
def pickle_has_one_home(path: PurePosixPath, source: str) -> list[str]:
    if str(path) == "my_llm/text/vocabulary.py":
        return []
    found = [f"{path}:{line} {n}" for line, n in imports(parse(source)) if n.split(".")[0] in PICKLERS]
    calls = [node for node in ast.walk(parse(source)) if isinstance(node, ast.keyword) and node.arg == "allow_pickle"]
    return found + [f"{path}:{node.value.lineno} allow_pickle" for node in calls if ast.unparse(node.value) != "False"]


@checker
def checkpoints_have_one_door(path: PurePosixPath, source: str) -> list[str]:
    if str(path) == "my_llm/checkpoint.py":
        return []
    uses = [node for node in ast.walk(parse(source)) if isinstance(node, ast.Attribute) and node.attr == "load"]
    loads = [(node.lineno, ast.unparse(node)) for node in uses] + list(imports(parse(source)))
    return [f"{path}:{line} torch.load" for line, name in loads if name in ("torch.load", "torch.serialization.load")]


@checker
def no_text_becomes_code(path: PurePosixPath, source: str) -> list[str]:
    calls = [node for node in ast.walk(parse(source)) if isinstance(node, ast.Call)]
    named = [(node, ast.unparse(node.func)) for node in calls]
    never = {"eval", "exec", "os.system", "os.popen", "builtins.eval", "builtins.exec"}
    found = [f"{path}:{node.lineno} {name}(…)" for node, name in named if name in never]
    words = [word for node in calls for word in node.keywords if word.arg == "shell"]
    return found + [f"{path}:{word.value.lineno} shell=" for word in words if ast.unparse(word.value) != "False"]


@checker
def masks_use_no_large_number(path: PurePosixPath, source: str) -> list[str]:
    """-1e9 overflows in fp16: -inf or the dtype's minimum is meant."""
    minus = [n for n in ast.walk(parse(source)) if isinstance(n, ast.UnaryOp) and isinstance(n.op, ast.USub)]
    large = [n for n in minus if isinstance(n.operand, ast.Constant) and isinstance(n.operand.value, float)]
    return [f"{path}:{n.lineno} {ast.unparse(n)}" for n in large if 1e4 <= abs(ast.literal_eval(n)) < float("inf")]


@checker
def library_layers_stay_in_official(path: PurePosixPath, source: str) -> list[str]:
    if path.name == "official.py" or room(str(path)) not in STAGES or path.parts[1:2] != ("models",):
        return []
    uses = [n for n in ast.walk(parse(source)) if isinstance(n, ast.Attribute) and ast.unparse(n.value) == "nn"]
    found = [n for n in uses if n.attr in LIBRARY_LAYERS or n.attr.startswith("Transformer")]
    return [f"{path}:{n.lineno} nn.{n.attr}" for n in found]


# --- Fit to be read --------------------------------------------------------------------------------------------------


@checker
def files_and_functions_fit_the_eye(path: PurePosixPath, source: str) -> list[str]:
    lines = source.count("\n")
    functions = [n for n in ast.walk(parse(source)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    sizes = [(n.name, (n.end_lineno or n.lineno) - n.lineno + 1) for n in functions]
    long = [f"{path} {name}() has {size} lines" for name, size in sizes if size > MAX_FUNCTION]
    return long + ([f"{path} has {lines} lines"] if lines > MAX_FILE else [])


@checker
def modules_say_what_they_are(path: PurePosixPath, source: str) -> list[str]:
    notebook = path.name == "visualize.py"  # its first cell says it
    named = notebook or not source.strip() or ast.get_docstring(parse(source))
    return [] if named else [f"{path} has no docstring"]


@checker
def light_modules_do_not_load_torch(path: PurePosixPath, source: str) -> list[str]:
    """`train.py --help` answers at once, and a corpus can be read without torch."""
    script = room(str(path)) in STAGES and len(path.parts) == 2 and path.stem in SCRIPTS - {"visualize"}
    heavy = {"torch", "matplotlib"} if script else {"torch"} if str(path).startswith(LIGHT) else set()
    names = imports_at_start(parse(source))
    return [f"{path}:{line} loads {name} when imported" for line, name in names if name.split(".")[0] in heavy]
