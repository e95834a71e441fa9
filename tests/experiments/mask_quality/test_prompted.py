"""Prompted masks and baselines against IoUs that are worked out by hand."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from datasets.archive import Archive, ArchivePhoto, read_archive
from datasets.cut_photo import OpenedPhoto
from datasets.decode import DecodedPhoto
from datasets.picture_size import PixelLimit
from experiments.mask_quality.prompted import (
    Asking,
    Compared,
    answers,
    best_matches,
    columns_of,
    compare_photo,
    drawn,
    open_annotated,
)
from segmenters.grabcut import GrabCut
from segmenters.prompts import Prompt
from segmenters.segmenter import Candidate, iou
from utils.errors import ConfigError, DataError

Mask = NDArray[np.bool_]


def square(top: int, left: int, side: int, shape: tuple[int, int] = (40, 50)) -> Mask:
    mask = np.zeros(shape, dtype=bool)
    mask[top : top + side, left : left + side] = True
    return mask


class FilledBoxes:
    """A segmenter that gives back each box, filled, or a square of 3 around each first point."""

    source = "filled boxes"

    def __init__(self) -> None:
        self.settings: dict[str, Any] = {"name": "filled boxes"}
        self.found: list[Mask] = []

    def segment(self, photo: NDArray[np.uint8], prompts: Sequence[Prompt]) -> list[list[Candidate]]:
        return [[Candidate(self._mask(photo.shape[:2], prompt), 1.0)] for prompt in prompts]

    def _mask(self, shape: tuple[int, int], prompt: Prompt) -> Mask:
        if prompt.box is not None:
            return drawn("filled box", prompt.box, shape)
        x, y = prompt.points[0]
        return square(int(y) - 1, int(x) - 1, 3, shape)

    def everything(self, photo: NDArray[np.uint8]) -> list[Candidate]:  # noqa: ARG002  # as every segmenter
        return [Candidate(mask, 1.0) for mask in self.found]


def compared(labels: NDArray[np.uint8], askings: Sequence[str], segmenter: FilledBoxes) -> dict[str, Compared]:
    """Compare one photo with the classes 1 = bread and 2 = soup."""
    photo = ArchivePhoto("test", "p", "p.png", "m.png", "a table")
    archive = Archive(Path("somewhere"), {1: "bread", 2: "soup"}, (photo,))
    picture = Image.new("RGB", labels.shape[::-1])
    ids = [int(label) for label in np.unique(labels) if label]
    opened = OpenedPhoto(DecodedPhoto(picture, 1, picture.size), labels, ids, "", "")
    ways = [Asking.parse(text) for text in askings]
    return {one.class_name: one for one in compare_photo(archive, photo, opened, segmenter, ways, "score", 0)}


def test_ious_of_an_l_and_of_two_squares() -> None:
    """An L of 75 of 100 pixels; two squares of 16, whose boxes are themselves, 9 of 16 found from their middle."""
    labels = np.zeros((40, 50), dtype=np.uint8)
    labels[square(10, 10, 10) & ~square(10, 10, 5)] = 1
    labels[square(2, 30, 4) | square(30, 40, 4)] = 2
    found = compared(labels, ["box", "center"], FilledBoxes())
    bread, soup = found["bread"], found["soup"]
    assert bread.iou["box"] == bread.iou["filled box"] == pytest.approx(0.75)
    assert bread.area_fraction == pytest.approx(75 / 2000)
    assert (bread.key, bread.group, bread.objects, soup.objects) == ("test/bread/p", "a table", 1, 2)
    assert soup.iou["box"] == pytest.approx(1)
    assert soup.iou["center"] == pytest.approx(9 / 16)


def test_an_ellipse_fills_pi_quarters_of_its_box() -> None:
    ellipse, box = (drawn(name, (10, 20, 190, 120), (160, 200)) for name in ("ellipse", "filled box"))
    assert np.count_nonzero(box) == 180 * 100
    assert np.count_nonzero(ellipse) / np.count_nonzero(box) == pytest.approx(math.pi / 4, rel=0.002)
    assert (ellipse <= box).all()


def test_everything_takes_for_each_object_the_mask_that_fits_best() -> None:
    truth = square(0, 0, 10) | square(20, 20, 10)
    halves = [square(0, 0, 10), square(20, 20, 12), square(0, 0, 40), square(35, 45, 3)]
    assert np.array_equal(best_matches(truth, halves), halves[0] | halves[1])
    assert not best_matches(truth, [square(35, 45, 3)]).any()
    assert not best_matches(truth, []).any()
    segmenter = FilledBoxes()
    segmenter.found = halves
    labels = truth.astype(np.uint8)
    assert compared(labels, ["everything"], segmenter)["bread"].iou["everything"] == pytest.approx(200 / 244)


def test_prompts_are_moved_by_seed_and_key_and_baselines_move_with_them() -> None:
    labels = square(10, 10, 20).astype(np.uint8)
    one, again = (compared(labels, ["box", "box~0.2"], FilledBoxes())["bread"].iou for _ in range(2))
    assert one == again
    assert one["box~0.2"] == one["filled box~0.2"] < 1
    assert one["box"] == 1


def test_names_of_columns_and_of_ways_to_ask() -> None:
    asked = ["box", "points3", "center~0.5", "points~0.25", "box~0.1", "everything"]
    ways = [Asking.parse(text) for text in asked]
    assert [way.name for way in ways] == ["box", "points3", "center~0.5", "points1~0.25", "box~0.1", "everything"]
    assert ways[1] == Asking("points", 3, 0.0)
    boxes = ["box", "filled box", "ellipse", "box~0.1", "filled box~0.1", "ellipse~0.1"]
    assert columns_of([ways[0], ways[4]]) == boxes


@pytest.mark.parametrize("text", ["boxes", "points0", "points999", "box~2", "box~", "box~1.2.3", "everything~0.1", ""])
def test_other_ways_to_ask_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"--prompts|~"):
        Asking.parse(text)


def test_a_photo_that_cannot_be_segmented_is_named() -> None:
    class Refusing(FilledBoxes):
        def _mask(self, shape: tuple[int, int], prompt: Prompt) -> Mask:  # noqa: ARG002  # as it is above
            raise DataError("too small")

    with pytest.raises(DataError, match=r"^somewhere/p\.png: too small$"):
        compared(square(1, 1, 3).astype(np.uint8), ["box"], Refusing())


def test_grabcut_finds_real_plates_from_their_boxes(real_data: Path) -> None:
    """On photos of set tables the mean IoU on plates is at least 0.75, the least that prompts are worth having for."""
    archive = read_archive(real_data / "table_photos")
    plate = archive.class_names.index("plate") + 1
    found = []
    for photo in [photo for photo in archive.photos if photo.split == "test"]:
        opened = open_annotated(archive, photo, None, PixelLimit())
        truth = {"plate": opened.labels == plate}
        pixels, keys = np.asarray(opened.photo.image), {"plate": f"test/plate/{photo.stem}"}
        masks = answers(pixels, truth, keys, GrabCut(), Asking("box"), "score", 0)
        found.append(iou(masks["plate"]["box"], truth["plate"]))
    assert len(found) == 4
    assert np.mean(found) >= 0.75
