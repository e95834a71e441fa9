"""What the released code does with files, restated: the baseline of several benchmarks.

Each cut-out is decoded at its stored size, letterboxed by Pillow in grey, mirrored by itself and turned into floats.
The table that joins the two folders is built by doing so to every extra-roi picture.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.io import decode_image
from torchvision.transforms.v2 import functional as F

from experiments.robustness.released import released_letterbox


def released_item(path: Path, side: int, *, mirrored: bool) -> Tensor:
    """Return one picture as the released datasets do: float 3×S×S in 0..1, bars grey, mirrored half of the time."""
    decoded: Tensor = decode_image(str(path))
    canvas = np.empty((3, side, side), dtype=np.uint8)
    released_letterbox(decoded.numpy(), canvas)
    # Pictures go through Pillow and back there: transforms work on its images, ToTensor copies and divides.
    image = Image.fromarray(canvas.transpose(1, 2, 0))
    if mirrored and torch.rand(()) < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    scaled: Tensor = F.to_dtype(F.pil_to_tensor(image), torch.float32, scale=True)
    return scaled


class ReleasedPairs(Dataset[tuple[Tensor, Tensor, int]]):
    """Pairs of pictures: roi, extra-roi, label. A path's parent folder is its class.

    Args:
        roi, extra_roi: files in the same order.
        labels: class index of each.
        side: of the letterbox.
        mirrored: draw a mirror image for each view by itself.
    """

    def __init__(
        self, roi: Sequence[Path], extra_roi: Sequence[Path], labels: Sequence[int], side: int, *, mirrored: bool
    ) -> None:
        self.roi, self.extra_roi, self.labels = list(roi), list(extra_roi), list(labels)
        self.side, self.mirrored = side, mirrored

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> tuple[Tensor, Tensor, int]:
        roi, extra_roi = (
            released_item(paths[row], self.side, mirrored=self.mirrored) for paths in (self.roi, self.extra_roi)
        )
        return roi, extra_roi, self.labels[row]
