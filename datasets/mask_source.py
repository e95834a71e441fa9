"""What preprocessing cuts: photos, their classes, and what gives the masks. Never imports torch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from datasets.archive import Archive, ArchivePhoto
from datasets.cut_photo import OpenedPhoto, open_photo
from datasets.cutouts import Mask, resize_labels
from datasets.decode import DecodedPhoto, Labels, MaskOrientation, decode_photo
from datasets.manifest import ANNOTATION
from datasets.picture_size import PixelLimit
from datasets.source_photo import SourcePhoto
from utils.files import sha256


@dataclass(frozen=True, eq=False)
class ClassMask:
    """The mask of one class of a photo.

    Attributes:
        name: of the class.
        mask: H×W at the size of the cut-outs.
        prompts: objects that a segmenter was asked for; 0 for annotation.
        score: the lowest of their scores.
        photo_area: pixels of their masks in the photo itself.
    """

    name: str
    mask: Mask
    prompts: int = 0
    score: float | None = None
    photo_area: int | None = None


class MaskedPhoto(Protocol):
    """A decoded photo with the masks of its classes."""

    @property
    def photo(self) -> DecodedPhoto:
        """The upright photo."""
        ...

    @property
    def photo_sha256(self) -> str:
        """Of the photo's file."""
        ...

    @property
    def mask_sha256(self) -> str:
        """Of what the masks are made of."""
        ...

    @property
    def no_mask(self) -> Sequence[str]:
        """Classes for which there is no mask that can be used."""
        ...

    def masks(self, size: int) -> Iterator[ClassMask]:
        """Yield the masks at the size of the cut-outs."""
        ...


class MaskSource(Protocol):
    """Gives photos with masks. Sent to worker processes unless ``one_process``."""

    @property
    def name(self) -> str:
        """The manifest's ``mask_source``."""
        ...

    @property
    def one_process(self) -> bool:
        """Whether it cannot be sent to worker processes."""
        ...

    @property
    def header(self) -> dict[str, Any]:
        """What the masks depend on beside what each photo states, as JSON."""
        ...

    def start(self) -> None:
        """Prepare this process."""
        ...

    def open(self, root: Path, photo: Any, limit: PixelLimit) -> MaskedPhoto | list[str]:  # noqa: ANN401  # of its own kind
        """Return a photo with its masks, or everything that is wrong with it."""
        ...

    def hashes(self, root: Path, photo: Any) -> tuple[str, str]:  # noqa: ANN401  # of its own kind
        """Return the SHA-256 of the photo's file, and that of what its masks are made of."""
        ...


@dataclass(frozen=True)
class Source:
    """Photos with masks that preprocessing cuts.

    Attributes:
        title: what it is to the user, such as ``archive FoodSeg103``.
        root: folder of the photos.
        label_ids: class name by label id, in the order of the ids.
        photos: sorted by split and stem.
        masks: gives the masks.
        notes: lines to be shown to the user.
    """

    title: str
    root: Path
    label_ids: dict[int, str]
    photos: Sequence[SourcePhoto]
    masks: MaskSource
    notes: tuple[str, ...] = ()

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names; the position is the class index."""
        return tuple(self.label_ids.values())


def of_archive(archive: Archive, orientation: MaskOrientation | None) -> Source:
    """Return an archive's photos with the masks that it holds."""
    masks = Annotation(archive.label_ids, orientation)
    return Source(f"archive {archive.root}", archive.root, archive.label_ids, archive.photos, masks, archive.notes)


@dataclass(frozen=True)
class Annotation:
    """Masks as an archive holds them.

    Attributes:
        label_ids: class name by label id.
        orientation: which way masks lie that fit a turned photo both ways.
    """

    label_ids: dict[int, str]
    orientation: MaskOrientation | None = None
    name = ANNOTATION
    one_process = False

    @property
    def header(self) -> dict[str, Any]:
        """The label ids, which say what the masks mean."""
        return {"classes": list(self.label_ids.items())}

    def start(self) -> None:
        """Do nothing: reading needs no preparation."""

    def open(self, root: Path, photo: ArchivePhoto, limit: PixelLimit) -> "LabelledPhoto | list[str]":
        """Read a photo and its mask."""
        opened = open_photo(root, photo, self.label_ids, self.orientation, decode_photo, limit=limit)
        return opened if isinstance(opened, list) else LabelledPhoto(opened, self.label_ids)

    def hashes(self, root: Path, photo: ArchivePhoto) -> tuple[str, str]:
        """Hash photo and mask."""
        return sha256(root / photo.photo), sha256(root / photo.mask)


@dataclass(frozen=True, eq=False)
class LabelledPhoto:
    """A photo and its label map.

    Attributes:
        opened: both, decoded.
        label_ids: class name by label id.
    """

    opened: OpenedPhoto[DecodedPhoto]
    label_ids: dict[int, str]
    no_mask = ()

    @property
    def photo(self) -> DecodedPhoto:
        """The upright photo."""
        return self.opened.photo

    @property
    def photo_sha256(self) -> str:
        """Of the photo's file."""
        return self.opened.photo_sha256

    @property
    def mask_sha256(self) -> str:
        """Of the mask's file."""
        return self.opened.mask_sha256

    def labels(self, size: int) -> Labels:
        """Return H×W label ids at the size of the cut-outs."""
        return resize_labels(self.opened.labels, size)

    def masks(self, size: int) -> Iterator[ClassMask]:
        """Yield the mask of each class that the label map holds at its own size."""
        labels = self.labels(size)
        for label in self.opened.ids:
            yield ClassMask(self.label_ids[label], labels == label)
