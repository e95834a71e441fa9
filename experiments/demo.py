"""The paper's claim in miniature: python -m experiments.demo."""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from datasets.index import PairIndex
from datasets.plates import PLATES_FILE, PlatesConfig, generate_plates
from datasets.preprocess import PreprocessOptions, preprocess
from datasets.tree import CONTACT_SHEET_FILE
from experiments.demo_claims import condition_claims, model_claims
from experiments.evaluation.command import evaluate_runs
from experiments.evaluation.options import EvaluateOptions, EvaluationData
from experiments.evaluation.tables import Table, condition_table
from experiments.explanation.gallery import explain_runs
from experiments.fit import fit
from experiments.kinds import OFF_THE_SHELF, RVERNET, Config, Kind
from experiments.report import HEADINGS, Section, text_table, write_page
from experiments.runs import load_index, read_runs
from experiments.statistics import Comparison, paired_bootstrap
from utils.config import parse_config
from utils.errors import ConfigError, run_script
from utils.processes import refuse_several
from utils.run_directory import LOGITS_FILE

MARKER = "made_by_demo.txt"
SIDE = 64
SUITE = "demo"
EXPLAINED = 3  # pairs of each sauce and of each of two foods
MAP_CELLS = 7  # on the shorter side of a map, at least; the last layer has 2 at this picture size
SHOWN = {key: HEADINGS[key] for key in ("top1", "macro_f1", "ambiguous_f1")}
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
    """Generate plates, cut pairs, train three models; compare, perturb and explain them; write one page.

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
    print("\nevaluate.py and explain.py on the runs")
    evaluation = evaluate_runs(
        EvaluateOptions(
            run=[str(runs["RveRNet"])], suite=SUITE, data=EvaluationData(workers=0), out=str(folder / "evaluation")
        )
    )
    rows += evaluation["baselines"]
    maps = _explain(runs, folder / "explanations")
    gain = _gain(runs["RveRNet"], runs["roi only"])
    sentence = (
        f"RveRNet over roi only: macro-F1 {_signed(gain['macro_f1'])}, ambiguous-F1 {_signed(gain['ambiguous_f1'])}"
    )
    claims = model_claims({row["model"]: row for row in rows}, reachable, gain["macro_f1"])
    claims += condition_claims(folder / "evaluation" / "RveRNet", evaluation["ambiguous"])
    verdicts = [*map(str, claims), f"{sum(claim.held for claim in claims)} of {len(claims)} claims held"]
    conditions = condition_table(evaluation, evaluation["runs"]["RveRNet"]["conditions"], tested=False)
    table = text_table(rows, {"model": "model"} | SHOWN)
    report = folder / "report.html"
    notes = [sentence, *verdicts, *_reading_notes(plates)]
    _write_page(report, rows, conditions, notes, _images(root, runs), maps, folder)
    print(
        "\n".join(
            ["", table, "", text_table(conditions[0], {"condition": "RveRNet under"} | SHOWN), "", sentence, *verdicts]
        )
    )
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
    ours, theirs = (np.load(folder / LOGITS_FILE) for folder in (run, baseline))
    arrays: dict[str, Any] = {key: ours[key] for key in ("test_label", "test_group", "ambiguous")}
    return paired_bootstrap(
        arrays["test_label"], ours["test"], theirs["test"], arrays["test_group"], arrays["ambiguous"].tolist()
    )


def _signed(comparison: Comparison | None) -> str:
    if comparison is None or comparison.interval is None:
        return "n/a"
    return f"{comparison.difference:+.3f} [{comparison.interval[0]:+.3f}, {comparison.interval[1]:+.3f}]"


def _explain(runs: dict[str, Path], folder: Path) -> dict[str, Any]:
    """Draw the maps of some sauces and some foods: the roi-only model and both modules of RveRNet."""
    records = read_runs([runs["roi only"], runs["RveRNet"]])
    index = load_index(records[0])
    return explain_runs(
        records, index, _some_pairs(index), folder, device=torch.device("cpu"), least_cells=MAP_CELLS, per_sheet=8
    )


def _some_pairs(index: PairIndex) -> list[int]:
    names = [*index.classes.ambiguous, *[name for name in index.classes.names if name not in index.classes.ambiguous]]
    return [
        int(row)
        for name in names[: len(index.classes.ambiguous) + 2]
        for row in np.flatnonzero(index.label == index.classes.index(name))[:EXPLAINED]
    ]


def _reading_notes(plates: PlatesConfig) -> list[str]:
    return [
        "Brackets hold 95 % intervals from a bootstrap over photos; the gain's is paired. The best reachable score is "
        "what the best possible classifier would get on average on plates of this kind; a finite test set can lie a "
        "little above or below. The last rows use no network: the names of the other foods on the plate, the place and "
        "size of the roi, its colours.",
        "RveRNet sees black surroundings in three of ten training pairs (`data.augment.blank_extra_roi`), so that it "
        "learns from the roi what the roi can tell.",
        "More, beside this page: `evaluation/report.html` (every condition, calibration, hardest pairs) and "
        "`explanations/index.html`.",
        f"{plates.photos} plates, seed {plates.seed}, purity {plates.purity}; training seed 0.",
    ]


def _images(root: Path, runs: dict[str, Path]) -> list[tuple[str, Path]]:
    images = [("Photo, roi and extra_roi of some pairs", root / CONTACT_SHEET_FILE)]
    for name, folder in runs.items():
        images += [(f"{name}: training", folder / "curves.png"), (f"{name}: confusion", folder / "confusion.png")]
    return images


def _write_page(
    path: Path,
    rows: list[dict[str, Any]],
    conditions: Table,
    notes: list[str],
    images: list[tuple[str, Path]],
    maps: dict[str, Any],
    folder: Path,
) -> None:
    sheets = sorted((folder / "explanations" / "sheets").glob("*.*"))
    evaluation = folder / "evaluation"
    robustness = [
        ("RveRNet: change under each condition, with 95 % intervals", evaluation / "conditions.png"),
        ("What the conditions do to a pair", evaluation / "views.png"),
    ]
    sections = [
        Section("", rows, {"model": "model"} | SHOWN, notes),
        Section(
            "What the answer hangs on", *conditions, [], [(text, file) for text, file in robustness if file.is_file()]
        ),
        Section(
            "Maps of both modules",
            notes=[*maps["notes"], *maps["alarms"]],
            images=[("Grad-CAM of the predicted class", sheet) for sheet in sheets],
        ),
        Section("Training", images=images),
    ]
    write_page(path, "RveRNet on generated plates", sections)


@dataclass(frozen=True, kw_only=True)
class DemoOptions:
    """Options of the demo.

    Attributes:
        dir: folder to fill; that of an earlier demo is replaced.
        photos: number of generated plates.
        seed: of the plates.
    """

    dir: str = "runs/demo"
    photos: int = 700
    seed: int = 0


def main(argv: list[str]) -> None:
    """Parse the command line and run the demo."""
    refuse_several("python -m experiments.demo")
    options, _ = parse_config(DemoOptions, argv, program="python -m experiments.demo", flags={})
    demo(Path(options.dir), PlatesConfig(photos=options.photos, seed=options.seed))


if __name__ == "__main__":
    run_script(main)
