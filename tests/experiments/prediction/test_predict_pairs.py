"""Answers to pairs whose answers are known: the run's own test pairs, as a tree, as an archive, as photos and masks."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets.picture_size import PREPROCESSING_LIMIT
from experiments.prediction.answers import Answer, Asker, Questions, answered
from experiments.prediction.jobs import Job, PhotoJob, Way
from experiments.prediction.predictor import Predictor
from experiments.prediction.ready import tree_jobs
from experiments.prediction.regions import OpenedPhoto
from RveRNets.config import RveRNetConfig
from segmenters.grabcut import GrabCut

Predict = Callable[..., dict[str, Any]]
Found = list[tuple[OpenedPhoto, list[Answer]]]


def ask(predictor: Predictor, jobs: list[Job], batch_size: int, workers: int = 2, *, what_if: bool = False) -> Found:
    asker = Asker(predictor, Questions(what_if=what_if), batch_size)
    return list(answered(jobs, asker.ask, batch_size, workers))


def as_stored(predictor: Predictor) -> Predictor:
    """Take pairs that are cut already at their own size."""
    return replace(predictor, description=replace(predictor.description, size=0))


def test_any_split_of_a_tree_can_be_read(predictor: Predictor, pair_tree: Path) -> None:
    jobs, _ = tree_jobs(predictor.config, pair_tree, "train", PREPROCESSING_LIMIT, False)
    assert sum(len(job.rows) for job in jobs) == 48
    assert len(jobs) == 24  # photos
    (first, *_) = jobs
    opened = first.open()
    assert (opened.name, len(opened.regions)) == (f"train/{first.index.stems[first.rows[0]]}", len(first.rows))


def test_ready_pairs_of_the_runs_own_tree_give_its_logits(predictor: Predictor, pair_tree: Path) -> None:
    jobs, _ = tree_jobs(predictor.config, pair_tree, "test", PREPROCESSING_LIMIT, False)
    index = jobs[0].index
    recorded = np.load(predictor.path / "logits.npz")["test"]
    answers = ask(as_stored(predictor), list(jobs), 16)
    rows = [row for job in jobs for row in job.rows]
    assert sorted(rows) == list(range(len(index)))
    ours = np.stack([answer.logits for _, some in answers for answer in some])
    np.testing.assert_allclose(ours, recorded[rows], rtol=0, atol=2e-6)


def test_stored_logits_are_those_of_the_run_bit_for_bit(predictor: Predictor, pair_tree: Path) -> None:
    jobs, _ = tree_jobs(predictor.config, pair_tree, "test", PREPROCESSING_LIMIT, False)
    found = predictor.stored_logits(jobs[0].index, batch_size=16)
    np.testing.assert_array_equal(found, np.load(predictor.path / "logits.npz")["test"])


def test_a_photo_with_its_mask_is_the_pair_that_the_archive_gives(predictor: Predictor, pair_tree: Path) -> None:
    archive = pair_tree.parent / "archive"
    assert isinstance(predictor.config, RveRNetConfig)
    data = predictor.config.data
    data = replace(data, source="archive", root=str(archive), archive=replace(data.archive, size=32))
    jobs, _ = tree_jobs(replace(predictor.config, data=data), archive, "test", PREPROCESSING_LIMIT, False)
    theirs = ask(as_stored(predictor), list(jobs), 1)
    way = Way(32, PREPROCESSING_LIMIT, False, GrabCut)
    folders = [archive / "Images" / kind / "test" for kind in ("img_dir", "ann_dir")]
    stems = [job.name.removeprefix("test/") + ".png" for job in jobs]
    ours = ask(predictor, [PhotoJob(folders[0] / stem, way, mask=folders[1] / stem) for stem in stems], 1)
    names = {1: "tomato", 2: "spinach", 3: "blueberry"}  # category_id.txt
    for (photo, answers), (other, other_answers) in zip(ours, theirs, strict=True):
        by_class = {region.source["class"]: answer for region, answer in zip(other.regions, other_answers, strict=True)}
        assert {names[region.source["label"]] for region in photo.regions} == set(by_class)
        for region, answer in zip(photo.regions, answers, strict=True):
            np.testing.assert_array_equal(answer.logits, by_class[names[region.source["label"]]].logits)


def test_batch_size_threads_and_company_do_not_matter(predictor: Predictor, pair_tree: Path) -> None:
    jobs, _ = tree_jobs(predictor.config, pair_tree, "test", PREPROCESSING_LIMIT, False)
    alone = ask(as_stored(predictor), list(jobs), 1, workers=1)
    together = ask(as_stored(predictor), list(jobs), 7, workers=4)
    turned = ask(as_stored(predictor), list(jobs[::-1]), 5, workers=2)[::-1]
    for other in (together, turned):
        assert [photo.name for photo, _ in other] == [photo.name for photo, _ in alone]
        for (_, ours), (_, theirs) in zip(alone, other, strict=True):
            for one, another in zip(ours, theirs, strict=True):
                np.testing.assert_allclose(one.logits, another.logits, rtol=0, atol=1e-5)


def test_what_if_is_that_of_single_pairs_and_changes_no_answer(predictor: Predictor, pair_tree: Path) -> None:
    jobs, _ = tree_jobs(predictor.config, pair_tree, "test", PREPROCESSING_LIMIT, False)
    model = as_stored(predictor)
    plain = ask(model, list(jobs[:3]), 4)
    asked = ask(model, list(jobs[:3]), 4, what_if=True)
    for (photo, answers), (_, without) in zip(asked, plain, strict=True):
        for region, answer, other in zip(photo.regions, answers, without, strict=True):
            np.testing.assert_allclose(answer.logits, other.logits, rtol=0, atol=1e-6)
            single = model.what_if(region.pair)
            assert answer.without_context is not None
            np.testing.assert_allclose(answer.probabilities, single["with context"], atol=1e-6)
            np.testing.assert_allclose(answer.without_context, single["without context"], atol=1e-6)
            assert np.abs(answer.without_context - answer.probabilities).max() > 1e-4


def test_two_folders_of_pictures_are_as_good_as_a_tree(predicted: Predict, pair_tree: Path, tmp_path: Path) -> None:
    tree = predicted(pairs=str(pair_tree), pictures=False, top_k=3)
    assert ["these are the same" in note for note in tree["notes"]] == [True]  # as those of the temperature
    for view in ("roi", "extra-roi"):
        (tmp_path / "plain" / view).mkdir(parents=True)
        for path in (pair_tree / "test" / view).rglob("*.png"):
            shutil.copy(path, tmp_path / "plain" / view / f"{path.parent.name}_{path.name}")
    plain = predicted(pairs=str(tmp_path / "plain"), pictures=False, top_k=3)
    assert plain["notes"] == []
    assert len(plain["regions"]) == len(tree["regions"]) == 20
    known = {f"{one['source']['class']}_{Path(one['source']['roi']).name}": one for one in tree["regions"]}
    for region in plain["regions"]:
        twin = known[Path(region["source"]["roi"]).name]
        assert (region["box"], region["area_fraction"]) == (twin["box"], twin["area_fraction"])
        for ours, theirs in zip(region["top"], twin["top"], strict=True):
            assert ours["class"] == theirs["class"]
            assert ours["logit"] == pytest.approx(theirs["logit"], abs=1e-5)
