import numpy as np
import pytest

from experiments.explanation.measures import MEASURES
from experiments.explanation.summary import by_class, grouped_mean, sentences, summarise_run

NAN = float("nan")


def test_mean_of_two_groups_has_their_means_as_limits() -> None:
    """Of two groups drawn twice, a quarter of the resamples holds only the first, a quarter only the second."""
    values, groups = np.array([0.0, 0.2, 1.0]), np.array([7, 7, 3])
    found = grouped_mean(values, groups)
    assert found.mean == pytest.approx(0.4)
    assert found.interval == pytest.approx([0.1, 1.0])
    assert found.pairs == 3


def test_interval_of_independent_pairs_is_that_of_the_normal_approximation() -> None:
    values = np.random.default_rng(0).normal(0.5, 0.1, 400)
    found = grouped_mean(values, np.arange(400))
    half = 1.96 * values.std() / 20
    assert found.interval == pytest.approx([values.mean() - half, values.mean() + half], abs=0.1 * half)


def test_undefined_values_do_not_count() -> None:
    assert grouped_mean(np.array([NAN, 0.5]), np.array([0, 1])) == (0.5, None, 1)
    assert grouped_mean(np.array([NAN]), np.array([0])) == (None, None, 0)


def columns(heat: list[float], area: list[float], control: float = 0.0) -> dict[str, np.ndarray]:
    values = {"correct": np.ones(len(heat))}
    for view in ("roi", "extra_roi"):
        values |= {f"{name}_{view}": np.full(len(heat), 0.5) for name in MEASURES}
        values |= {f"blacked_heat_{view}": np.array(heat), f"blacked_area_{view}": np.array(area)}
        values[f"control_heat_{view}"] = values[f"control_area_{view}"] + control
    return values


LAYERS = {"roi": {"name": "norm", "cells": [7, 7]}, "extra_roi": {"name": "bn2", "cells": [7, 7]}}
LABEL, GROUPS = np.array([0, 1, 1, 0]), np.arange(4)
VIEWS, NAMES = ["roi", "extra_roi"], ["ketchup", "fries"]
HOT, COLD, AREA = [0.4, 0.5, 0.45, 0.5], [0.4, 0.0, 0.1, 0.1], [0.1, 0.1, 0.2, 0.1]


def said(heat: list[float], control: float) -> tuple[list[str], list[str]]:
    return sentences("run", summarise_run(columns(heat, AREA, control), VIEWS, LABEL, GROUPS, NAMES), LAYERS)


def test_alarm_only_where_the_intervals_lie_above_area_and_control() -> None:
    alarms, remarks = said(HOT, 0.01)
    assert remarks == []
    assert len(alarms) == 1
    assert alarms[0].startswith(
        "run: in maps of extra_roi from layer bn2, 7×7 cells, 46 % of the heat lies on pixels that the cut made black, "
        "which are 12 % of the picture (difference +33.8 ["
    )
    assert (
        "; under the cuts of other pairs +1.0 [+1.0, +1.0]): the outline of what was cut out may be read." in alarms[0]
    )
    assert "Another layer may show otherwise" in alarms[0]


def test_without_an_alarm_the_figures_and_the_layer_are_said() -> None:
    alarms, remarks = said(COLD, 0.0)
    assert alarms == []
    assert "from layer bn2, 7×7 cells, 15 % of the heat" in remarks[0]
    assert remarks[0].endswith(
        "no sign here that the outline is read. Another layer may show one (--least_cells takes one with more cells)"
    )
    alarms, remarks = said(HOT, 0.4)  # maps that favour the middle, where all cuts are
    assert alarms == []
    assert "no more than maps have there under any cut" in remarks[0]


def test_without_other_pairs_the_area_decides() -> None:
    alarms, _ = said(HOT, NAN)
    assert len(alarms) == 1
    assert "under the cuts of other pairs" not in alarms[0]
    one = summarise_run(columns(HOT, AREA), VIEWS, LABEL, np.zeros(4, int), NAMES)
    assert sentences("run", one, LAYERS)[1][0].endswith(
        "points; under the cuts of other pairs +0.0): too few groups to tell"
    )
    assert "has heat, so nothing can be said" in said([NAN] * 4, NAN)[1][0]


def test_the_difference_from_the_control_is_paired() -> None:
    found = summarise_run(columns(HOT, AREA, 0.3), VIEWS, LABEL, GROUPS, NAMES)["heat_on_blacked_out"]["roi"]
    assert found["difference"] == pytest.approx(0.3375)
    assert found["control"] == pytest.approx(0.3)
    assert found["above_control"] == pytest.approx(0.0375)


def test_maps_that_do_not_add_up_to_the_contribution_are_named_once_per_view() -> None:
    values = columns(COLD, AREA)
    values["map_sum_roi"] = np.array([0.44, 0.45, 0.44, 0.45])  # off by 0.055 of 0.5
    values["map_sum_extra_roi"] = np.full(4, 0.46)
    run = summarise_run(values, VIEWS, LABEL, GROUPS, NAMES)
    assert run["map_departure"] == {"roi": pytest.approx(0.11), "extra_roi": pytest.approx(0.08)}
    found = [line for line in sentences("run", run, LAYERS)[1] if "where, not how much" in line]
    assert len(found) == 1
    assert found[0].startswith("run: the maps of roi (layer norm) do not add up to what the module adds to the logit (")
    assert "off by 11 %" in found[0]


def test_remarks_name_coarse_maps_and_pairs_without_evidence() -> None:
    values = columns([0.1] * 4, [0.1] * 4)
    values["evidence_share_roi"] = np.array([NAN, 1.0, 1.0, 1.0])
    run = summarise_run(values, VIEWS, LABEL, GROUPS, NAMES)
    remarks = sentences("run", run, LAYERS | {"roi": {"name": "bn2", "cells": [2, 2]}})[1]
    assert "few cells in the maps, roi 2×2 (bn2), so" in remarks[1]
    assert "1 pairs have no evidence for the class" in remarks[2]


def test_classes_are_ordered_by_how_much_they_lean_on_their_surroundings() -> None:
    values = columns([0.5, 0.1, 0.2, NAN], [0.1, 0.1, 0.1, 0.1])
    values["evidence_share_extra_roi"] = np.array([0.2, 0.9, 0.7, NAN])
    rows = by_class(values, LABEL, GROUPS, ["fries", "ketchup"])
    assert [(row["class"], row["pairs"]) for row in rows] == [("ketchup", 2), ("fries", 1)]
    assert rows[0]["extra_roi_share"] == pytest.approx(0.8)
    assert rows[0]["outline_excess"] == pytest.approx(0.05)
    assert rows[0]["outline_excess_ci"] == pytest.approx([0.0, 0.1])
    assert rows[1]["extra_roi_share_ci"] is None
