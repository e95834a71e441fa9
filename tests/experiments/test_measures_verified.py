"""Measures of a run, verified: untouched ones agree, and every kind of tampering is told in words."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.measures import measures_over_runs, read_measures, save_measures
from experiments.run_diagnosis import examine_run
from experiments.verification.command import VerifyOptions, verify
from experiments.verification.measured import compare_measures
from experiments.verification.reading import Recorded
from experiments.verification.seeds import check_seeds
from Off_the_shelfs.model import OffTheShelf
from tests.experiments.measured_model import measures
from utils.errors import DataError


@pytest.fixture
def run(measured_run: Path, tmp_path: Path) -> Path:
    """A copy of a run with measures."""
    return Path(shutil.copytree(measured_run, tmp_path / "run"))


def change_metrics(run: Path, change: Callable[[dict[str, Any]], object]) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    change(metrics)
    (run / "metrics.json").write_text(json.dumps(metrics))


def change_pairs(run: Path, change: Callable[[dict[str, np.ndarray]], object]) -> None:
    pairs = {name: values.copy() for name, values in read_measures(run / "measures.npz").items()}
    change(pairs)
    save_measures(pairs, run / "measures.npz")


def test_the_model_gives_the_measures_again(
    measured_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(OffTheShelf, "measures", measures)
    assert verify(VerifyOptions(runs=[measured_run]))
    said = capsys.readouterr().out
    assert "ok  measures.npz: gives the 3 measures of metrics.json with their intervals" in said
    assert "ok  measures.csv: says the same as measures.npz" in said
    assert "ok  model's measures: are those of measures.npz bit for bit" in said


def test_a_model_that_measures_otherwise_is_told(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        OffTheShelf, "measures", lambda *given: measures(*given) | {"most/top1": measures(*given)["least/top1"]}
    )
    assert not verify(VerifyOptions(runs=[run]))
    assert "NO  model's measures: 1 of 3 differ, most of all most/top1: " in capsys.readouterr().out
    change_metrics(run, lambda metrics: metrics.pop("measures"))
    (run / "measures.npz").unlink()
    assert not verify(VerifyOptions(runs=[run]))
    assert "NO  model's measures: the model has measures, and metrics.json has none" in capsys.readouterr().out


def test_a_few_pairs_tipped_on_another_machine_are_rounding(measured_run: Path) -> None:
    pairs = read_measures(measured_run / "measures.npz")
    tipped = {name: values.copy() for name, values in pairs.items()}
    tipped["most/top1"][:2] = 1 - tipped["most/top1"][:2]
    record = Recorded(measured_run, json.loads((measured_run / "metrics.json").read_text()), {}, {}, None, None, {})
    found = [compare_measures(record, one, exact=exact)[0] for one in (pairs, tipped) for exact in (True, False)]
    assert [check.agrees for check in found] == [True, True, False, True]
    tipped["most/top1"][:] = 1 - pairs["most/top1"]
    assert not compare_measures(record, tipped, exact=False)[0].agrees
    assert not compare_measures(record, {"most/top1": pairs["most/top1"]}, exact=False)[0].agrees


@pytest.mark.parametrize(
    ("tamper", "told"),
    [
        (
            lambda run: change_metrics(run, lambda metrics: metrics["measures"]["most/top1"].update(value=0.9)),
            "measures.npz: value of most/top1 is 0.9 in metrics.json, but 0.",
        ),
        (
            lambda run: change_metrics(run, lambda metrics: metrics["measures"].update(more={})),
            "measures.npz: more is in metrics.json alone",
        ),
        (
            lambda run: change_metrics(run, lambda metrics: metrics["measures"].update({"most/top1": 3})),
            "measures.npz: most/top1 is not in metrics.json",
        ),
        (
            lambda run: change_metrics(run, lambda metrics: metrics.pop("measures")),
            "measures.npz: is there, and metrics.json has no measures",
        ),
        (
            lambda run: change_metrics(run, lambda metrics: metrics["computed_from"]["files"].pop("measures.npz")),
            "files: metrics.json names no hash of measures.npz",
        ),
        (lambda run: change_pairs(run, lambda pairs: pairs["most/top1"].fill(1)), "value of most/top1 is 0."),
        (
            lambda run: change_pairs(run, lambda pairs: pairs.update({k: v[:7] for k, v in pairs.items()})),
            "measures.npz: does not hold numbers of the 20 pairs of logits.npz",
        ),
        (lambda run: change_pairs(run, lambda pairs: pairs["most/top1"].fill(np.inf)), "are not finite"),
        (lambda run: (run / "measures.npz").write_bytes(b"PK"), "measures.npz is damaged"),
        (lambda run: (run / "measures.npz").unlink(), "measures.npz is gone"),
        (lambda run: (run / "measures.csv").unlink(), "measures.csv: cannot be read"),
        (
            lambda run: (run / "measures.csv").write_text((run / "measures.csv").read_text().replace(",20", ",21")),
            "measures.csv: most/top1: n is 21, and measures.npz gives 20",
        ),
        (lambda run: (run / "measures.csv").write_text("measure,value\n"), "has other lines than measures.npz"),
    ],
)  # fmt: skip
def test_what_was_tampered_with_is_told(
    run: Path, tamper: Callable[[Path], None], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tamper(run)
    assert not verify(VerifyOptions(runs=[run], scores_only=True))
    assert told in capsys.readouterr().out


def test_measures_of_another_kind_are_one_line(run: Path) -> None:
    change_metrics(run, lambda metrics: metrics.update(measures=[1]))
    with pytest.raises(DataError, match=r"metrics\.json is damaged: measures is missing or of another kind"):
        verify(VerifyOptions(runs=[run], scores_only=True))


def test_the_doctor_misses_the_file_of_pairs(run: Path) -> None:
    (run / "measures.npz").unlink()
    assert any("measures.npz" in str(one) and "missing" in str(one) for one in examine_run(run).findings)


def test_means_over_seeds_are_verified(tmp_path: Path) -> None:
    """Two runs measured 0.25 and 0.75 of a part; with 1 degree of freedom t is 12.7062."""
    one: dict[str, Any] = {"a/top1": {"value": 0.25, "low": 0.0, "high": 1.0, "n": 20}}
    other: dict[str, Any] = {"a/top1": {"value": 0.75, "low": 0.0, "high": 1.0, "n": 20}}
    mean = measures_over_runs([one, other])
    assert (mean["a/top1"]["value"], mean["a/top1"]["by_run"]) == (0.5, [0.25, 0.75])
    assert (mean["a/top1"]["low"], mean["a/top1"]["high"]) == pytest.approx((0.5 - 12.7062 / 4, 0.5 + 12.7062 / 4))
    assert measures_over_runs([one]) == {"a/top1": {"value": 0.25, "low": None, "high": None, "by_run": [0.25]}}
    for seed, found in enumerate((one, other)):
        (tmp_path / f"seed{seed}").mkdir()
        document = {"test": {"top1": 0.5, "n_pairs": 20}, "measures": found}
        (tmp_path / f"seed{seed}" / "metrics.json").write_text(json.dumps(document))
    test = {"top1": 0.5, "top1_ci": [0.5, 0.5], "top1_by_seed": [0.5, 0.5], "n_pairs": 20}
    cases: list[tuple[object, str]] = [
        (mean, ""),
        ({"a/top1": mean["a/top1"] | {"value": 0.4}}, "value of a/top1 is not what the runs give, 0.5"),
        ({"b/top1": 3}, "measures of metrics.json have other names than those of the runs"),
        ([3], "measures of metrics.json are of another kind"),
    ]
    for recorded, told in cases:
        summary = {"seeds": [0, 1], "test": test, "measures": recorded}
        (tmp_path / "metrics.json").write_text(json.dumps(summary))
        assert check_seeds(tmp_path).differences == ([told] if told else [])
