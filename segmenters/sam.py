"""Segment Anything (Kirillov et al. 2023) through ``segment-anything``: one embedding per photo, prompts in batches."""

import importlib.metadata
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from threading import Lock
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from segment_anything import SamAutomaticMaskGenerator, SamPredictor
from segment_anything.utils.amg import rle_to_mask
from segment_anything.utils.transforms import ResizeLongestSide
from torch import Tensor

from segmenters.embeddings import Embeddings
from segmenters.everything import distinct
from segmenters.prompts import Prompt
from segmenters.sam_checkpoint import Checkpoint, load_checkpoint
from segmenters.sam_device import own_device, tf32_use
from segmenters.segmenter import Candidate, Photo
from utils.devices import resolve_device, resolve_precision
from utils.errors import DataError, RunError
from utils.sections import Device, Precision

_VERSION = 1  # of this file's way to masks: a change of it makes other trees
# The package's own values, written down since they decide masks.
_EVERYTHING: dict[str, float | int] = {
    "points_per_side": 32,
    "pred_iou_thresh": 0.88,
    "stability_score_thresh": 0.95,
    "stability_score_offset": 1.0,
    "box_nms_thresh": 0.7,
    "crop_n_layers": 0,
    "min_mask_region_area": 0,
}
_MOST = 64  # masks of everything in a photo; a mask of a 12-megapixel photo takes 12 MB
_PIXELS_AT_ONCE = 2**27  # of the masks that are enlarged together, 4 bytes each
_PROMPTS_AT_ONCE = 256  # whose maps, of up to 800 kB a prompt, wait to be enlarged
_AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}


