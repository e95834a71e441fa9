"""What stops the grid: a run that fails, and mistakes on the command line."""

from pathlib import Path

import pytest

from experiments.paper import command
from experiments.paper.command import paper_command
from utils.errors import ConfigError, DataError, RunError


def arguments(grid: Path, root: Path, out: Path) -> list[str]:
    return ["--grid", str(grid), "--data.root", str(root), "--out", str(out)]


@pytest.mark.parametrize("error", [DataError, RunError])
def test_a_failing_run_stops_the_grid_and_is_named(
    small_grid: Path, pair_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def failing(*_: object) -> None:
        raise error("something is wrong")

    monkeypatch.setattr(command, "fit", failing)
    with pytest.raises(error, match=r"^run roi_small, seed 0: something is wrong$"):
        paper_command([*arguments(small_grid, pair_tree, tmp_path / "out"), "--probe", "false"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--tables", "2,33"], "--tables 33: there is no such table"),
        (["--tables", "figre6"], "did you mean 'figure6'"),
        (["--recipe", "tinny"], "has no such recipe; did you mean 'tiny'"),
        (["--seeds", "0,0"], "seeds is"),
        (["--resamples", "5"], "resamples is 5; it must be at least 100"),
        (["--dry_run", "--report_only"], "exclude each other"),
        (["--report_only"], "holds no runs"),
        (["--grid", "configs/grids/papper.yaml"], "does not exist; did you mean 'paper.yaml'"),
        (["--train.epoch", "3"], "did you mean '--train.epochs'"),
    ],
)
def test_mistakes_on_the_command_line(
    small_grid: Path, pair_tree: Path, tmp_path: Path, options: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        paper_command([*arguments(small_grid, pair_tree, tmp_path / "out"), *options])
    assert not (tmp_path / "out").exists()
