"""Mistakes of a user of the train scripts: one message that says what to do, exit status 2, nothing half-written.

Archives are in test_bad_input_archive.py, what comes up in mid-run in test_bad_input_runs.py. Every problem of a
tree's listing (empty view folders, zero-byte files, two files of one stem) is in datasets/test_index_problems.py,
every option in utils/test_config.py, weights from files in Off_the_shelfs/test_weights.py, and the way from an
exception to an exit status in utils/test_errors.py.
"""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import load_file, save_file

from experiments.commands import train_command
from experiments.kinds import OFF_THE_SHELF, RVERNET, Kind
from utils.errors import ConfigError, DataError, UserError

SMALL = ["--data.image_size", "32", "--data.workers", "0", "--train.device", "cpu", "--train.batch_size", "16"]
SHORT = ["--train.epochs", "1", "--eval.resamples", "100"]
MODEL = {
    OFF_THE_SHELF.name: ["--model.backbone.name", "test_resnet", "--model.backbone.pretrained", "false"],
    RVERNET.name: [
        *("--model.roi_backbone.name", "test_resnet", "--model.roi_backbone.pretrained", "false"),
        *("--model.extra_roi_backbone.name", "test_efficientnet", "--model.extra_roi_backbone.pretrained", "false"),
    ],
}


def train(root: Path, run: Path, *options: str, kind: Kind = OFF_THE_SHELF) -> None:
    """Do what a train script does; the last of two equal options counts."""
    where = ["--data.root", str(root), "--run.dir", str(run)]
    train_command(kind, [*where, *SMALL, *SHORT, *MODEL[kind.name], *options])


def refusal(
    root: Path, run: Path, *options: str, error: type[UserError] = DataError, kind: Kind = OFF_THE_SHELF
) -> str:
    """Return the one line with which a run is refused before it leaves anything."""
    with pytest.raises(error) as caught:
        train(root, run, *options, kind=kind)
    assert not run.exists()
    text = str(caught.value)
    assert len(text.splitlines()) == 1, text
    return text


@pytest.fixture
def tree(pair_tree: Path, tmp_path: Path) -> Path:
    """A tree of pairs to spoil."""
    return Path(shutil.copytree(pair_tree, tmp_path / "tree"))


