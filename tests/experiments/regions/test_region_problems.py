"""Mistakes of users: one line each, and nothing trained or left behind."""

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from experiments.regions.command import regions_command
from experiments.regions.grey_command import grey_command
from utils.errors import ConfigError, DataError, UserError


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--models", "roi", "pimm"], "--models pimm: there is no such model; did you mean 'pim'"),
        (["--models", "roi"], "models is .*; it must be two or more of"),
        (["--models", "roi", "roi"], "without repetition"),
        (["--question", "every", "--largest_epochs", "3"], "largest_epochs belongs to the question largest"),
        (["--seeds", "1,1"], "different numbers"),
        (["--resamples", "5"], "resamples is 5; it must be at least 100"),
        (["--data.root", "nowhere"], "nowhere"),
        (["--recipe.pim", "nowhere.yaml"], "nowhere.yaml"),
    ],
)
def test_mistakes_of_the_comparison(
    argv: list[str], message: str, pair_tree: Path, recipes: list[str], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        regions_command(["--data.root", str(pair_tree), *recipes, "--out", str(tmp_path / "out"), *argv])
    assert not (tmp_path / "out").exists()


def test_stored_pictures_that_are_too_small_for_the_parts_are_refused_at_once(
    pair_tree: Path, recipes: list[str], tmp_path: Path
) -> None:
    argv = ["--data.root", str(pair_tree), "--out", str(tmp_path / "out"), *recipes]
    argv += ["--models", "roi", "salience", "--budget.image_size", "32"]
    with pytest.raises(DataError, match=r"run salience on the photo, seed 0: .*too small for the model"):
        regions_command(argv)
    assert not (tmp_path / "out").exists()


def test_other_budgets_are_refused(pair_tree: Path, recipes: list[str], tmp_path: Path) -> None:
    own = recipes[recipes.index("--recipe.two_views") + 1]
    document = yaml.safe_load(Path(own).read_text())
    document["train"]["epochs"] = 7
    (tmp_path / "longer.yaml").write_text(yaml.safe_dump(document))
    argv = ["--data.root", str(pair_tree), "--out", str(tmp_path / "out"), *recipes]
    with pytest.raises(ConfigError, match=r"longer.yaml: train.epochs is 7 and was 1 for roi; all models need"):
        regions_command([*argv, "--recipe.two_views", str(tmp_path / "longer.yaml")])


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("eval", "recalibration_pairs"), 40, "eval.recalibration_pairs is 40 and was 0 for roi"),
        (("model", "extra_roi_backbone", "frozen"), True, "model.extra_roi_backbone.frozen is True and was False"),
        (("model", "roi_backbone", "features"), "logits", "model.roi_backbone.features is logits and was pooled"),
        (("model", "roi_backbone", "drop_path_rate"), 0.1, "model.roi_backbone.drop_path_rate is 0.1 and was 0.0"),
        (("data", "exclude"), ["rice"], "data.exclude is .'rice'. and was .. for roi"),
    ],
)
def test_models_that_would_be_scored_or_built_under_other_terms_are_refused(
    path: tuple[str, ...], value: object, message: str, pair_tree: Path, recipes: list[str], tmp_path: Path
) -> None:
    document = yaml.safe_load(Path(recipes[recipes.index("--recipe.two_views") + 1]).read_text())
    part = document
    for key in path[:-1]:
        part = part.setdefault(key, {})
    part[path[-1]] = value
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(document))
    argv = ["--data.root", str(pair_tree), "--out", str(tmp_path / "out"), *recipes]
    with pytest.raises(ConfigError, match=message):
        regions_command([*argv, "--recipe.two_views", str(tmp_path / "other.yaml")])


@pytest.mark.parametrize("command", [regions_command, grey_command])
def test_recipes_with_seeds_of_their_own_are_refused(
    command: Callable[[list[str]], None], pair_tree: Path, grey_recipes: list[str], tmp_path: Path
) -> None:
    document = yaml.safe_load(Path(grey_recipes[1]).read_text())
    document["train"]["seeds"] = [0, 1]
    (tmp_path / "seeds.yaml").write_text(yaml.safe_dump(document))
    argv = ["--data.root", str(pair_tree), "--out", str(tmp_path / "out"), *grey_recipes]
    with pytest.raises(ConfigError, match=r"sets train.seeds or "):
        command([*argv, "--recipe.one_view", str(tmp_path / "seeds.yaml")])


def test_a_folder_with_other_things_is_refused(pair_tree: Path, recipes: list[str], tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"holds what no comparison wrote \(notes.txt\)"):
        regions_command(["--data.root", str(pair_tree), *recipes, "--out", str(tmp_path)])


def test_a_dry_run_writes_nothing(
    pair_tree: Path, recipes: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["--data.root", str(pair_tree), *recipes, "--seeds", "0,1", "--models", "roi", "salience"]
    regions_command([*argv, "--out", str(tmp_path / "out"), "--dry_run"])
    said = capsys.readouterr().out
    assert "Every pair: 48 training and 20 test pairs\n  roi only: seeds 0, 1 to do\n" in said
    assert "The largest region of each photo: 24 training and 10 test pairs" in said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            ["--grey", "16,64"],
            r"run grey copy of 64 px, seed 0: model.salience.grey_side is 64, more than the 21 pixels",
        ),
        (["--grey", "2"], "leave nothing; use at least 7"),
        (["--grey", "16,16"], "different numbers of pixels"),
        (["--data.source", "folders", "--data.question", "largest"], "data.question largest needs regions"),
    ],
)
def test_mistakes_of_the_study(
    argv: list[str], message: str, pair_tree: Path, grey_recipes: list[str], tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message):
        grey_command(["--data.root", str(pair_tree), *grey_recipes, "--out", str(tmp_path / "out"), *argv])
    assert not (tmp_path / "out").exists()
