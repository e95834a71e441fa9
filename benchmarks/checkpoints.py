"""What checkpoints cost: seconds spent in saving over seconds of training, at default settings.

The tiny CPU recipe on as many generated plates as the demo has, 64 pixels. A checkpoint is written after each epoch and
after ten minutes; each is flushed to the disk, and its files are hashed.
"""

import contextlib
import io
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.common import Recorded, publish
from datasets.plates import PlatesConfig, generate_plates
from datasets.preprocess import PreprocessOptions, preprocess
from experiments import training
from experiments.fit import fit
from experiments.kinds import RVERNET
from RveRNets.config import RveRNetConfig
from utils.config import parse_config

PLATE_SIDE, SIDE, EPOCHS, REPEATS = 128, 64, 2, 3
TARGET = 1.0  # percent


def measure(folder: Path, run: Path) -> tuple[list[float], float, int]:
    """Train; return the seconds of each checkpoint, those of all epochs, and the bytes of the last checkpoint."""
    argv = ["--config", "RveRNets/train_cfgs/tiny_cpu.yaml", "--data.root", str(folder / "pairs")]
    argv += ["--run.dir", str(run), "--train.epochs", str(EPOCHS)]
    config, _ = parse_config(RveRNetConfig, argv, program="benchmark", flags={})
    saving: list[float] = []
    original: Callable[..., None] = vars(training)["save"]

    def timed(*arguments: Any) -> None:  # noqa: ANN401  # passed on as they are
        started = time.perf_counter()
        original(*arguments)
        saving.append(time.perf_counter() - started)

    with patch.object(training, "save", timed), contextlib.redirect_stdout(io.StringIO()):
        fit(RVERNET, config)
    timing = json.loads((run / "timing.json").read_text(encoding="utf-8"))
    size = sum(path.stat().st_size for path in (run / "checkpoint_last").iterdir())
    return saving, sum(timing["epoch_seconds"]), size


def main(repeats: int = REPEATS) -> None:
    """Print the share of training that goes into checkpoints, their seconds and their bytes."""
    shares, seconds, size = [], [], 0
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        generate_plates(PlatesConfig(side=PLATE_SIDE), folder / "plates")
        options = PreprocessOptions(src=folder / "plates", dst=folder / "pairs", size=SIDE, format="png")
        preprocess(options, say=lambda _line: None)
        for repeat in range(repeats):
            saving, trained, size = measure(folder, folder / f"run{repeat}")
            shares.append(100 * sum(saving) / trained)
            seconds += saving
    how = f"median of {repeats} runs of {EPOCHS} epochs, seconds in saving over seconds of the epochs"
    publish(
        "checkpoints",
        [
            Recorded("overhead, tiny recipe, defaults", statistics.median(shares), "%", TARGET, note=how),
            Recorded("one checkpoint", statistics.median(seconds), "s", note="written, flushed, hashed, renamed"),
            Recorded("size of a checkpoint", size / 1e6, "MB", note="weights, optimiser, states"),
        ],
        reads=f"{SIDE} px PNG pairs of generated plates",
    )


if __name__ == "__main__":
    main()
