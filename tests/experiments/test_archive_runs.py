"""Runs on an archive against runs on the lossless pairs made of it."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from datasets.sources import load_index_of, moved_to
from experiments.analysis.gallery import save_gallery
from experiments.baselines.features import manifest_geometry, measure_pairs
from experiments.commands import train_command
from experiments.evaluation.options import EvaluateOptions
from experiments.evaluation.plan import make_plan
from experiments.kinds import RVERNET
from experiments.runs import load_index, read_runs
from utils.data_sections import ArchiveConfig, DataConfig
from utils.errors import DataError

# What ``tiny_runs`` was trained with, besides the data.
OPTIONS = [
    *("--data.image_size", "32", "--data.workers", "0", "--train.device", "cpu", "--train.epochs", "1"),
    *("--train.batch_size", "16", "--eval.resamples", "100"),
    *("--model.roi_backbone.name", "test_efficientnet", "--model.roi_backbone.pretrained", "false"),
    *("--model.extra_roi_backbone.name", "test_vit", "--model.extra_roi_backbone.pretrained", "false"),
]


@pytest.fixture(scope="module")
def archive(pair_tree: Path) -> Path:
    """The archive of which ``pair_tree`` was made."""
    return pair_tree.parent / "archive"


@pytest.fixture(scope="module")
def archive_run(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("runs") / "archive"
    source = ["--data.source", "archive", "--data.root", str(archive), "--data.archive.size", "32"]
    source += ["--data.archive.ambiguous", "[tomato, spinach]", "--run.dir", str(run)]
    train_command(RVERNET, [*OPTIONS, *source])
    return run


def test_a_run_on_an_archive_is_the_run_on_its_pairs(archive_run: Path, tiny_runs: Path) -> None:
    for name in ("metrics.json", "predictions.csv", "logits.npz", "model.safetensors"):
        assert (archive_run / name).read_bytes() == (tiny_runs / "both" / "seed0" / name).read_bytes(), name


def test_such_runs_are_evaluated_on_either(
    archive_run: Path, tiny_runs: Path, archive: Path, pair_tree: Path, tmp_path: Path
) -> None:
    of_archive, of_pairs = read_runs([archive_run, tiny_runs / "both/seed0"])
    plain = load_index(of_archive)
    assert plain.archive is not None
    assert plain.fingerprint() == load_index(of_pairs).fingerprint()
    on_pairs = load_index(of_archive, pair_tree)
    assert on_pairs.archive is None
    assert on_pairs.fingerprint() == plain.fingerprint()
    assert on_pairs.notes[0] == (
        f"{pair_tree} holds folder pairs; the run was trained on an archive (data.archive.size 32)"
    )
    at_its_own_size = load_index(of_pairs, archive)
    assert at_its_own_size.stems == plain.stems
    assert at_its_own_size.size[0].tolist() == [48, 36], "the run's options are read: size 0"
    assert f"{archive} holds an archive (data.archive.size 0)" in at_its_own_size.notes[0]
    plan = make_plan(EvaluateOptions(run=[str(archive_run), str(tiny_runs / "both/seed0")], out=str(tmp_path / "out")))
    assert [index.archive is None for index in plan.indices] == [False, True]
    assert plan.train is not None
    assert plan.train.archive is not None


def test_a_root_that_holds_neither_is_told_by_the_runs_own_kind(
    archive_run: Path, tiny_runs: Path, tmp_path: Path
) -> None:
    of_archive, of_pairs = read_runs([archive_run, tiny_runs / "both/seed0"])
    (tmp_path / "other").mkdir()
    for record, words in ((of_archive, "Images/img_dir is missing"), (of_pairs, "is empty; set data.root")):
        with pytest.raises(DataError, match=words):
            load_index(record, tmp_path / "other")
    with pytest.raises(DataError, match=r"no split 'tset', only test, train; did you mean 'test'\?.*--data\.split"):
        load_index(of_archive, split="tset")
    with pytest.raises(DataError, match=r"^--exclude: no class .* is called 'kale'"):
        load_index(of_archive, exclude=["kale"])
    assert load_index(of_archive, exclude=["spinach"]).classes.names == ("tomato", "blueberry")


def test_what_looks_at_pairs_sees_the_same(archive_run: Path, tiny_runs: Path, tmp_path: Path) -> None:
    records = read_runs([archive_run, tiny_runs / "both/seed0"])
    ours, tree = (load_index(record) for record in records)
    told, known = manifest_geometry(ours), manifest_geometry(tree)
    assert told is not None
    assert known is not None
    np.testing.assert_array_equal(told, known)
    assert ours.archive is not None
    assert manifest_geometry(replace(ours, archive=replace(ours.archive, manifest=None))) is None
    a, b = measure_pairs(ours), measure_pairs(tree)
    np.testing.assert_array_equal(a.geometry, b.geometry)
    np.testing.assert_array_equal(a.colour.toarray(), b.colour.toarray())
    np.testing.assert_allclose(a.geometry, told, atol=1e-6)
    for name, index in (("ours", ours), ("tree", tree)):
        save_gallery(index, [3, 0, 7], np.full((len(index), 3), 1 / 3), "Title", tmp_path / f"{name}.png")
    assert (tmp_path / "ours.png").read_bytes() == (tmp_path / "tree.png").read_bytes()


def test_groups_of_another_archive(archive: Path, tmp_path: Path) -> None:
    """A copy of the archive has the same photos; an archive with one photo more has not."""
    rows = [
        f"{split},photo_{n:03d},day {n % 3}" for split, count in (("train", 24), ("test", 10)) for n in range(count)
    ]
    (tmp_path / "groups.csv").write_text("\n".join(["split,image,group", *rows]) + "\n")
    options = ArchiveConfig(groups=str(tmp_path / "groups.csv"))
    data = DataConfig(source="archive", root=str(archive), archive=options)
    copy = shutil.copytree(archive, tmp_path / "copy")
    same, notes = moved_to(data, copy, "test")
    assert notes == []
    assert set(load_index_of(same, "test").group_names) == {"day 0", "day 1", "day 2"}
    for kind in ("img_dir", "ann_dir"):
        folder = copy / "Images" / kind / "test"
        shutil.copy(folder / "photo_000.png", folder / "photo_999.png")
    (copy / "ImageSets/test.txt").unlink()
    other, notes = moved_to(data, copy, "test")
    assert notes == [f"{options.groups} does not cover the photos of {copy}: each photo is its own group"]
    assert "test/photo_999" in load_index_of(other, "test").group_names


def test_an_archive_that_is_gone(archive_run: Path, tmp_path: Path) -> None:
    (record,) = read_runs([archive_run])
    with pytest.raises(DataError, match=r"the archive \S+gone does not exist; set data\.root to the folder that holds"):
        load_index(record, tmp_path / "gone")
