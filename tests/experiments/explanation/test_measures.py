import numpy as np
import torch

from experiments.explanation.measures import OtherCuts, bars, blacked_out, departure, enlarge, measure, one_scale


def grid(*rows: list[float]) -> np.ndarray:
    return np.array([rows], dtype=np.float32)


def test_both_modules_are_divided_by_the_larger_maximum() -> None:
    scaled = one_scale({"roi": grid([4.0, -8.0], [2.0, 0.0]), "extra_roi": grid([1.0, 0.5], [0.0, -1.0])})
    assert scaled["roi"].tolist() == [[[1.0, 0.0], [0.5, 0.0]]]
    assert scaled["extra_roi"].tolist() == [[[0.25, 0.125], [0.0, 0.0]]]


def test_the_scale_belongs_to_a_pair() -> None:
    maps = {"roi": np.array([[[2.0]], [[1.0]]], np.float32), "extra_roi": np.array([[[1.0]], [[4.0]]], np.float32)}
    scaled = one_scale(maps)
    assert scaled["roi"].ravel().tolist() == [1.0, 0.25]
    assert scaled["extra_roi"].ravel().tolist() == [0.5, 1.0]


def test_maps_without_positive_evidence_stay_zero() -> None:
    scaled = one_scale({"roi": grid([-1.0]), "extra_roi": grid([0.0])})
    assert scaled["roi"].tolist() == scaled["extra_roi"].tolist() == [[[0.0]]]


def test_equal_evidence_per_area_has_equal_colour_on_unequal_grids() -> None:
    scaled = one_scale({"roi": np.full((1, 2, 2), 4.0, np.float32), "extra_roi": np.full((1, 4, 4), 1.0, np.float32)})
    assert scaled["roi"].tolist() == [[[1.0] * 2] * 2]
    assert scaled["extra_roi"].tolist() == [[[1.0] * 4] * 4]


def test_enlarging_keeps_constants_and_the_place_of_the_peak() -> None:
    assert np.allclose(enlarge(np.full((2, 3, 3), 0.7, np.float32), 12), 0.7)
    peak = enlarge(grid([0.0, 0.0], [1.0, 0.0]), 8)[0]
    assert peak[7, 0] == 1.0
    assert peak[0, 7] == 0.0
    assert peak[3, 0] < peak[4, 0]


def test_black_in_the_cut_out_and_not_in_the_photo() -> None:
    photo = torch.zeros(1, 3, 2, 3, dtype=torch.uint8)
    photo[0, :, 0] = torch.tensor([5, 6, 0])  # the last pixel is black in the photo itself
    photo[0, 1, 1] = 9
    view = photo.clone()
    view[0, :, :, 0] = 0  # cut out: the first column
    assert blacked_out(view, photo).tolist() == [[[True, False, False], [True, False, False]]]


def test_bars_lie_outside_the_content_box() -> None:
    box = torch.tensor([[0, 1, 4, 2], [1, 0, 2, 4]], dtype=torch.int16)
    first, second = bars(box, 4)
    assert first.tolist() == [[True] * 4, [False] * 4, [False] * 4, [True] * 4]
    assert second.tolist() == [[True, False, False, True]] * 4


VIEWS = ("roi", "extra_roi")
NO_CUTS = dict.fromkeys(VIEWS, OtherCuts(np.ones((1, 2, 2), bool), np.zeros((1, 1), bool)))
NOTHING = dict.fromkeys(VIEWS, np.zeros((1, 2, 2), bool))


