"""The one way to read JSON that another process wrote: a document, or one line that says what is wrong."""

import json
from pathlib import Path
from typing import Any

from utils.errors import DataError, UserError, os_error_text

LARGEST_FILE = 16 * 1024 * 1024  # bytes


def read_json(
    path: Path,
    what: str = "file",
    error: type[UserError] = DataError,
    *,
    largest: int = LARGEST_FILE,
    unique: bool = False,
) -> Any:  # noqa: ANN401  # what JSON holds
    """Read a JSON file, whoever wrote it.

    Args:
        path: the file.
        what: what it is to the user, for messages, such as ``record of a run``.
        error: what is raised.
        largest: bytes that are read at most.
        unique: refuse a key that is given twice, of which JSON takes the last.

    Raises:
        UserError: of the kind given, one line, where it is absent, cannot be read, is no UTF-8 text or no JSON, is
            nested too deeply, or is larger.
    """
    try:
        with path.open("rb") as file:
            data = file.read(largest + 1)
        if len(data) > largest:
            raise error(f"the {what} {path} has more than {largest:,} bytes, which is the most that is read")
        return json.loads(data.decode("utf-8-sig"), object_pairs_hook=_unique if unique else None)
    except (FileNotFoundError, NotADirectoryError):
        raise error(f"the {what} {path} does not exist") from None
    except OSError as problem:
        raise error(f"the {what} {path} cannot be read: {os_error_text(problem)}") from None
    except UnicodeDecodeError as problem:
        raise error(f"the {what} {path} is damaged (no UTF-8 text at byte {problem.start:,}); restore it") from None
    except RecursionError:
        raise error(f"the {what} {path} is damaged (nested too deeply); restore it") from None
    except ValueError as problem:
        reason = " ".join(str(problem).split())[:200]
        raise error(f"the {what} {path} is damaged (no JSON: {reason}); restore it") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError(f"the key {key[:40]!r} is given twice")
        found[key] = value
    return found


def read_json_object(
    path: Path, what: str = "file", error: type[UserError] = DataError, *, largest: int = LARGEST_FILE
) -> dict[str, Any]:
    """Read a JSON file that holds ``{"key": value, …}``; the arguments and errors are those of ``read_json``."""
    document = read_json(path, what, error, largest=largest)
    if not isinstance(document, dict):
        raise error(f"the {what} {path} is damaged (a {type(document).__name__} where entries belong); restore it")
    return document
