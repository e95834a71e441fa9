"""What benchmarks put something else in the place of, and what they can be called by, is there."""

import re
from importlib.util import find_spec
from pathlib import Path
from pkgutil import resolve_name

import pytest

from benchmarks.__main__ import DEFAULT, ON_REQUEST

FOLDER = Path(__file__).parents[2] / "benchmarks"
REPLACED = [
    (path.name, name)
    for path in sorted(FOLDER.glob("*.py"))
    for name in re.findall(r'patch\("([\w.]+)"', path.read_text(encoding="utf-8"))
]


@pytest.mark.parametrize(("file", "name"), REPLACED)
def test_what_is_replaced_exists(file: str, name: str) -> None:
    where, _, attribute = name.rpartition(".")
    assert hasattr(resolve_name(where), attribute), f"benchmarks/{file} replaces {name}"


def test_some_are_replaced() -> None:
    assert len(REPLACED) >= 3


@pytest.mark.parametrize("name", [*DEFAULT, *ON_REQUEST])
def test_each_name_is_a_module(name: str) -> None:
    assert find_spec(f"benchmarks.{name}") is not None
