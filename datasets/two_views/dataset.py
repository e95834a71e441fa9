"""Photos in, batches of two views out, with the record of the views and the superpixels of the photo."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from datasets.batches import Item
from datasets.blocks import cut_block, packed_bytes
from datasets.decode import decode_photo
from datasets.pairs import PADDING_ROW
from datasets.two_views.photos import PhotoIndex
from datasets.two_views.superpixels import SuperpixelCache, make_slic
from datasets.two_views.views import VIEWS, TwoViews
from utils.batch import Batch
from utils.errors import DataError
from utils.photo_sections import PhotoDataConfig

PICTURES = (*VIEWS, "photo")
RECORD = 2, 5


@dataclass(frozen=True)
class TwoViewLayout:
    """Where the tensors of a batch lie in a block of bytes.

    Attributes:
        side: of the square views in pixels.
    """

    side: int

    def nbytes(self, count: int) -> int:
        """Return the bytes that a batch of ``count`` photos takes."""
        return packed_bytes(self._sizes(count))

    def carve(self, block: Tensor, count: int) -> Batch:
        """Return the batch of ``count`` photos whose tensors lie in the block (uint8, ``nbytes(count)`` at least).

        Views are B×3×S×S and lie in memory as B×S×S×3 (channels last). Nothing is written.
        """
        *pictures, superpixels, record, label, index = cut_block(block, self._sizes(count))
        shape = count, self.side, self.side
        return Batch(
            views={
                name: part.view(*shape, 3).permute(0, 3, 1, 2) for name, part in zip(PICTURES, pictures, strict=True)
            },
            label=label.view(torch.int64),
            index=index.view(torch.int64),
            content_box={},
            flip={},
            extras={
                "superpixels": superpixels.view(torch.int16).view(shape),
                "record": record.view(torch.float32).view(count, *RECORD),
            },
        )

    def _sizes(self, count: int) -> list[int]:
        """Return the bytes of the pictures, the superpixels, the record, labels and rows, in their order."""
        pixels = count * self.side**2
        return [*[3 * pixels] * len(PICTURES), 2 * pixels, 4 * count * math.prod(RECORD), 8 * count, 8 * count]


class TwoViewDataset(Dataset[Batch]):
    """The photos of an index, each as two random views and as a whole.

    A batch of B photos holds: ``views``, uint8 B×3×S×S: ``view_1`` and ``view_2``, already mirrored, and ``photo``,
    stretched to a square; ``extras``: ``superpixels``, int16 B×S×S, labels of each photo from 0 without a gap, and
    ``record``, float32 B×2×5, for each view top, left, bottom, right (fractions 0..1 of the photo's sides) and flip
    (0 or 1), and no row for the photo, whose numbers would always be 0, 0, 1, 1, 0; ``label``, all 0; ``index``, rows
    of the index.

    Args:
        index: the photos.
        data: side, views and superpixels are read from it.
        seed: of the views; draws depend on (seed, epoch, name of the photo) alone.
        mean, std: of the three channels in 0..1, used where ``slic_input`` is ``normalised``.
        slic_input: what SLIC divides: ``rgb``, the photo itself, or ``normalised``.
        superpixel_cache: folder in which superpixels are kept and looked for; null keeps none. It changes no number.
    """

    def __init__(
        self,
        index: PhotoIndex,
        data: PhotoDataConfig,
        *,
        seed: int,
        mean: Sequence[float],
        std: Sequence[float],
        slic_input: str = "rgb",
        superpixel_cache: Path | None = None,
    ) -> None:
        self.index = index
        self.layout = TwoViewLayout(data.image_size)
        self.views = TwoViews(data.views, data.image_size, seed)
        self.slic = make_slic(data.superpixels, slic_input, mean, std)
        self._divider = self.slic if superpixel_cache is None else SuperpixelCache(superpixel_cache, self.slic)

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, item: Item) -> Batch:
        """Return a batch of one photo: (epoch, row)."""
        return self.__getitems__([item])

    def __getitems__(self, items: Sequence[Item]) -> Batch:
        """Return the batch of some (epoch, row) items, in their order.

        A negative row stands for row ``~row``, loaded but not counted: its index in the batch is -1.

        Raises:
            DataError: where a file cannot be read or decoded, or no longer has the size it was listed with.
        """
        return self.load(items, torch.empty(self.layout.nbytes(len(items)), dtype=torch.uint8))

    def load(self, items: Sequence[Item], block: Tensor) -> Batch:
        """Load some items, as ``__getitems__`` does, into a block of memory that ``layout`` fits."""
        batch = self.layout.carve(block, len(items))
        batch.label[:] = 0
        batch.index[:] = torch.tensor([max(row, PADDING_ROW) for _, row in items])
        with _one_thread():
            for position, (epoch, row) in enumerate(items):
                self._write(batch, position, epoch, row if row >= 0 else ~row)
        return batch

    def _write(self, batch: Batch, position: int, epoch: int, row: int) -> None:
        photo = self._read(row)
        height, width = photo.shape[1:]
        plans = self.views.plan(width, height, epoch, self.index.draw_key(row))
        for number, (name, plan) in enumerate(zip(VIEWS, plans, strict=True)):
            batch.views[name][position] = self.views.view(photo, plan)
            batch.extras["record"][position, number] = torch.tensor(plan.record(width, height))
        whole = batch.views["photo"][position]
        whole[:] = self.views.whole(photo)
        superpixels = self._divider.divide(whole.permute(1, 2, 0).numpy())
        batch.extras["superpixels"][position] = torch.from_numpy(superpixels)

    def _read(self, row: int) -> Tensor:
        """Return a photo, uint8 3×H×W (RGB, upright)."""
        path = self.index.path(row)
        try:
            data = path.read_bytes()
        except OSError as error:
            reason = error.strerror or error
            raise DataError(f"{path} cannot be read ({reason}); restore it, or remove it") from None
        photo = torch.from_numpy(np.array(decode_photo(data, str(path), self.index.limit).image)).permute(2, 0, 1)
        width, height = self.index.sizes[row].tolist()
        if photo.shape[1:] != (height, width):
            raise DataError(
                f"{path} has {photo.shape[2]}×{photo.shape[1]} pixels, but had {width}×{height} when it was listed: it "
                f"changed since; run the same command again"
            )
        return photo

    def slic_seconds(self, photos: int = 8) -> float:
        """Return the seconds of one core that SLIC takes for a photo, the median of some spread over the index.

        Time in which the core did something else does not count. Nothing is taken from a cache or put into one.

        Raises:
            DataError: where a photo cannot be read.
        """
        rows = np.unique(np.linspace(0, len(self) - 1, num=min(photos, len(self))).round().astype(int)).tolist()
        times = []
        with _one_thread():
            for row in rows:
                pixels = self.views.whole(self._read(row)).permute(1, 2, 0).numpy()
                start = time.thread_time()
                self.slic.divide(pixels)
                times.append(time.thread_time() - start)
        return median(times)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute with one thread, as loader processes do: sums that are divided among several round differently."""
    torchs, opencvs = torch.get_num_threads(), cv2.getNumThreads()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)  # also for forked processes, which wait for threads that OpenCV does not have there
    try:
        yield
    finally:
        torch.set_num_threads(torchs)
        cv2.setNumThreads(opencvs)
