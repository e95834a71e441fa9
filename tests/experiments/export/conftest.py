"""Exported folders of small runs, made once."""

from pathlib import Path

import pytest

from experiments.export.command import export_command


@pytest.fixture(scope="session")
def exported_pair(tiny_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A RveRNet, and its modules as models of timm; do not change it."""
    folder = tmp_path_factory.mktemp("exported") / "pair"
    export_command(["--run", str(tiny_runs / "both" / "seed0"), "--out", str(folder), "--hub", "timm"])
    return folder


@pytest.fixture(scope="session")
def exported_one(tiny_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of one view in timm's own format; do not change it."""
    folder = tmp_path_factory.mktemp("exported") / "one"
    export_command(["--run", str(tiny_runs / "roi"), "--out", str(folder), "--hub", "timm"])
    return folder


@pytest.fixture(scope="session")
def plain(tiny_runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A RveRNet and nothing beside it; do not change it."""
    folder = tmp_path_factory.mktemp("exported") / "plain"
    export_command(["--run", str(tiny_runs / "both" / "seed0"), "--out", str(folder)])
    return folder
