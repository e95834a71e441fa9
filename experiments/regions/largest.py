"""Each photo's largest region: which pair that is, and a tree that holds only those."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.classes import CLASSES_FILE, folder_name
from datasets.index import PairIndex
from datasets.listing import VIEW_FOLDERS
from datasets.manifest import MANIFEST_FILE, read_manifest, write_manifest
from datasets.readers import open_reader
from experiments.loading import Splits
from utils.errors import ConfigError, DataError
from utils.files import link_or_copy, whole_folder, write_text
from utils.json_file import read_json_object

MADE_FROM_FILE = "made_from.json"
_FEWEST_CLASSES = 2


@dataclass(frozen=True)
class Largest:
    """The pairs of each photo's largest region, and what the user should know of the choice, one line each."""

    train: PairIndex
    test: PairIndex
    notes: list[str]


def best_reachable(photo: NDArray[np.int64], label: NDArray[Any]) -> float:
    """Return the highest top-1 of a model that gives all pairs of a photo one answer.

    The best answer to a photo is its most frequent class, so the sum over photos of the largest class count is right.

    Args:
        photo: int N, equal for the pairs of one photo.
        label: int N, class index.
    """
    cells, counts = np.unique(np.stack([photo, label.astype(np.int64)]), axis=1, return_counts=True)
    best: dict[int, int] = {}
    for code, count in zip(cells[0].tolist(), counts.tolist(), strict=True):
        best[code] = max(best.get(code, 0), count)
    return sum(best.values()) / len(label)


def largest_rows(photo: NDArray[np.int64], area: NDArray[np.float64]) -> list[int]:
    """Return for each photo the row of its largest area, in the order of rows; of equal ones the first.

    Args:
        photo: int N, equal for the pairs of one photo.
        area: N, of each pair's region.
    """
    best: dict[int, int] = {}
    for row, (code, size) in enumerate(zip(photo.tolist(), area.tolist(), strict=True)):
        if code not in best or size > area[best[code]]:
            best[code] = row
    return sorted(best.values())


def region_areas(index: PairIndex) -> NDArray[np.float64]:
    """Return the part 0..1 of its picture that each pair's region covers, N: from the manifest, else from the masks.

    Raises:
        DataError: the manifest is none, or says of a pair no such part.
    """
    path = index.root / MANIFEST_FILE
    if not path.is_file():
        return np.array([float(pair.mask.mean()) for pair in open_reader(index).read(range(len(index)))])
    folders = dict(zip(index.classes.names, index.classes.folders, strict=True))
    found = {
        (folders.get(row.class_name) or folder_name(row.class_name), row.stem): row.area_fraction
        for row in read_manifest(path)
        if row.split == index.split
    }
    for (folder, stem), area in found.items():
        if not 0 <= area <= 1:
            raise DataError(
                f"{path}: area_fraction of {index.split}/{folder}/{stem} is {area}; it must be 0 to 1: write the "
                f"manifest again with preprocess_foodseg103.py"
            )
    return np.array([found[index.classes.folders[label], index.stems[row]] for row, label in enumerate(index.label)])


def choose_largest(splits: Splits) -> Largest:
    """Return the pairs of each photo's largest region; classes that no training photo has as such are left out.

    Raises:
        DataError: fewer than two classes, or no test pair, are left.
    """
    train, test = (
        index.subset(largest_rows(index.photo_codes(), region_areas(index))) for index in (splits.train, splits.test)
    )
    gone = [name for name, count in zip(train.classes.names, train.class_counts(), strict=True) if count == 0]
    if len(train.classes) - len(gone) < _FEWEST_CLASSES:
        raise DataError(
            f"--question largest: in the training photos of {train.root} the largest region is always of one class, so "
            f"there is nothing to tell apart; use --question every"
        )
    if not gone:
        return Largest(train, test, [])
    lost = len(test)
    train, test = train.without(gone), test.without(gone)
    if len(test) == 0:
        raise DataError(
            f"--question largest: no test photo of {test.root} has a largest region of a class that training photos "
            f"have as theirs; use --question every"
        )
    note = f"never the largest region of a training photo, so left out: {', '.join(gone)}"
    return Largest(train, test, [f"{note} ({lost - len(test)} test photos with them)"])


def write_largest_tree(splits: Splits, folder: Path) -> list[str]:
    """Make the tree of the largest regions in ``folder``, once; files are further names of the source's, or copies.

    Returns:
        The notes of the choice.

    Raises:
        ConfigError: the folder was made from other pairs, groups or files.
        DataError: as ``choose_largest``.
    """
    if folder.is_dir():
        made = read_json_object(folder / MADE_FROM_FILE, "record of a tree of largest regions")
        for key, value in _made_from(splits).items():
            # Earlier records have the fingerprint alone.
            if made.get(key) != value and (key in made or key == "fingerprint"):
                raise ConfigError(
                    f"{folder} was made from other {_KINDS[key]} than those of {splits.train.root}; delete it and the "
                    f"runs beside it, or name another --out"
                )
        return list(made["notes"])
    chosen = choose_largest(splits)
    with whole_folder(folder) as root:
        for index in (chosen.train, chosen.test):
            _link(index, root)
        chosen.train.classes.save(root / CLASSES_FILE)
        _write_manifest(chosen, root)
        facts = {"root": str(splits.train.root), **_made_from(splits), "notes": chosen.notes}
        write_text(root / MADE_FROM_FILE, json.dumps(facts, indent=2, ensure_ascii=False) + "\n")
    return chosen.notes


_KINDS = {"fingerprint": "pairs", "summary": "pairs or groups", "suffixes": "file formats"}


def _made_from(splits: Splits) -> dict[str, Any]:
    """Return what tells whether pairs, their groups or their files' formats have changed."""
    suffixes = {index.split: sorted(index.suffix_names) for index in (splits.train, splits.test)}
    return {"fingerprint": splits.fingerprint, "summary": splits.summary, "suffixes": suffixes}


def _link(index: PairIndex, root: Path) -> None:
    for row, label in enumerate(index.label):
        for view, source in zip(VIEW_FOLDERS, index.paths(row), strict=True):
            target = root / index.split / view / index.classes.folders[label] / source.name
            target.parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(source.resolve(), target)


def _write_manifest(chosen: Largest, root: Path) -> None:
    path = chosen.train.root / MANIFEST_FILE
    if not path.is_file():
        return
    classes = chosen.train.classes
    names = dict(zip(classes.folders, classes.names, strict=True))
    folders = dict(zip(classes.names, classes.folders, strict=True))
    kept = {index.key(row) for index in (chosen.train, chosen.test) for row in range(len(index))}
    rows = []
    for row in read_manifest(path):
        name = names.get(folders.get(row.class_name) or folder_name(row.class_name))
        if name is not None and (row.split, name, row.stem) in kept:
            rows.append(dataclasses.replace(row, class_name=name))
    write_manifest(root / MANIFEST_FILE, rows, classes.names)
