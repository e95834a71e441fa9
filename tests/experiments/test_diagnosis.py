import dataclasses
import shutil
from pathlib import Path

import pytest

from datasets.manifest import ManifestRow, read_manifest, write_manifest
from experiments.diagnosis import Diagnosis, diagnose
from experiments.loading import Splits, load_splits
from Off_the_shelfs.config import OffTheShelfConfig, OneViewDataConfig
from utils.errors import ConfigError, DataError


def _config(root: Path, validation: float = 0.0, accept: tuple[str, ...] = ()) -> OffTheShelfConfig:
    return OffTheShelfConfig(
        data=OneViewDataConfig(root=str(root), validation_fraction=validation, accept=list(accept))
    )


def _diagnosed(config: OffTheShelfConfig) -> tuple[Splits, Diagnosis]:
    splits = load_splits(config.data, 0)
    return splits, diagnose(splits, config)


def _with_hash(pair_tree: Path, root: Path, photos: list[str], sha256: str) -> Path:
    """Copy a tree and give some of its photos one hash."""
    shutil.copytree(pair_tree, root)
    rows: list[ManifestRow] = [
        dataclasses.replace(row, photo_sha256=sha256) if row.photo in photos else row
        for row in read_manifest(root / "manifest.csv")
    ]
    write_manifest(root / "manifest.csv", rows, ["tomato", "spinach", "blueberry"])
    return root


def test_validation_is_counted_by_itself(pair_tree: Path) -> None:
    splits, found = _diagnosed(_config(pair_tree, validation=0.25))
    assert splits.validation is not None
    kept, held_out = len(splits.train), len(splits.validation)
    assert kept + held_out == 48
    assert (
        f"data: {kept} pairs of 18 photos to train, {held_out} pairs of 6 photos for validation, 20 pairs of 10"
        in (found.lines[0])
    )
    assert any(one.what.startswith(f"train has {kept} pairs of 3 of 3 classes") for one in found.findings)


def test_a_photo_in_training_and_validation_is_a_warning(pair_tree: Path, tmp_path: Path) -> None:
    splits = load_splits(_config(pair_tree, validation=0.25).data, 0)
    assert splits.validation is not None
    stems = {splits.train.stems[0], splits.validation.stems[0]}
    rows = read_manifest(pair_tree / "manifest.csv")
    photos = [row.photo for row in rows if row.split == "train" and row.stem in stems]
    root = _with_hash(pair_tree, tmp_path / "tree", photos, "0" * 64)
    _, found = _diagnosed(_config(root, validation=0.25))
    (one,) = [one for one in found.findings if one.code == "same-photo"]
    assert one.severity == "warning"
    assert "in training and validation" in one.what
    assert all(Path(name).is_file() for name in one.where.split(" and "))
    assert _diagnosed(_config(root))[1].lines[1] == "data: nothing found"  # both are trained on


def test_a_leak_is_named_by_files_that_are_there(pair_tree: Path, tmp_path: Path) -> None:
    rows = read_manifest(pair_tree / "manifest.csv")
    photos = [next(row.photo for row in rows if row.split == split) for split in ("train", "test")]
    root = _with_hash(pair_tree, tmp_path / "tree", photos, "0" * 64)
    with pytest.raises(DataError) as caught:
        _diagnosed(_config(root))
    named = str(caught.value).partition("[same-photo] ")[2].partition(": are the same photo")[0].split(" and ")
    assert [Path(name).is_file() for name in named] == [True, True]


def test_only_what_training_can_go_on_with_is_accepted(pair_tree: Path) -> None:
    splits = load_splits(_config(pair_tree).data, 0)
    with pytest.raises(
        ConfigError, match=r"^data\.accept: 'untrained-class' cannot be accepted; allowed: same-photo, "
    ):
        diagnose(splits, _config(pair_tree, accept=("untrained-class",)))


def test_hashes_of_photo_and_mask_together_are_called_so(pair_tree: Path) -> None:
    splits = load_splits(_config(pair_tree).data, 0)
    moved = {name: dataclasses.replace(index, root=pair_tree / "none") for name, index in splits._parts.items()}
    found = diagnose(dataclasses.replace(splits, **moved), _config(pair_tree))  # the manifest is not there
    assert found.lines[0].endswith("checked by names, numbers and hashes of each photo together with its mask")
