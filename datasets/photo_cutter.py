"""One photo in, its cut-outs or the photo made smaller out: the task of a preprocessing worker. Never imports torch."""

import errno
import io
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from datasets.cut_photo import CutOptions, CutPair, CutRecord, pair_area, start_record, written_paths
from datasets.cutouts import Mask, Photo, cut, encode, mask_box, resize_photo
from datasets.links import LinkGuard
from datasets.mask_source import LabelledPhoto, MaskSource
from datasets.picture_size import PREPROCESSING_LIMIT, PixelLimit
from datasets.source_photo import SourcePhoto
from utils.errors import DataError


class PhotoCutter:
    """Cuts photos of one source into one tree.

    Args:
        source: folder of the photos.
        target: folder of the tree.
        masks: gives the photos with their masks.
        options: what decides the bytes.
        limit: the largest picture that is decoded.
    """

    def __init__(
        self,
        source: Path,
        target: Path,
        masks: MaskSource,
        options: CutOptions,
        limit: PixelLimit = PREPROCESSING_LIMIT,
    ) -> None:
        self.source, self.target, self.masks, self.options = source, target, masks, options
        self.limit, self._guard = limit, LinkGuard(target)
        self._made: set[str] = set()
        masks.start()

    def __call__(self, photo: SourcePhoto) -> CutRecord | list[str]:
        """Write the files of one photo, or return what is wrong with those of the source."""
        opened = self.masks.open(self.source, photo, self.limit)
        if isinstance(opened, list):
            return opened
        image = np.asarray(resize_photo(opened.photo.image, self.options.size))
        record = start_record(photo, opened, image)
        record.no_mask.extend(opened.no_mask)
        masks: list[Mask] = []
        for one in opened.masks(self.options.size):
            area = pair_area(record, one.name, one.mask, self.options.min_area)
            if area is not None:
                box = mask_box(one.mask)
                record.pairs.append(CutPair(one.name, area, box, one.prompts, one.score, one.photo_area))
                masks.append(one.mask)
        if self.options.layout == "pairs":
            pictures = self._cut_outs(image, masks)
        else:
            assert isinstance(opened, LabelledPhoto), "an archive is made of an archive"
            pictures = self._whole(image, opened)
        for path, data in zip(written_paths(record, self.options), pictures, strict=True):
            record.file_bytes.append(self._write(path, data))
        return record

    def _cut_outs(self, image: Photo, masks: list[Mask]) -> Iterator[bytes]:
        for mask in masks:
            for view in cut(image, mask):
                yield encode(view, self.options.format, self.options.quality)

    def _whole(self, image: Photo, opened: LabelledPhoto) -> Iterator[bytes]:
        yield encode(image, self.options.format, self.options.quality)
        labels = opened.labels(self.options.size)
        mask = Image.fromarray(labels.astype(np.uint8 if max(opened.label_ids) < 256 else np.uint16))
        buffer = io.BytesIO()
        mask.save(buffer, "PNG")
        yield buffer.getvalue()

    def _write(self, path: str, data: bytes) -> int:
        file = f"{self.target}/{path}"
        folder = file.rpartition("/")[0]
        if folder not in self._made:
            Path(folder).mkdir(parents=True, exist_ok=True)
            if problem := self._guard.problem(folder):
                raise DataError(problem)
            self._made.add(folder)
        try:
            with open(file, "wb", opener=_no_link) as out:  # once per file; Path costs as much as cutting
                return out.write(data)
        except OSError as error:
            error.filename = error.filename or file  # a full disk does not say which file it met
            raise


def _no_link(path: str, flags: int) -> int:
    """Open a file, but not what a link under its name leads to."""
    if not hasattr(os, "O_NOFOLLOW") and os.path.islink(path):  # noqa: PTH114  # Windows has no such flag
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


_cutter: PhotoCutter | None = None


def start_cutting(source: Path, target: Path, masks: MaskSource, options: CutOptions, limit: PixelLimit) -> None:
    """Prepare this process for ``cut_one``."""
    global _cutter  # noqa: PLW0603  # a worker process serves one run; its tasks stay small this way
    _cutter = PhotoCutter(source, target, masks, options, limit)


def cut_one(photo: SourcePhoto) -> CutRecord | list[str]:
    """Cut one photo with the process's cutter."""
    assert _cutter is not None, "start_cutting comes first"
    return _cutter(photo)
