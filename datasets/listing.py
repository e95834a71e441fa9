"""The files of one split of a tree, and the checks that names alone can answer. Nothing is opened."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from datasets.classes import ClassMap
from datasets.links import LinkGuard
from utils.errors import DataError, nearest, problem_list
from utils.names import all_safe, name_problem, shown

VIEW_FOLDERS = ("roi", "extra-roi")
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
SYSTEM_NAMES = frozenset({"__macosx", "thumbs.db", "ehthumbs.db", "desktop.ini"})  # in lower case


@dataclass
class Listing:
    """The files of one split.

    Attributes:
        root: the tree.
        split: folder name of the split.
        classes: the classes whose folders were listed.
        files: for each view (roi, extra-roi), for each class: stem -> suffix.
        problems: what is wrong, one line each; gathered so that they are reported together.
        hidden: files and folders that ``is_left_aside`` names, which were ignored.
    """

    root: Path
    split: str
    classes: ClassMap
    files: tuple[list[dict[str, str]], list[dict[str, str]]] = field(default_factory=lambda: ([], []))
    problems: list[str] = field(default_factory=list)
    hidden: int = 0

    def folder(self, view: int, label: int) -> Path:
        """Return the folder of a class (by index) in a view (0 roi, 1 extra-roi)."""
        return self.root / self.split / VIEW_FOLDERS[view] / self.classes.folders[label]

    def path(self, view: int, label: int, stem: str) -> Path:
        """Return a listed file."""
        return self.folder(view, label) / (stem + self.files[view][label][stem])

    def paths(self, label: int, stem: str) -> tuple[Path, Path]:
        """Return both files of a pair."""
        return self.path(0, label, stem), self.path(1, label, stem)


def check_folders(root: Path, split: str, split_option: str = "data.splits") -> None:
    """Raise a ``DataError`` that says how to make a tree where there is nothing to list, or what names the split."""
    make_it = f"make it with: python preprocess_foodseg103.py --src ARCHIVE --dst {root}"
    if root.exists() and not root.is_dir():
        raise DataError(f"the data folder {root} is a file; set data.root to the folder that holds {split}/roi")
    if not root.is_dir():
        raise DataError(f"the data folder {root} does not exist; set data.root, or {make_it}")
    present = sorted(visible_folders(root))
    if not present:
        raise DataError(f"the data folder {root} is empty; set data.root, or {make_it}")
    if split not in present:
        raise DataError(
            f"{root} holds no split '{split}', only {', '.join(present)}{nearest(split, present)}; "
            f"name it with {split_option}, or {make_it}"
        )
    for view in VIEW_FOLDERS:
        folder = root / split / view
        if not folder.is_dir():
            raise DataError(f"{folder} does not exist; a split holds roi/ and extra-roi/; {make_it}")
        if not any(visible_folders(folder)):
            raise DataError(f"{folder} is empty; it needs one folder for each class; {make_it}")


def is_left_aside(name: str) -> bool:
    """Say whether a file or folder is nobody's data: its name starts with a dot, or a system put it there."""
    return name.startswith(".") or name.lower() in SYSTEM_NAMES


def visible_folders(folder: Path) -> Iterator[str]:
    """Yield the names of the folders in a folder, hidden ones and those of a system left out."""
    with os.scandir(folder) as entries:
        yield from (entry.name for entry in entries if entry.is_dir() and not is_left_aside(entry.name))


def folder_classes(root: Path, splits: Iterable[str]) -> ClassMap:
    """Return the class folders of some splits in sorted order; a ``DataError`` where two differ only by case."""
    views = [root / split / view for split in splits for view in VIEW_FOLDERS]
    names = sorted({name for view in views if view.is_dir() for name in visible_folders(view)})
    try:
        return ClassMap(tuple(names), tuple(names))
    except DataError as error:
        raise DataError(f"class folders of {root}: {error}") from None


