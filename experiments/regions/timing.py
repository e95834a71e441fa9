"""What a model costs: parameters, operations, and time per pair beside the other models."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode
from tqdm import tqdm

from experiments.kinds import Config, Kind, Model
from experiments.setup import unique_modules
from utils.batch import image_memory_format
from utils.devices import make_accelerator
from utils.engine import Meter, Training, compute_logits, train_one_epoch
from utils.optimisers import make_optimizer
from utils.schedule import make_schedule
from utils.transfer import on_device
from utils.trial import random_batch


@dataclass(frozen=True)
class Cost:
    """What one model costs.

    Attributes:
        parameters: of the whole model.
        operations: floating-point operations of scoring one pair (a multiplication and an addition are two).
        evaluation_ms: milliseconds per pair of a scoring pass, median over rounds; null where times were left out.
        training_ms: milliseconds per pair of an optimiser step, median over rounds; null likewise.
        batch: pairs of each pass that was timed.
    """

    parameters: int
    operations: int
    evaluation_ms: float | None
    training_ms: float | None
    batch: int

    def cells(self) -> dict[str, Any]:
        """Return the fields by name."""
        return asdict(self)


def measure_costs(models: Mapping[str, tuple[Kind, Config]], n_classes: int, rounds: int) -> dict[str, Cost]:
    """Measure models in turns, round by round, so that what else the machine does falls on all of them alike.

    Pictures are random pixels that lie in memory and weights are random: reading files is not in the times.

    Args:
        models: kind and configuration by name.
        n_classes: of every model.
        rounds: of which medians are taken, after one that is not counted; 0 leaves times out.
    """
    built = {name: _Measured(kind, config, n_classes) for name, (kind, config) in models.items()}
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in built}
    if rounds:
        for number in tqdm(range(rounds + 1), desc="timing models", unit="round", leave=False, disable=None):
            for name, one in built.items():
                measured = one.time()
                if number:
                    times[name].append(measured)
    return {name: one.cost(times[name]) for name, one in built.items()}


class _Measured:
    """A model with random weights, ready to be timed."""

    def __init__(self, kind: Kind, config: Config, n_classes: int) -> None:
        torch.manual_seed(0)
        self.accelerator = make_accelerator(config.train)
        self.device = self.accelerator.device
        self.n_classes = n_classes
        self.model: Model = kind.build(config, n_classes, False)
        optimizer = make_optimizer(config.train, unique_modules(self.model.backbones.values()), self.model.head_parts)
        self.model.to(self.device).to(memory_format=image_memory_format(self.device))
        prepared, prepared_optimizer = self.accelerator.prepare(self.model, optimizer)
        schedule = make_schedule(config.train, 1, 1)
        self.training = Training(
            model=prepared,
            optimizer=prepared_optimizer,
            accelerator=self.accelerator,
            schedule=schedule,
            prepare=self.model.prepare,
            losses=self.model.losses,
            clip_norm=config.train.clip_norm,
            before_step=lambda step: self.model.set_progress(schedule.progress(step)),
        )
        self.pairs = config.train.micro_batch_limit or config.train.batch_size
        self.batch = random_batch(self.pairs, self.model.view_specs, n_classes, self.device)

    def time(self) -> tuple[float, float]:
        """Return the milliseconds per pair of one scoring pass and of one optimiser step."""
        return self._ms(self._score), self._ms(self._step)

    def cost(self, times: Sequence[tuple[float, float]]) -> Cost:
        evaluation, training = (median(column) for column in zip(*times, strict=True)) if times else (None, None)
        parameters = int(self.model.parameter_counts()["total"])
        return Cost(parameters, self._operations(), evaluation, training, self.pairs)

    def _score(self) -> None:
        self.model.eval()
        compute_logits(
            self.training.model, [self.batch], self.model.prepare, self.accelerator, self.pairs, self.n_classes
        )

    def _step(self) -> None:
        batches = on_device([self.batch], self.device)
        meter = Meter(self.device)
        train_one_epoch(self.training, batches, [[self.pairs]], 0, meter, lambda *_: None, lambda: False)

    def _ms(self, action: Callable[[], None]) -> float:
        self._synchronise()
        started = time.perf_counter()
        action()
        self._synchronise()
        return 1000 * (time.perf_counter() - started) / self.pairs

    def _synchronise(self) -> None:
        if self.device.type != "cpu":
            torch.accelerator.synchronize()

    def _operations(self) -> int:
        """Count the operations of one pair; those of ``few`` pairs are shared out, since a few do not depend on it."""
        few = min(4, self.pairs)
        batch = random_batch(few, self.model.view_specs, self.n_classes, self.device)
        self.model.eval()
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            self.model(self.model.prepare(batch))
        return int(counter.get_total_flops() // few)
