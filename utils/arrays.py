"""Arrays from files, whoever wrote them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from utils.errors import DataError


def read_arrays(path: Path, names: Sequence[str], *, optional: bool = False) -> dict[str, NDArray[Any]]:
    """Read some arrays of a ``.npz`` file; no code in it is run.

    Args:
        path: the file.
        names: of the arrays; others are not read.
        optional: leave out what the file does not hold.

    Raises:
        DataError: where the file is absent or damaged, holds Python objects, or lacks an array that is not optional.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            found = {name: arrays[name] for name in names if name in arrays}
    except FileNotFoundError:
        raise DataError(f"{path} does not exist; is its folder a finished run?") from None
    except Exception as error:  # zip, zlib and NumPy raise many kinds on damaged files; all mean the same to a user
        reason = " ".join(str(error).split())[:160] or type(error).__name__
        raise DataError(f"{path} is damaged or holds more than numbers ({reason}); restore it") from None
    missing = [name for name in names if name not in found]
    if missing and not optional:
        raise DataError(f"{path} lacks {', '.join(missing)}; it is not a file of scores that this project wrote")
    return found
