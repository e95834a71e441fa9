"""What the grid will cost, before it starts: parameters, time, disk."""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import torch
from tqdm import tqdm

from experiments.kinds import Model
from experiments.paper.evaluated import suite_path
from experiments.paper.jobs import Job
from experiments.report import text_table
from experiments.robustness.plan import applicable, make_plan
from experiments.robustness.suite import load_suite
from experiments.setup import unique_modules
from experiments.statistics import minimum_detectable_difference
from Off_the_shelfs.config import OffTheShelfConfig
from utils.batch import Batch, image_memory_format
from utils.devices import make_accelerator
from utils.engine import Meter, Training, compute_logits, train_one_epoch
from utils.optimisers import make_optimizer
from utils.schedule import make_schedule
from utils.transfer import on_device

_SLOW = 2.0  # seconds; a first step as long as this is not repeated to leave out one-off costs
_QUICK = 0.3  # seconds; a step of one pair as short as this is mostly overhead
# Weights of the run, weights of its last checkpoint, two Adam moments; 4 bytes each.
_BYTES_PER_PARAMETER = 16
_BYTES_PER_AVERAGE = 4


@dataclass(frozen=True)
class Speed:
    """Measured seconds: ``pair`` forwards and back, ``step`` of the optimiser, ``forward`` of a pair for scoring."""

    pair: float
    step: float
    forward: float


@dataclass(frozen=True)
class JobCost:
    """What is left of one job; ``seconds`` is None where it was not estimated."""

    job: Job
    parameters: int
    seconds: float | None
    disk: int


def cost_of(jobs: Sequence[Job], *, probe: bool) -> list[JobCost]:
    """Return what each job still costs; one short measurement per distinct network where ``probe`` is set."""
    networks = {job: repr((job.run.kind.name, asdict(job.config.model), job.config.data.image_size)) for job in jobs}
    parameters: dict[str, int] = {}
    speeds: dict[str, Speed] = {}
    # A network of which nothing is left to do need not be measured.
    to_measure = {networks[job]: job for job in jobs if job.work_left} if probe else {}
    for network, job in tqdm(to_measure.items(), desc="timing networks", leave=False, disable=None):
        speeds[network] = measure(job)
    costs = []
    for job, network in networks.items():
        if network not in parameters:
            parameters[network] = count_parameters(job)
        known = not job.work_left or network in speeds
        seconds = estimate(job, speeds.get(network)) if known else None
        costs.append(JobCost(job, parameters[network], seconds, _disk(job, parameters[network])))
    return costs


def cost_lines(costs: Sequence[JobCost], device: str) -> list[str]:
    """Return what the command prints: a line per run, and the sums."""
    rows = [
        {
            "run": cost.job.name,
            "parameters": f"{cost.parameters / 1e6:.2f} M",
            "epochs left": cost.job.epochs_left,
            "about": duration(cost.seconds),
            "disk": size(cost.disk),
            "state": cost.job.state,
        }
        for cost in costs
    ]
    left = [cost for cost in costs if not cost.job.directory.finished]
    epochs = sum(cost.job.epochs_left for cost in costs)
    known = [cost.seconds for cost in costs if cost.seconds is not None]
    lines = [
        text_table(rows),
        f"{len(costs)} runs, {len(left)} to train: {epochs} epochs, {size(sum(c.disk for c in left))} on disk",
    ]
    if len(known) == len(costs):
        lines.append(
            f"time about {duration(sum(known))} on {device}: an estimate from a few steps of each network on random "
            f"pixels; "
            f"reading photos and drawing pictures come on top"
        )
    else:
        lines.append(f"time on {device} not measured (--probe true)")
    splits = costs[0].job.splits
    smallest = minimum_detectable_difference(splits.test.group)
    pairs = f"{len(splits.train):,} training and {len(splits.test):,} test pairs of {len(splits.test.classes)} classes"
    if smallest is not None:
        pairs += f"; two runs must differ by about {100 * smallest:.1f} points of top-1 to be told apart (80 % power)"
    return [*lines, pairs]


def count_parameters(job: Job) -> int:
    """Count the parameters of a job's network without allocating them."""
    with torch.device("meta"):
        model = job.run.kind.build(job.config, len(job.splits.train.classes), False)
    return model.parameter_counts()["total"]


