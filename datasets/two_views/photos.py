"""The table of photos to learn from: what there is, known from names and headers alone. Imports no torch."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.photo_header import read_photo_files
from datasets.picture_size import DATA_LIMIT, PixelLimit
from datasets.two_views.listing import EXAMPLE, Found, check_photo_folder, find_photos
from datasets.two_views.names import PackedNames
from datasets.two_views.subsets import choose
from utils.errors import DataError, problem_list
from utils.photo_sections import PhotoDataConfig

MOST_SHOWN = 20  # problems that are named
_DIGEST = 16  # bytes


@dataclass(frozen=True, eq=False)
class PhotoIndex:
    """N photos without labels, sorted by name; about 70 bytes a photo.

    Attributes:
        root: the folder.
        names: N paths below ``root`` with ``/``.
        sizes: int32 N×2, width and height of the upright photo in pixels.
        digests: uint8 N×16, digest of parts of each file (``PhotoFile``).
        limit: the largest picture that is decoded.
        notes: what the user should know, one line each.
    """

    root: Path
    names: Sequence[str]
    sizes: NDArray[np.int32]
    digests: NDArray[np.uint8]
    limit: PixelLimit = DATA_LIMIT
    notes: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.names)

    @property
    def label(self) -> NDArray[np.int16]:
        """Labels, int16 N, all 0: there are none."""
        return np.zeros(len(self), dtype=np.int16)

    def draw_key(self, row: int) -> str:
        """Return the text that the random draws of a photo depend on: its name."""
        return self.names[row]

    def path(self, row: int) -> Path:
        """Return the file of a row."""
        return self.root / self.names[row]

    def fingerprint(self) -> str:
        """Return a SHA-256 (hexadecimal) over names, sizes and digests."""
        return self._identity["fingerprint"]

    def summary(self) -> dict[str, Any]:
        """Return what ``datasets.changes.describe_change`` compares; the keys are those of ``PairIndex.summary``.

        All photos are of one class, ``photos``, and each is its own group.
        """
        return {"pairs": len(self), "classes": {"photos": len(self)}, "n_groups": len(self), **self._identity}

    @cached_property
    def _identity(self) -> dict[str, str]:
        """The fingerprint and the digests of its parts, computed once."""
        parts = {
            "keys": "\n".join(self.names).encode("utf-8"),
            "sizes": self.sizes.astype("<i4").tobytes(),
            "sources": self.digests.tobytes(),
        }
        whole = hashlib.sha256()
        for part in parts.values():
            whole.update(len(part).to_bytes(8, "little") + part)
        parts["groups"] = str(len(self)).encode()
        return {"fingerprint": whole.hexdigest(), **{name: _digest(part) for name, part in parts.items()}}


def index_photos(data: PhotoDataConfig, section: str = "data") -> PhotoIndex:
    """List the photos that a configuration names; of their files only headers are read.

    ``section`` is what messages call the section of ``root`` and ``subset``.

    Raises:
        DataError: a folder that is not there, is none or holds no photo; an archive, folder pairs or several splits
            where one folder of photos is meant; a file that is no picture or too large; a link that leads out; a list
            that names what is not there, or anything twice or unclearly.
    """
    root = Path(data.root)
    check_photo_folder(root, chosen=data.subset is not None, section=section)
    found = find_photos(root)
    _refuse(root, found.problems)
    if not found.names:
        others = f" ({'; '.join(aside)})" if (aside := _left_out(found)) else ""
        raise DataError(f"the photo folder {root} holds no photo{others}; set {section}.root, such as {EXAMPLE}")
    names = found.names if data.subset is None else choose(found.names, Path(data.subset), root, section)
    limit = PixelLimit(data.max_megapixels, DATA_LIMIT.option)
    sizes, digests = _read_headers(root, names, limit)
    notes = []
    if data.subset is not None:
        notes.append(f"{data.subset} names {len(names)} of the {len(found.names)} photos below {root}")
    if found.hidden:
        notes.append(f"{root}: {found.hidden} hidden files or folders ignored")
    notes += [f"{root}: {line}" for line in _left_out(found)]
    if small := _small(names, sizes, data.image_size):
        notes.append(small)
    return PhotoIndex(root, PackedNames(names), sizes, digests, limit, notes)


def _read_headers(root: Path, names: list[str], limit: PixelLimit) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    sizes = np.zeros((len(names), 2), dtype=np.int32)
    digests = np.zeros((len(names), _DIGEST), dtype=np.uint8)
    problems = []
    for row, read in enumerate(read_photo_files((root / name for name in names), limit)):
        if isinstance(read, DataError):
            problems.append(str(read))
            continue
        sizes[row] = read.size
        digests[row] = np.frombuffer(read.digest, dtype=np.uint8)
    _refuse(root, problems)
    return sizes, digests


def _refuse(root: Path, problems: list[str]) -> None:
    if not problems:
        return
    more = len(problems) - MOST_SHOWN
    shown = [*problems[:MOST_SHOWN], f"and {more} more"] if more > 0 else problems
    raise DataError(problem_list(f"{root} cannot be used", shown))


def _left_out(found: Found) -> list[str]:
    """Return what lies below the folder and is not learned from, one line each."""
    lines = []
    if found.runs:
        lines.append(f"{_count(found.runs, 'folder')} of runs left out, with the pictures in them")
    if found.unread:
        read = f"{_count(found.unread.total(), 'photo')} ({_endings(found.unread)}) that cannot be read here left out"
        lines.append(f"{read}: convert them to JPEG or PNG")
    if found.others:
        lines.append(f"{_count(found.others.total(), 'file')} of other kinds ({_endings(found.others)}) ignored")
    return lines


def _count(number: int, one: str) -> str:
    return f"{number} {one}{'' if number == 1 else 's'}"


def _endings(counted: "Counter[str]") -> str:
    kinds = sorted(counted)
    return ", ".join(kinds[:6]) + (", …" if len(kinds) > 6 else "")


def _small(names: list[str], sizes: NDArray[np.int32], side: int) -> str | None:
    rows = np.flatnonzero(sizes.min(axis=1) < side)
    if not rows.size:
        return None
    width, height = sizes[rows[0]]
    return (
        f"{rows.size} of {len(names)} photos are smaller than a view of {side}×{side} pixels, such as {names[rows[0]]} "
        f"with {width}×{height}: they are enlarged; data.image_size sets the side"
    )


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]
