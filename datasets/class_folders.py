"""Photos without masks in class folders: ``<root>/<split>/<class>/<photo>``. Decodes nothing, imports no torch."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path

from datasets.classes import ClassMap
from datasets.index import PairIndex
from datasets.links import LinkGuard
from datasets.listing import SUFFIXES, VIEW_FOLDERS, is_left_aside, visible_folders
from datasets.photo_header import read_photo_files
from datasets.picture_size import DATA_LIMIT, PixelLimit
from datasets.scan import ScannedPair
from utils.data_sections import SplitNames
from utils.errors import DataError, nearest, problem_list
from utils.names import all_safe, name_problem, shown

PHOTO_SUFFIXES = (*SUFFIXES, ".bmp", ".gif", ".tif", ".tiff")
USUAL_NAMES = {"train": ("train", "training"), "test": ("test", "val", "valid", "validation", "testing")}
LAYOUT = "<split>/<class>/<photo>"


@dataclass
class _Listing:
    """The photos of one split: for each class, stem -> suffix; problems, one line each; what was ignored."""

    root: Path
    split: str
    classes: ClassMap
    trained: str | None
    files: list[dict[str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    hidden: int = 0

    def folder(self, label: int) -> Path:
        return self.root / self.split / self.classes.folders[label]


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
    every_class = classes or folder_classes_of(root, split, splits)
    kept = every_class.without(exclude)
    listing = _Listing(root, split, kept, trained)
    _list(listing, frozenset(every_class.folders) - frozenset(kept.folders))
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


def folder_classes_of(root: Path, split: str, splits: SplitNames) -> ClassMap:
    """Return the class folders of the training split, or of the split itself where there is none, in sorted order."""
    base = root / (splits.train if (root / splits.train).is_dir() else split)
    names = tuple(sorted(visible_folders(base)))
    try:
        return ClassMap(names, names)
    except DataError as error:
        raise DataError(f"class folders of {base}: {error}") from None


def holds_class_folders(root: Path, split: str) -> bool:
    """Say whether a split holds folders with photos in them, and is none of a tree of pairs."""
    base = root / split
    if not base.is_dir() or is_pair_split(base):
        return False
    return any(holds_photos(base / name) for name in sorted(visible_folders(base)))


def is_pair_split(folder: Path) -> bool:
    """Say whether a folder holds both views of a tree of pairs."""
    return all((folder / view).is_dir() for view in VIEW_FOLDERS)


def holds_photos(folder: Path) -> bool:
    """Say whether there is a photo in a folder itself; stops at the first."""
    with os.scandir(folder) as entries:
        return any(entry.name.lower().endswith(PHOTO_SUFFIXES) and not is_left_aside(entry.name) for entry in entries)


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


def _list(listing: _Listing, skipped: frozenset[str]) -> None:
    base, guard = listing.root / listing.split, LinkGuard(listing.root)
    if problems := guard.folder_problems(base):
        raise DataError(problem_list(f"{base} cannot be used", problems))
    labels = {folder: label for label, folder in enumerate(listing.classes.folders)}
    listing.files = [{} for _ in labels]
    with os.scandir(base) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        if is_left_aside(entry.name):
            listing.hidden += 1
        elif problem := guard.entry_problem(entry):
            listing.problems.append(problem)
        elif not entry.is_dir():
            listing.problems.append(f"{entry.path} is no class folder; remove it, or put it into a class folder")
        elif entry.name in labels:
            listing.files[labels[entry.name]] = _list_class(listing, base / entry.name, guard)
        elif entry.name not in skipped:
            listing.problems.append(_unknown_class(listing, entry.name))


def _unknown_class(listing: _Listing, name: str) -> str:
    folder, hint = listing.root / listing.split / name, nearest(name, listing.classes.folders)
    if listing.trained is None or listing.trained == listing.split:
        return f"the folder {folder} is not in the class list; remove it{hint}"
    where = listing.root / listing.trained
    return f"{where} has no class '{name}' as {folder} has; add photos to {where / name}, or remove {folder}{hint}"


def _list_class(listing: _Listing, folder: Path, guard: LinkGuard) -> dict[str, str]:
    found: dict[str, str] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            stem, suffix = os.path.splitext(entry.name)  # noqa: PTH122  # runs once per file; Path takes five times as long
            if is_left_aside(entry.name):
                listing.hidden += 1
            elif problem := guard.entry_problem(entry) or _file_problem(folder, entry, stem, suffix):
                listing.problems.append(problem)
            elif stem in found:
                twin = folder / (stem + found[stem])
                listing.problems.append(f"{twin} and {entry.path} share the stem '{stem}'; rename one, or remove it")
            else:
                found[stem] = suffix
    return found


def _file_problem(folder: Path, entry: "os.DirEntry[str]", stem: str, suffix: str) -> str | None:
    if entry.is_dir():
        return f"{entry.path} is a folder in a class folder; move its photos up into {folder}, or the folder beside it"
    if problem := None if all_safe((stem,)) else name_problem(stem):
        return f"{folder} holds a file called {shown(stem)}, which {problem}; rename it"
    if suffix.lower() not in PHOTO_SUFFIXES or not entry.is_file():
        return f"{entry.path} is no picture ({', '.join(PHOTO_SUFFIXES)}); remove it"
    return f"{entry.path} has 0 bytes; copy it again, or remove it" if entry.stat().st_size == 0 else None


def _pairs(listing: _Listing, limit: PixelLimit) -> list[ScannedPair]:
    """Read the headers of the listed photos in order of class and stem; report those that cannot be read."""
    keys = [(label, stem) for label, files in enumerate(listing.files) for stem in sorted(files)]
    paths = (listing.folder(label) / (stem + listing.files[label][stem]) for label, stem in keys)
    pairs = []
    for (label, stem), found in zip(keys, read_photo_files(paths, limit), strict=True):
        if isinstance(found, DataError):
            listing.problems.append(str(found))
            continue
        suffix = listing.files[label][stem]
        group = f"{listing.split}/{listing.classes.folders[label]}/{stem}"
        pairs.append(ScannedPair(label, stem, group, found.size, (suffix, suffix), found.digest))
    return pairs


def _check_classes(listing: _Listing, require_every_class: bool) -> None:
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
