"""Mistakes of users: one line each, and nothing trained or left behind."""

import shutil
from pathlib import Path

import pytest
import yaml
from PIL import Image

from experiments.pretraining.study.command import study_command
from utils.errors import ConfigError, DataError, UserError


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--fractions", "0.5,0.1"], r"fractions is \[0.5, 0.1\]; it must be ascending parts above 0"),
        (["--fractions", "0,1"], "fractions is"),
        (["--fractions", "0.5,1.5"], "fractions is"),
        (["--seeds", "1,1"], "different numbers"),
        (["--finetune.steps", "0"], "finetune.steps is 0; it must be null or at least 1"),
        (["--equal_compute", "true", "--equal_compute_fractions", "0.3"], "equal_compute_fractions is"),
        (["--frozen.views", "roi,roi"], "without repetition"),
        (["--frozen.neighbours", "0"], "frozen.neighbours is 0"),
        (["--data.root", "nowhere"], "nowhere"),
        (["--photos.root", "nowhere"], "nowhere"),
        (["--pretrain.recipe", "nowhere.yaml"], "nowhere.yaml"),
        (["--pretrain.batch_size", "25"], "there are 24 photos, fewer than one batch"),
        (["--pretrain.image_size", "32"], "raise data.image_size"),
        (["--finetune.batch_size", "47"], "leave one alone in a batch of 47; choose another --finetune.batch_size"),
        (["--backbone", "test_efficientnett"], "did you mean"),
    ],
)
def test_mistakes(
    argv: list[str], message: str, study_data: list[str], study_recipes: list[str], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with pytest.raises(UserError, match=message):
        study_command([*study_data, *study_recipes, "--out", str(out), *argv])
    assert not out.exists()


def test_photos_of_the_test_split_are_refused_by_their_content(
    study_data: list[str], study_recipes: list[str], tmp_path: Path
) -> None:
    train = Path(study_data[-1])
    photos = tmp_path / "photos"
    shutil.copytree(train, photos / "mine")  # test photos have the same names and other content
    shutil.copy(train.parent / "test" / "photo_003.png", photos / "photo_003.png")
    argv = [*study_data[:-1], str(photos), *study_recipes, "--out", str(tmp_path / "out")]
    with pytest.raises(DataError, match=r"1 of the 25 photos under .* of the test split of .*: photo_003.png; "):
        study_command(argv)


def test_without_a_manifest_names_decide(study_data: list[str], study_recipes: list[str], tmp_path: Path) -> None:
    shutil.copytree(study_data[1], tmp_path / "pairs")
    (tmp_path / "pairs" / "manifest.csv").unlink()
    argv = ["--data.root", str(tmp_path / "pairs"), *study_data[2:], *study_recipes, "--out", str(tmp_path / "out")]
    with pytest.raises(DataError, match=r"10 of the 24 photos .*\(told by their names, since the pairs have no man"):
        study_command(argv)


def test_pairs_of_one_class_are_refused(study_data: list[str], study_recipes: list[str], tmp_path: Path) -> None:
    for split in ("train", "test"):
        for view in ("roi", "extra-roi"):
            folder = tmp_path / "pairs" / split / view / "rice"
            folder.mkdir(parents=True)
            Image.new("RGB", (32, 32)).save(folder / f"{split}.png")
    argv = ["--data.root", str(tmp_path / "pairs"), *study_data[2:], *study_recipes, "--out", str(tmp_path / "out")]
    with pytest.raises(DataError, match="class"):
        study_command(argv)


def test_a_folder_with_other_things_is_left_alone(
    study_data: list[str], study_recipes: list[str], tmp_path: Path
) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"is not empty and holds what no study wrote \(thesis.txt\)"):
        study_command([*study_data, *study_recipes, "--out", str(tmp_path)])
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    ("option", "path", "value", "message"),
    [
        ("--finetune.recipe", ("model", "roi_backbone", "name"), "test_resnet", "the weights have to fit"),
        (
            "--finetune.recipe",
            ("model", "extra_roi_backbone", "frozen"),
            True,
            "extra_roi_backbone of .* is frozen",
        ),
        ("--finetune.recipe", ("data", "validation_fraction"), 0.2, "data.validation_fraction, which has no place"),
        ("--pretrain.recipe", ("model", "weights"), "some.pth", "starts from given weights"),
    ],
)
def test_recipes_that_do_not_fit_are_refused(
    option: str,
    path: tuple[str, ...],
    value: object,
    message: str,
    study_data: list[str],
    study_recipes: list[str],
    tmp_path: Path,
) -> None:
    document = yaml.safe_load(Path(study_recipes[study_recipes.index(option) + 1]).read_text())
    part = document
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(document))
    argv = [*study_data, *study_recipes, option, str(tmp_path / "other.yaml"), "--out", str(tmp_path / "out")]
    with pytest.raises(ConfigError, match=message):
        study_command(argv)
