"""The shape of the package: imports point downwards, public names are listed, importing has no side effects."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.places import ROOT

import keras_acet
from keras_acet import export

PACKAGE = Path(keras_acet.__file__).parent
EXPORT = Path(export.__file__).parent  # in a wheel it lies in the package's folder, in a checkout beside it


def levels():
    """Module -> level, as CONTRIBUTING.md has it."""
    if not (ROOT / "CONTRIBUTING.md").exists():
        pytest.skip("CONTRIBUTING.md is not beside the installed package")
    rows = re.findall(r"^\| (\d) \| (.*) \|$", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.MULTILINE)
    return {module: int(level) for level, names in rows for module in re.findall(r"`(\w+)`", names)}


def imported_modules(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module == "keras_acet":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("keras_acet."):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (a.name.split(".")[1] for a in node.names if a.name.startswith("keras_acet."))


def test_imports_point_downwards():
    level_of = levels()
    modules = {"export": set(EXPORT.rglob("*.py")) - {EXPORT / "__main__.py"}}  # a folder counts as one module
    for path in PACKAGE.rglob("*.py"):
        modules.setdefault(path.relative_to(PACKAGE).parts[0].removesuffix(".py"), set()).add(path)
    del modules["__init__"]
    assert set(modules) == set(level_of), "give a new module its level in CONTRIBUTING.md"
    for name, paths in modules.items():
        for other in {other for path in paths for other in imported_modules(path)} - {name}:
            assert level_of[other] < level_of[name], f"{name} (level {level_of[name]}) imports {other}"


@pytest.mark.parametrize(
    "package",
    [
        keras_acet,
        keras_acet.attack,
        keras_acet.calibration,
        keras_acet.classifiers,
        keras_acet.datasets,
        keras_acet.evaluation,
        keras_acet.intervals,
        keras_acet.metrics,
        keras_acet.networks,
        keras_acet.theory,
        keras_acet.training,
        keras_acet.training.runs,
    ],
)
def test_all_lists_every_public_name(package):
    tree = ast.parse(Path(package.__file__).read_text(encoding="utf-8"))
    lazy = [node.body for node in tree.body if isinstance(node, ast.If)]  # under TYPE_CHECKING
    nodes = [*tree.body, *(node for body in lazy for node in body)]
    imported = [node.names for node in nodes if isinstance(node, ast.ImportFrom)]
    assert all(len(names) == 1 for names in imported), "one import per line"
    names = [alias[0].asname or alias[0].name for alias in imported]
    names = [name for name in names if name.startswith("__") or not name.startswith("_")]
    assert sorted(names) == sorted(package.__all__)


def test_another_backend_is_refused_in_one_sentence():
    code = "import os; os.environ['KERAS_BACKEND'] = 'numpy'; from keras_acet import losses"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: keras_acet needs Keras' TensorFlow backend. Received: the numpy backend.")


MOST_LINES_OF_A_FUNCTION = 60  # without its docstring
MOST_LINES_OF_A_MODULE = 450
MOST_LINES_OF_A_SCRIPT = 10


def too_long(root):
    """What in a folder is longer than it may be: modules by their paths, functions by path and name."""
    for path in root.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        name = path.relative_to(root).as_posix()
        if len(text.splitlines()) > MOST_LINES_OF_A_MODULE:
            yield name
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                first = node.body[0]
                has_docstring = ast.get_docstring(node) is not None
                docstring = first.end_lineno - first.lineno + 1 if has_docstring else 0
                if node.end_lineno - node.lineno + 1 - docstring > MOST_LINES_OF_A_FUNCTION:
                    yield f"{name}: {node.name}"


def test_what_is_too_long_is_found(tmp_path):
    lines = ["def f():", '    """Says', "", '    nothing."""', *["    pass"] * 59]  # 60 lines and a docstring of three
    (tmp_path / "a.py").write_text("\n".join(lines))
    assert not list(too_long(tmp_path))
    (tmp_path / "a.py").write_text("\n".join([*lines, "    pass", *["x = 1"] * 400]))
    assert list(too_long(tmp_path)) == ["a.py", "a.py: f"]


def test_modules_and_functions_are_short():
    assert not {name for root in (PACKAGE, EXPORT) for name in too_long(root)}


def not_annotated(root):
    """The public functions of a folder that lack annotations, by path and name; `__init__` needs none of its value."""

    def functions(body):
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                if node.name == "__init__" or not node.name.startswith("_"):
                    yield node
            elif not isinstance(node, ast.ClassDef) or not node.name.startswith("_"):
                yield from functions(ast.iter_child_nodes(node))

    for path in root.rglob("*.py"):
        for node in functions(ast.parse(path.read_text(encoding="utf-8")).body):
            signature = node.args
            arguments = [*signature.posonlyargs, *signature.args, *signature.kwonlyargs]
            arguments += [argument for argument in (signature.vararg, signature.kwarg) if argument]
            without = any(one.annotation is None for one in arguments if one.arg not in ("self", "cls"))
            if without or (node.returns is None and node.name != "__init__"):
                yield f"{path.relative_to(root).as_posix()}: {node.name}"


def test_a_function_without_annotations_is_found(tmp_path):
    lines = [
        "def _f(x): pass",
        "def f(x: int, *, y: int = 0) -> None:",
        "    def g(x): pass",
        "class _A:",
        "    def h(self, x): pass",
        "class A:",
        "    def __init__(self, x: int): pass",
    ]
    (tmp_path / "a.py").write_text("\n".join(lines))
    assert not list(not_annotated(tmp_path))
    lines += ["    def k(self): pass", "    def m(self, *x) -> None: pass", "if True:", "    def n(x): pass"]
    (tmp_path / "a.py").write_text("\n".join(lines))
    assert list(not_annotated(tmp_path)) == ["a.py: k", "a.py: m", "a.py: n"]


def test_public_functions_are_annotated():
    assert not [name for root in (PACKAGE, EXPORT) for name in not_annotated(root)]


@pytest.mark.parametrize("script", ["train.py", "evaluate.py", "export/__main__.py"])
def test_scripts_at_the_top_only_start_a_command(script):
    if not (ROOT / script).exists():
        pytest.skip("there is no checkout around these tests")
    assert len((ROOT / script).read_text(encoding="utf-8").splitlines()) <= MOST_LINES_OF_A_SCRIPT
