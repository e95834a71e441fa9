"""A run of a model with measures, made once per test session."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def measured_run(pair_tree: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one epoch whose model has the measures of ``measured_model.py``; do not change it."""
    from experiments.commands import train_command  # here, since not every test in this folder needs torch
    from experiments.kinds import OFF_THE_SHELF
    from Off_the_shelfs.model import OffTheShelf
    from tests.experiments.measured_model import OPTIONS, measures

    run: Path = tmp_path_factory.mktemp("measured") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OffTheShelf, "measures", measures)
        train_command(OFF_THE_SHELF, [*OPTIONS, "--data.root", str(pair_tree), "--run.dir", str(run)])
    return run
