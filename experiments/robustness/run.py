"""A suite of conditions over a finished run, each distinct module input computed once.

The two modules meet in the head alone, so f(roi) is the same in every condition that changes only extra_roi. Per batch,
the features of every distinct input are computed, then every condition costs one pass of the head. Several processes
share the pairs; each pair is computed once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from datasets.index import PairIndex
from datasets.loaders import PairLoader
from datasets.pairs import PairDataset
from datasets.transforms import BARS
from experiments.kinds import Model
from experiments.loading import in_order
from experiments.robustness.plan import Plan, Source, applicable, check_patches, make_plan, pixels_used
from experiments.robustness.registry import PERTURBATIONS, Letterbox, Pictures, in_pixels
from experiments.robustness.released import GREY, ReleasedPairs
from experiments.robustness.suite import Condition, Suite
from experiments.runs import RunRecord
from utils.batch import Batch, ViewSpec, normalise
from utils.data_sections import DataConfig
from utils.sections import evaluation_batch_size


@dataclass(frozen=True)
class SuiteOutcome:
    """What a suite gave for one run.

    Attributes:
        conditions: those that apply to the run, the identity first, views by their own names.
        logits: by condition, float32 S×N×C in the order of the index and of its classes; S is 1 where nothing is
            random, else the number of the suite's seeds.
        pixels: by condition, the lengths used, in pixels of the run's pictures.
        content_kept: by condition and perturbed view, mean part 0..1 of the content that is still in the view.
        not_applicable: by condition, why it was not computed.
        distinct_passes: module inputs computed per pair, summed over views and seeds.
        naive_passes: those that a loop of forwards over conditions and seeds would compute.
        notes: what the user should know, one line each.
    """

    conditions: tuple[Condition, ...]
    logits: dict[str, NDArray[np.float32]]
    pixels: dict[str, dict[str, float]]
    content_kept: dict[str, dict[str, float]]
    not_applicable: dict[str, str]
    distinct_passes: int
    naive_passes: int
    notes: tuple[str, ...] = ()


def run_suite(
    record: RunRecord,
    model: Model,
    index: PairIndex,
    suite: Suite,
    accelerator: Accelerator,
    *,
    batch_size: int | None = None,
    workers: int | Literal["auto"] | None = None,
) -> SuiteOutcome:
    """Compute the logits of every condition of a suite for every pair of an index.

    Args:
        record: the run; bars, batch size and loader processes are those of its configuration.
        model: the run's model, on the accelerator's device.
        index: the pairs (``experiments.runs.load_index``).
        suite: the conditions.
        accelerator: device, precision and processes; every process gets the whole outcome.
        batch_size: pairs per pass; None takes the run's.
        workers: loader processes; None takes the run's.

    Raises:
        ConfigError: no condition applies, or a patch is larger than the pictures.
        DataError: a picture cannot be read.
    """
    sides = {view: spec.size for view, spec in model.view_specs.items()}
    conditions, not_applicable = applicable(suite, list(model.backbones))
    notes = check_patches(conditions, index, sides, suite.letterbox)
    plan = make_plan(conditions, list(model.backbones), suite.seeds)
    loader = suite_loader(record, model, index, suite.letterbox, accelerator, batch_size=batch_size, workers=workers)
    fill = bar_level(record.config.data, suite.letterbox)
    logits, kept = _compute(model, loader, index, plan, accelerator, suite, fill, len(record.classes))
    columns = record.columns(index)
    return SuiteOutcome(
        conditions=conditions,
        logits={name: scores[:, :, columns].cpu().numpy() for name, scores in logits.items()},
        pixels={condition.name: pixels_used(condition, sides) for condition in conditions},
        content_kept={condition.name: _mean_kept(condition, plan, kept, len(index)) for condition in conditions},
        not_applicable=not_applicable,
        distinct_passes=plan.distinct_passes,
        naive_passes=plan.naive_passes,
        notes=tuple(notes),
    )


def suite_loader(
    record: RunRecord,
    model: Model,
    index: PairIndex,
    letterbox: Letterbox,
    accelerator: Accelerator,
    *,
    batch_size: int | None = None,
    workers: int | Literal["auto"] | None = None,
) -> PairLoader:
    """Return this process's share of the pairs, not augmented, in the run's own letterbox or the released one."""
    config = record.config
    data = config.data if workers is None else replace(config.data, workers=workers)
    dataset = pairs_for(index, model.view_specs, data, letterbox)
    return in_order(dataset, data, batch_size or evaluation_batch_size(config.train, config.eval), accelerator)


def pairs_for(index: PairIndex, specs: Mapping[str, ViewSpec], data: DataConfig, letterbox: Letterbox) -> PairDataset:
    """Return pairs without augmentation, in the letterbox of the configuration or the released one."""
    dataset = ReleasedPairs if letterbox == "released" else PairDataset
    return dataset(index, specs, data, training=False, seed=0)


def bar_level(data: DataConfig, letterbox: Letterbox) -> int:
    """Return the grey value 0..255 of the letterbox bars."""
    return GREY if letterbox == "released" else BARS[data.bars]


def perturb(source: Source, pictures: Pictures) -> tuple[Tensor, Tensor]:
    """Return the pixels of a source, and the part of each picture's content that is kept (float B, main memory)."""
    variant, seed = source
    if variant is None:
        return pictures.pixels, torch.ones(len(pictures.keys))
    parameters = in_pixels(dict(variant.parameters), pictures.side)
    return PERTURBATIONS[variant.perturbation].apply(pictures, parameters, seed)