def list_split(root: Path, split: str, classes: ClassMap, skipped: frozenset[str]) -> Listing:
    """List both views of a split; folders in ``skipped`` (excluded classes) are not looked into."""
    listing = Listing(root, split, classes)
    guard = LinkGuard(root)
    folders = [root / split, *(root / split / view for view in VIEW_FOLDERS)]
    if problems := guard.folder_problems(*folders):
        raise DataError(problem_list(f"{root / split} cannot be used", problems))
    for view in range(2):
        _list_view(listing, view, skipped, guard)
    _match_views(listing)
    return listing


def _list_view(listing: Listing, view: int, skipped: frozenset[str], guard: LinkGuard) -> None:
    labels = {folder: label for label, folder in enumerate(listing.classes.folders)}
    files: list[dict[str, str]] = [{} for _ in labels]
    base = listing.root / listing.split / VIEW_FOLDERS[view]
    with os.scandir(base) as entries:
        for entry in entries:
            if is_left_aside(entry.name):
                listing.hidden += 1
            elif problem := guard.entry_problem(entry):
                listing.problems.append(problem)
            elif not entry.is_dir():
                listing.problems.append(f"{entry.path} is no class folder; remove it")
            elif entry.name in labels:
                files[labels[entry.name]] = _list_class(listing, base / entry.name, guard)
            elif entry.name not in skipped:
                hint = nearest(entry.name, listing.classes.folders)
                listing.problems.append(f"the folder {entry.path} is not in the class list; remove it or add it{hint}")
    listing.files[view].extend(files)


def _list_class(listing: Listing, folder: Path, guard: LinkGuard) -> dict[str, str]:
    found: dict[str, str] = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            stem, suffix = os.path.splitext(entry.name)  # noqa: PTH122  # runs once per file; Path takes five times as long
            if is_left_aside(entry.name):
                listing.hidden += 1
            elif problem := guard.entry_problem(entry) or _name_problem(folder, stem):
                listing.problems.append(problem)
            elif suffix.lower() not in SUFFIXES or not entry.is_file():
                listing.problems.append(f"{entry.path} is no picture ({', '.join(SUFFIXES)}); remove it")
            elif stem in found:
                twin = folder / (stem + found[stem])
                listing.problems.append(f"{twin} and {entry.path} share the stem '{stem}'; remove one of them")
            else:
                found[stem] = suffix
                if entry.stat().st_size == 0:
                    listing.problems.append(f"{entry.path} has 0 bytes; make the pair again or remove both files")
    return found


def _name_problem(folder: Path, stem: str) -> str | None:
    problem = None if all_safe((stem,)) else name_problem(stem)
    return problem and f"{folder} holds a file called {shown(stem)}, which {problem}; rename both files of the pair"


def _match_views(listing: Listing) -> None:
    """Report class folders and files whose partner is missing or lies in another class folder."""
    alone: list[dict[str, list[int]]] = [{}, {}]  # for each view, stem -> class indices without a partner
    for label in range(len(listing.classes)):
        folders = listing.folder(0, label), listing.folder(1, label)
        files = listing.files[0][label], listing.files[1][label]
        for view in range(2):
            if files[view] and not folders[1 - view].is_dir():
                listing.problems.append(
                    f"{folders[view]} has no partner folder {folders[1 - view]}; both views hold the same class folders"
                )
                continue
            for stem in sorted(files[view].keys() - files[1 - view].keys()):
                alone[view].setdefault(stem, []).append(label)
    _report_other_class(listing, alone)
    for view in range(2):
        for stem, labels in sorted(alone[view].items()):
            for label in labels:
                path = listing.path(view, label, stem)
                partner = listing.folder(1 - view, label) / path.name
                listing.problems.append(f"{path} has no partner {partner}; restore it, or remove the half that is left")


def _report_other_class(listing: Listing, alone: list[dict[str, list[int]]]) -> None:
    """Report a stem whose two halves lie in different class folders, and take it out of ``alone``."""
    for stem in sorted(alone[0].keys() & alone[1].keys()):
        for labels in list(zip(alone[0][stem], alone[1][stem], strict=False)):
            roi, extra_roi = (listing.path(view, labels[view], stem) for view in range(2))
            listing.problems.append(
                f"{roi} and {extra_roi} lie in different class folders; the two cut-outs of a pair share class and stem"
            )
            for view in range(2):
                alone[view][stem].remove(labels[view])
