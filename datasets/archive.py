"""Archives in the layout of FoodSeg103, with the habits of its mirrors. Lists files; decodes nothing."""

import os
from collections import defaultdict
from dataclasses import dataclass, field, replace
from operator import attrgetter
from pathlib import Path

from datasets.class_file import CLASS_FILE, describe_ids, read_class_file
from datasets.folder_listing import class_folder_splits
from datasets.groups import read_groups
from datasets.links import LinkGuard
from datasets.listing import is_left_aside
from utils.errors import DataError, problem_list
from utils.names import name_problem, shown

PICTURE_FOLDER = "Images"
PHOTO_FOLDER = f"{PICTURE_FOLDER}/img_dir"
MASK_FOLDER = f"{PICTURE_FOLDER}/ann_dir"
LIST_FOLDER = "ImageSets"
PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png")
MASK_SUFFIXES = (".png",)
_LAYOUT = "Images/img_dir/{train,test}, Images/ann_dir/{train,test}, category_id.txt and, if any, ImageSets/*.txt"


@dataclass(frozen=True)
class OptionNames:
    """What the user calls the options of an archive, for messages; the defaults are those of preprocessing."""

    root: str = "--src"
    groups: str = "--groups"
    mask_orientation: str = "--mask_orientation"
    ambiguous: str = "--ambiguous"


PREPROCESSING = OptionNames()


@dataclass(frozen=True, slots=True)
class ArchivePhoto:
    """One photo with its mask.

    Attributes:
        split: name of the split's folder.
        stem: file name without suffix; unique within a split.
        photo: path inside the archive, with ``/``.
        mask: path inside the archive, with ``/``.
        group: name shared by photos that are not independent, such as neighbouring video frames.
    """

    split: str
    stem: str
    photo: str
    mask: str
    group: str

    def stamp(self, root: Path) -> list[int | str]:
        """Return what changes with the photo's files in an archive at ``root``."""
        stats = [(root / path).stat() for path in (self.photo, self.mask)]
        return [number for stat in stats for number in (stat.st_size, stat.st_mtime_ns)]


@dataclass(frozen=True)
class Archive:
    """The listing of an archive.

    Attributes:
        root: folder of the archive.
        label_ids: class name by label id, in the order of the ids; 0 is the background and not among them.
        photos: sorted by split and stem.
        notes: what was left aside or is unusual, one line each, to be shown to the user.
    """

    root: Path
    label_ids: dict[int, str]
    photos: tuple[ArchivePhoto, ...]
    notes: tuple[str, ...] = ()

    @property
    def class_names(self) -> tuple[str, ...]:
        """Class names; the position is the class index."""
        return tuple(self.label_ids.values())

    @property
    def allowed_ids(self) -> str:
        """The label ids that a mask may hold, in words."""
        return describe_ids(self.label_ids)


def read_archive(root: Path, groups_file: Path | None = None, options: OptionNames = PREPROCESSING) -> Archive:
    """List an archive; see ``scan_archive`` for the arguments.

    Raises:
        DataError: with every problem of the listing at once: missing folders, photos or masks, listed photos that
            are absent, two photos with one stem, class names that would share a folder, photos without group.
    """
    archive, problems = scan_archive(root, groups_file, options)
    if problems:
        raise DataError(problem_list(f"archive {root}", problems))
    return archive


def scan_archive(
    root: Path, groups_file: Path | None = None, options: OptionNames = PREPROCESSING
) -> tuple[Archive, list[str]]:
    """List an archive as far as it can be listed, and say what is wrong with it.

    Args:
        root: folder of the archive.
        groups_file: CSV with the columns split, image, group; every listed photo needs a row. Without it each photo
            is a group of its own, named ``<split>/<stem>``.
        options: what the user calls the options.
    """
    if not root.is_dir():
        raise DataError(f"{options.root} {root} is not a folder; give the archive's folder, which holds {_LAYOUT}")
    listing = _Listing(root, options)
    label_ids = read_class_file(root / CLASS_FILE, listing.problems, listing.notes)
    photos = listing.photos()
    if groups_file is not None:
        photos = _with_groups(photos, groups_file, listing)
    return Archive(root, label_ids, tuple(photos), tuple(listing.notes)), listing.problems


