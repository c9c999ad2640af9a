"""The house style, enforced: floors, cycles, sizes, import weight, and what the project says of itself."""

from __future__ import annotations

import ast
import re
import resource
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "evalharness"
FILES = sorted(PACKAGE.rglob("*.py"))

FLOORS = {
    "": 0, "ids": 0, "errors": 0, "waits": 0, "stats": 0,
    "records": 1, "protocols": 1, "registry": 1, "spec": 1, "prompts": 1, "bases": 1, "causal": 1, "prices": 1, "embedded": 1,
    "google": 1, "buying": 1,
    "store": 2, "data": 2, "reading": 2, "scaffold": 2,
    "runners": 3, "models": 3, "metrics": 3,
    "doctor": 4, "pipeline": 4, "verdict": 4,
    "report": 5, "labelling": 5,
    "cli": 6, "__main__": 6,
}  # fmt: skip
HEAVY = ("torch", "transformers", "peft", "scipy", "pandas", "sacrebleu", "pyarrow", "duckdb", "datasets", "openai", "aiohttp")


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def part_of(module: str) -> str:
    """evalharness.stats.tango -> stats"""
    return module.split(".")[1] if "." in module else ""


def imports(path: Path, *, top_level: bool = False) -> Iterator[str]:
    """Modules of this package (and others) that a file imports, anywhere or only when it is itself imported."""
    tree = ast.parse(path.read_text())
    nodes = _outside_functions(tree) if top_level else ast.walk(tree)
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: relative import"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _outside_functions(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}:
            continue
        yield node
        yield from _outside_functions(node)


def test_every_part_has_a_floor() -> None:
    parts = {part_of(module_of(path)) for path in FILES}
    assert parts <= set(FLOORS), f"name the floor of {parts - set(FLOORS)}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_go_down_only(path: Path) -> None:
    mine = part_of(module_of(path))
    for name in imports(path):
        if not name.startswith("evalharness"):
            continue
        other = part_of(name)
        if other not in FLOORS:  # an attribute of the package itself, such as __version__
            continue
        assert FLOORS[other] <= FLOORS[mine], f"{path.name} (floor {FLOORS[mine]}) imports {name} (floor {FLOORS[other]})"
        plugins = {"runners", "models", "metrics"}
        assert not (mine in plugins and other in plugins and mine != other), f"{path.name}: plug-ins never know each other ({name})"


def test_no_import_cycles() -> None:
    graph: dict[str, set[str]] = {}
    known = {module_of(path) for path in FILES}
    for path in FILES:
        graph[module_of(path)] = {name for name in imports(path, top_level=True) if name in known} - {module_of(path)}
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, " -> ".join((*trail, module))
        if module in done:
            return
        for other in sorted(graph[module]):
            visit(other, (*trail, module))
        done.add(module)

    for module in sorted(graph):
        visit(module, ())


def functions() -> list[tuple[str, int]]:
    found = []
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                start = min([node.lineno, *(d.lineno for d in node.decorator_list)])
                found.append((f"{path.relative_to(ROOT)}:{node.name}", (node.end_lineno or start) - start + 1))
    return found


def test_sizes() -> None:
    lengths = functions()
    assert not [name for name, length in lengths if length > 60]
    assert statistics.median(length for _, length in lengths) <= 14
    assert not [path for path in FILES if len(path.read_text().splitlines()) > 500]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_docstrings_and_names(path: Path) -> None:
    tree = ast.parse(path.read_text())
    if path.name != "__init__.py" or tree.body:
        assert ast.get_docstring(tree), f"{path}: a module says what it is"
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{path}:{node.lineno}: {node.name} has no docstring"
            assert not re.search(r"Manager|Handler|^Base|Utils?$", node.name), f"{path}:{node.lineno}: {node.name}"
    assert path.stem not in {"utils", "helpers", "misc", "common"}


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_swallowed_exceptions_or_unsafe_loads(path: Path) -> None:
    text = path.read_text()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ExceptHandler):
            names = ast.unparse(node.type) if node.type else ""
            silent = len(node.body) == 1 and isinstance(node.body[0], ast.Pass)
            assert names, f"{path}:{node.lineno}: bare except"
            assert not (silent and names in {"Exception", "BaseException"}), f"{path}:{node.lineno}: swallowed"
        if isinstance(node, ast.Call) and ast.unparse(node.func) in {"yaml.load", "pickle.load", "pickle.loads", "eval", "exec"}:
            raise AssertionError(f"{path}:{node.lineno}: {ast.unparse(node.func)}")


def test_help_is_light_and_quick() -> None:
    code = f"import evalharness.cli, sys; print([m for m in {HEAVY!r} if m in sys.modules])"
    heavy = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert heavy == "[]"
    times = []
    for _ in range(3):  # CPU seconds of the child: the wall clock tells more about who else is busy
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-m", "evalharness", "--help"], capture_output=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert min(times) < 0.5, f"evalh --help takes {min(times):.2f} s"
