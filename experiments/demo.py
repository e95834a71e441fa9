"""The paper's claim in miniature: python -m experiments.demo."""

import shutil
import time
from dataclasses import dataclass, field, replace
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
from experiments.regions.command import compare_regions
from experiments.regions.options import REPORT_FILE, Budget, RegionData, RegionOptions
from experiments.regions.page import TITLE, comparison_sections, console_text, how_notes, with_plot
from experiments.report import HEADINGS, Section, text_table, write_page
from experiments.runs import load_index, read_runs
from experiments.statistics import Comparison, paired_bootstrap
from utils.config import parse_config
from utils.errors import ConfigError, require, require_seeds, run_script
from utils.processes import refuse_several
from utils.run_directory import LOGITS_FILE

MARKER = "made_by_demo.txt"
SIDE = 64
PARTS_SIDE = 96  # of the long form: parts of two thirds are then as large as the classifier's input
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


@dataclass(frozen=True, kw_only=True)
class Regions:
    """How the long form compares models that are given the mask with models that find the region.

    Attributes:
        seeds: training seeds.
        epochs: passes over the training pairs.
    """

    seeds: list[int] = field(default_factory=lambda: [0, 1, 2])
    epochs: int = 8

    def __post_init__(self) -> None:
        require_seeds("regions.seeds", self.seeds)
        require(self.epochs >= 1, "regions.epochs", self.epochs, "at least 1")


def demo(folder: Path, plates: PlatesConfig, regions: Regions | None = None) -> None:
    """Generate plates, cut pairs, train three models; compare, perturb and explain them; write one page.

    A folder of an earlier demo is replaced; any other folder that is not empty is refused. ``regions`` adds to the page
    the comparison of models that are given the mask with models that find the region.
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
    compared = [] if regions is None else _compare_regions(folder, archive, regions)
    report = folder / "report.html"
    notes = [sentence, *verdicts, *_reading_notes(plates)]
    _write_page(report, rows, conditions, notes, _images(root, runs), maps, folder, compared)
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
    compared: list[Section],
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
        *compared,
        Section("Training", images=images),
    ]
    write_page(path, "RveRNet on generated plates", sections)


def _compare_regions(folder: Path, archive: Path, regions: Regions) -> list[Section]:
    """Cut the plates at full size, so that parts of a photo carry detail, and compare; return the page's sections."""
    print("\ncompare_regions.py on the same plates")
    root = folder / "pairs_full_size"
    preprocess(PreprocessOptions(src=archive, dst=root, size=PARTS_SIDE, format="png"))
    data = RegionData(root=str(root), workers=0)
    budget = Budget(image_size=SIDE, epochs=regions.epochs)
    out = folder / "regions"
    document = compare_regions(RegionOptions(data=data, out=str(out), seeds=regions.seeds, budget=budget))
    print(f"\n{console_text(document)}")
    first, *others = with_plot([one for one in comparison_sections(document) if not one.folded], out)
    again = (
        f"`roi only` and `RveRNet` stand on this page twice. Here they are runs of their own, on pairs stored with "
        f"{PARTS_SIDE} instead of {SIDE} pixels so that parts of a photo carry detail, with their own numbers of "
        f"epochs and seeds: compare rows within a table. All runs one by one: `{out.name}/{REPORT_FILE}`, beside this "
        f"page."
    )
    first = replace(first, heading=f"{TITLE} {first.heading}", notes=[again, *first.notes])
    return [first, *others, Section(notes=how_notes(document))]


@dataclass(frozen=True, kw_only=True)
class DemoOptions:
    """Options of the demo.

    Attributes:
        dir: folder to fill; that of an earlier demo is replaced.
        photos: number of generated plates.
        seed: of the plates.
        long: also compare models that are given the mask with models that find the region, which takes much longer.
        regions: how; read with ``long``.
    """

    dir: str = "runs/demo"
    photos: int = 700
    seed: int = 0
    long: bool = False
    regions: Regions = field(default_factory=Regions)

    def __post_init__(self) -> None:
        if not self.long and self.regions != Regions():
            raise ConfigError("--regions belongs to the long form; add --long, or leave it out")


def main(argv: list[str]) -> None:
    """Parse the command line and run the demo."""
    refuse_several("python -m experiments.demo")
    options, _ = parse_config(DemoOptions, argv, program="python -m experiments.demo", flags={})
    plates = PlatesConfig(photos=options.photos, seed=options.seed)
    demo(Path(options.dir), plates, options.regions if options.long else None)


if __name__ == "__main__":
    run_script(main)