@dataclass
class _Listing:
    root: Path
    options: OptionNames
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    strays: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._guard = LinkGuard(self.root)

    def photos(self) -> list[ArchivePhoto]:
        photo_root, mask_root = self.root / PHOTO_FOLDER, self.root / MASK_FOLDER
        lists, class_file = self.root / LIST_FOLDER, self.root / CLASS_FILE
        if problems := self._guard.folder_problems(photo_root.parent, photo_root, mask_root, lists, class_file):
            self.problems += problems
            return []
        if not photo_root.is_dir() or not mask_root.is_dir():
            self._missing_folders([folder for folder in (photo_root, mask_root) if not folder.is_dir()])
            return []
        photo_splits, mask_splits = self._folders(photo_root), self._folders(mask_root)
        if not photo_splits:
            self.problems.append(f"{photo_root} has no split folder; put the photos into train/ and test/ below it")
        for split in sorted(set(photo_splits) ^ set(mask_splits)):
            there, absent = (photo_root, mask_root) if split in photo_splits else (mask_root, photo_root)
            self.problems.append(f"{there / split} has no counterpart {absent / split}; add it or remove the split")
        splits = [split for split in photo_splits if split in mask_splits]
        found = [photo for split in splits for photo in self._split(split, photo_splits)]
        if self.strays:
            self.notes.append(
                f"{len(self.strays)} files or folders are neither photo nor mask and are left aside, "
                f"the first is {self.strays[0]}"
            )
        return found

    def _missing_folders(self, missing: list[Path]) -> None:
        if class_folder_splits(self.root):
            self.problems.append(
                f"{self.root} holds photos in class folders and no masks, so that no pair can be cut; train on it with "
                f"train_Off-the-shelf.py --data.source folders --data.view photo"
            )
            return
        nested = sorted(path.parent.parent for path in self.root.glob("*/Images/img_dir"))
        hint = f"; did you mean {self.options.root} {nested[0]}?" if nested else f"; an archive holds {_LAYOUT}"
        self.problems += [f"{folder} is missing{hint}" for folder in missing]

    def _folders(self, parent: Path) -> list[str]:
        entries = self._inside(parent)
        self.strays += [entry.path for entry in entries if not entry.is_dir()]
        return [entry.name for entry in entries if entry.is_dir()]

    def _inside(self, folder: Path) -> list["os.DirEntry[str]"]:
        """Return what a folder holds, less links that lead out of the archive, which are a problem."""
        entries = _visible(folder)
        problems = {entry.name: problem for entry in entries if (problem := self._guard.entry_problem(entry))}
        self.problems += problems.values()
        return [entry for entry in entries if entry.name not in problems]

    def _split(self, split: str, splits: list[str]) -> list[ArchivePhoto]:
        photo_folder, mask_folder = self.root / PHOTO_FOLDER / split, self.root / MASK_FOLDER / split
        photos, masks = self._files(photo_folder, PHOTO_SUFFIXES), self._files(mask_folder, MASK_SUFFIXES)
        for folder, files, suffixes in (
            (photo_folder, photos, PHOTO_SUFFIXES),
            (mask_folder, masks, MASK_SUFFIXES),
        ):
            if not files:
                self.problems.append(f"{folder} holds no {'/'.join(suffixes)} file; fill it or remove the split")
        if not photos or not masks:
            return []
        wanted = self._wanted(split, splits, photos)
        for stem in sorted(set(masks) - set(photos) - set(wanted)):
            self.problems.append(
                f"{mask_folder / masks[stem]} has no photo {photo_folder / stem}.jpg/.jpeg/.png; "
                f"add it or remove the mask"
            )
        for stem in wanted:
            if stem in photos and stem not in masks:
                self.problems.append(
                    f"{photo_folder / photos[stem]} has no mask {mask_folder / stem}.png; add it or remove the photo"
                )
        return [
            ArchivePhoto(
                split,
                stem,
                f"{PHOTO_FOLDER}/{split}/{photos[stem]}",
                f"{MASK_FOLDER}/{split}/{masks[stem]}",
                f"{split}/{stem}",
            )
            for stem in wanted
            if stem in photos and stem in masks
        ]

    def _files(self, folder: Path, suffixes: tuple[str, ...]) -> dict[str, str]:
        """Return file names by stem; two files with one stem are a problem."""
        names: dict[str, list[str]] = defaultdict(list)
        for entry in self._inside(folder):
            stem, suffix = os.path.splitext(entry.name)  # noqa: PTH122  # runs once per file; Path takes five times as long
            if suffix.lower() in suffixes and entry.is_file():
                names[stem].append(entry.name)
            else:
                self.strays.append(entry.path)
        for stem, same in sorted(names.items()):
            if len(same) > 1:
                self.problems.append(f"{folder}: {' and '.join(same)} share the stem '{stem}'; keep one or rename")
            if problem := name_problem(stem):
                self.problems.append(f"{folder}: the file name {shown(same[0])} {problem}; rename it")
        return {stem: same[0] for stem, same in names.items()}

    def _wanted(self, split: str, splits: list[str], photos: dict[str, str]) -> list[str]:
        """Return the stems of a split in sorted order: those of its list, or all where it has none."""
        path = self.root / LIST_FOLDER / f"{split}.txt"
        if problems := self._guard.folder_problems(path):
            self.problems += problems
            return []
        if not path.is_file():
            return sorted(photos)
        wanted: dict[str, None] = {}
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError:
            self.problems.append(f"{path} is not a UTF-8 text file; save it as UTF-8")
            return []
        for number, line in enumerate(lines, start=1):
            *folders, name = line.strip().replace("\\", "/").split("/")
            if not name:
                continue
            if folders and folders[-1] in splits and folders[-1] != split:
                self.problems.append(f"{path}, line {number}: '{line.strip()}' is of another split; remove the line")
                continue
            stem = photo_stem(name)
            if problem := _leads_out(folders, stem):
                self.problems.append(f"{path}, line {number}: {shown(line.strip())} {problem}; write the photo's name")
                continue
            if stem not in photos and stem not in wanted:
                self.problems.append(
                    f"{path}, line {number}: {self.root / PHOTO_FOLDER / split} has no photo '{stem}'; "
                    f"copy it there or remove the line"
                )
            wanted[stem] = None
        if not wanted:
            self.problems.append(f"{path} lists no photo; fill it, or delete it to take every photo of the folder")
        elif unlisted := len(photos.keys() - wanted.keys()):
            self.notes.append(f"{split}: {unlisted} photos are not in {path} and are left out")
        return sorted(wanted)