@pytest.fixture(scope="module")
def finished(pair_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one epoch on three classes."""
    run = tmp_path_factory.mktemp("runs") / "finished"
    train(pair_tree, run)
    return run


@pytest.fixture
def unfinished(finished: Path, tmp_path: Path) -> Path:
    """A run that has its checkpoint, but no scores yet."""
    run = Path(shutil.copytree(finished, tmp_path / "unfinished"))
    (run / "metrics.json").unlink()
    return run


def photos(tree: Path, name: str = "tomato", view: str = "roi", split: str = "train") -> list[Path]:
    return sorted((tree / split / view / name).iterdir())


def no_folder(tree: Path) -> None:
    shutil.rmtree(tree)


def empty_folder(tree: Path) -> None:
    shutil.rmtree(tree)
    tree.mkdir()


def a_file_as_folder(tree: Path) -> None:
    shutil.rmtree(tree)
    tree.write_text("x")


def half_a_pair(tree: Path) -> None:
    photos(tree, split="test")[0].unlink()


def without_class_files(tree: Path) -> None:
    (tree / "classes.yaml").unlink()
    (tree / "manifest.csv").unlink()


def folders_that_differ_by_case(tree: Path) -> None:
    without_class_files(tree)
    for view in ("roi", "extra-roi"):
        (tree / "train" / view / "tomato").rename(tree / "train" / view / "Tomato")


def no_training_pair(tree: Path) -> None:
    (tree / "manifest.csv").unlink()
    for view in ("roi", "extra-roi"):
        shutil.rmtree(tree / "train" / view / "tomato")


def one_class(tree: Path) -> None:
    without_class_files(tree)
    for folder in [*tree.glob("*/*/spinach"), *tree.glob("*/*/blueberry")]:
        shutil.rmtree(folder)


def class_file_of_bytes(tree: Path) -> None:
    (tree / "classes.yaml").write_bytes(b"\xff\xfe")


MAKE_IT = r"set data\.root, or make it with: python preprocess_foodseg103\.py --src ARCHIVE --dst \S+$"
TREES: list[tuple[Callable[[Path], None], str]] = [
    (no_folder, rf"^the data folder \S+ does not exist; {MAKE_IT}"),
    (empty_folder, rf"^the data folder \S+ is empty; {MAKE_IT}"),
    (a_file_as_folder, r"^the data folder \S+ is a file; set data\.root to the folder that holds train/roi$"),
    (half_a_pair, r"test/extra-roi/tomato/photo_\d+\.png has no partner .*test/roi/tomato/.*; restore it, or remove"),
    (folders_that_differ_by_case, r"^class folders of \S+: classes 'Tomato' and 'tomato' differ only by .* rename one"),
    (no_training_pair, r"class 'tomato' has no training pair .*; add some, or leave it out with data\.exclude$"),
    (one_class, r"there is only one class, 'tomato'; a classifier needs at least two: .*, or shorten data\.exclude$"),
    (class_file_of_bytes, r"^the class file \S+classes\.yaml is not UTF-8 text \(at byte 0\); save it as UTF-8$"),
]


@pytest.mark.parametrize(("spoil", "message"), TREES, ids=lambda case: getattr(case, "__name__", ""))
def test_a_bad_tree_is_refused_before_anything_is_written(
    tree: Path, tmp_path: Path, spoil: Callable[[Path], None], message: str
) -> None:
    spoil(tree)
    text = refusal(tree, tmp_path / "run", kind=RVERNET)
    assert re.search(message, text), text


def test_excluding_every_class_says_which_option_did_it(pair_tree: Path, tmp_path: Path) -> None:
    text = refusal(pair_tree, tmp_path / "run", "--data.exclude", "tomato,spinach,blueberry")
    assert text == "data.exclude leaves none of the 3 classes; a classifier needs at least two"


def test_a_lost_class_is_not_listed_file_by_file(tree: Path, tmp_path: Path) -> None:
    manifest = tree / "manifest.csv"
    lines = manifest.read_text()
    no_training_pair(tree)
    manifest.write_text(lines)
    with pytest.raises(DataError) as caught:
        train(tree, tmp_path / "run")
    title, rows, class_ = str(caught.value).splitlines()
    count = len(re.findall(r"^train,tomato,", lines, re.MULTILINE))
    assert title == f"{tree / 'train'} cannot be used: 2 problems"
    assert f"manifest.csv has {count} rows of class 'tomato', but {tree}/train/roi/tomato and" in rows
    assert "leave it out with data.exclude" in class_


def test_hidden_files_and_folders_are_ignored_with_a_note(
    tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tree / "train" / "roi" / ".thumbnails").mkdir()
    (photos(tree)[0].parent / ".DS_Store").write_bytes(b"x")
    train(tree, tmp_path / "run", "--dry_run")
    out = capsys.readouterr().out
    assert f"note: {tree / 'train'}: 2 hidden files or folders ignored" in out
    assert "48 pairs of 24 groups in 3 classes" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--train.epoch", "3"], r"^unknown option '--train\.epoch'; did you mean '--train\.epochs'\?$"),
        (["--model.roi_backbone.nmae", "x"], r"^unknown option '--model\.roi_backbone\.nmae'; did you mean .*name'"),
        (["--train.batch_size", "many"], r"train\.batch_size.*expected int.*many$"),
        (["--train.epochs", "0"], r"^train\.epochs is 0; it must be at least 1$"),
        (["--train.head_lr", "0"], r"^train\.head_lr is 0\.0; it must be a finite number above 0, such as 1e-4$"),
        (["--train.backbone_lr", "nan"], r"train\.backbone_lr.*nan"),
        (
            ["--model.roi_backbone.name", "mobilnetv2_100"],
            r"^unknown backbone 'mobilnetv2_100'; did you mean 'mobilenet",
        ),
        (
            ["--model.roi_backbone.name", "xyzzy"],
            r"^unknown backbone 'xyzzy'\. Allowed is any of timm's \d+ model names",
        ),
    ],
)
def test_a_bad_option_is_refused_before_anything_is_written(
    pair_tree: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    text = refusal(pair_tree, tmp_path / "run", *options, error=ConfigError, kind=RVERNET)
    assert re.search(message, text), text


def test_a_misspelt_key_of_a_recipe_is_refused(pair_tree: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("train:\n  lable_smoothing: 0.1\n")
    text = refusal(pair_tree, tmp_path / "run", f"--config={recipe}", error=ConfigError)
    assert text == f"{recipe} has the unknown key 'train.lable_smoothing'; did you mean 'train.label_smoothing'?"


@pytest.mark.parametrize(("kind", "module"), [(OFF_THE_SHELF, "backbone"), (RVERNET, "extra_roi_backbone")])
def test_weights_that_cannot_be_downloaded(
    pair_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind, module: str
) -> None:
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", lambda *_: None)
    monkeypatch.setattr(huggingface_hub, "hf_hub_url", lambda *_: "http://127.0.0.1:9/refused")
    run = tmp_path / "run"
    text = refusal(pair_tree, run, f"--model.{module}.pretrained", "true", error=ConfigError, kind=kind)
    assert re.search(r"^the weights of 'test_\w+' could not be downloaded from timm/test_\w+\.r160_in1k \(", text)
    assert "fetch model.safetensors from https://huggingface.co/timm/test_" in text
    assert f"--model.{module}.weights PATH" in text
    assert text.endswith("or train from scratch with pretrained: false")


def test_a_backbone_is_taken_from_a_run_with_other_classes_without_its_head(
    finished: Path, pair_tree: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--data.exclude", "tomato", "--model.backbone.weights")
    text = refusal(pair_tree, tmp_path / "run", *options, str(finished / "model.safetensors"), error=ConfigError)
    assert re.search(r"none of its \d+ tensors fits; .*; give the run's folder instead of a file in it$", text)
    train(pair_tree, tmp_path / "run", *options, str(finished), "--dry_run")
    assert "in 2 classes" in capsys.readouterr().out


def test_an_imagenet_head_of_another_length_is_refused(pair_tree: Path, tmp_path: Path) -> None:
    file = tmp_path / "ten.pth"
    torch.save(timm.create_model("test_resnet", num_classes=10).state_dict(), file)
    options = ("--model.backbone.weights", str(file), "--model.backbone.features", "logits")
    text = refusal(pair_tree, tmp_path / "run", *options, error=ConfigError)
    assert "2 wrongly shaped: fc.weight 10×96 for 1000×96, fc.bias 10 for 1000; give weights of this model, or" in text


def test_a_run_is_not_continued_on_another_class_list(unfinished: Path, tree: Path) -> None:
    without_class_files(tree)
    for folder in list(tree.glob("*/*/blueberry")):
        shutil.copytree(folder, folder.with_name("radish"))
    message = (
        r"the data under \S+ changed since .*; restore them, or start a new run: the class list is now with radish"
    )
    with pytest.raises(ConfigError, match=message):
        train(tree, unfinished, "--run.resume", "auto")
    assert not (unfinished / "metrics.json").exists()


def test_weights_that_were_exchanged_in_a_checkpoint_are_refused(unfinished: Path, pair_tree: Path) -> None:
    path = unfinished / "checkpoint_last" / "model.safetensors"
    weights = load_file(path)
    save_file(weights | {"head.1.weight": torch.zeros(5, 96), "head.1.bias": torch.zeros(5)}, path)
    message = (
        r"no checkpoint of \S+ is whole \(checkpoint_last: model\.safetensors has [\d,]+ of [\d,]+ bytes\); restore"
    )
    with pytest.raises(DataError, match=message):
        train(pair_tree, unfinished, "--run.resume", "auto")
    assert not (unfinished / "metrics.json").exists()