def test_shares_by_hand() -> None:
    """roi adds 2 - 1 + 4 logits, extra_roi -3 + 2; their evidence is 6 and 2, whatever the maps."""
    parts = {"roi": np.array([[2.0, -1.0, 4.0]], np.float32), "extra_roi": np.array([[-3.0, 2.0]], np.float32)}
    for maps in ({"roi": grid([3.0, -2.0], [1.0, 0.0])}, {"roi": grid([0.0])}):
        found = measure(maps | {"extra_roi": grid([9.0])}, parts, NOTHING, NOTHING, NO_CUTS)
        assert [found[view].contribution.tolist() for view in VIEWS] == [[5.0], [-1.0]]
        assert [found[view].evidence.tolist() for view in VIEWS] == [[6.0], [2.0]]
        assert [found[view].evidence_share.tolist() for view in VIEWS] == [[0.75], [0.25]]


def test_heat_by_hand() -> None:
    """The grids have the views' size, so nothing is interpolated."""
    maps = {"roi": grid([3.0, -2.0], [1.0, 0.0]), "extra_roi": grid([0.0, -5.0], [0.25, 0.75])}
    blacked = dict.fromkeys(VIEWS, np.array([[[False, False], [True, False]]]))
    outside = {
        "roi": np.array([[[False, True], [False, False]]]),
        "extra_roi": np.array([[[False, False], [False, True]]]),
    }
    parts = dict.fromkeys(VIEWS, np.ones((1, 1), np.float32))
    found = measure(maps, parts, blacked, outside, NO_CUTS)
    roi, extra_roi = found["roi"], found["extra_roi"]
    assert (roi.map_evidence.tolist(), roi.map_sum.tolist()) == ([4.0], [2.0])
    assert extra_roi.map_sum.tolist() == [-4.0]
    assert roi.blacked_heat.tolist() == [0.25]  # 1 of 4, and none on the bar
    assert np.allclose(roi.blacked_area, 1 / 3)
    assert roi.bars_heat.tolist() == [0.0]
    assert extra_roi.bars_heat.tolist() == [0.75]
    assert extra_roi.bars_area.tolist() == [0.25]
    assert extra_roi.blacked_heat.tolist() == [1.0]  # of the heat on the picture
    assert np.isnan(roi.control_heat[0])


def test_control_by_hand() -> None:
    """Three cuts of others, of which the last is of the pair's own group; the upper right pixel is a bar."""
    cuts = np.array(
        [[[True, True], [False, False]], [[False, False], [True, True]], [[True, True], [True, True]]], dtype=bool
    )
    others = {"roi": OtherCuts(cuts, np.array([[True, True, False], [False, False, False]]))}
    maps = {"roi": np.repeat(grid([6.0, 5.0], [1.0, 1.0]), 2, axis=0)}
    outside = {"roi": np.repeat(np.array([[[False, True], [False, False]]]), 2, axis=0)}
    blacked = {"roi": np.zeros((2, 2, 2), bool)}
    found = measure(maps, {"roi": np.ones((2, 1), np.float32)}, blacked, outside, others)["roi"]
    assert found.control_heat[0] == np.float32((6 / 8 + 2 / 8) / 2)
    assert found.control_area[0] == np.float32((1 / 3 + 2 / 3) / 2)
    assert np.isnan(found.control_heat[1])


def test_undefined_shares_are_nan() -> None:
    against = dict.fromkeys(VIEWS, np.array([[-1.0, 0.0]], np.float32))
    cold = dict.fromkeys(VIEWS, grid([0.0, -1.0], [0.0, 0.0]))
    found = measure(cold, against, NOTHING, NOTHING, NO_CUTS)["roi"]
    assert np.isnan(found.evidence_share[0])
    assert np.isnan(found.blacked_heat[0])
    assert found.blacked_area[0] == 0
    alone = measure({"roi": grid([1.0])}, {"roi": np.ones((1, 1), np.float32)}, NOTHING, NOTHING, NO_CUTS)
    assert np.isnan(alone["roi"].evidence_share[0])


def test_departure_by_hand() -> None:
    assert departure(np.array([1.0, -3.0]), np.array([2.0, -2.0])) == 0.5
    assert departure(np.array([2.0, -2.0]), np.array([2.0, -2.0])) == 0.0
    assert np.isnan(departure(np.array([1.0]), np.array([0.0])))
