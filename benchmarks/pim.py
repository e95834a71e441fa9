"""The plug-in module after Chou, Lin and Kao 2022: its selector against loops, and what it adds to its backbone.

The selector is measured with the counts of CUB at 384 px, for both kinds of taps of Swin-L: it ranks the positions of
each level, and takes the features of the kept ones and the logits of kept and dropped ones. There are two loops beside
it. The first goes through pictures and, in each, position by position: one softmax, one largest value, one number to
Python; sort; then one row after the other is taken. The second goes through pictures alone and leaves a picture's
positions to torch, as the authors' code does. All three give the same numbers, which is checked before they are timed.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.common import Recorded, Result, Row, in_turn, publish
from experiments.kinds import OFF_THE_SHELF
from experiments.setup import unique_modules
from Off_the_shelfs.build import build_module
from Off_the_shelfs.config import BackboneConfig, OffTheShelfConfig
from Off_the_shelfs.pim.config import PimConfig
from Off_the_shelfs.pim.selector import rank_positions, take
from utils.batch import Batch, image_memory_format
from utils.config import parse_config
from utils.devices import make_accelerator
from utils.engine import Meter, Training, train_one_epoch
from utils.optimisers import make_optimizer
from utils.schedule import Schedule

PICTURES, CLASSES = 32, 200
COUNTS = (2048, 512, 128, 32)  # of CUB at 384 px
# Positions of the levels, and channels: the authors' own, and our default, which also spares 5 GB of memory.
CASES = {"merged": ((2304, 576, 144, 144), 1536), "stages": ((9216, 2304, 576, 144), 512)}
PAPER = Path(__file__).parents[1] / "Off_the_shelfs" / "train_cfgs" / "pim_paper.yaml"
TINY = PAPER.with_name("pim_tiny_cpu.yaml")
LOOPED = 2  # pictures of the loop over positions; its time is multiplied by PICTURES / LOOPED
TINY_CLASSES, TINY_STEPS = 10, 6  # the classes of the generated plates

Level = tuple[Tensor, Tensor, int]
Selected = list[tuple[Tensor, Tensor, Tensor]]


def random_levels(positions: tuple[int, ...], width: int) -> list[Level]:
    """Return for each level features B×S×F, logits B×S×K and how many positions it keeps."""
    generator = torch.Generator().manual_seed(0)
    return [
        (
            torch.randn(PICTURES, size, width, generator=generator),
            torch.randn(PICTURES, size, CLASSES, generator=generator),
            n,
        )
        for size, n in zip(positions, COUNTS, strict=True)
    ]


def select(levels: list[Level]) -> Selected:
    """Return features of kept positions and logits of kept and dropped ones, by the module's own functions."""
    found = []
    for features, logits, count in levels:
        order = rank_positions(logits)
        kept, dropped = order[:, :count], order[:, count:]
        found.append((take(features, kept), take(logits, kept), take(logits, dropped)))
    return found


def select_by_picture(levels: list[Level]) -> Selected:
    """Return the same by a loop over pictures, each of which is sorted and split by itself."""
    found = []
    for features, logits, count in levels:
        parts: tuple[list[Tensor], list[Tensor], list[Tensor]] = ([], [], [])
        for one_features, one_logits in zip(features, logits, strict=True):
            surest = one_logits.softmax(dim=-1).amax(dim=-1)
            order = surest.sort(descending=True, stable=True).indices
            parts[0].append(one_features[order[:count]])
            parts[1].append(one_logits[order[:count]])
            parts[2].append(one_logits[order[count:]])
        found.append((torch.stack(parts[0]), torch.stack(parts[1]), torch.stack(parts[2])))
    return found


def select_by_position(levels: list[Level]) -> Selected:
    """Return the same by a loop over pictures and, in each, over positions."""
    found = []
    for features, logits, count in levels:
        parts: tuple[list[Tensor], list[Tensor], list[Tensor]] = ([], [], [])
        for number in range(len(logits)):
            surest = [float(logits[number, place].softmax(dim=-1).amax()) for place in range(logits.shape[1])]
            order = sorted(range(len(surest)), key=lambda place: -surest[place])
            parts[0].append(torch.stack([features[number, place] for place in order[:count]]))
            parts[1].append(torch.stack([logits[number, place] for place in order[:count]]))
            rest = [logits[number, place] for place in order[count:]]
            parts[2].append(torch.stack(rest) if rest else logits[number, :0])
        found.append((torch.stack(parts[0]), torch.stack(parts[1]), torch.stack(parts[2])))
    return found


def check_equal(ours: Selected, theirs: Selected) -> None:
    """Refuse to time what gives other numbers."""
    same = [
        torch.equal(*pair) for one, other in zip(ours, theirs, strict=True) for pair in zip(one, other, strict=True)
    ]
    assert all(same), "the selector and the loop disagree"


