"""A tree on disk: its files beside the pictures, and the record of how it was made (``preprocess.yaml``)."""

import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import PIL
import yaml

from datasets.cutouts import LOSSLESS_FORMATS, PictureFormat
from utils.errors import DataError
from utils.files import write_text

Layout = Literal["pairs", "archive"]

LAYOUTS: tuple[Layout, ...] = ("pairs", "archive")
RECORD_FILE = "preprocess.yaml"
CONTACT_SHEET_FILE = "contact_sheet.png"


def versions() -> dict[str, str]:
    """Return the versions of what decides the bytes of a cut-out."""
    return {"python": platform.python_version(), "numpy": np.__version__, "pillow": PIL.__version__}


@dataclass(frozen=True)
class ArchiveRecord:
    """One archive that went into a tree.

    Attributes:
        src: the archive's path as it was given.
        sha256: of its class ids, and of its photos, masks and groups.
        groups: the groups file as it was given.
        min_area: smallest part of the photo that a class may cover.
        mask_orientation: ``stored`` or ``upright``, where it was given.
        ambiguous: class names asked for as ambiguous.
        photos: photos by split.
        photos_without_pair: of these, how many gave no pair.
        pairs: pairs by split.
        under_min_area: (photo, class) combinations left out as too small, by split.
        vanished: those of which resizing left no pixel, by split.
        damaged_exif: photos whose EXIF block could not be read, taken as upright.
        versions: of what decided the bytes.
    """

    src: str
    sha256: str
    groups: str | None
    min_area: float
    mask_orientation: str | None
    ambiguous: list[str]
    photos: dict[str, int] = field(default_factory=dict)
    photos_without_pair: dict[str, int] = field(default_factory=dict)
    pairs: dict[str, int] = field(default_factory=dict)
    under_min_area: dict[str, int] = field(default_factory=dict)
    vanished: dict[str, int] = field(default_factory=dict)
    damaged_exif: list[str] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=versions)

    def same_options(self, other: "ArchiveRecord") -> bool:
        """Say whether two records are of the same options, whatever the archive."""
        names = ("min_area", "mask_orientation", "ambiguous")
        return all(getattr(self, name) == getattr(other, name) for name in names)


@dataclass(frozen=True)
class TreeRecord:
    """How a tree was made. Options that change no byte (workers, the target's name) are not in it.

    Attributes:
        size: longer side of the pictures in pixels; 0 keeps the photo's.
        format: file format of cut-outs and photos.
        quality: JPEG quality; None for lossless formats.
        archives: in the order in which they were added.
        layout: ``pairs``, or ``archive`` for photos and masks made smaller.
    """

    size: int
    format: PictureFormat
    quality: int | None
    archives: list[ArchiveRecord]
    layout: Layout = "pairs"

    @property
    def lossless(self) -> bool:
        """Whether roi + extra_roi = photo holds exactly in the files."""
        return self.format in LOSSLESS_FORMATS

    def save(self, path: Path) -> None:
        """Write ``preprocess.yaml``."""
        write_text(path, yaml.safe_dump(asdict(self), sort_keys=False, allow_unicode=True))

    @classmethod
    def load(cls, path: Path) -> "TreeRecord":
        """Read ``preprocess.yaml``; a ``DataError`` where it is no such file."""
        try:
            document: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
            archives = [ArchiveRecord(**archive) for archive in document["archives"]]
            return cls(**{**document, "archives": archives})
        except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError) as error:
            reason = " ".join(str(error).split())
            raise DataError(
                f"{path} is not a record that preprocess_foodseg103.py wrote ({reason}); restore it, or preprocess "
                f"into another --dst"
            ) from None


def partial_folder(root: Path) -> Path:
    """Return the folder in which an unfinished tree lies, beside its final place."""
    return root.with_name(f".{root.name}.partial")
