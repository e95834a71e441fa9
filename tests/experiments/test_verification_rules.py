"""Rules of verification: settings of another machine, the choice of an epoch, and summaries that were tampered with."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from experiments.runs import RunRecord, read_runs
from experiments.verification import recomputed
from experiments.verification.logged import check_log
from experiments.verification.reading import Recorded, read_recorded
from experiments.verification.recomputed import check_recomputed, settings_here
from experiments.verification.seeds import check_seeds

ONE_CPU = {"parts": [{"device": "cpu"}]}
ONE_GPU = {"parts": [{"device": "cuda"}]}


@pytest.fixture
def of_a_gpu(tiny_runs: Path) -> RunRecord:
    """A run as if it had been trained on a GPU in bf16."""
    (record,) = read_runs([tiny_runs / "roi"])
    train = replace(record.config.train, device="cuda", precision="bf16", tf32=True)
    return replace(record, config=replace(record.config, train=train))


def test_a_run_in_bf16_may_differ_by_the_rounding_of_bf16_on_a_cpu(
    tiny_runs: Path, of_a_gpu: RunRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recomputed, "available_devices", lambda: ["cpu"])
    recorded = read_recorded(tiny_runs / "roi", of_a_gpu.metrics)
    assert recorded.arrays is not None
    found = []
    for part in (1e-2, 1e-1):  # bf16 keeps 8 bits: 1 in 256
        arrays = dict(recorded.arrays) | {"test": recorded.arrays["test"] + _largest(recorded) * np.float32(part)}
        found.append(check_recomputed(replace(recorded, arrays=arrays), of_a_gpu, None)[1])
    assert [check.agrees for check in found] == [True, False]
    assert found[0].said.endswith("is rounding in bf16 (on cpu in fp32, as this machine lacks cuda)")


def _largest(recorded: Recorded) -> np.float32:
    assert recorded.arrays is not None
    return np.float32(max(1.0, float(np.abs(recorded.arrays["test"]).max())))


def test_a_gpu_without_bf16_computes_in_fp32(of_a_gpu: RunRecord, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recomputed, "available_devices", lambda: ["cuda", "cpu"])
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_tf32_supported", lambda: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "an old GPU")
    config, told = settings_here(of_a_gpu.config)
    assert (config.train.device, config.train.precision, config.train.tf32) == ("cuda", "fp32", False)
    assert told == "on cuda in fp32, as this machine lacks bf16"
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    assert settings_here(of_a_gpu.config)[1] == "on cuda in fp32, as this machine lacks tf32"
    monkeypatch.setattr(torch.cuda, "is_tf32_supported", lambda: True)
    assert settings_here(of_a_gpu.config) == (of_a_gpu.config, "")


def _logged(
    folder: Path, selected: int, *, selection: str = "best", top1: float = 0.5, environment: dict[str, Any] = ONE_CPU
) -> list[str]:
    """Return what is wrong with a run of three epochs of which the second was the first best."""
    val, best = {"top1": 0.5, "n_pairs": 1000}, [0.25, 0.75, 0.75]
    rows = [
        {"epoch": epoch, "train": {"loss": 1.0}, "val": val | {"macro_f1": macro_f1}}
        for epoch, macro_f1 in enumerate(best, start=1)
    ]
    (folder / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    metrics = {"selected_epoch": selected, "selection": selection, "train": {"loss": 1.0}}
    metrics["val"] = val | {"macro_f1": best[selected - 1], "top1": top1}
    settings = {"eval": {"selection": "best"}}
    return check_log(Recorded(folder, metrics, environment, settings, None, None, {})).differences


def test_the_selected_epoch_is_the_first_best(tmp_path: Path) -> None:
    assert _logged(tmp_path, 2) == []
    for other in (1, 3):
        (told,) = _logged(tmp_path, other)
        assert told.startswith("epoch 2 is the first with the highest validation macro_f1")
        assert told.endswith(f"says that {other} was selected")
    (told,) = _logged(tmp_path, 3, selection="last")
    assert told == "metrics.json says that the epoch was selected as 'last', and config.yaml 'best'"


def test_validation_scores_are_those_of_the_selected_epoch(tmp_path: Path) -> None:
    """On a GPU a few pairs whose best classes are all but equal may change sides between two passes."""
    assert _logged(tmp_path, 2, top1=0.501) == ["val top1 of epoch 2 is 0.5, and metrics.json says 0.501"]
    assert _logged(tmp_path, 2, top1=0.501, environment=ONE_GPU) == []
    assert _logged(tmp_path, 2, top1=0.55, environment=ONE_GPU) == [
        "val top1 of epoch 2 is 0.5, and metrics.json says 0.55"
    ]


def _without_top1(seed: dict[str, Any]) -> None:
    del seed["test"]["top1"]


def _set_files(value: object) -> Callable[[dict[str, Any]], None]:
    return lambda summary: summary.update(computed_from=value)


HASH = {"sha256": "0", "bytes": 1}


@pytest.mark.parametrize(
    ("name", "change", "told"),
    [
        ("metrics.json", _set_files([1]), "computed_from of metrics.json names no files"),
        ("metrics.json", _set_files({"seed0/metrics.json": HASH}), "names no hash of seed1/metrics.json"),
        ("metrics.json", _set_files({"seed0/metrics.json": {}}), "holds no hash of seed0/metrics.json"),
        ("metrics.json", _set_files({"seed0/metrics.json": 3}), "holds no hash of seed0/metrics.json"),
        ("metrics.json", _set_files({"seed7/metrics.json": HASH}), "seed7/metrics.json is gone"),
        ("metrics.json", _set_files({"../x": HASH}), "the name '../x' of a file starts with a dot"),
        ("metrics.json", lambda summary: summary["test"].update(auc=1), "test auc is in metrics.json, and nothing"),
        ("metrics.json", lambda summary: summary.update(test=[]), "test of metrics.json holds no scores"),
        ("metrics.json", lambda summary: summary.update(seeds={"0": 1}), "is the mean of no runs"),
        ("seed1/metrics.json", _without_top1, "seed1 has other scores than seed0"),
        ("seed1/metrics.json", lambda seed: seed.update(test=3), "the runs hold no scores"),
        ("seed1/metrics.json", lambda seed: seed["test"].update(top1="a"), "seed1 has other scores than seed0"),
    ],
)
def test_a_summary_that_was_tampered_with_disagrees(
    tiny_runs: Path, tmp_path: Path, name: str, change: Callable[[dict[str, Any]], None], told: str
) -> None:
    for file in ("metrics.json", "seed0/metrics.json", "seed1/metrics.json"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        shutil.copy(tiny_runs / "both" / file, tmp_path / file)
    document = json.loads((tmp_path / name).read_text())
    change(document)
    (tmp_path / name).write_text(json.dumps(document))
    assert told in "\n".join(check_seeds(tmp_path).differences)
