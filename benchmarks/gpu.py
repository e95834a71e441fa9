"""The claims that need a GPU: ``make benchmark-gpu``.

A step of the engine against a bare loop, against the released code's way, against what the GPU's matrix units can do,
with and without ``torch.compile``, and how long the GPU waits for a real loader.
"""

import contextlib
import io
import json
import tempfile
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch

from benchmarks.common import Recorded, Result, Row, in_turn, publish
from benchmarks.compiling import ON_A_GPU, compiled_against_eager
from benchmarks.steps import Case, bare_loop, engine, fitting, matrix_limit, released_loop
from datasets.plates import PlatesConfig, generate_plates
from datasets.preprocess import PreprocessOptions, preprocess
from experiments.fit import fit
from experiments.kinds import RVERNET
from RveRNets.config import RveRNetConfig
from utils.config import parse_config
from utils.devices import available_devices
from utils.errors import ConfigError, run_script

TWO_DEIT = Case("deit_base_distilled_patch16_224", 224, 50, 20, "cuda", "bf16")
_DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


@dataclass(frozen=True)
class Plan:
    """What is measured; the defaults are the claims.

    Attributes:
        case: two modules as in the paper's best row, with the smallest batch.
        batches: pairs of a step, in turn.
        families: compiled and not.
        repeats: of each timing.
        matrix: side of the matrices whose product sets the physical limit.
        photos: plates from which the pairs for the loader are made.
        epochs: of the run with a loader; the last one counts.
        workers: processes of that loader; null lets it choose.
    """

    case: Case = TWO_DEIT
    batches: tuple[int, ...] = (50, 256)
    families: tuple[Case, ...] = ON_A_GPU
    repeats: int = 5
    matrix: int = 8192
    photos: int = 2000
    epochs: int = 3
    workers: int | None = None


def against_bare_loop(plan: Plan) -> Row:
    """The engine and a bare loop on pictures that lie on the device."""
    sides = engine(plan.case, resident=True), bare_loop(plan.case)
    return Result(_title(plan.case), "engine", "bare loop", *in_turn(*sides, plan.repeats), target=0.97)


def against_released(plan: Plan, pairs: int) -> Row:
    """The engine, copies included, and the released code's step; the limit is the device's rate of matrix products."""
    case = replace(plan.case, pairs=pairs)
    ours, parts = fitting(lambda parts: engine(case, resident=False, parts=parts), pairs)
    released, released_parts = fitting(partial(released_loop, case), pairs)
    times = in_turn(ours, released, plan.repeats, warm_up=False)
    limit = matrix_limit(case, _DTYPES[case.precision], plan.matrix)
    names = f"engine, {case.precision}{_in_parts(parts)}", f"released way, fp32{_in_parts(released_parts)}"
    return Result(_title(case), *names, *times, target=5, limit=limit, limit_target=0.4)


def make_pairs(plan: Plan, folder: Path) -> Path:
    """Write plates and cut them; return the root of the pairs."""
    side = plan.case.side
    generate_plates(PlatesConfig(photos=plan.photos, side=2 * side), folder / "plates")
    options = PreprocessOptions(src=folder / "plates", dst=folder / "pairs", size=side, format="jpg")
    preprocess(options, say=lambda _line: None)
    return folder / "pairs"


def waiting_for_data(plan: Plan) -> Row:
    """A run on generated pairs with the loader that it chooses; the part of its last epoch without a batch."""
    case = plan.case
    with tempfile.TemporaryDirectory() as text:
        folder = Path(text)
        root = make_pairs(plan, folder)
        argv = ["--data.root", str(root), "--data.image_size", str(case.side)]
        argv += ["--data.workers", "auto" if plan.workers is None else str(plan.workers)]
        argv += ["--run.dir", str(folder / "run"), "--run.checkpoint_every", str(plan.epochs)]
        argv += ["--train.device", case.device, "--train.precision", case.precision]
        argv += ["--train.epochs", str(plan.epochs), "--train.batch_size", str(case.pairs)]
        for module in ("roi_backbone", "extra_roi_backbone"):
            argv += [f"--model.{module}.name", case.backbone, f"--model.{module}.pretrained", "false"]
        config, _ = parse_config(RveRNetConfig, argv, program="benchmark", flags={})
        with contextlib.redirect_stdout(io.StringIO()):
            fit(RVERNET, config)
        row = json.loads((folder / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    note = f"{_title(replace(case, steps=1))}, last of {plan.epochs} epochs at {row['pairs_per_second']:.0f} pairs/s"
    share = 100 * row["waited_seconds"] / row["seconds"]
    return Recorded("waiting for data", share, "% of the epoch", target=2, note=note, reads="JPEG pairs of plates")


def _title(case: Case) -> str:
    steps = "a training step" if case.steps == 1 else f"{case.steps} training steps"
    return f"{steps}, two {case.backbone}, {case.side} px, batch {case.pairs}"


def _in_parts(parts: int) -> str:
    return "" if parts == 1 else f", {parts} micro-batches"


def rows(plan: Plan) -> list[Row]:
    """Measure every claim."""
    found = [against_bare_loop(plan)]
    for pairs in plan.batches:
        found.append(against_released(plan, pairs))
        if plan.case.device == "cuda":
            torch.cuda.empty_cache()
    return [*found, waiting_for_data(plan), *compiled_against_eager(plan.families, plan.repeats)]


def main(arguments: list[str]) -> None:
    """Print the table.

    Raises:
        ConfigError: there is no CUDA device.
    """
    if arguments:
        raise ConfigError(f"benchmarks.gpu takes no arguments, not {' '.join(arguments)}")
    if "cuda" not in available_devices():
        raise ConfigError(
            f"these benchmarks need a CUDA device, and this machine has {', '.join(available_devices())}; run make "
            f"benchmark-gpu where there is one, with a torch build for it (here {torch.__version__})"
        )
    free, whole = torch.cuda.mem_get_info()
    notes = [f"{free / 2**30:.0f} of {whole / 2**30:.0f} GiB of the GPU were free, CUDA {torch.version.cuda}"]
    publish("gpu", rows(Plan()), reads="nothing where not said: random pixels, random weights", notes=notes)


if __name__ == "__main__":
    run_script(main)
