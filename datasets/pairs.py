"""Pairs in, batches out: decode, augment once, cut, letterbox, straight into one tensor per view."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from datasets.augment import JointAugment
from datasets.batches import Item
from datasets.blocks import BatchLayout
from datasets.index import PairIndex
from datasets.readers import PairReader, StoredPair, open_reader
from datasets.transforms import channel_mask, compose, cut_into, letterbox_box, paint_bars, resize_pair
from utils.batch import Batch, Interpolation, ViewSpec
from utils.data_sections import DataConfig
from utils.errors import ConfigError, DataError, nearest

PADDING_ROW = -1
VIEWS = ("roi", "extra_roi", "photo")


class Canvases:
    """One view's part of a batch, as arrays that share its memory."""

    def __init__(self, batch: Batch, name: str) -> None:
        self.pixels: NDArray[np.uint8] = batch.views[name].numpy()
        self.content_box: NDArray[np.int16] = batch.content_box[name].numpy()
        self.flip: NDArray[np.bool_] = batch.flip[name].numpy()


class PairDataset(Dataset[Batch]):
    """The pairs of an index as the views that a model takes.

    The mask is read whatever the views: a view is black outside its own side only after it has been cut again. A pair
    is augmented once; each view is then resized from the same photo and mask, cut, and letterboxed. A pair whose
    stored size fits a view, without augmentation, is copied.

    Args:
        index: the pairs.
        view_specs: for each view (``roi``, ``extra_roi``, ``photo``), the backbone's size and interpolation.
        data: bars and augmentation are read from it.
        training: augment and draw flips; otherwise nothing is random and no flip is set.
        seed: of the augmentation; draws depend on (seed, epoch, key) alone.
        reader: gives the pairs of the index's rows; null reads what the index lists.

    Raises:
        ConfigError: where a view is unknown.
        DataError: where a picture is smaller than a view's ``least_side``.
    """

    def __init__(
        self,
        index: PairIndex,
        view_specs: Mapping[str, ViewSpec],
        data: DataConfig,
        *,
        training: bool,
        seed: int,
        reader: PairReader | None = None,
    ) -> None:
        for name in view_specs:
            if name not in VIEWS:
                raise ConfigError(f"'{name}' is not a view; allowed: {', '.join(VIEWS)}{nearest(name, VIEWS)}")
        _refuse_small(index, view_specs)
        self.index = index
        self.view_specs = dict(view_specs)
        self.layout = BatchLayout({name: spec.size for name, spec in view_specs.items()})
        self._sides = {spec.size for spec in view_specs.values()}
        self.bars = data.bars
        self.training = training
        self._augment = JointAugment(data.augment, seed)
        self._reader = reader or open_reader(index)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, item: Item) -> Batch:
        """Return a batch of one pair: (epoch, row)."""
        return self.__getitems__([item])

    def __getitems__(self, items: Sequence[Item]) -> Batch:
        """Return the batch of some (epoch, row) items, in their order.

        A negative row stands for row ``~row``, loaded but not counted: its index in the batch is -1. It fills the
        share of a process that would otherwise be empty, with real pictures for the sake of BatchNorm.

        Raises:
            DataError: where a file cannot be read or decoded, or no longer has the size it was indexed with.
        """
        return self.load(items, torch.empty(self.layout.nbytes(len(items)), dtype=torch.uint8))

    def load(self, items: Sequence[Item], block: Tensor) -> Batch:
        """Load some items, as ``__getitems__`` does, into a block of memory that ``layout`` fits."""
        batch = self.layout.carve(block, len(items))
        rows = [row if row >= 0 else ~row for _, row in items]
        batch.label[:] = torch.from_numpy(self.index.label[rows])
        batch.index[:] = torch.tensor([max(row, PADDING_ROW) for _, row in items])
        canvases = {name: Canvases(batch, name) for name in self.view_specs}
        for position, stored in enumerate(self._reader.read(rows)):
            self._write(canvases, position, items[position][0], rows[position], stored)
        return batch

    def _write(self, canvases: Mapping[str, Canvases], position: int, epoch: int, row: int, stored: StoredPair) -> None:
        key = self.index.draw_key(row) if self.training else ""
        pair = self._changed(stored, epoch, key)
        blank = self._augment.draw_blank(epoch, key) if self.training else None
        height, width = pair.mask.shape
        sized: dict[tuple[int, Interpolation] | None, StoredPair] = {}
        for name, spec in self.view_specs.items():
            box = letterbox_box(width, height, spec.size)
            content = paint_bars(canvases[name].pixels[position], box, self.bars)
            canvases[name].content_box[position] = box
            if name == blank:
                content[...] = 0
                continue
            wanted = None if spec.size == max(width, height) else (spec.size, spec.interpolation)
            if wanted not in sized:  # views of one size share it
                sized[wanted] = _resized(pair, wanted)
            cut_into(content, sized[wanted].pictures[name], sized[wanted].channel_mask(), name)
        names = list(self.view_specs)
        flips = self._augment.draw_flips(epoch, key, names) if self.training else [False] * len(names)
        for name, flip in zip(names, flips, strict=True):
            canvases[name].flip[position] = flip

    def _changed(self, stored: StoredPair, epoch: int, key: str) -> StoredPair:
        """Return the pair after augmentation; wherever it is to be changed, all its pictures are the photo."""
        augmented = self.training and self._augment.active
        if not augmented and self._sides == {max(stored.mask.shape)} and "photo" not in self.view_specs:
            return stored
        roi, extra_roi = stored.pictures["roi"], stored.pictures["extra_roi"]
        photo = roi if roi is extra_roi else compose(roi, extra_roi, stored.channel_mask())
        if not augmented:
            return stored._replace(pictures=dict.fromkeys(VIEWS, photo))
        photo, mask = self._augment.apply(photo, stored.mask, epoch, key)
        return StoredPair(dict.fromkeys(VIEWS, photo), mask)


def _refuse_small(index: PairIndex, view_specs: Mapping[str, ViewSpec]) -> None:
    strictest = max(view_specs.values(), key=lambda spec: spec.least_side, default=None)
    if strictest is None:
        return
    small = np.flatnonzero(index.size.max(axis=1) < strictest.least_side)
    if small.size:
        width, height = index.size[small[0]]
        raise DataError(
            f"{small.size} of {len(index)} pictures are too small for the model, such as {index.paths(small[0])[0]} "
            f"with {width}×{height} pixels: the longer side must have {strictest.least_side}; "
            f"{strictest.too_small_advice}"
        )


def _resized(pair: StoredPair, wanted: tuple[int, Interpolation] | None) -> StoredPair:
    """Return a pair at a size, with its channel mask; where it does not fit, every picture of it is the photo."""
    if wanted is None:
        return pair if pair.channels is not None else pair._replace(channels=pair.channel_mask())
    photo, mask = resize_pair(pair.pictures["photo"], pair.mask, *wanted)
    return StoredPair(dict.fromkeys(VIEWS, photo), mask, channel_mask(mask))
