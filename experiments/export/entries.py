"""Entries of ``export.json``, read as what anybody may have written."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from utils.errors import DataError
from utils.json_file import read_json_object

REMEDY = "export the run again"
_LONGEST_TEXT = 1000

Value = TypeVar("Value")
Number = TypeVar("Number", int, float)


def read_document(path: Path) -> dict[str, Any]:
    """Read ``export.json``; a ``DataError`` where it is no JSON object, or holds NaN or infinity."""
    document = read_json_object(path, "description of an exported model")
    try:
        json.dumps(document, allow_nan=False)
    except (ValueError, RecursionError):
        raise DataError(f"{path} is damaged: it holds a number that is not finite; restore it, or {REMEDY}") from None
    return document


def entry(
    document: Mapping[str, Any], key: str, read: Callable[[Any], Value | None], allowed: str, path: Path
) -> Value:
    """Return an entry as ``read`` returns it; a ``DataError`` says what is ``allowed`` where that is null."""
    value = read(document.get(key))
    if value is None:
        raise damaged(path, key, allowed)
    return value


def entry_within(
    document: Mapping[str, Any], key: str, read: Callable[[Any], Number | None], least: float, most: float, path: Path
) -> Number:
    """Return an entry that is a number from ``least`` to ``most``; a ``DataError`` otherwise."""
    allowed = f"a number from {least:g} to {most:g}"
    value = entry(document, key, read, allowed, path)
    if not least <= value <= most:
        raise damaged(path, key, allowed)
    return value


def text(value: Any) -> str | None:  # noqa: ANN401  # whatever JSON holds
    """Return a line of text of at most 1000 characters, null for anything else."""
    return value if isinstance(value, str) and len(value) <= _LONGEST_TEXT and value.isprintable() else None


def whole(value: Any) -> int | None:  # noqa: ANN401
    """Return a whole number, null for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def number(value: Any) -> float | None:  # noqa: ANN401
    """Return a number below a billion, null for anything else."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < 1e9 else None  # JSON knows NaN and whole numbers of any size


def damaged(path: Path, key: str, allowed: str) -> DataError:
    """Return the error of an entry that is not what it must be."""
    return DataError(f"{path} is damaged: '{key}' must be {allowed}; restore it, or {REMEDY}")
