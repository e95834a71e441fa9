"""What the two train scripts share."""

from typing import Any

from experiments.dry_run import dry_run
from experiments.fit import fit
from experiments.kinds import Kind
from experiments.measures import measures_table
from experiments.report import HEADINGS, text_table
from experiments.seeds import fit_seeds
from utils.config import parse_config

FLAGS = {"dry_run": "Print what would happen, draw the first training batch, and exit."}
SHORT_NAMES = {"profile": "run.profile"}
SHOWN = ("top1", "macro_f1", "ambiguous_f1", "n_pairs")


def train_command(kind: Kind, argv: list[str]) -> None:
    """Parse a train script's command line and run it."""
    config, flags = parse_config(kind.config_class, argv, program=kind.script, flags=FLAGS, short_names=SHORT_NAMES)
    if flags["dry_run"]:
        dry_run(kind, config)
        return
    metrics = fit_seeds(kind, config) if config.train.seeds else fit(kind, config)
    if metrics:
        print(score_table({kind.name: metrics["test"]}))
    if "measures" in metrics:
        print(f"\n{text_table(*measures_table(metrics['measures']))}")


def score_table(scores_by_name: dict[str, dict[str, Any]]) -> str:
    """Return a plain-text table of test scores with their intervals, one row per run."""
    rows = [{"model": name} | scores for name, scores in scores_by_name.items()]
    return text_table(rows, {"model": "model"} | {key: HEADINGS[key] for key in SHOWN})