class SamSegmenter:
    """A SAM at work. Each answer depends on photo and prompt alone, and threads may ask at the same time.

    One point without a box is ambiguous (a leaf, the salad, the plate?) and gives SAM's three candidates; any other
    prompt gives the one mask that SAM keeps for prompts that say enough. A candidate's score is SAM's estimate of its
    IoU, a regression that may leave 0..1 by a little.
    """

    def __init__(
        self, checkpoint: Checkpoint, device: str, precision: Precision, prompts_at_once: int, folder: Path | None
    ) -> None:
        """Put a SAM onto a device; see ``open_sam``."""
        self._checkpoint, self._device, self._precision = checkpoint, torch.device(device), precision
        self._network = checkpoint.network.to(self._device)
        self._prompts_at_once = prompts_at_once
        self._resize = _Resize(checkpoint.shape.image_size)
        self._lock = Lock()  # one pass through the network at a time
        with self._pass():
            self._positions = self._network.prompt_encoder.get_dense_pe()
        facts: dict[str, str | int] = {"checkpoint": checkpoint.sha256, "precision": precision}
        facts |= {"image_size": checkpoint.shape.image_size, "device": self._device.type}
        self._embeddings = Embeddings(self._encode, facts, folder)

    @property
    def source(self) -> str:
        """The segmenter in a manifest: SAM's size and the start of its checkpoint's SHA-256."""
        return f"sam_{self._checkpoint.shape.name}:{self._checkpoint.sha256[:12]}"

    @property
    def settings(self) -> dict[str, Any]:
        """What decides the masks, to their last bits."""
        return {
            "name": "sam",
            "version": _VERSION,
            "model": self._checkpoint.shape.name,
            "checkpoint_sha256": self._checkpoint.sha256,
            "image_size": self._checkpoint.shape.image_size,
            "precision": self._precision,
            "device": self._device.type,
            "tf32": tf32_use(self._device),
            "prompts_at_once": self._prompts_at_once,
            "everything": dict(_EVERYTHING),
            "segment_anything": importlib.metadata.version("segment_anything"),
        }

    def segment(self, photo: Photo, prompts: Sequence[Prompt]) -> list[list[Candidate]]:
        """Return three candidates for a prompt of one point, one for any other; see ``Segmenter.segment``."""
        return list(self.answers(photo, prompts))

    def answers(self, photo: Photo, prompts: Sequence[Prompt]) -> Iterator[list[Candidate]]:
        """Yield what ``segment`` returns; a prompt's masks get the photo's size only when it is their turn."""
        size = self._size(photo)
        if not prompts:
            return
        embedding = self.embedding(photo)
        at_once = self._prompts_at_once * max(1, _PROMPTS_AT_ONCE // self._prompts_at_once)
        for start in range(0, len(prompts), at_once):
            some = prompts[start : start + at_once]
            found: dict[int, tuple[Tensor, list[float]]] = {}
            for numbers in _batches(some, self._prompts_at_once):
                answers = self._decode(embedding, size, [some[number] for number in numbers])
                found |= dict(zip(numbers, answers, strict=True))
            for number in range(len(some)):
                planes, scores = found.pop(number)
                masks = (self._enlarged(plane, size) for plane in planes)
                yield [Candidate(*pair) for pair in zip(masks, scores, strict=True)]

    def everything(self, photo: Photo) -> list[Candidate]:
        """Return what SAM's own generator of masks finds, best score first."""
        height, width = self._size(photo)
        at_once = _PIXELS_AT_ONCE // (self._checkpoint.shape.masks * height * width)
        generator = SamAutomaticMaskGenerator(
            self._network,
            points_per_batch=max(1, min(self._prompts_at_once, at_once)),
            output_mode="uncompressed_rle",  # masks as arrays would all be in memory at once
            **_EVERYTHING,
        )
        generator.predictor = _Predictor(self)
        records = sorted(generator.generate(photo), key=lambda record: -record["predicted_iou"])[:_MOST]
        masks = [np.ascontiguousarray(rle_to_mask(record["segmentation"])) for record in records]
        scores = [float(record["predicted_iou"]) for record in records]
        return distinct([Candidate(*pair) for pair in zip(masks, scores, strict=True)])

    def embedding(self, photo: Photo) -> Tensor:
        """Return the embedding of a photo, 1×C×G×G on the device, computed where it was not kept."""
        return self._embeddings.of(photo, tf32_use(self._device)).to(self._device)

    def _encode(self, photo: Photo) -> Tensor:
        pixels = torch.from_numpy(self._resize.apply_image(photo)).permute(2, 0, 1).contiguous()[None]
        dtype = _AUTOCAST.get(self._precision)
        with self._pass(), torch.autocast(self._device.type, dtype=dtype, enabled=dtype is not None):
            embedding: Tensor = self._network.image_encoder(self._network.preprocess(pixels.to(self._device))).float()
            finite = bool(embedding.isfinite().all())
        if not finite:
            raise RunError(
                f"SAM's embedding of a photo is not finite in {self._precision}; set segmenter.precision to fp32"
            )
        return embedding

    def _decode(
        self, embedding: Tensor, size: tuple[int, int], prompts: Sequence[Prompt]
    ) -> list[tuple[Tensor, list[float]]]:
        """Return maps and scores for prompts that have as many tokens each, those without a box first."""
        with self._pass():
            sides = [list(side) for _, side in groupby(prompts, key=lambda prompt: prompt.box is not None)]
            tokens, dense = zip(*(self._tokens(side, size) for side in sides), strict=True)
            low, scores = self._network.mask_decoder.predict_masks(
                image_embeddings=embedding,
                image_pe=self._positions,
                sparse_prompt_embeddings=torch.cat(tokens),
                dense_prompt_embeddings=dense[0][:1],
            )
            answers = []
            for prompt, planes, values in zip(prompts, low, scores.tolist(), strict=True):
                taken = slice(1, None) if _is_ambiguous(prompt) else slice(0, 1)
                answers.append((planes[taken].clone(), values[taken]))  # the others need not wait with it
        return answers

    def _tokens(self, prompts: Sequence[Prompt], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Embed prompts with as many points each, either all with a box or all without.

        The package adds half a pixel to coordinates, but hands on the edges of boxes and the points of its grid as
        they are; so do we.
        """
        points = boxes = None
        if prompts[0].points:
            places = self._resize.apply_coords(np.array([prompt.points for prompt in prompts]), size)
            labels = torch.tensor([prompt.labels for prompt in prompts], dtype=torch.int, device=self._device)
            points = torch.from_numpy(places).to(self._device), labels
        if prompts[0].box is not None:
            edges = self._resize.apply_boxes(np.array([prompt.box for prompt in prompts]), size)
            boxes = torch.from_numpy(edges).to(self._device)
        tokens, dense = self._network.prompt_encoder(points=points, boxes=boxes, masks=None)
        return tokens, dense

    def _enlarged(self, plane: Tensor, size: tuple[int, int]) -> NDArray[np.bool_]:
        """Return one of the decoder's maps as a mask in the photo's pixels."""
        inside = self._resize.shape(size)
        with self._pass():
            logits = self._network.postprocess_masks(plane[None, None], inside, size)[0, 0]
            mask: NDArray[np.bool_] = (logits > self._network.mask_threshold).cpu().numpy()
        return mask

    def _size(self, photo: Photo) -> tuple[int, int]:
        """Return height and width of a photo that SAM can take."""
        size = photo.shape[0], photo.shape[1]
        if min(self._resize.shape(size)) < 1:
            raise DataError(
                f"a photo of {size[1]}×{size[0]} pixels is too narrow for SAM, which sees it with a longer side of "
                f"{self._resize.target_length}: nothing of the shorter side is left; cut the photo"
            )
        return size

    @contextmanager
    def _pass(self) -> Iterator[None]:
        with self._lock, torch.inference_mode():
            yield


class _Resize(ResizeLongestSide):  # type: ignore[misc]  # the package has no types
    """SAM's own resizing, with coordinates in float32: Apple's GPUs have no float64."""

    def apply_coords(self, coords: NDArray[Any], original_size: tuple[int, ...]) -> NDArray[np.float32]:
        """Return (x, y) in the photo as (x, y) in the square."""
        return np.asarray(super().apply_coords(coords, original_size), dtype=np.float32)

    def shape(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return height and width that a photo of some height and width has in the square."""
        height, width = self.get_preprocess_shape(*size, self.target_length)
        return height, width


class _Predictor(SamPredictor):  # type: ignore[misc]  # as above
    """What SAM's generator of masks asks, with embeddings that are kept and one pass at a time."""

    def __init__(self, segmenter: SamSegmenter) -> None:
        super().__init__(segmenter._network)
        self._segmenter = segmenter
        self.transform = segmenter._resize

    def set_image(self, image: Photo, image_format: str = "RGB") -> None:
        """Take a photo, whose embedding may be kept."""
        assert image_format == "RGB"
        self.features = self._segmenter.embedding(image)
        self.original_size = image.shape[:2]
        self.input_size = self.transform.shape(self.original_size)
        self.is_image_set = True

    def predict_torch(self, *arguments: Any, **named: Any) -> tuple[Tensor, Tensor, Tensor]:  # noqa: ANN401  # handed on
        """Answer one batch of points."""
        with self._segmenter._pass():
            masks, scores, low = super().predict_torch(*arguments, **named)
        return masks, scores, low


def open_sam(
    checkpoint: Path | None,
    model: Literal["vit_b", "vit_l", "vit_h"] | None,
    *,
    prompts_at_once: int,
    embeddings: Path | None,
    device: Device,
    precision: Precision,
) -> SamSegmenter:
    """Load SAM from a local checkpoint.

    Args:
        checkpoint: file with its weights.
        model: the size that they must have; null reads it from the file.
        prompts_at_once: most prompts of one photo that are decoded together.
        embeddings: folder in which photos' embeddings are kept; null keeps the last few in memory alone.
        device: where it runs; of several GPUs, the one of this process (``own_device``).
        precision: of the encoder; the decoder, which is small, stays in fp32.

    Raises:
        ConfigError: no checkpoint, one of another size, a device that is not there, a folder that cannot be made.
        DataError: a checkpoint that cannot be read.
    """
    where = resolve_device(device, "segmenter.")
    how = resolve_precision(precision, where, "segmenter.")
    place = own_device(where, torch.cuda.device_count(), os.environ)
    return SamSegmenter(load_checkpoint(checkpoint, model), place, how, prompts_at_once, embeddings)


def _is_ambiguous(prompt: Prompt) -> bool:
    return prompt.box is None and len(prompt.points) == 1


def _batches(prompts: Sequence[Prompt], at_once: int) -> Iterator[list[int]]:
    """Divide prompts into batches whose members have as many tokens each, those without a box first.

    A token that stands for no point takes part in the decoder's attention: filling prompts up to one length would
    change their masks. SAM was trained with one such token after points without a box, and with none beside a box.
    """

    def tokens(number: int) -> int:
        return len(prompts[number].points) + (1 if prompts[number].box is None else 2)

    order = sorted(range(len(prompts)), key=lambda number: (tokens(number), prompts[number].box is not None))
    for _, alike in groupby(order, key=tokens):
        numbers = list(alike)
        for start in range(0, len(numbers), at_once):
            yield numbers[start : start + at_once]