def _leads_out(folders: list[str], stem: str) -> str | None:
    """Say what is wrong with a line of a list; the folders before a photo's name may be those of the archive."""
    if folders and not folders[0]:
        return "is an absolute path"
    return next((problem for part in [*folders, stem] if part != "." and (problem := name_problem(part))), None)


def photo_stem(name: str) -> str:
    """Return a photo's file name without its suffix, if it has one of ours; dots inside the name stay."""
    stem, suffix = os.path.splitext(name)  # noqa: PTH122  # runs once per listed photo
    return stem if suffix.lower() in PHOTO_SUFFIXES else name


def _visible(folder: Path) -> list["os.DirEntry[str]"]:
    with os.scandir(folder) as entries:
        found = [entry for entry in entries if not is_left_aside(entry.name)]
    return sorted(found, key=attrgetter("name"))


def _with_groups(photos: list[ArchivePhoto], path: Path, listing: _Listing) -> list[ArchivePhoto]:
    groups = read_groups(path, photo_stem, listing.options.groups, listing.problems)
    if not groups:
        return photos
    known = {(photo.split, photo.stem) for photo in photos}
    listing.problems += [
        f"{path} has no row for {photo}; add it" for photo in map("/".join, sorted(known - groups.keys()))
    ]
    if unknown := sorted(groups.keys() - known):
        listing.notes.append(f"{path}: {len(unknown)} rows name no photo in use, the first is {'/'.join(unknown[0])}")
    return [replace(photo, group=groups.get((photo.split, photo.stem), photo.group)) for photo in photos]
