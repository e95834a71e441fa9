"""The arrows between rooms, read from the imports."""

import ast
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ALLOWED = {
    "utils": {"utils"},
    "segmenters": {"segmenters", "utils"},
    "datasets": {"datasets", "segmenters", "utils"},
    "Off_the_shelfs": {"Off_the_shelfs", "utils"},
    "RveRNets": {"RveRNets", "Off_the_shelfs", "utils"},
    "R2O": {"R2O", "Off_the_shelfs", "utils"},
    "experiments": {"experiments", "R2O", "RveRNets", "Off_the_shelfs", "datasets", "segmenters", "utils"},
    "benchmarks": {"benchmarks", "experiments", "R2O", "RveRNets", "Off_the_shelfs", "datasets", "segmenters", "utils"},
}
SCRIPTS = {path.stem for path in ROOT.glob("*.py")}
ROOMS = {*ALLOWED, "tests"}


@cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported_rooms(path: Path) -> set[str]:
    tree = parsed(path)
    names = [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    names += [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level == 0]
    relative = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.level > 0]
    assert not relative, f"{path} imports relatively"
    return {name.partition(".")[0] for name in names} & (ROOMS | SCRIPTS)


@pytest.mark.parametrize("room", ALLOWED)
def test_room_imports_only_what_its_arrows_allow(room: str) -> None:
    files = list((ROOT / room).rglob("*.py"))
    assert files
    wrong = {str(path.relative_to(ROOT)): rooms - ALLOWED[room] for path in files if (rooms := imported_rooms(path))}
    assert not {path: rooms for path, rooms in wrong.items() if rooms}


def test_scripts_import_rooms_only() -> None:
    allowed = {"experiments", "datasets", "utils"}
    for script in ROOT.glob("*.py"):
        assert imported_rooms(script) <= allowed, script


def test_only_backbones_imports_timms_model_factory() -> None:
    users = set()
    for room in ALLOWED:
        for path in (ROOT / room).rglob("*.py"):
            nodes = list(ast.walk(parsed(path)))
            called = any(isinstance(node, ast.Attribute) and node.attr == "create_model" for node in nodes)
            imported = any(
                isinstance(node, ast.ImportFrom) and "create_model" in {alias.name for alias in node.names}
                for node in nodes
            )
            if called or imported:
                users.add(str(path.relative_to(ROOT)))
    assert users <= {"Off_the_shelfs/backbones.py"} | {u for u in users if u.startswith("benchmarks/")}


def test_preprocessing_does_not_import_torch() -> None:
    """Worker processes start in a fraction of the time without it; imports inside functions come later, if at all."""
    seen: set[Path] = set()
    todo = [ROOT / "preprocess_foodseg103.py"]
    while todo:
        path = todo.pop()
        seen.add(path)
        tree = parsed(path)
        modules = [a.name for n in tree.body if isinstance(n, ast.Import) for a in n.names]
        modules += [n.module or "" for n in tree.body if isinstance(n, ast.ImportFrom)]
        assert not [m for m in modules if m.split(".")[0] in {"torch", "torchvision", "timm"}], path
        found = [ROOT / f"{m.replace('.', '/')}.py" for m in modules]
        todo += [f for f in found if f.is_file() and f not in seen]
    assert len(seen) > 3


def test_files_stay_short() -> None:
    long = {}
    for room in [*ALLOWED, "."]:
        for path in (ROOT / room).glob("*.py") if room == "." else (ROOT / room).rglob("*.py"):
            lines = len(path.read_text(encoding="utf-8").splitlines())
            if lines > 300:
                long[str(path)] = lines
    assert not long
