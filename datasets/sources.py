"""The one door to pairs: in folders as preprocessing wrote them, composed from an archive, or photos without masks."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from datasets.archive import PHOTO_FOLDER, scan_archive
from datasets.archive_index import archive_classes, check_archive_folder, index_archive
from datasets.class_file import CLASS_FILE, load_class_file
from datasets.class_folders import LAYOUT, check_class_folders, folder_classes_of, index_folders
from datasets.classes import ClassMap
from datasets.folder_listing import holds_class_folders, is_pair_split
from datasets.index import PairIndex
from datasets.listing import VIEW_FOLDERS, check_folders
from datasets.picture_size import DATA_LIMIT, PixelLimit
from datasets.readers import open_reader
from datasets.scan import declared_classes
from datasets.transforms import Photo, read_rgb
from utils.data_sections import DataConfig, SplitNames
from utils.errors import DataError

Data = TypeVar("Data", bound=DataConfig)


def load_index_of(
    data: DataConfig,
    split: str,
    *,
    classes: ClassMap | None = None,
    exclude: Iterable[str] | None = None,
    require_every_class: bool = False,
    split_option: str = "data.splits",
) -> PairIndex:
    """List one split of the pairs that a configuration names.

    Args:
        data: source, root and, for an archive, how pairs are made of it.
        split: name of the split.
        classes: class list to use instead of the data's own, such as a trained model's.
        exclude: class names to leave out; null takes ``data.exclude``.
        require_every_class: report a class without any pair, as the training split must.
        split_option: what the user calls ``split``.

    Raises:
        ConfigError: where an ambiguous class is named that an archive does not have.
        DataError: with everything that is wrong with the data; see ``PairIndex.from_tree`` and ``index_archive``.
    """
    root, excluded = Path(data.root), data.exclude if exclude is None else list(exclude)
    _check_source(data, split, split_option)
    limit = PixelLimit(data.max_megapixels, DATA_LIMIT.option)
    if data.source == "folders":
        return index_folders(
            root,
            split,
            data.splits,
            classes,
            exclude=excluded,
            require_every_class=require_every_class,
            split_option=split_option,
            limit=limit,
        )
    if data.source == "pairs":
        index = PairIndex.from_tree(root, split, classes, exclude=excluded, require_every_class=require_every_class)
        return replace(index, limit=limit)
    return index_archive(
        root,
        split,
        data.archive,
        classes,
        exclude=excluded,
        require_every_class=require_every_class,
        split_option=split_option,
        limit=limit,
    )


def class_names_of(data: DataConfig, split: str, split_option: str = "data.splits") -> tuple[str, ...]:
    """Return the names of all classes of the data, excluded ones too, in the order of their indices.

    Raises:
        DataError: as ``load_index_of``, as far as folders and class list go.
    """
    _check_source(data, split, split_option)
    if data.source == "folders":
        return folder_classes_of(Path(data.root), split, data.splits.train).names
    if data.source == "pairs":
        return declared_classes(Path(data.root), []).names
    return archive_classes(tuple(load_class_file(Path(data.root) / CLASS_FILE).values()), data.archive).names


def moved_to(data: Data, root: Path, split: str) -> tuple[Data, list[str]]:
    """Return a data section for another root, with what the user should know of the difference.

    What lies there decides between folder pairs, archive and class folders; where nothing does, the source stays. The
    groups of an archive are used for another one only where that has the same photos.

    Args:
        data: as a run was trained with it.
        root: where pairs are wanted from; may be the same.
        split: name of the split.

    Raises:
        DataError: photos without masks, where the model looks at more than the ``photo``.
    """
    if root.resolve() == Path(data.root).resolve():
        return data, []
    found, notes = data.source, []
    if is_archive(root) != _is_tree(root, split):
        found = "archive" if is_archive(root) else "pairs"
    elif not is_archive(root) and _has_class_folders(root, data.splits, split):
        found = "folders"
    archive = data.archive
    if found == "folders" and getattr(data, "view", None) != "photo":
        raise DataError(
            f"{root} holds photos in class folders ({LAYOUT}) without masks, and the run's model looks at the roi or "
            f"its surroundings; name folder pairs or an archive"
        )
    if found != data.source:
        words = {
            "archive": f"an archive (data.archive.size {archive.size})",
            "pairs": "folder pairs",
            "folders": "class folders of photos",
        }
        notes.append(f"{root} holds {words[found]}; the run was trained on {words[data.source]}")
    if is_archive(root) and archive.groups and not _covers(Path(archive.groups), root):
        notes.append(f"{archive.groups} does not cover the photos of {root}: each photo is its own group")
        archive = replace(archive, groups=None)
    return replace(data, source=found, root=str(root), archive=archive), notes


def is_archive(root: Path) -> bool:
    """Say whether a folder has the photos of an archive."""
    return (root / PHOTO_FOLDER).is_dir()


def has_split(index: PairIndex, split: str) -> bool:
    """Say whether there is a folder of another split beside that of an index."""
    return (index.root / (PHOTO_FOLDER if index.archive is not None else "") / split).is_dir()


def read_pair(index: PairIndex, row: int) -> tuple[Photo, Photo]:
    """Return the roi and the extra-roi of a pair, uint8 3×H×W each: as they are stored, or cut from a photo.

    Of a photo without mask all is roi, and the extra-roi is black.

    Raises:
        DataError: where a file cannot be read; where an archive's photo or mask changed since it was listed.
    """
    if index.masked and index.archive is None:
        roi_file, extra_roi_file = index.paths(row)
        return read_rgb(roi_file, index.limit), read_rgb(extra_roi_file, index.limit)
    (stored,) = open_reader(index).read([row])
    roi, extra_roi = stored.pictures["roi"], stored.pictures["extra_roi"]
    return roi * stored.mask, extra_roi * ~stored.mask


def _is_tree(root: Path, split: str) -> bool:
    return (root / split / VIEW_FOLDERS[0]).is_dir()


def _check_source(data: DataConfig, split: str, split_option: str) -> None:
    """Raise a ``DataError`` where the root is not of the kind that ``data.source`` names."""
    root = Path(data.root)
    if data.source == "folders":
        _check_folders_source(root, data.splits, split, split_option)
        return
    if not is_archive(root) and not _is_tree(root, split) and _has_class_folders(root, data.splits, split):
        raise DataError(
            f"{root} holds photos in class folders ({LAYOUT}) and no masks, so it is neither folder pairs nor an "
            f"archive; train on it with train_Off-the-shelf.py --data.source folders --data.view photo"
        )
    if data.source == "archive":
        if _is_tree(root, split) and not is_archive(root):
            raise DataError(f"{root} holds folder pairs and is no archive; set data.source to pairs")
        check_archive_folder(root)
        return
    if is_archive(root) and not _is_tree(root, split):
        raise DataError(
            f"{root} is an archive (it holds {PHOTO_FOLDER}), not folder pairs; set data.source to archive, or make "
            f"pairs with: python preprocess_foodseg103.py --src {root} --dst PAIRS"
        )
    check_folders(root, split, split_option)


def _check_folders_source(root: Path, splits: SplitNames, split: str, split_option: str) -> None:
    if is_archive(root):
        raise DataError(f"{root} is an archive (it holds {PHOTO_FOLDER}); set data.source to archive")
    if is_pair_split(root / split):
        raise DataError(f"{root} holds folder pairs ({split}/{VIEW_FOLDERS[0]}); set data.source to pairs")
    check_class_folders(root, split, splits, split_option)


def _has_class_folders(root: Path, splits: SplitNames, split: str) -> bool:
    """Say whether a split, or the training split where that one is not there, is one of class folders."""
    return any(holds_class_folders(root, name) for name in (split, splits.train))


def _covers(groups: Path, root: Path) -> bool:
    """Say whether a groups file has a row for each photo of an archive."""
    problems = scan_archive(root, groups)[1] if groups.is_file() else [f"{groups} does not exist"]
    return not any(str(groups) in problem for problem in problems)
