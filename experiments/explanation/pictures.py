"""The pixels that explanations are made from: every view of a pair in each frame that some run asks for."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from datasets.blocks import BatchLayout
from datasets.index import PairIndex
from datasets.loaders import make_loader, resolve_workers
from datasets.pairs import VIEWS, PairDataset
from experiments.runs import RunRecord
from utils.batch import Batch, Interpolation, ViewSpec


class Frame(NamedTuple):
    """How a picture is letterboxed: side, interpolation, bars; least side of what is stored, what to do below."""

    size: int
    interpolation: Interpolation
    bars: str
    least_side: int = 0
    too_small_advice: str = ""


def frames_of(record: RunRecord, specs: Mapping[str, ViewSpec]) -> dict[str, Frame]:
    """Return the frame of each view of a run."""
    bars = record.config.data.bars
    return {
        view: Frame(spec.size, spec.interpolation, bars, spec.least_side, spec.too_small_advice)
        for view, spec in specs.items()
    }


def load_frames(
    index: PairIndex, frames: Mapping[Frame, RunRecord], batches: Sequence[NDArray[np.int64]], device_type: str
) -> Iterator[dict[Frame, Batch]]:
    """Yield the batches of rows, each in every frame with roi, extra_roi and photo; without masks the photo alone.

    The photo tells which pixels the cut made black, whatever views a run sees.

    Args:
        index: the pairs.
        frames: a run for each frame, from whose configuration the bars are read.
        batches: rows of the index.
        device_type: ``cuda`` puts batches into page-locked memory.

    Raises:
        DataError: a stored picture is too small for a run that looks at parts.
    """
    items = [[(0, row) for row in rows.tolist()] for rows in batches]
    views = VIEWS if index.masked else ("photo",)
    layouts = [BatchLayout(dict.fromkeys(views, frame.size)) for frame in frames]
    batch_bytes = sum(layout.nbytes(max(map(len, items), default=0)) for layout in layouts)
    workers = resolve_workers("auto", sum(map(len, items)), len(frames), batch_bytes=batch_bytes)
    loaders = []
    for frame, record in frames.items():
        spec = ViewSpec(
            *(frame.size, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), frame.interpolation, frame.least_side),
            too_small_advice=frame.too_small_advice,
        )
        dataset = PairDataset(index, dict.fromkeys(views, spec), record.config.data, training=False, seed=0)
        loaders.append(make_loader(dataset, items, workers=workers, device_type=device_type))
    for loaded in zip(*loaders, strict=True):
        yield dict(zip(frames, loaded, strict=True))
