"""Memory of a run does not grow from epoch to epoch: neither in the main process nor in those that load.

A whole run of ``fit`` that scores the test split after every epoch. Memory is read at the end of each epoch's training:
resident memory of the main process, and the private memory of its loaders, which grows where pages shared with the main
process are written to.
"""

import contextlib
import io
import multiprocessing
import os
import tempfile
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.common import Recorded, publish
from benchmarks.trees import link_tree, write_cutouts
from experiments.fit import fit
from experiments.kinds import RVERNET
from RveRNets.config import RveRNetConfig
from utils.config import parse_config
from utils.engine import train_one_epoch

PHOTOS, CLASSES, PER_PHOTO, SIDE = {"train": 400, "test": 50}, 20, 4, 32
EPOCHS, WARM_UP, MOST_GROWTH_MB = 6, 3, 5.0


def memory_mb(process: int, kinds: tuple[str, ...]) -> float:
    """Return the sum of some kinds of memory of a process in MB, as Linux counts them."""
    lines = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="utf-8").splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(kinds)) / 1024


def measure(argv: list[str]) -> tuple[list[float], list[float]]:
    """Run ``fit``; return the memory in MB at the end of each epoch: of the main process, of its largest loader."""
    main_process, loaders = [], []

    def watched(*arguments: Any, **options: Any) -> tuple[int, bool]:  # noqa: ANN401
        result = train_one_epoch(*arguments, **options)
        main_process.append(memory_mb(os.getpid(), ("Rss:",)))
        children = [child.pid for child in multiprocessing.active_children() if child.pid is not None]
        loaders.append(max(memory_mb(pid, ("Private_Clean:", "Private_Dirty:")) for pid in children))
        return result

    config, _ = parse_config(RveRNetConfig, argv, program="benchmark", flags={})
    with patch("experiments.training.train_one_epoch", watched), contextlib.redirect_stdout(io.StringIO()):
        fit(RVERNET, config)
    return main_process, loaders


def growth(memory: list[float]) -> float:
    """Return MB per epoch after the warm-up."""
    return (memory[-1] - memory[WARM_UP - 1]) / (len(memory) - WARM_UP)


def main() -> None:
    """Print the growth per epoch of both kinds of process."""
    names = [f"memory of {who}, growth per epoch" for who in ("the main process", "a loader process")]
    if not Path("/proc/self/smaps_rollup").is_file():
        publish("memory", [Recorded(name, None, note="needs Linux: /proc/self/smaps_rollup") for name in names])
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "pairs"
        pairs = link_tree(root, write_cutouts(Path(folder), SIDE, SIDE * 3 // 4), PHOTOS, CLASSES, PER_PHOTO)
        argv = [
            "--config",
            "RveRNets/train_cfgs/tiny_cpu.yaml",
            "--data.root",
            str(root),
            "--data.image_size",
            str(SIDE),
        ]
        argv += ["--run.dir", str(Path(folder) / "run"), "--train.epochs", str(EPOCHS), "--data.workers", "1"]
        argv += ["--data.accept", "same-photo"]  # all pairs are links to one
        argv += ["--eval.test_every_epoch", "true", "--eval.recalibration_pairs", "200", "--eval.resamples", "100"]
        memory = measure(argv)
    results = []
    for name, values in zip(names, memory, strict=True):
        course = ", ".join(f"{value:.0f}" for value in values)
        note = f"{course} MB after each of {EPOCHS} epochs; the first {WARM_UP} warm up"
        results.append(Recorded(name, growth(values), "MB", target=MOST_GROWTH_MB, note=note))
    publish("memory", results, reads=f"{pairs:,} JPEG pairs of {SIDE} px")


if __name__ == "__main__":
    main()
