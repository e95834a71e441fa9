"""Two processes on the CPU against one."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

ROOT = Path(__file__).parents[2]
OPTIONS = [
    *("--model.backbone.name", "test_vit", "--model.backbone.pretrained", "false", "--data.image_size", "32"),
    *("--data.workers", "0", "--train.device", "cpu", "--train.batch_size", "9", "--train.epochs", "2"),
    *("--train.optimizer", "sgd", "--train.backbone_lr", "1e-2", "--train.head_lr", "1e-2", "--eval.resamples", "100"),
]


def start(processes: int, *options: str) -> subprocess.CompletedProcess[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", str(processes), "--master_port", port]
    return subprocess.run(
        [sys.executable, *(launcher if processes > 1 else []), "train_Off-the-shelf.py", *OPTIONS, *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )


def test_two_processes_equal_one(pair_tree: Path, tmp_path: Path) -> None:
    """48 pairs in batches of 9: the last step has 3, which two processes share unevenly."""
    for processes in (1, 2):
        done = start(processes, "--data.root", str(pair_tree), "--run.dir", str(tmp_path / str(processes)))
        assert done.returncode == 0, done.stderr
    one, two = (tmp_path / name for name in ("1", "2"))
    weights = load_file(one / "model.safetensors"), load_file(two / "model.safetensors")
    for name, tensor in weights[0].items():
        assert weights[1][name] == pytest.approx(tensor, abs=1e-5), name
    logits = [np.load(run / "logits.npz")["test"] for run in (one, two)]
    assert logits[1] == pytest.approx(logits[0], abs=1e-4)
    rows = [json.loads((run / "log.jsonl").read_text().splitlines()[-1])["train"] for run in (one, two)]
    assert rows[1]["loss"] == pytest.approx(rows[0]["loss"], abs=1e-5)
    assert json.loads((two / "metrics.json").read_text())["test"]["n_pairs"] == 20
