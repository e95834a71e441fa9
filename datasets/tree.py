"""A tree on disk: its files beside the pictures, and the record of how it was made (``preprocess.yaml``)."""

import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import PIL
import yaml

from datasets.cutouts import FORMATS, LOSSLESS_FORMATS, PictureFormat
from utils.errors import DataError
from utils.files import write_text
from utils.names import shown
from utils.yaml_file import LARGEST_RECORD, read_yaml

Layout = Literal["pairs", "archive"]

LAYOUTS: tuple[Layout, ...] = ("pairs", "archive")
RECORD_FILE = "preprocess.yaml"
CONTACT_SHEET_FILE = "contact_sheet.png"
MASKS_FILE = "masks.csv"
LARGEST_SIZE = 16384
_OF_PROMPTS = ("prompts", "segmenter", "derived", "no_mask")
Record = TypeVar("Record", "ArchiveRecord", "TreeRecord")


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
        prompts: the prompt file as it was given.
        segmenter: where masks were found from prompts, the settings that decided them.
        derived: where prompts were derived from annotation, how.
        no_mask: (split, class, photo) for which the segmenter found no mask that can be used, as "split/class/stem".
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
    prompts: str | None = None
    segmenter: dict[str, Any] | None = None
    derived: dict[str, Any] | None = None
    no_mask: list[str] = field(default_factory=list)

    def same_options(self, other: "ArchiveRecord") -> bool:
        """Say whether two records are of the same options, whatever the archive."""
        names = ("min_area", "mask_orientation", "ambiguous", "segmenter", "derived")
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
        """Write ``preprocess.yaml``; what is of prompts is in it only where there were any."""
        document = asdict(self)
        for archive in document["archives"]:
            for name in _OF_PROMPTS:
                if not archive[name]:
                    del archive[name]
        write_text(path, yaml.safe_dump(document, sort_keys=False, allow_unicode=True))

    @classmethod
    def load(cls, path: Path) -> "TreeRecord":
        """Read ``preprocess.yaml``; a ``DataError`` where it is no such file."""
        document = read_yaml(path, "record", DataError, largest=LARGEST_RECORD)
        try:
            archives = [_checked(ArchiveRecord(**archive)) for archive in document["archives"]]
            return _checked(cls(**{**document, "archives": archives}))
        except (KeyError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise DataError(
                f"{path} is not a record that preprocess_foodseg103.py wrote ({reason}); restore it, or preprocess "
                f"into another --dst"
            ) from None


def _checked(record: Record) -> Record:
    """Return a record of which every field is of its kind; a ``ValueError`` names one that is not.

    What is read here decides names of files and sizes of pictures.
    """
    for field_name, allowed in _KINDS[type(record)].items():
        value = getattr(record, field_name)
        if not allowed(value):
            raise ValueError(f"{field_name} is {shown(str(value))}")
    return record


def _are_settings(value: object) -> bool:
    return value is None or (isinstance(value, dict) and all(map(_is_text, value)))


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_text_or_none(value: object) -> bool:
    return value is None or isinstance(value, str)


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _are_counts(value: object) -> bool:
    return isinstance(value, dict) and all(map(_is_text, value)) and all(map(_is_count, value.values()))


_KINDS: dict[type, dict[str, Callable[[Any], bool]]] = {
    TreeRecord: {
        "size": lambda value: _is_count(value) and value <= LARGEST_SIZE,
        "format": lambda value: value in FORMATS,
        "quality": lambda value: value is None or (_is_count(value) and 1 <= value <= 100),
        "layout": lambda value: value in LAYOUTS,
    },
    ArchiveRecord: {
        "src": _is_text,
        "sha256": _is_text,
        "groups": _is_text_or_none,
        "min_area": lambda value: isinstance(value, int | float) and 0 <= value < 1,
        "mask_orientation": lambda value: value in (None, "stored", "upright"),
        "ambiguous": _are_texts,
        **dict.fromkeys(("photos", "photos_without_pair", "pairs", "under_min_area", "vanished"), _are_counts),
        "damaged_exif": _are_texts,
        "versions": lambda value: isinstance(value, dict) and all(map(_is_text, [*value, *value.values()])),
        "prompts": _is_text_or_none,
        "segmenter": _are_settings,
        "derived": _are_settings,
        "no_mask": _are_texts,
    },
}


def partial_folder(root: Path) -> Path:
    """Return the folder in which an unfinished tree lies, beside its final place."""
    return root.with_name(f".{root.name}.partial")
