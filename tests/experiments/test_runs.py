"""Finished runs, read back."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from datasets.classes import ClassMap
from datasets.index import PairIndex
from experiments.evaluation.options import EvaluateOptions, output_folder
from experiments.robustness.suite import load_suite
from experiments.runs import find_runs, load_index, read_runs
from utils.errors import ConfigError, DataError


def copy_without(tree: Path, folder: Path, name: str) -> Path:
    """Copy a tree of pairs as if one of its classes had never been there."""
    shutil.copytree(tree, folder)
    classes = ClassMap.load(folder / "classes.yaml").without([name])
    classes.save(folder / "classes.yaml")
    for gone in folder.glob(f"*/*/{name}"):
        shutil.rmtree(gone)
    lines = (folder / "manifest.csv").read_text().splitlines()
    (folder / "manifest.csv").write_text("\n".join(line for line in lines if f",{name}," not in line) + "\n")
    return folder


def test_a_folder_of_seeds_stands_for_its_runs_and_names_stay_apart(tiny_runs: Path, tmp_path: Path) -> None:
    other = tmp_path / "both"
    shutil.copytree(tiny_runs / "both", other)
    records = read_runs([tiny_runs / "both", tiny_runs / "roi", other / "seed1"])
    assert [record.path.name for record in records] == ["seed0", "seed1", "roi", "seed1"]
    assert len({record.name for record in records}) == 4
    assert records[0].series == "both"
    assert records[2].name == records[2].series == "roi"
    assert [record.kind.name for record in records] == ["RveRNet", "RveRNet", "off-the-shelf", "RveRNet"]


def test_the_model_holds_the_scored_weights_in_eval_mode(tiny_runs: Path) -> None:
    (record,) = read_runs([tiny_runs / "roi"])
    model = record.load_model(torch.device("cpu"))
    stored = load_file(record.path / "model.safetensors")
    assert not model.training
    assert all(torch.equal(tensor, stored[name]) for name, tensor in model.state_dict().items())


def test_a_class_left_out_is_left_out_of_pairs_and_outputs(tiny_runs: Path) -> None:
    (record,) = read_runs([tiny_runs / "roi"])
    whole, part = load_index(record), load_index(record, exclude=["spinach"])
    assert whole.classes.names == record.classes == ("tomato", "spinach", "blueberry")
    assert part.classes.names == ("tomato", "blueberry")
    assert record.columns(part) == [0, 2]
    assert part.classes.ambiguous == ("tomato",)
    kept = np.flatnonzero(whole.label != 1)
    assert [part.key(row) for row in range(len(part))] == [whole.key(int(row)) for row in kept]


def test_a_tree_that_lacks_the_class_left_out_will_do(tiny_runs: Path, pair_tree: Path, tmp_path: Path) -> None:
    (record,) = read_runs([tiny_runs / "roi"])
    tree = copy_without(pair_tree, tmp_path / "tree", "spinach")
    assert (
        load_index(record, tree, exclude=["spinach"]).fingerprint()
        == load_index(record, exclude=["spinach"]).fingerprint()
    )
    with pytest.raises(DataError, match=r"only in the run: spinach.*leave classes out with --exclude"):
        load_index(record, tree)


def test_classes_that_differ_are_listed_on_both_sides(tiny_runs: Path, pair_tree: Path, tmp_path: Path) -> None:
    (record,) = read_runs([tiny_runs / "roi"])
    tree = copy_without(pair_tree, tmp_path / "tree", "tomato")
    text = (tree / "classes.yaml").read_text().replace("name: spinach", "name: kale")
    (tree / "classes.yaml").write_text(text.replace("- spinach\n", "- kale\n"))
    manifest = (tree / "manifest.csv").read_text()
    (tree / "manifest.csv").write_text(manifest.replace(",spinach,", ",kale,"))
    with pytest.raises(DataError, match=r"only in .*: kale; only in the run: tomato, spinach"):
        load_index(record, tree)


def test_the_order_of_classes_counts(tiny_runs: Path, pair_tree: Path, tmp_path: Path) -> None:
    (record,) = read_runs([tiny_runs / "roi"])
    tree = tmp_path / "tree"
    shutil.copytree(pair_tree, tree)
    classes = ClassMap.load(tree / "classes.yaml")
    ClassMap.from_names(reversed(classes.names), classes.ambiguous).save(tree / "classes.yaml")
    with pytest.raises(
        DataError, match=r"the order differs from position 0 on: 'blueberry' in .*, 'tomato' in the run"
    ):
        load_index(record, tree)


@pytest.mark.parametrize(
    ("exclude", "message"),
    [
        (["tomatoe"], "--exclude: no class of .* is called 'tomatoe'.*tomato"),
        (["tomato", "spinach"], "--exclude leaves 1 classes of .*; keep two or more"),
    ],
)
def test_mistakes_in_exclude(tiny_runs: Path, exclude: list[str], message: str) -> None:
    (record,) = read_runs([tiny_runs / "roi"])
    with pytest.raises(DataError, match=message):
        load_index(record, exclude=exclude)


def test_a_split_that_is_not_there_is_named_by_its_option(tiny_runs: Path) -> None:
    (record,) = read_runs([tiny_runs / "roi"])
    with pytest.raises(DataError, match=r"holds no split 'tset'.*'test'.*--data.split"):
        load_index(record, split="tset")


def test_mistakes_in_run(tiny_runs: Path, pair_tree: Path) -> None:
    for folders, message in [
        ([], "no run is named; add --run DIR"),
        ([tiny_runs / "bot"], "bot does not exist.*'both'"),
        ([pair_tree], "is not the folder of a run: it holds no config.yaml"),
        ([tiny_runs / "both", tiny_runs / "both" / "seed1"], "names .*seed1 twice"),
    ]:
        with pytest.raises(ConfigError, match=message):
            find_runs(folders)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("metrics.json", None, "is an unfinished run .*--run.resume auto"),
        ("model.safetensors", None, "has no model.safetensors: its weights were removed"),
        ("model.safetensors", b"cut short", "model.safetensors is damaged"),
        ("metrics.json", b'{"test": {}}', "metrics.json is damaged: it names no known model and classes"),
    ],
)
def test_runs_that_cannot_be_read(
    tiny_runs: Path, tmp_path: Path, name: str, content: bytes | None, message: str
) -> None:
    shutil.copytree(tiny_runs / "roi", tmp_path / "run")
    (tmp_path / "run" / name).unlink()
    if content is not None:
        (tmp_path / "run" / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_runs([tmp_path / "run"])


def test_a_condition_must_not_take_the_name_of_another_folder(tmp_path: Path) -> None:
    suite = tmp_path / "suite.yaml"
    suite.write_text("conditions:\n  Analysis: {perturbation: blank, views: [roi]}\n")
    with pytest.raises(ConfigError, match="a condition is called 'Analysis', the name of another folder"):
        load_suite(suite)


def test_overwriting_spares_what_no_evaluation_wrote(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    (folder / "both" / "seed0").mkdir(parents=True)
    (folder / "results.json").write_text('{"runs": {"both/seed0": {}}}')
    options = EvaluateOptions(run=["x"], out=str(folder), overwrite=True)
    assert output_folder(options, "paper") == folder
    (folder / "notes.txt").write_text("mine")
    (folder / "drafts").mkdir()
    with pytest.raises(ConfigError, match=r"what no evaluation wrote \(drafts, notes.txt\)"):
        output_folder(options, "paper")


def test_an_index_is_checked_before_its_excluded_classes(pair_tree: Path) -> None:
    """What the tree itself says of its classes stays as strict as before."""
    with pytest.raises(DataError, match="no class is called 'kale'"):
        PairIndex.from_tree(pair_tree, "test", exclude=["kale"])


def test_the_limit_on_pictures_is_the_runs_own_unless_another_is_given(tiny_runs: Path) -> None:
    (record,) = read_runs([tiny_runs / "roi"])
    assert load_index(record).limit.megapixels == record.config.data.max_megapixels == 180
    assert load_index(record, max_megapixels=2.5).limit.megapixels == 2.5
