"""Class folders of photos without masks, checked file by file."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from datasets.class_folders import USUAL_NAMES, folder_classes_of
from datasets.classes import ClassMap
from datasets.decode import decode_photo
from datasets.doctor import counts, names
from datasets.doctor.findings import Finding, finding
from datasets.doctor.messages import TREE_MESSAGES, from_message
from datasets.doctor.near_duplicates import NEAR_BITS, MarkedPhoto, PhotoMark, mark_photo
from datasets.folder_listing import intended_splits, list_photos
from datasets.listing import visible_folders
from datasets.picture_size import PREPROCESSING_LIMIT, PixelLimit
from datasets.workers import StopSignals, map_unordered
from utils.errors import DataError

_MESSAGES = (
    ("is a folder in a class folder", "foreign-file"),
    ("has no class '", "unknown-class"),
    *TREE_MESSAGES,
)


class _Photo(NamedTuple):
    """A photo to look at: its split, its file, and whether to say what it looks like."""

    split: str
    path: Path
    marked: bool


@dataclass
class _Seen:
    """What a photo showed: problems, one line each, and without any its SHA-256 and what it looks like."""

    photo: _Photo
    problems: list[str] = field(default_factory=list)
    sha256: str = ""
    damaged_exif: bool = False
    mark: PhotoMark | None = None


class FoldersCheck:
    """Everything that is wrong with class folders or unusual about them.

    Attributes:
        root: folder that holds the splits.
        findings: what there is to say.
        photos: number of photos.
    """

    def __init__(
        self,
        root: Path,
        near_duplicates: int = NEAR_BITS,
        limit: PixelLimit = PREPROCESSING_LIMIT,
        train_split: str = counts.TRAIN_SPLIT,
    ) -> None:
        self.root, self.near_duplicates, self.limit, self.train_split = root, near_duplicates, limit, train_split
        self.findings: list[Finding] = []
        self.photos = 0

    @property
    def looked_at(self) -> str:
        """What was checked, in words."""
        return f"{self.photos:,} photos without masks"

    def run(self, workers: int, stop: StopSignals) -> None:
        """Look at names, then at every picture."""
        self.findings += names.hidden_files(self.root)
        usual = {name for names in USUAL_NAMES.values() for name in names}
        splits = intended_splits(self.root, usual | {self.train_split})
        try:
            classes = self._classes(splits)
        except DataError as error:
            self.findings.append(self._found(str(error)))
            return
        photos: list[_Photo] = []
        numbers: dict[str, Counter[str]] = {}
        for split in splits:
            try:
                photos += self._listed(split, classes, numbers)
            except DataError as error:
                self.findings.append(self._found(str(error)))
        self.photos = len(photos)
        self.findings += counts.class_support(numbers, classes.names, self.root, self.train_split)
        self._decode(photos, workers, stop)

    def _classes(self, splits: list[str]) -> ClassMap:
        """Return the classes that training would take; without a split to train on, those of all splits."""
        if self.train_split in splits:
            return folder_classes_of(self.root, self.train_split, self.train_split)
        every = tuple(sorted({name for split in splits for name in visible_folders(self.root / split)}))
        return ClassMap(every, every)

    def _listed(self, split: str, classes: ClassMap, numbers: dict[str, Counter[str]]) -> Iterator[_Photo]:
        listing = list_photos(self.root, split, classes, self.train_split)
        self.findings += [self._found(problem) for problem in listing.problems]
        if not any(listing.files) and not listing.problems:
            what = "holds no photo in a class folder"
            self.findings.append(finding("missing-folder", self.root / split, what, "add some, or remove the folder"))
        numbers[split] = Counter({name: len(files) for name, files in zip(classes.names, listing.files, strict=True)})
        for label, name in enumerate(classes.names):
            self.findings += names.alike_names(listing.folder(label), listing.files[label], f"photos of '{name}'")
        self.findings += names.blank_names(self.root / split, classes.folders, "class folder")
        return (_Photo(split, path, bool(self.near_duplicates)) for _, _, path in listing.paths())

    def _found(self, message: str) -> Finding:
        return from_message(message, self.root, _MESSAGES, "other-layout")

    def _decode(self, photos: list[_Photo], workers: int, stop: StopSignals) -> None:
        results = map_unordered(
            _look,
            photos,
            workers=max(1, min(workers, len(photos) // 50)),
            setup=_start,
            setup_arguments=(self.limit,),
            stop=stop,
        )
        seen = sorted(
            tqdm(results, total=len(photos), unit="photo", desc="checking", disable=None),
            key=lambda one: one.photo.path,
        )
        self.findings += [self._found(problem) for one in seen for problem in one.problems]
        well = [(one, one.photo.path.relative_to(self.root).as_posix()) for one in seen if not one.problems]
        of = [counts.PhotoOf(one.photo.split, name, one.sha256) for one, name in well]
        self.findings += counts.shared_photos(of, self.root) + counts.photos_of_two_classes(of, self.root)
        self.findings += [
            finding("damaged-exif", one.photo.path, "has an EXIF block that cannot be read; it is taken as upright")
            for one, _ in well
            if one.damaged_exif
        ]
        marked = [
            MarkedPhoto(one.photo.split, name, one.sha256, one.mark) for one, name in well if one.mark is not None
        ]
        self.findings += counts.alike_photos(marked, self.near_duplicates, self.root)


_limit = PREPROCESSING_LIMIT


def _start(limit: PixelLimit) -> None:
    """Prepare this process for ``_look``: the largest picture that is decoded."""
    global _limit  # noqa: PLW0603  # a worker process serves one check; its tasks stay small this way
    _limit = limit


def _look(photo: _Photo) -> _Seen:
    """Decode a photo."""
    seen = _Seen(photo)
    try:
        data = photo.path.read_bytes()
        if not data:  # the listing has reported it
            return seen
        decoded = decode_photo(data, str(photo.path), _limit)
    except DataError as error:
        seen.problems.append(str(error))
    except OSError as error:
        seen.problems.append(f"{photo.path} cannot be read ({error.strerror}); check its permissions and the disk")
    else:
        seen.sha256, seen.damaged_exif = hashlib.sha256(data).hexdigest(), decoded.damaged_exif
        seen.mark = mark_photo(decoded.image) if photo.marked else None
    return seen
