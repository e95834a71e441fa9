"""Photos without masks in class folders: ``<root>/<split>/<class>/<photo>``. Decodes nothing, imports no torch."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from datasets.classes import ClassMap
from datasets.folder_listing import PhotoListing, holds_photos, list_photos
from datasets.index import PairIndex
from datasets.listing import visible_folders
from datasets.photo_header import read_photo_files
from datasets.picture_size import DATA_LIMIT, PixelLimit
from datasets.scan import ScannedPair
from utils.data_sections import SplitNames
from utils.errors import DataError, nearest, problem_list

USUAL_NAMES = {"train": ("train", "training"), "test": ("test", "val", "valid", "validation", "testing")}
LAYOUT = "<split>/<class>/<photo>"


def index_folders(
    root: Path,
    split: str,
    splits: SplitNames,
    classes: ClassMap | None = None,
    *,
    exclude: Iterable[str] = (),
    require_every_class: bool = False,
    split_option: str = "data.splits",
    limit: PixelLimit = DATA_LIMIT,
) -> PairIndex:
    """List the photos of one split of class folders, each its own group. Only headers are read.

    Args:
        root: folder that holds the splits.
        split: folder name of the split.
        splits: what the splits are called; the class folders of the training split are the classes of both.
        classes: class list to use instead, such as a trained model's.
        exclude: class names to leave out; labels are positions in the remaining list.
        require_every_class: report a class without any photo, as the training split must.
        split_option: what the user calls ``split``.
        limit: the largest picture that is decoded.

    Raises:
        DataError: with every problem found: a folder or class that is not there, a class that the training split
            lacks, a file that is no picture, a folder in a class folder, two files of one stem, an unsafe name.
    """
    check_class_folders(root, split, splits, split_option)
    trained = splits.train if (root / splits.train).is_dir() else None
    every_class = classes or folder_classes_of(root, split, splits.train)
    kept = every_class.without(exclude)
    listing = list_photos(root, split, kept, trained, frozenset(every_class.folders) - frozenset(kept.folders))
    pairs = _pairs(listing, limit)
    _check_classes(listing, require_every_class)
    if listing.problems:
        raise DataError(problem_list(f"{root / split} cannot be used", listing.problems))
    notes = [
        f"{root}: {len(every_class)} classes, the folders of {trained or split} in sorted order; each photo is its own "
        f"group, and there are no masks"
    ]
    if listing.hidden:
        notes.append(f"{root / split}: {listing.hidden} hidden files or folders ignored")
    return replace(PairIndex.from_pairs(root, split, kept, pairs, notes), masked=False, limit=limit)


def folder_classes_of(root: Path, split: str, train_split: str) -> ClassMap:
    """Return the class folders of the training split, or of the split itself where there is none, in sorted order."""
    base = root / (train_split if (root / train_split).is_dir() else split)
    names = tuple(sorted(visible_folders(base)))
    try:
        return ClassMap(names, names)
    except DataError as error:
        raise DataError(f"class folders of {base}: {error}") from None


def check_class_folders(root: Path, split: str, splits: SplitNames, split_option: str) -> None:
    """Raise a ``DataError`` that says what to set where there is nothing to list."""
    want = f"set data.root to the folder that holds {LAYOUT}"
    if not root.is_dir():
        siblings = [path.name for path in root.parent.iterdir() if path.is_dir()] if root.parent.is_dir() else []
        wrong = "is a file" if root.exists() else "does not exist"
        raise DataError(f"the data folder {root} {wrong}; {want}{nearest(root.name, siblings)}")
    present = sorted(visible_folders(root))
    if not present:
        raise DataError(f"the data folder {root} holds no folder; {want}")
    if split not in present:
        raise DataError(_no_split(root, split, splits, split_option, present))
    if not any(visible_folders(root / split)):
        raise DataError(f"{root / split} holds no class folder; put the photos of each class into a folder of its own")


def _no_split(root: Path, split: str, splits: SplitNames, split_option: str, present: list[str]) -> str:
    role = "train" if split == splits.train else "test"
    option = f"--data.splits.{role}" if split_option == "data.splits" else split_option
    if not (root / splits.train).is_dir() and any(holds_photos(root / name) for name in present):
        above = f" (here {root.parent}?)" if (root.parent / splits.train).is_dir() else ""
        return (
            f"the folders of {root} hold photos themselves, so they are classes and not splits; data.root is the "
            f"folder above{above}, which holds {splits.train}/ and {splits.test}/"
        )
    taken = {splits.train} if role == "test" else {splits.test}
    usual = [name for name in present if name.lower() in USUAL_NAMES[role] and name not in taken]
    others = [name for name in present if name not in taken]
    name = usual[0] if usual else "NAME"
    shown_ones = ", ".join(others[:6]) + (", …" if len(others) > 6 else "")
    return (
        f"{root} holds no split '{split}'" + (f", but {shown_ones}" if others else "") + f"; name it with {option} "
        f"{name}" + ("" if usual else f", or make {root / split}/<class>/ with photos")
    )


def _pairs(listing: PhotoListing, limit: PixelLimit) -> list[ScannedPair]:
    """Read the headers of the listed photos in order of class and stem; report those that cannot be read."""
    listed = list(listing.paths())
    pairs = []
    for (label, stem, _), found in zip(listed, read_photo_files((path for _, _, path in listed), limit), strict=True):
        if isinstance(found, DataError):
            listing.problems.append(str(found))
            continue
        suffix = listing.files[label][stem]
        group = f"{listing.split}/{listing.classes.folders[label]}/{stem}"
        pairs.append(ScannedPair(label, stem, group, found.size, (suffix, suffix), found.digest))
    return pairs


def _check_classes(listing: PhotoListing, require_every_class: bool) -> None:
    if len(listing.classes) < 2:
        listing.problems.append(
            f"there is only one class, '{listing.classes.names[0]}'; a classifier needs at least two: add a folder for "
            f"another, or shorten data.exclude"
        )
    if not any(listing.files) and not listing.problems:
        listing.problems.append("there is no photo in it; add some, or name another split")
    if not require_every_class or not any(listing.files):
        return
    for label, files in enumerate(listing.files):
        if not files:
            listing.problems.append(
                f"{listing.folder(label)} holds no photo; add some, remove the folder, or leave the class out with "
                f"--data.exclude {listing.classes.names[label]}"
            )