def measure(job: Job) -> Speed:
    """Time optimiser steps and a scoring pass on random pixels, with random weights, on the job's device.

    On a CPU one pair is timed, and a whole batch where that pair was quick.
    """
    config = job.config
    accelerator = make_accelerator(config.train)
    device = accelerator.device
    model = job.run.kind.build(config, len(job.splits.train.classes), False)
    optimizer = make_optimizer(config.train, unique_modules(model.backbones.values()), model.head_parts)
    model.to(device)
    model.to(memory_format=image_memory_format(device))
    prepared, prepared_optimizer = accelerator.prepare(model, optimizer)
    training = Training(
        model=prepared,
        optimizer=prepared_optimizer,
        accelerator=accelerator,
        schedule=make_schedule(config.train, 1, 1),
        prepare=model.prepare,
        losses=model.losses,
        clip_norm=config.train.clip_norm,
    )

    def step(pairs: int) -> None:
        batches = on_device([_random_batch(model, pairs)], device)
        train_one_epoch(training, batches, [[pairs]], 0, Meter(device), lambda *_: None, lambda: False)

    def score(pairs: int) -> None:
        batches = [_random_batch(model, pairs)]
        compute_logits(prepared, batches, model.prepare, accelerator, pairs, len(job.splits.train.classes))

    def timed(pairs: int) -> Speed:
        whole = _seconds(lambda: step(pairs), device)
        optimiser = _seconds(prepared_optimizer.step, device)
        forward = _seconds(lambda: score(pairs), device)
        return Speed(max(0.0, whole - optimiser) / pairs, optimiser, forward / pairs)

    if device.type == "cpu":
        # Below 64 px the last feature map can be one pixel, of which BatchNorm needs two.
        few = 1 if min(spec.size for spec in model.view_specs.values()) >= 64 else 2
        speed = timed(few)
        if few * speed.pair + speed.step >= _QUICK:
            return speed
    return timed(config.train.micro_batch_limit or config.train.batch_size)


def estimate(job: Job, speed: Speed | None) -> float:
    """Return the seconds that what is left of a job will take; no speed is needed where nothing is."""
    if speed is None or not job.work_left:
        return 0.0
    config, epochs = job.config, job.epochs_left
    pairs, test = len(job.splits.train), len(job.splits.test)
    steps = -(-pairs // config.train.batch_size)
    scorings = suite_passes(job) if job.evaluation_left else 0.0
    if not job.directory.finished:
        scorings += 1 + (epochs if config.eval.test_every_epoch else 0)
    return epochs * (pairs * speed.pair + steps * speed.step) + test * speed.forward * scorings


def suite_passes(job: Job) -> float:
    """Return how many scoring passes of the whole network a job's suite costs, each module input computed once."""
    if job.suite is None:
        return 0.0
    suite = load_suite(suite_path(job.suite))
    views = [job.config.data.view] if isinstance(job.config, OffTheShelfConfig) else ["roi", "extra_roi"]
    conditions, _ = applicable(suite, views)
    return make_plan(conditions, views, suite.seeds).distinct_passes / len(views)


def duration(seconds: float | None) -> str:
    """Return seconds as people say them."""
    if seconds is None:
        return "not measured"
    for unit, length in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"


def size(count: float) -> str:
    """Return bytes as MB or GB."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _disk(job: Job, parameters: int) -> int:
    average = _BYTES_PER_AVERAGE if job.config.train.ema_decay is not None else 0
    return parameters * (_BYTES_PER_PARAMETER + average)


def _random_batch(model: Model, pairs: int) -> Batch:
    generator = torch.Generator().manual_seed(0)
    sides = {name: spec.size for name, spec in model.view_specs.items()}
    return Batch(
        views={
            name: torch.randint(0, 256, (pairs, 3, side, side), dtype=torch.uint8, generator=generator)
            for name, side in sides.items()
        },
        label=torch.zeros(pairs, dtype=torch.int64),
        index=torch.arange(pairs),
        content_box={
            name: torch.tensor([[0, 0, side, side]] * pairs, dtype=torch.int16) for name, side in sides.items()
        },
        flip={name: torch.zeros(pairs, dtype=torch.bool) for name in sides},
    )


def _seconds(action: Callable[[], object], device: torch.device) -> float:
    """Return how long an action takes; a quick one is repeated, its first time left out."""
    first = _once(action, device)
    return first if first > _SLOW else min(_once(action, device) for _ in range(2))


def _once(action: Callable[[], object], device: torch.device) -> float:
    started = time.perf_counter()
    action()
    if device.type != "cpu":
        torch.accelerator.synchronize()
    return time.perf_counter() - started
