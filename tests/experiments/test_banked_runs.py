"""Whole runs with frozen backbones: from a bank, and from pictures."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from experiments import setup
from experiments.commands import train_command
from experiments.kinds import RVERNET

OPTIONS = [
    *("--data.image_size", "32", "--data.workers", "0", "--data.augment.flip", "0"),
    *("--data.validation_fraction", "0.2"),
    *("--model.roi_backbone.name", "test_resnet", "--model.extra_roi_backbone.name", "test_vit"),
    *(
        f"--model.{view}_backbone.{key}={value}"
        for view in ("roi", "extra_roi")
        for key, value in (("pretrained", "false"), ("frozen", "true"))
    ),
    *("--model.hidden_width", "16", "--model.dropout", "0.2", "--train.device", "cpu", "--train.batch_size", "9"),
    *("--train.micro_batch", "auto", "--train.epochs", "1", "--train.ema_decay", "0.9", "--eval.resamples", "100"),
]


def test_a_run_on_a_bank_is_the_run_on_pictures(
    pair_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The last of its five steps holds two pairs, so that features come from batches of other sizes."""
    for name in ("bank", "pictures"):
        train_command(RVERNET, ["--data.root", str(pair_tree), "--run.dir", str(tmp_path / name), *OPTIONS])
        said = "no augmentation is random: each split's features are computed once" in capsys.readouterr().out
        assert said is (name == "bank")
        monkeypatch.setattr(setup, "banks_for", lambda *_: None)
    bank, pictures = (load_file(tmp_path / name / "model.safetensors") for name in ("bank", "pictures"))
    assert list(bank) == list(pictures)
    for name, tensor in bank.items():
        np.testing.assert_allclose(tensor, pictures[name], rtol=0, atol=1e-5, err_msg=name)
    bank_logits, logits = (np.load(tmp_path / name / "logits.npz")["test"] for name in ("bank", "pictures"))
    assert bank_logits == pytest.approx(logits, abs=1e-5)
