"""What a run would do, before it does it."""

from pathlib import Path

import numpy as np

from datasets.index import PairIndex
from experiments.diagnosis import diagnose
from experiments.figures import save_batch_mosaic
from experiments.kinds import Config, Kind
from experiments.loading import load_splits
from experiments.settle import start
from experiments.setup import Setup, build_setup
from experiments.statistics import minimum_detectable_difference
from utils.batch import prepare_views
from utils.errors import ConfigError
from utils.processes import refuse_several
from utils.schedule import make_schedule
from utils.sections import TrainConfig

BYTES_PER_MIB = 2**20


def dry_run(kind: Kind, config: Config) -> None:
    """Print parameters, learning rates, class counts and memory, and draw the first training batch.

    The mosaic goes to ``<run.dir>-dry_run.png``, or ``dry_run.png`` where no run directory is named. Nothing else
    is written and no optimiser step is taken.
    """
    refuse_several("--dry_run")
    picture = Path(f"{config.run.dir}-dry_run.png" if config.run.dir else "dry_run.png")
    accelerator, config = start(config)
    splits = load_splits(config.data, config.train.seed)
    print("\n".join(diagnose(splits, config).lines))
    setup = build_setup(kind, config, splits, accelerator, initialise=True)
    config = setup.config
    for note in setup.notes:
        print(f"note: {note}")
    print("\n".join([f"device      {config.train.device}, {config.train.precision}", *_model_lines(setup)]))
    print("\n".join([*_rate_lines(setup, config.train), *_data_lines(setup), *_memory_lines(setup, config)]))
    batch = next(iter(setup.train_loader)).to(accelerator.device)
    views = prepare_views(batch, setup.model.view_specs)
    names = [splits.train.classes.names[label] for label in batch.label.tolist()]
    try:
        picture.parent.mkdir(parents=True, exist_ok=True)
        save_batch_mosaic(views, setup.model.view_specs, names, picture)
    except OSError as error:
        raise ConfigError(f"cannot write {picture}: {error.strerror}; choose another --run.dir") from None
    print(f"first batch as the model sees it: {picture}")


def _model_lines(setup: Setup) -> list[str]:
    counts = setup.model.parameter_counts()
    tied = getattr(setup.model, "tied", False)
    lines = [f"{name:<16}{count / 1e6:10.3f} M parameters" for name, count in counts.items()]
    sizes = ", ".join(f"{name} {spec.size}×{spec.size}" for name, spec in setup.model.view_specs.items())
    roles = "tied: one backbone serves both roles" if tied else "not tied"
    return [*lines, f"modules     {roles}", f"input       {sizes} pixels"]


def _rate_lines(setup: Setup, train: TrainConfig) -> list[str]:
    schedule = make_schedule(train, len(setup.splits.train), setup.sampler.steps_per_epoch)
    last, peak = schedule.steps_per_epoch * train.epochs - 1, schedule.peak_step()
    lines = [f"steps       {schedule.steps_per_epoch} per epoch, {last + 1} in all, warm-up {schedule.warmup_steps}"]
    for name, step in (("first", 0), ("peak", peak), ("last", last)):
        factor = schedule.factor(step)
        lines.append(
            f"LR {name:<9}backbone {factor * train.backbone_lr:.4e}, head {factor * train.head_lr:.4e} "
            f"at step {step + 1} (epoch {step // schedule.steps_per_epoch + 1})"
        )
    return lines


def _data_lines(setup: Setup) -> list[str]:
    parts: list[tuple[str, PairIndex | None]] = [
        ("train", setup.splits.train),
        ("validation", setup.splits.validation),
        ("test", setup.splits.test),
    ]
    lines = []
    for name, index in parts:
        if index is None:
            continue
        counts = index.class_counts()
        least, most = int(np.argmin(counts)), int(np.argmax(counts))
        lines.append(
            f"{name:<12}{len(index)} pairs of {len(index.group_names)} groups in {len(counts)} classes; "
            f"least {index.classes.names[least]} {counts[least]}, most {index.classes.names[most]} {counts[most]}"
        )
    test = setup.splits.test
    smallest = minimum_detectable_difference(test.group)
    if smallest is not None:
        lines.append(f"test noise  two runs must differ by about {smallest:.3f} in top-1 to be told apart (80 % power)")
    return lines


def _memory_lines(setup: Setup, config: Config) -> list[str]:
    parameters = list(setup.model.parameters())
    weights = sum(p.numel() * p.element_size() for p in parameters)
    trained = sum(p.numel() * p.element_size() for p in parameters if p.requires_grad)
    pairs = config.train.micro_batch_limit or config.train.batch_size
    inputs = sum(3 * spec.size**2 * 4 * pairs for spec in setup.model.view_specs.values())
    return [
        f"memory      weights {weights / BYTES_PER_MIB:.0f} MiB, gradients and two Adam moments "
        f"{3 * trained / BYTES_PER_MIB:.0f} MiB, inputs of {pairs} pairs {inputs / BYTES_PER_MIB:.0f} MiB; "
        f"activations come on top"
    ]
