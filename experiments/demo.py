"""The paper's claim in miniature: python -m experiments.demo."""

import argparse
import dataclasses
import shutil
import time
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import yaml

from datasets.plates import PLATES_FILE, PlatesConfig, generate_plates
from datasets.preprocess import PreprocessOptions, preprocess
from datasets.tree import CONTACT_SHEET_FILE
from experiments.fit import fit
from experiments.kinds import OFF_THE_SHELF, RVERNET, Config, Kind
from experiments.report import text_table, write_report
from experiments.statistics import Comparison, paired_bootstrap
from utils.config import parse_config
from utils.errors import ConfigError, run_script

MARKER = "made_by_demo.txt"
SIDE = 64
SHOWN = {"top1": "top-1", "macro_f1": "macro-F1", "ambiguous_f1": "ambiguous-F1"}
# Name in the table, kind, configuration, further options, and the view whose best reachable score is shown.
RUNS: list[tuple[str, Kind, str, list[str], str]] = [
    ("roi only", OFF_THE_SHELF, "Off_the_shelfs/train_cfgs/tiny_cpu.yaml", ["--data.view", "roi"], "roi"),
    (
        "extra_roi only",
        OFF_THE_SHELF,
        "Off_the_shelfs/train_cfgs/tiny_cpu.yaml",
        ["--data.view", "extra_roi"],
        "extra_roi",
    ),
    ("RveRNet", RVERNET, "RveRNets/train_cfgs/tiny_cpu.yaml", [], "both"),
]


def demo(folder: Path, plates: PlatesConfig) -> None:
    """Generate plates, cut pairs, train three models and report their scores beside the best reachable ones.

    A folder of an earlier demo is replaced; any other folder that is not empty is refused.
    """
    started = time.perf_counter()
    _clear(folder)
    archive, root = folder / "archive", folder / "pairs"
    generate_plates(plates, archive)
    preprocess(PreprocessOptions(src=archive, dst=root, size=SIDE, format="png"))
    reachable = yaml.safe_load((archive / PLATES_FILE).read_text(encoding="utf-8"))["best_reachable"]
    rows, runs = [], {}
    for name, kind, file, options, view in RUNS:
        print(f"\n{name}: {kind.script} --config {file}")
        runs[name] = folder / name.replace(" ", "_")
        metrics = fit(kind, _config(kind, file, root, runs[name], options))
        rows.append({"model": name} | metrics["test"])
        rows.append({"model": "  best reachable"} | {key: reachable[view][key] for key in SHOWN})
    gain = _gain(runs["RveRNet"], runs["roi only"])
    sentence = (
        f"RveRNet over roi only: macro-F1 {_signed(gain['macro_f1'])}, ambiguous-F1 {_signed(gain['ambiguous_f1'])}"
    )
    claims = _claims({row["model"]: row for row in rows}, reachable, gain["macro_f1"])
    notes = [
        sentence,
        *claims,
        "Brackets hold 95 % intervals from a bootstrap over photos; the gain's is paired. The best reachable score is "
        "what the best possible classifier would get on average on plates of this kind; a finite test set can lie a "
        "little above or below.",
        f"{plates.photos} plates, seed {plates.seed}, purity {plates.purity}; training seed 0.",
    ]
    columns = {"model": "model"} | SHOWN
    report = folder / "report.html"
    write_report(report, "RveRNet on generated plates", rows, _images(root, runs), notes, columns=columns)
    print("\n".join(["", text_table(rows, columns), "", sentence, *claims]))
    print(f"{time.perf_counter() - started:.0f} seconds\nreport: {report}")


def _clear(folder: Path) -> None:
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARKER).is_file():
            raise ConfigError(f"{folder} is not empty and no demo made it; choose another --dir, or delete it")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).write_text("The demo replaces this folder when it runs again.\n", encoding="utf-8")


def _config(kind: Kind, file: str, root: Path, run: Path, options: list[str]) -> Config:
    argv = ["--config", file, "--data.root", str(root), "--run.dir", str(run), *options]
    config, _ = parse_config(kind.config_class, argv, program=kind.script, flags={})
    return config


def _gain(run: Path, baseline: Path) -> dict[str, Comparison | None]:
    """Compare two runs on the test pairs."""
    ours, theirs = (np.load(folder / "logits.npz") for folder in (run, baseline))
    arrays: dict[str, Any] = {key: ours[key] for key in ("test_label", "test_group", "ambiguous")}
    return paired_bootstrap(
        arrays["test_label"], ours["test"], theirs["test"], arrays["test_group"], arrays["ambiguous"].tolist()
    )


def _claims(
    scores: dict[str, dict[str, Any]], reachable: dict[str, dict[str, float]], gain: Comparison | None
) -> list[str]:
    """Say of each of the paper's claims in miniature whether this run bears it out."""
    coin = scores["roi only"]["ambiguous_f1_ci"]
    ambiguous, best = scores["RveRNet"]["ambiguous_f1"], reachable["both"]["ambiguous_f1"]
    low = gain.interval[0] if gain is not None and gain.interval is not None else float("nan")
    verdicts = [
        (coin[0] <= 0.5, f"the roi alone cannot tell the sauces apart (interval from {coin[0]:.3f}, a coin gets 0.5)"),
        (ambiguous >= 0.9 * best, f"with its surroundings it can ({ambiguous:.3f} of {best:.3f} reachable)"),
        (low > 0, f"surroundings raise macro-F1 (interval of the gain from {low:+.3f})"),
    ]
    lines = [f"{'held' if held else 'NOT HELD'}: {text}" for held, text in verdicts]
    return [*lines, f"{sum(held for held, _ in verdicts)} of {len(verdicts)} claims held"]


def _signed(comparison: Comparison | None) -> str:
    if comparison is None or comparison.interval is None:
        return "n/a"
    return f"{comparison.difference:+.3f} [{comparison.interval[0]:+.3f}, {comparison.interval[1]:+.3f}]"


def _images(root: Path, runs: dict[str, Path]) -> list[tuple[str, Path]]:
    images = [("Photo, roi and extra_roi of some pairs", root / CONTACT_SHEET_FILE)]
    for name, folder in runs.items():
        images += [(f"{name}: training", folder / "curves.png"), (f"{name}: confusion", folder / "confusion.png")]
    return images


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"{message} (see --help)")


def main(argv: list[str]) -> None:
    """Parse the command line and run the demo."""
    parser = _Parser(prog="python -m experiments.demo", description=__doc__, allow_abbrev=False)
    defaults = PlatesConfig()
    parser.add_argument("--dir", type=Path, default=Path("runs/demo"), help="folder to fill (default: runs/demo)")
    parser.add_argument("--photos", type=int, default=defaults.photos, help="number of plates")
    parser.add_argument("--seed", type=int, default=defaults.seed, help="seed of the plates")
    arguments = parser.parse_args(argv)
    demo(arguments.dir, dataclasses.replace(defaults, photos=arguments.photos, seed=arguments.seed))


if __name__ == "__main__":
    run_script(main)
