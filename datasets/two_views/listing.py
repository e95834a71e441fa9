"""The photos below a folder, at any depth, by name alone. Nothing is opened."""

import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from datasets.class_folders import USUAL_NAMES
from datasets.folder_listing import PHOTO_SUFFIXES, is_pair_split
from datasets.links import LinkGuard
from datasets.listing import is_left_aside, visible_folders
from utils.errors import DataError, nearest
from utils.names import all_safe, name_problem, shown

EXAMPLE = "imagenet/images/train"
ARCHIVE_PHOTOS = "Images/img_dir"
RUN_FILES = frozenset({"config.yaml", "env.json"})
# Pictures of cameras, phones and programs that Pillow alone does not read, or not as photos.
_PHONES, _CAMERAS = (".avif", ".heic", ".heif", ".jp2", ".jxl"), (".arw", ".cr2", ".cr3", ".dng", ".nef", ".orf")
UNREAD_PHOTOS = frozenset({*_PHONES, *_CAMERAS, ".pef", ".psd", ".raf", ".raw", ".rw2", ".srw"})


@dataclass
class Found:
    """What lies below a folder.

    Attributes:
        names: photos as paths below the folder with ``/``, sorted.
        problems: what is wrong, one line each.
        hidden: files and folders that ``is_left_aside`` names, which were ignored.
        unread: number of photos by ending that cannot be read here, which were left out.
        others: number of files by ending that no photo has, which were ignored.
        runs: folders of runs, whose pictures are none of ours, which were left out.
    """

    names: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    hidden: int = 0
    unread: "Counter[str]" = field(default_factory=Counter)
    others: "Counter[str]" = field(default_factory=Counter)
    runs: int = 0


def find_photos(root: Path) -> Found:
    """Find the photos below a folder; links are followed where they stay inside it and lead into no circle."""
    found, guard = Found(), LinkGuard(root)
    real_root = os.path.realpath(root)
    waiting: list[tuple[str, str, tuple[str, ...]]] = [(str(root), "", (real_root,))]
    while waiting:
        folder, below, chain = waiting.pop()
        try:
            with os.scandir(folder) as entries:
                listed = list(entries)
        except OSError as error:
            found.problems.append(f"{folder} cannot be listed ({error.strerror or error}); check its permissions")
            continue
        if RUN_FILES.issubset(entry.name for entry in listed):
            found.runs += 1
            continue
        for entry in listed:
            if is_left_aside(entry.name):
                found.hidden += 1
            elif problem := guard.entry_problem(entry) or _name_problem(folder, entry.name):
                found.problems.append(problem)
            elif not entry.is_dir():
                _take(found, entry, below)
            elif (real := os.path.realpath(entry.path) if entry.is_symlink() else f"{chain[-1]}/{entry.name}") in chain:
                found.problems.append(f"{entry.path} is a link to a folder that it lies in; remove it")
            else:
                waiting.append((entry.path, f"{below}{entry.name}/", (*chain, real)))
    found.names.sort()
    found.problems.sort()
    return found


def _take(found: Found, entry: "os.DirEntry[str]", below: str) -> None:
    if not entry.name.lower().endswith(PHOTO_SUFFIXES):
        ending = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122  # runs once per file
        (found.unread if ending in UNREAD_PHOTOS else found.others)[ending or "no ending"] += 1
    elif not entry.is_file():
        found.problems.append(f"{entry.path} is no file that can be read; restore it, or remove it")
    else:
        found.names.append(below + entry.name)


def _name_problem(folder: str, name: str) -> str | None:
    problem = None if all_safe((name,)) else name_problem(name)
    return problem and f"{folder} holds a name {shown(name)}, which {problem}; rename it"


def check_photo_folder(root: Path, *, chosen: bool, section: str = "data") -> None:
    """Raise a ``DataError`` that says what to set where a folder is none of photos to learn from.

    Args:
        root: the folder.
        chosen: a list says which of its photos are meant, so that it may hold what else it likes.
        section: of the option ``root`` that names it.
    """
    if not root.is_dir():
        siblings = [path.name for path in root.parent.iterdir() if path.is_dir()] if root.parent.is_dir() else []
        wrong = "is a file" if root.exists() else "does not exist"
        raise DataError(
            f"the photo folder {root} {wrong}; set {section}.root to a folder with photos, such as {EXAMPLE}"
            f"{nearest(root.name, siblings)}"
        )
    if all((root / name).is_file() for name in RUN_FILES):
        raise DataError(
            f"{root} is the folder of a run, whose pictures are curves and tables; set {section}.root to a folder with "
            f"photos, such as {EXAMPLE}"
        )
    if chosen:
        return
    if (root / ARCHIVE_PHOTOS).is_dir():
        raise DataError(
            f"{root} is an archive, which holds masks beside its photos; set {section}.root to its photos"
            f"{_training_part(root / ARCHIVE_PHOTOS)}"
        )
    for base in (root, root / "images"):
        folders = sorted(visible_folders(base)) if base.is_dir() else []
        train, test = ([name for name in folders if name.lower() in USUAL_NAMES[role]] for role in ("train", "test"))
        if any(is_pair_split(base / name) for name in folders):
            raise DataError(
                f"{root} holds folder pairs, which are cut-outs of photos; set {section}.root to the photos"
            )
        if train and test:
            raise DataError(
                f"{base} holds the splits {', '.join([*train, *test])}, and those that models are tested on are not "
                f"learned from; set {section}.root to {base / train[0]}, or name the folders to use in a list "
                f"({section}.subset)"
            )


def _training_part(photos: Path) -> str:
    train = [name for name in sorted(visible_folders(photos)) if name.lower() in USUAL_NAMES["train"]]
    return f", such as {photos / train[0] if train else photos}"
