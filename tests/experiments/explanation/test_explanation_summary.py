import numpy as np
import pytest

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


def columns(heat: list[float], area: list[float]) -> dict[str, np.ndarray]:
    values = {"correct": np.ones(len(heat))}
    for view in ("roi", "extra_roi"):
        values |= {f"{name}_{view}": np.full(len(heat), 0.5) for name in ("share", "bars_heat", "bars_area")}
        values |= {f"blacked_heat_{view}": np.array(heat), f"blacked_area_{view}": np.array(area)}
    return values


LAYERS = {"extra_roi": {"name": "bn2", "cells": [7, 7]}}
LABEL, GROUPS = np.array([0, 1, 1, 0]), np.arange(4)


def test_alarm_only_where_the_interval_lies_above_the_area() -> None:
    views, names = ["roi", "extra_roi"], ["ketchup", "fries"]
    read = summarise_run(columns([0.4, 0.5, 0.45, 0.5], [0.1, 0.1, 0.2, 0.1]), views, LABEL, GROUPS, names)
    alarms, remarks = sentences("run", read, LAYERS)
    assert len(alarms) == 1
    assert "46 % of the heat in extra_roi lies on pixels that the cut made black, which are 12 %" in alarms[0]
    assert remarks == []
    unread = summarise_run(columns([0.4, 0.0, 0.1, 0.1], [0.1, 0.1, 0.2, 0.1]), views, LABEL, GROUPS, names)
    assert sentences("run", unread, LAYERS)[0] == []
    assert unread["heat_on_blacked_out"]["extra_roi"]["difference"] == pytest.approx(0.025)


def test_remarks_name_coarse_maps_and_pairs_without_evidence() -> None:
    values = columns([0.1] * 4, [0.1] * 4)
    values["share_roi"] = np.array([NAN, 1.0, 1.0, 1.0])
    run = summarise_run(values, ["roi", "extra_roi"], LABEL, GROUPS, ["a", "b"])
    remarks = sentences("run", run, {"roi": {"name": "bn2", "cells": [2, 2]}})[1]
    assert "few cells in the maps, roi 2×2 (bn2), so" in remarks[0]
    assert "1 pairs have no positive evidence" in remarks[1]


def test_classes_are_ordered_by_how_much_they_lean_on_their_surroundings() -> None:
    values = columns([0.5, 0.1, 0.2, NAN], [0.1, 0.1, 0.1, 0.1])
    values["share_extra_roi"] = np.array([0.2, 0.9, 0.7, NAN])
    rows = by_class(values, LABEL, GROUPS, ["fries", "ketchup"])
    assert [(row["class"], row["pairs"]) for row in rows] == [("ketchup", 2), ("fries", 1)]
    assert rows[0]["extra_roi_share"] == pytest.approx(0.8)
    assert rows[0]["outline_excess"] == pytest.approx(0.05)
    assert rows[0]["outline_excess_ci"] == pytest.approx([0.0, 0.1])
    assert rows[1]["extra_roi_share_ci"] is None
