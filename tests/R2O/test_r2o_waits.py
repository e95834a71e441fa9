"""What a step waits for: other processes, and the device."""

from functools import partial

import pytest
import torch
from torch import Tensor, nn

from R2O.answer import R2OAnswer
from R2O.model import R2OModel
from tests.R2O.conftest import BuildModel, MakeInputs
from utils.batch import Batch
from utils.devices import make_accelerator
from utils.engine import Training
from utils.schedule import Schedule
from utils.sections import TrainConfig
from utils.trial import try_step


def losses_of(answer: R2OAnswer, *_rest: object) -> Tensor:
    return answer.losses


def prepared(inputs: dict[str, Tensor], _batch: Batch) -> dict[str, Tensor]:
    return inputs


def share_statistics(model: R2OModel) -> None:
    for head in (model.online.projector, model.predictor, model.target.projector):
        head.norm = nn.SyncBatchNorm(head.get_buffer("norm.running_mean").numel())


def test_a_step_that_is_tried_waits_for_no_other_process(
    build_model: BuildModel, make_inputs: MakeInputs, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, inputs, sums = build_model(), make_inputs(), list[Tensor]()
    share_statistics(model)
    model.target.requires_grad_(requires_grad=False)
    model.set_step(None, 0.9)
    accelerator = make_accelerator(TrainConfig(device="cpu", precision="fp32"))
    optimizer = torch.optim.SGD(model.online.parameters(), lr=0.1)
    training = Training(
        model, optimizer, accelerator, Schedule(10, 0, 0.0, 10, "step"), partial(prepared, inputs), losses_of
    )
    none = torch.zeros(2, dtype=torch.int64)
    monkeypatch.setattr("torch.distributed.is_initialized", lambda: True)
    monkeypatch.setattr("torch.distributed.all_reduce", sums.append)
    try_step(training, Batch(views={}, label=none, index=none, content_box={}, flip={}))
    assert sums == []