def pictures_of(
    batch: Batch, index: PairIndex, device: torch.device, fill: int, letterbox: Letterbox
) -> list[Pictures]:
    """Return the views of a batch as pictures on a device; content boxes and keys stay in the main memory."""
    keys = [index.draw_key(row) for row in batch.index.tolist()]
    return [
        Pictures(pixels.to(device, non_blocking=True), batch.content_box[view], keys, view, fill, letterbox)
        for view, pixels in batch.views.items()
    ]


@torch.inference_mode()
def _compute(
    model: Model,
    loader: PairLoader,
    index: PairIndex,
    plan: Plan,
    accelerator: Accelerator,
    suite: Suite,
    fill: int,
    n_outputs: int,
) -> tuple[dict[str, Tensor], dict[tuple[str, Source], float]]:
    """Return the logits S×N×outputs by condition, and the sum over pairs of the content kept by view and source."""
    model.eval()
    device = accelerator.device
    logits = {name: torch.zeros(len(uses), len(index), n_outputs, device=device) for name, uses in plan.uses.items()}
    kept_sums = {(view, source): 0.0 for view, sources in plan.sources.items() for source in sources}
    hidden = None if accelerator.is_main_process else True
    with tqdm(total=len(index), desc=suite.name, unit="pair", leave=False, disable=hidden) as bar:
        for batch in loader:
            rows = batch.index.to(device, non_blocking=True)
            features: dict[tuple[str, Source], Tensor] = {}
            with accelerator.autocast():
                for pictures in pictures_of(batch, index, device, fill, suite.letterbox):
                    view = pictures.view
                    for source in plan.sources[view]:
                        pixels, kept = perturb(source, pictures)
                        kept_sums[view, source] += float(kept.double().sum())
                        features[view, source] = model.view_features(view, normalise(pixels, model.view_specs[view]))
                for name, uses in plan.uses.items():
                    for place, use in enumerate(uses):
                        fused = model.fuse({view: features[view, source] for view, source in use.items()})
                        logits[name][place, rows] = fused.float()
            bar.update(len(batch) * accelerator.num_processes)
    return _gathered(logits, kept_sums, accelerator)


def _gathered(
    logits: dict[str, Tensor], kept_sums: dict[tuple[str, Source], float], accelerator: Accelerator
) -> tuple[dict[str, Tensor], dict[tuple[str, Source], float]]:
    """Add up what the processes computed; the logits of a pair are zeros in all but one."""
    if accelerator.num_processes == 1:
        return logits, kept_sums
    for name in logits:
        logits[name] = accelerator.reduce(logits[name], reduction="sum")
    sums = torch.tensor(list(kept_sums.values()), dtype=torch.float64, device=accelerator.device)
    return logits, dict(zip(kept_sums, accelerator.reduce(sums, reduction="sum").tolist(), strict=True))


def _mean_kept(
    condition: Condition, plan: Plan, kept: dict[tuple[str, Source], float], n_pairs: int
) -> dict[str, float]:
    """Average the content kept over pairs and seeds, for each view that the condition perturbs."""
    uses: Sequence[dict[str, Source]] = plan.uses[condition.name]
    return {view: sum(kept[view, use[view]] for use in uses) / (len(uses) * n_pairs) for view in condition.inputs}