def selector_rows(repeats: int = 3) -> list[Row]:
    """Time the selector against both loops for both kinds of taps, in one core's seconds."""
    rows: list[Row] = []
    for taps, (positions, width) in CASES.items():
        levels = random_levels(positions, width)
        few = [(features[:LOOPED], logits[:LOOPED], count) for features, logits, count in levels]
        check_equal(select(few), select_by_position(few))
        check_equal(select(levels), select_by_picture(levels))
        name = f"selector, {taps}: {'/'.join(map(str, positions))} positions of {width} channels"
        batched = partial(select, levels)
        ours, looped = in_turn(
            batched, partial(select_by_position, few), repeats, warm_up=False, clock=time.process_time
        )
        whole = [seconds * PICTURES / LOOPED for seconds in looped]
        title = f"loop over positions (extrapolated from {LOOPED} pictures)"
        rows.append(Result(name, "batched", title, ours, whole, target=20))
        times = in_turn(batched, partial(select_by_picture, levels), repeats, warm_up=False, clock=time.process_time)
        rows.append(Result(name, "batched", "loop over pictures", *times))
    return rows


def tiny_step(features: Literal["pim", "pooled"]) -> Callable[[], None]:
    """Return a call that takes some training steps with the tiny recipe's model, or with its backbone alone."""
    config = _read(TINY)
    if features == "pooled":
        backbone = replace(config.model.backbone, features="pooled", pim=PimConfig())
        config = replace(config, model=replace(config.model, backbone=backbone))
    view, side, pairs = config.data.view, config.data.image_size, config.train.batch_size
    assert side is not None
    torch.manual_seed(0)
    model = OFF_THE_SHELF.build(config, TINY_CLASSES, False)
    optimizer = make_optimizer(config.train, unique_modules(model.backbones.values()), model.head_parts)
    accelerator = make_accelerator(config.train)
    model.to(memory_format=image_memory_format(accelerator.device))
    prepared, prepared_optimizer = accelerator.prepare(model, optimizer)
    training = Training(
        prepared, prepared_optimizer, accelerator, Schedule(10**6, 0, 1.0, 6, "step"), model.prepare, model.losses
    )
    pixels = torch.randint(0, 256, (pairs, side, side, 3), dtype=torch.uint8)
    batch = Batch(
        views={view: pixels.permute(0, 3, 1, 2)},
        label=torch.randint(0, TINY_CLASSES, (pairs,)),
        index=torch.arange(pairs),
        content_box={view: torch.zeros(pairs, 4, dtype=torch.int16)},
        flip={view: torch.rand(pairs) < 0.5},
    )
    plan = [[pairs]] * TINY_STEPS

    def call() -> None:
        batches = iter([batch] * TINY_STEPS)
        train_one_epoch(
            training, batches, plan, 0, Meter(accelerator.device), lambda _steps, _means: None, lambda: False
        )

    return call


def step_row(repeats: int = 9) -> Result:
    """Time training steps of the tiny recipe against its backbone with a linear head, in one core's seconds."""
    times = in_turn(tiny_step("pim"), tiny_step("pooled"), repeats, clock=time.process_time)
    name = f"{TINY_STEPS} training steps of pim_tiny_cpu.yaml (target: at most 1.3 times its backbone's)"
    return Result(name, "with the plug-in", "backbone and linear head", *times, target=round(1 / 1.3, 3))


def flop_rows() -> list[Row]:
    """Count a forward pass of the paper's recipe on one picture, for both kinds of taps, on tensors without memory."""
    config = _read(PAPER)
    trunk = replace(config.model.backbone, features="pooled", pim=PimConfig(), pretrained=False)
    stages = replace(config.model.backbone.pim, taps="stages", upsample="interpolate", query_channels="one")
    cases = {
        "backbone alone": trunk,
        "with the plug-in, taps: merged (pim_paper.yaml)": replace(config.model.backbone, pretrained=False),
        "with the plug-in, taps: stages, the same counts": replace(config.model.backbone, pretrained=False, pim=stages),
    }
    rows: list[Row] = []
    alone = 0.0
    for title, backbone in cases.items():
        operations, parameters = cost(backbone, config.data.image_size)
        alone = alone or operations
        note = f"{operations / alone:.2f} times the backbone's; {parameters / 1e6:.1f} million parameters, head apart"
        rows.append(Recorded(f"Swin-L at 384 px, {title}", operations / 1e9, "GFLOP a picture", note=note))
    return rows


def cost(config: BackboneConfig, size: int | None) -> tuple[int, int]:
    """Return the operations of a forward pass of one picture, where products and sums both count, and parameters."""
    with torch.device("meta"):
        module = build_module(config, role="photo", image_size=size, n_classes=CLASSES, initialise=False).eval()
        picture = torch.empty(1, 3, module.image_size, module.image_size)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        module(picture)
    return counter.get_total_flops(), sum(weight.numel() for weight in module.parameters())


def _read(recipe: Path) -> OffTheShelfConfig:
    config, _ = parse_config(OffTheShelfConfig, ["--config", str(recipe)], program="benchmarks.pim", flags={})
    return config


def main() -> None:
    """Print all rows."""
    torch.set_num_threads(1)
    counts = "/".join(map(str, COUNTS))
    rows = [*flop_rows(), *selector_rows(), step_row()]
    notes = [
        f"selector: batch {PICTURES}, {CLASSES} classes, counts {counts}, float32",
        "seconds of one core's work, on a CPU",
    ]
    publish("pim", rows, reads="nothing: random numbers in memory", notes=notes)


if __name__ == "__main__":
    main()
