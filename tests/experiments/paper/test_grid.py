"""The shipped grids: every table has its runs, and every run a configuration that says what the paper says."""

from pathlib import Path

import pytest
import yaml

from experiments.kinds import OFF_THE_SHELF, RVERNET
from experiments.paper.evaluated import suite_path
from experiments.paper.grid import Grid, PlannedRun, load_grid
from experiments.paper.published import Published, load_published
from experiments.robustness.suite import load_suite
from RveRNets.config import RveRNetConfig
from utils.errors import ConfigError
from utils.run_directory import RunDirectory

ROOT = Path(__file__).parents[3]
GRIDS = ROOT / "configs/grids"


@pytest.fixture(scope="module")
def published() -> Published:
    return load_published(ROOT / "configs/paper_tables.yaml")


@pytest.fixture(scope="module")
def grid() -> Grid:
    return load_grid(GRIDS / "paper.yaml")


def planned(grid: Grid, published: Published, recipe: str | None = None) -> dict[str, PlannedRun]:
    runs = grid.plan(grid.recipe(recipe), published.runs_of(published.names))
    return {run.key: run for run in runs}


def test_the_whole_paper_takes_twenty_runs(grid: Grid, published: Published) -> None:
    runs = planned(grid, published)
    # Five ROI rows and three extra-ROI rows, eight pairs of modules, four twins without sauce (Tables 8 and 9).
    assert len(runs) == 5 + 3 + 8 + 4
    assert {run.kind for run in runs.values()} == {OFF_THE_SHELF, RVERNET}
    twins = {run.base for run in runs.values() if run.exclude == "sauce"}
    assert twins == {row.name for row in published.tables["9"].rows} == {row.name for row in published.tables["8"].rows}
    assert {run.base for run in runs.values()} == set(grid.runs)


def test_a_table_asks_for_its_own_runs_alone(grid: Grid, published: Published) -> None:
    runs = grid.plan(grid.recipe(None), published.runs_of(["7"]))
    assert sorted(run.key for run in runs) == sorted(row.name for row in published.tables["12"].rows)


RECIPES = ("recommended", "paper_as_written", "paper_as_run")


@pytest.mark.parametrize("recipe", RECIPES)
@pytest.mark.parametrize("key", ["extra_roi_mobilenetv2", "roi_vit-without-sauce", "vit_vit", "vit_mobilenetv2"])
def test_a_configuration_is_the_recipe_with_the_runs_backbones(
    grid: Grid, published: Published, recipe: str, key: str
) -> None:
    run = planned(grid, published, recipe)[key]
    config = run.config({})
    assert config.data.exclude == (["sauce"] if run.exclude else [])
    assert {role: getattr(config.model, role).name for role in run.backbones} == run.backbones
    if isinstance(config, RveRNetConfig):
        # The released code used one network for both roles wherever the two had the same name.
        assert config.model.tied == (recipe == "paper_as_run" and key == "vit_vit")
    else:
        assert run.base.startswith(f"{config.data.view}_")
    if recipe == "recommended":
        assert (config.train.layer_decay is None) == ("mobilenetv2" in key)


@pytest.mark.parametrize("recipe", RECIPES)
def test_files_of_every_run_are_there(grid: Grid, published: Published, recipe: str) -> None:
    for run in planned(grid, published, recipe).values():
        assert all(file.is_file() for file in run.files), run.key
        convolutional = any("mobilenet" in name for name in run.backbones.values())
        assert ("train.layer_decay" in run.options) == (convolutional and recipe == "recommended"), run.key


def test_figure_6s_runs_are_scored_after_every_epoch(grid: Grid, published: Published) -> None:
    shown = {run for _, run in published.figures["figure6"].curves}
    scored = {run.key for run in planned(grid, published).values() if run.options.get("eval.test_every_epoch")}
    assert scored == shown == {row.name for row in published.tables["4"].rows}


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_condition_that_a_table_shows_is_in_its_runs_suite(grid: Grid, published: Published, recipe: str) -> None:
    runs = planned(grid, published, recipe)
    suites = {name: load_suite(suite_path(name)).conditions for name in {run.suite for run in runs.values()}}
    for table in published.tables.values():
        for row in table.rows:
            for column in table.columns:
                for run in row.runs:
                    names = {condition.name for condition in suites[runs[run].suite]}
                    assert set(column.conditions) & names, (table.name, run, column.key)


def test_the_tiny_grid_puts_a_small_network_in_every_role(published: Published) -> None:
    runs = planned(load_grid(GRIDS / "tiny_cpu.yaml"), published)
    assert len(runs) == 20
    for run in runs.values():
        assert all(run.options[f"model.{role}.name"].startswith("test_") for role in run.backbones), run.key
    config = runs["mobilenetv2_vit"].config({})
    assert isinstance(config, RveRNetConfig)
    assert config.model.roi_backbone.name == "test_efficientnet.r160_in1k"
    assert config.model.extra_roi_backbone.name == "test_vit.r160_in1k"
    assert not config.model.roi_backbone.pretrained
    assert (config.train.device, config.train.epochs) == ("cpu", 2)
    # Different backbones stay different, so that the rows can be told apart.
    stand_ins = load_grid(GRIDS / "tiny_cpu.yaml").stand_ins
    assert len(set(stand_ins.values())) == len(stand_ins) == 5


def test_the_command_line_comes_last(grid: Grid, published: Published) -> None:
    run = planned(grid, published)["roi_vit-without-sauce"]
    config = run.config({"data.root": "elsewhere", "train.epochs": 3, "run.dir": "out", "data.exclude": ["Sauce"]})
    assert (config.data.root, config.train.epochs, config.data.exclude) == ("elsewhere", 3, ["Sauce"])
    assert not RunDirectory(Path(config.run.dir or "")).finished


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"runs": {"roi_vit": {"kind": "RveRNt"}}}, "run 'roi_vit' needs kind: off-the-shelf or RveRNet"),
        ({"runs": {"roi_vit": {"kind": "RveRNet", "every_epch": True}}}, "did you mean 'every_epoch'"),
        ({"recipe": {}}, "unknown key 'recipe'; did you mean 'recipes'"),
        ({"runs": {}}, "has no runs"),
        ({"recipes": {"mine": {"RveRNet": {"config": "a.yaml"}}}}, "the recipe 'mine' needs 'config' and 'suite'"),
        ({"layers": {"RveRNet": "x"}}, "layers has no entry for off-the-shelf"),
        ({"extends": "grid.yaml"}, "extends itself"),
    ],
)
def test_mistakes_in_a_grid(tmp_path: Path, change: dict[str, object], message: str) -> None:
    document = {"extends": str(GRIDS / "paper.yaml"), **change}
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        load_grid(tmp_path / "grid.yaml")


def test_a_table_that_shows_an_unknown_run(tmp_path: Path) -> None:
    runs = {"roi_vitt": {"kind": "off-the-shelf"}}
    document = {"extends": str(GRIDS / "paper.yaml"), "runs": runs}
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(document), encoding="utf-8")
    grid = load_grid(tmp_path / "grid.yaml")
    with pytest.raises(ConfigError, match="describes no run 'roi_vit'; did you mean 'roi_vitt'"):
        grid.plan(grid.recipe(None), [("roi_vit", None)])


def test_a_table_that_shows_an_unknown_twin(grid: Grid) -> None:
    with pytest.raises(ConfigError, match=r"run 'roi_mixer' has no twin without 'sauce'.*add without: \[sauce\]"):
        grid.plan(grid.recipe(None), [("roi_mixer", "sauce")])
