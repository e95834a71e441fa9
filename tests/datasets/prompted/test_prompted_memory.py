"""Photos with many classes: their masks wait in little memory until they are cut."""

import tracemalloc
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from datasets.picture_size import PREPROCESSING_LIMIT
from datasets.prompted.masks import FoundClass, PromptedMasks, SegmentedPhoto
from datasets.prompted.photos import PromptedObject, PromptedPhoto
from segmenters.prompts import Prompt
from segmenters.segmenter import Candidate, Photo

SIDE, CLASSES = 1000, 40


class Stripes:
    """Fills boxes, a mask at a time."""

    source = "stripes"
    settings: dict[str, Any]

    def __init__(self) -> None:
        self.settings = {"name": "stripes"}

    def segment(self, photo: Photo, prompts: Sequence[Prompt]) -> list[list[Candidate]]:
        return list(self.answers(photo, prompts))

    def everything(self, photo: Photo) -> list[Candidate]:
        raise NotImplementedError

    def answers(self, photo: Photo, prompts: Sequence[Prompt]) -> Iterator[list[Candidate]]:
        for prompt in prompts:
            assert prompt.box is not None
            left, top, right, bottom = map(int, prompt.box)
            mask = np.zeros(photo.shape[:2], dtype=bool)
            mask[top:bottom, left:right] = True
            yield [Candidate(mask, 1.0)]


def test_masks_of_forty_classes_take_less_than_five_of_them(tmp_path: Path) -> None:
    Image.new("RGB", (SIDE, SIDE)).save(tmp_path / "a.png")
    objects = tuple(
        PromptedObject(f"class {number}", Prompt(box=(10 * number, part, 10 * number + 9, part + 2)), "line 2")
        for part in (3, 700)
        for number in range(CLASSES)
    )
    names = [f"class {number}" for number in range(CLASSES)]
    masks = PromptedMasks(Stripes(), "score", "prompts.csv", names)
    photo = PromptedPhoto("train", "a", "a.png", "a", objects)
    tracemalloc.start()
    try:
        opened = masks.open(tmp_path, photo, PREPROCESSING_LIMIT)
        kept, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert isinstance(opened, SegmentedPhoto)
    assert kept < 5 * SIDE**2 + 10**6
    assert peak < 14 * SIDE**2  # with the photo and its file
    found = list(opened.masks(0))
    assert [one.name for one in found] == names
    for number, one in enumerate(found):
        expected = np.zeros((SIDE, SIDE), dtype=bool)
        for part in (3, 700):
            expected[part : part + 2, 10 * number : 10 * number + 9] = True
        np.testing.assert_array_equal(one.mask, expected)
        assert (one.prompts, one.photo_area) == (2, 36)


def test_a_mask_comes_back_as_it_was() -> None:
    mask = np.random.default_rng(0).random((7, 5)) < 0.5
    area = int(mask.sum())
    found = FoundClass("x", np.packbits(mask), (7, 5), area, 1, 0.5)
    np.testing.assert_array_equal(found.mask, mask)
    assert found.mask.dtype == bool
    assert not found.covers_all
    assert FoundClass("x", np.packbits(mask | True), (7, 5), 35, 1, 0.5).covers_all
