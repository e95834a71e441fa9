"""GrabCut on drawn photos, of which the right masks are known, and on real ones."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from datasets.decode import decode_labels, decode_photo
from segmenters.grabcut import GrabCut
from segmenters.plausibility import Edges
from segmenters.prompts import Prompt
from segmenters.segmenter import choose, iou
from utils.errors import DataError

HEIGHT, WIDTH = 150, 200
GRABCUT = GrabCut(working_side=128)


def disc(x: float, y: float, radius: float) -> NDArray[np.bool_]:
    rows, columns = np.ogrid[:HEIGHT, :WIDTH]
    return np.asarray((columns + 0.5 - x) ** 2 + (rows + 0.5 - y) ** 2 <= radius**2)


RED, BLUE = disc(60, 70, 30), disc(150, 70, 25)


@pytest.fixture(scope="module")
def photo() -> NDArray[np.uint8]:
    """A red and a blue disc on green, with noise."""
    picture = np.full((HEIGHT, WIDTH, 3), (40, 160, 60), dtype=np.float64)
    picture[RED], picture[BLUE] = (200, 40, 40), (40, 60, 200)
    noise = np.random.default_rng(0).normal(0, 12, picture.shape)
    return np.asarray((picture + noise).clip(0, 255), dtype=np.uint8)


def test_a_box_gives_the_object_in_it_and_nothing_outside(photo: NDArray[np.uint8]) -> None:
    box = (27.0, 37.0, 93.0, 103.0)
    (candidates,) = GRABCUT.segment(photo, [Prompt(box=box)])
    assert len(candidates) == 1
    assert iou(candidates[0].mask, RED) > 0.95
    outside = candidates[0].mask.copy()
    outside[37:103, 27:93] = False
    assert not outside.any()


@pytest.mark.parametrize(("x", "y", "wanted"), [(60.0, 70.0, RED), (70.0, 60.0, RED), (150.0, 70.0, BLUE)])
def test_a_click_gives_the_object_under_it(photo: NDArray[np.uint8], x: float, y: float, wanted: np.ndarray) -> None:
    (candidates,) = GRABCUT.segment(photo, [Prompt(((x, y),), (1,))])
    chosen = choose(candidates, "score")
    assert iou(chosen.mask, wanted) > 0.9
    assert chosen.mask[int(y), int(x)]


def test_a_point_outside_takes_its_part_away(photo: NDArray[np.uint8]) -> None:
    both = Prompt(box=(20.0, 30.0, 180.0, 110.0))
    without_blue = Prompt(((150.0, 70.0), (60.0, 70.0)), (0, 1), both.box)
    (before,), (after,) = GRABCUT.segment(photo, [both, without_blue])
    assert before.mask[70, 150]
    assert not after.mask[70, 150]
    assert after.mask[70, 60]


def test_two_points_inside_give_both_objects(photo: NDArray[np.uint8]) -> None:
    (candidates,) = GRABCUT.segment(photo, [Prompt(((60.0, 70.0), (150.0, 70.0)), (1, 1))])
    assert iou(max(candidates, key=lambda one: iou(one.mask, RED | BLUE)).mask, RED | BLUE) > 0.9


def test_answers_depend_on_photo_and_prompt_alone(photo: NDArray[np.uint8]) -> None:
    prompts = [Prompt(((60.0, 70.0),), (1,)), Prompt(box=(120.0, 40.0, 180.0, 100.0))]
    cv2.setRNGSeed(7)
    together = GRABCUT.segment(photo, prompts)
    apart = [GRABCUT.segment(photo, [prompt])[0] for prompt in reversed(prompts)][::-1]
    for one, other in zip(together, apart, strict=True):
        assert [a.score for a in one] == [b.score for b in other]
        assert all(np.array_equal(a.mask, b.mask) for a, b in zip(one, other, strict=True))


def test_everything_finds_both_discs_first(photo: NDArray[np.uint8]) -> None:
    found = GRABCUT.everything(photo)
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    for wanted in (RED, BLUE):
        assert max(iou(one.mask, wanted) for one in found[:3]) > 0.65
    assert all(iou(a.mask, b.mask) < 0.7 for n, a in enumerate(found) for b in found[:n])


def test_the_border_of_an_object_is_an_edge_and_a_border_elsewhere_is_none(photo: NDArray[np.uint8]) -> None:
    edges = Edges(photo)
    right, shifted, empty = edges.along(RED), edges.along(np.roll(RED, 70, axis=0)), edges.along(np.zeros_like(RED))
    assert right > 0.9
    assert shifted < 0.7
    assert empty == 0
    assert edges.along(np.ones_like(RED)) == 0


@pytest.mark.parametrize("shape", [(1, 1), (2, 50)])
def test_a_photo_of_a_few_pixels_is_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(DataError, match=rf"{shape[1]}×{shape[0]} pixels is too small for GrabCut"):
        GRABCUT.segment(np.zeros((*shape, 3), np.uint8), [Prompt(((0.5, 0.5),), (1,))])


@pytest.mark.parametrize("box", [(0.0, 0.0, 200.0, 150.0), (0.0, 0.0, 0.4, 0.4), (199.5, 149.5, 200.0, 150.0)])
def test_boxes_at_the_limits_are_answered(photo: NDArray[np.uint8], box: tuple[float, float, float, float]) -> None:
    (candidates,) = GRABCUT.segment(photo, [Prompt(box=box)])
    assert candidates[0].mask.shape == (HEIGHT, WIDTH)


@pytest.mark.parametrize(("height", "width"), [(30, 4000), (4000, 30), (60, 6000), (200, 3000)])
def test_prompts_land_where_they_belong_in_very_long_photos(height: int, width: int) -> None:
    """The half of such a photo that lies right or below is another colour; the box around it is exact."""
    half = np.zeros((height, width), bool)
    if height < width:
        half[height // 2 :] = True
        box = (0.0, height / 2, float(width), float(height))
    else:
        half[:, width // 2 :] = True
        box = (width / 2, 0.0, float(width), float(height))
    picture = np.where(half[..., None], (200, 40, 40), (40, 160, 60)).astype(np.uint8)
    ((candidate,),) = GRABCUT.segment(picture, [Prompt(box=box)])
    assert iou(candidate.mask, half) > 0.9


@pytest.mark.parametrize("slack", [0, 2])
def test_an_object_that_reaches_all_edges_keeps_its_corners_out(slack: int) -> None:
    rows, columns = np.ogrid[:HEIGHT, :WIDTH]
    inside = ((columns + 0.5 - WIDTH / 2) / (WIDTH / 2)) ** 2 + ((rows + 0.5 - HEIGHT / 2) / (HEIGHT / 2)) ** 2 <= 1
    picture = np.where(inside[..., None], (200, 40, 40), (40, 160, 60)).astype(np.float64)
    noisy = np.asarray((picture + np.random.default_rng(1).normal(0, 12, picture.shape)).clip(0, 255), np.uint8)
    box = (float(slack), float(slack), float(WIDTH - slack), float(HEIGHT - slack))
    ((candidate,),) = GRABCUT.segment(noisy, [Prompt(box=box)])
    assert iou(candidate.mask, inside) > 0.9


def test_nothing_outside_of_a_box_is_in_its_mask() -> None:
    picture = np.random.default_rng(2).integers(0, 256, (997, 1403, 3)).astype(np.uint8)
    box = (100.0, 100.0, 400.0, 400.0)
    ((candidate,),) = GRABCUT.segment(picture, [Prompt(box=box)])
    outside = candidate.mask.copy()
    outside[100:400, 100:400] = False
    assert candidate.mask.any()
    assert not outside.any()


def test_boxes_of_real_plates_reach_the_annotation(real_data: Path) -> None:
    """The bound that holds for the mean over the plates of all table photos, on three of them."""
    archive = real_data / "table_photos"
    found = []
    for mask_file in sorted((archive / "Images/ann_dir/test").glob("*.png"))[:3]:
        photo_file = next((archive / "Images/img_dir/test").glob(f"{mask_file.stem}.*"))
        photo = np.asarray(decode_photo(photo_file.read_bytes(), photo_file.name).image)
        plates = decode_labels(mask_file.read_bytes(), mask_file.name) == 1
        rows, columns = np.nonzero(plates.any(axis=1))[0], np.nonzero(plates.any(axis=0))[0]
        box = (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))
        ((candidate,),) = GRABCUT.segment(photo, [Prompt(box=box)])
        found.append(iou(candidate.mask, plates))
    assert np.mean(found) > 0.75
