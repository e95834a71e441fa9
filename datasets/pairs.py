"""Pairs in, batches out: decode, augment once, cut, letterbox, straight into one tensor per view."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, get_worker_info

from datasets.augment import JointAugment
from datasets.index import PairIndex
from datasets.readers import StoredPair, open_reader
from datasets.transforms import (
    Mask,
    Photo,
    compose,
    letterbox_box,
    paint_bars,
    resize_pair,
)
from utils.batch import Batch, Interpolation, ViewSpec
from utils.data_sections import DataConfig
from utils.errors import ConfigError, nearest

PADDING_ROW = -1
VIEWS = ("roi", "extra_roi", "photo")

Item = tuple[int, int]


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

    Raises:
        ConfigError: where a view is unknown.
    """

    def __init__(
        self, index: PairIndex, view_specs: Mapping[str, ViewSpec], data: DataConfig, *, training: bool, seed: int
    ) -> None:
        for name in view_specs:
            if name not in VIEWS:
                raise ConfigError(f"'{name}' is not a view; allowed: {', '.join(VIEWS)}{nearest(name, VIEWS)}")
        self.index = index
        self.view_specs = dict(view_specs)
        self.bars = data.bars
        self.training = training
        self._augment = JointAugment(data.augment, seed)
        self._reader = open_reader(index)

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
        batch = self._allocate(len(items))
        rows = [row if row >= 0 else ~row for _, row in items]
        batch.label[:] = torch.from_numpy(self.index.label[rows])
        batch.index[:] = torch.tensor([max(row, PADDING_ROW) for _, row in items])
        for position, stored in enumerate(self._reader.read(rows)):
            self._write(batch, position, items[position][0], rows[position], stored)
        return batch

    def _allocate(self, count: int) -> Batch:
        def per_view(dtype: torch.dtype, *shape: int) -> dict[str, Tensor]:
            return {name: torch.zeros(count, *shape, dtype=dtype) for name in self.view_specs}

        return Batch(
            views={name: _empty_pictures(count, spec.size) for name, spec in self.view_specs.items()},
            label=torch.empty(count, dtype=torch.int64),
            index=torch.empty(count, dtype=torch.int64),
            content_box=per_view(torch.int16, 4),
            flip=per_view(torch.bool),
        )

    def _write(self, batch: Batch, position: int, epoch: int, row: int, stored: StoredPair) -> None:
        sources, mask = self._sources(stored, row, epoch)
        blank = self._augment.draw_blank(epoch, self.index.draw_key(row)) if self.training else None
        resized: dict[tuple[int, Interpolation], tuple[Photo, Mask]] = {}
        for name, spec in self.view_specs.items():
            if self._fits(mask, spec):
                picture, keep = sources[name], mask
            else:  # then every source is the photo, and views of one size share it
                wanted = spec.size, spec.interpolation
                if wanted not in resized:
                    resized[wanted] = resize_pair(sources[name], mask, *wanted)
                picture, keep = resized[wanted]
            box = letterbox_box(mask.shape[1], mask.shape[0], spec.size)
            content = paint_bars(batch.views[name].numpy()[position], box, self.bars)
            if name == blank:
                content[...] = 0
            else:
                _cut_into(content, picture, keep, name)
            batch.content_box[name].numpy()[position] = box
        if self.training:
            names = list(self.view_specs)
            for name, flip in zip(names, self._augment.draw_flips(epoch, self.index.draw_key(row), names), strict=True):
                batch.flip[name][position] = flip

    def _sources(self, stored: StoredPair, row: int, epoch: int) -> tuple[dict[str, Photo], Mask]:
        """Return for each view the picture that it is cut from, and the mask."""
        mask = stored.mask
        augmented = self.training and self._augment.active
        fits = all(self._fits(mask, spec) for spec in self.view_specs.values())
        if fits and not augmented and "photo" not in self.view_specs:
            return stored.pictures, mask
        photo = compose(stored.pictures["roi"], stored.pictures["extra_roi"], mask)
        if augmented:
            photo, mask = self._augment.apply(photo, mask, epoch, self.index.draw_key(row))
        return dict.fromkeys(self.view_specs, photo), mask

    @staticmethod
    def _fits(mask: Mask, spec: ViewSpec) -> bool:
        return bool(spec.size == max(mask.shape))


def _cut_into(canvas: Photo, picture: Photo, mask: Mask, view: str) -> None:
    """Write a picture into a canvas of its size, 0 outside the view's own side of the mask."""
    if view == "photo":
        canvas[...] = picture
    else:
        np.multiply(picture, mask if view == "roi" else ~mask, out=canvas)


def _empty_pictures(count: int, side: int) -> Tensor:
    """Return uint8 count×3×side×side, to be filled; in a loader's worker, in memory that the main process shares."""
    shape = (count, 3, side, side)
    if get_worker_info() is None:
        return torch.empty(shape, dtype=torch.uint8)
    # Torch's own collation does the same: one copy less than sending an ordinary tensor.
    storage = torch.UntypedStorage._new_shared(count * 3 * side * side)  # type: ignore[no-untyped-call]  # untyped in torch
    return torch.empty(0, dtype=torch.uint8).set_(storage).view(shape)
