"""The files of one split of class folders, and the checks that names alone can answer. Nothing is opened."""

import os
from collections.abc import Container, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from datasets.classes import ClassMap
from datasets.links import LinkGuard
from datasets.listing import SUFFIXES, VIEW_FOLDERS, is_left_aside, visible_folders
from utils.errors import DataError, nearest, problem_list
from utils.names import all_safe, name_problem, shown

PHOTO_SUFFIXES = (*SUFFIXES, ".bmp", ".gif", ".tif", ".tiff")


@dataclass
class PhotoListing:
    """The photos of one split.

    Attributes:
        root: folder that holds the splits.
        split: folder name of the split.
        classes: the classes whose folders were listed.
        trained: folder name of the split that the classes are of; null where they are this split's own.
        files: for each class: stem -> suffix.
        problems: what is wrong, one line each; gathered so that they are reported together.
        hidden: files and folders that ``is_left_aside`` names, which were ignored.
    """

    root: Path
    split: str
    classes: ClassMap
    trained: str | None
    files: list[dict[str, str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    hidden: int = 0

    def folder(self, label: int) -> Path:
        """Return the folder of a class, by index."""
        return self.root / self.split / self.classes.folders[label]

    def paths(self) -> Iterator[tuple[int, str, Path]]:
        """Yield class index, stem and path of each photo, in order of class and stem."""
        for label, files in enumerate(self.files):
            folder = self.folder(label)
            for stem in sorted(files):
                yield label, stem, folder / (stem + files[stem])


def list_photos(
    root: Path, split: str, classes: ClassMap, trained: str | None, skipped: frozenset[str] = frozenset()
) -> PhotoListing:
    """List one split; folders in ``skipped`` (excluded classes) are not looked into. See ``PhotoListing``.

    Raises:
        DataError: the split is a link that leads out.
    """
    listing = PhotoListing(root, split, classes, trained)
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
    return listing


def _unknown_class(listing: PhotoListing, name: str) -> str:
    folder, hint = listing.root / listing.split / name, nearest(name, listing.classes.folders)
    if listing.trained is None or listing.trained == listing.split:
        return f"the folder {folder} is not in the class list; remove it{hint}"
    where = listing.root / listing.trained
    return f"{where} has no class '{name}' as {folder} has; add photos to {where / name}, or remove {folder}{hint}"


def _list_class(listing: PhotoListing, folder: Path, guard: LinkGuard) -> dict[str, str]:
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


def class_folder_splits(root: Path) -> list[str]:
    """Return the folders of a folder that hold class folders with photos, by name."""
    return [name for name in sorted(visible_folders(root)) if holds_class_folders(root, name)]


def intended_splits(root: Path, named: Container[str]) -> list[str]:
    """Return the folders of a folder that hold a photo at any depth, or are in ``named``; none of a tree of pairs."""
    return [
        name
        for name in sorted(visible_folders(root))
        if not is_pair_split(root / name)
        and (name in named or holds_class_folders(root, name) or _holds_photos_below(root / name))
    ]


def _holds_photos_below(folder: Path) -> bool:
    for _, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not is_left_aside(name)]
        if any(name.lower().endswith(PHOTO_SUFFIXES) and not is_left_aside(name) for name in files):
            return True
    return False
