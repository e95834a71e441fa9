"""What two processes do in ``test_pretraining_processes.py``: python two_pretrainings.py PHOTOS FOLDER

They pre-train together; in the second step of the first epoch one of them finds no region in both views. What each saw
and ended with is in ``FOLDER/<rank>.pt``.
"""

import os
import sys
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from experiments.pretraining import task
from experiments.pretraining.command import pretrain_command
from R2O import loss
from R2O import model as r2o_model
from R2O.model import R2OModel
from tests.experiments.pretraining.options import options_without
from tests.experiments.start_processes import start_processes, wait_for
from utils.batch import Batch
from utils.errors import run_script


def pretrain(photos: Path, folder: Path) -> None:
    """Pre-train in this process and keep what it saw."""
    rank = int(os.environ["RANK"])
    seen: dict[str, Any] = {"index": [], "record": [], "start": None, "empty_losses": []}
    prepare, present, forward = R2OModel.prepare, loss.present_in_both, R2OModel.forward

    def prepared(self: R2OModel, batch: Batch) -> dict[str, Tensor]:
        seen["index"].append(batch.index.tolist())
        seen["record"].append(batch.extras["record"].clone())
        if seen["start"] is None:
            seen["start"] = {name: tensor.clone() for name, tensor in self.online.named_parameters()}
        return prepare(self, batch)

    def absent_once(*areas: Tensor) -> Tensor:
        found: Tensor = present(*areas)
        return torch.zeros_like(found) if rank == 1 and len(seen["index"]) == 2 else found

    def noted(self: R2OModel, inputs: dict[str, Tensor]) -> Any:  # noqa: ANN401  # the answer, passed on
        answer = forward(self, inputs)
        if answer.tallies["valid_regions"] == 0:
            seen["empty_losses"].append(answer.losses.tolist())
        return answer

    def finish(_self: object, _run: object, _config: object, setup: Any, *_: object) -> dict[str, Any]:  # noqa: ANN401
        seen["end"] = {name: value.clone() for name, value in setup.model.named_parameters()}
        return {}

    with (
        patch.object(R2OModel, "prepare", prepared),
        patch.object(R2OModel, "forward", noted),
        patch.object(r2o_model, "present_in_both", absent_once),
        patch.object(task.Pretrain, "finish", finish),
    ):
        pretrain_command(options_without(photos, folder / "run", "--train.picture_every", "0"))
    torch.save(seen, folder / f"{rank}.pt")


def main(photos: Path, folder: Path) -> None:
    """Start both processes and wait for them."""
    pids = start_processes(2, partial(run_script, lambda _: pretrain(photos, folder)), folder / "logs")
    assert [status for _, status in wait_for(pids)] == [0, 0]


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
