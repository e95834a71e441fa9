"""Several runs that differ in their seed alone."""

import dataclasses
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from experiments.continuation import MAY_DIFFER, occupy, refuse_other_configuration
from experiments.fit import fit
from experiments.kinds import Config, Kind
from experiments.measures import measures_over_runs
from experiments.settle import start
from experiments.statistics import t_interval
from utils.config import to_yaml
from utils.processes import from_main, refuse_disagreement
from utils.provenance import describe_environment, describe_files
from utils.run_directory import METRICS_FILE, RunDirectory
from utils.watch import watched


def fit_seeds(kind: Kind, config: Config) -> dict[str, Any]:
    """Train one run per seed in ``<run.dir>/seed<N>`` and write the mean scores with t-intervals over seeds.

    Returns:
        The content of ``<run.dir>/metrics.json``: for each score the mean, ``<name>_ci`` (95 % t-interval over
        seeds, null for one seed) and ``<name>_by_seed``.
    """
    seeds = config.train.seeds
    assert seeds is not None
    accelerator, config = start(config)
    run = RunDirectory(Path(config.run.dir or ""))
    with watched(accelerator, run.how_to_go_on), ExitStack() as held:
        refuse_disagreement(accelerator, {"configuration": dataclasses.asdict(config)}, may_differ=MAY_DIFFER)
        begun = from_main(accelerator, lambda: config.run.resume == "auto" and run.begun)
        if begun:
            refuse_other_configuration(run, config)
        occupy(run, accelerator, held, begun=begun)
        if accelerator.is_main_process and not begun:
            environment = describe_environment(kind.script, config.train.device, seeds=seeds)
            run.record(to_yaml(config), environment)
            held.callback(_discard_if_no_seed_began, run)
        return _fit_each(kind, config, seeds, run, accelerator)


def _discard_if_no_seed_began(run: RunDirectory) -> None:
    """Remove the folder that this start made where its first run was refused."""
    if not any(run.path.glob("seed*")):
        shutil.rmtree(run.path, ignore_errors=True)


def _fit_each(
    kind: Kind, config: Config, seeds: list[int], run: RunDirectory, accelerator: Accelerator
) -> dict[str, Any]:
    folder = run.path
    results = []
    for seed in seeds:
        train = dataclasses.replace(config.train, seed=seed, seeds=None)
        one = dataclasses.replace(config.run, dir=str(folder / f"seed{seed}"))
        if accelerator.is_main_process:
            print(f"seed {seed}")
        results.append(fit(kind, dataclasses.replace(config, train=train, run=one), folder))
    if not all(results):
        return {}  # another process writes
    summary: dict[str, Any] = {"model": kind.name, "seeds": seeds, "interval": "95 % t-interval over seeds"}
    summary["test"] = _over_seeds([result["test"] for result in results])
    if "measures" in results[0]:
        summary["measures"] = measures_over_runs([result["measures"] for result in results])
    summary |= {key: results[0][key] for key in ("selection", "epochs", "parameters", "classes", "fingerprint")}
    summary["computed_from"] = describe_files(folder, [f"seed{seed}/{METRICS_FILE}" for seed in seeds])
    run.write_json(METRICS_FILE, summary)
    return summary


def _over_seeds(scores: list[dict[str, Any]]) -> dict[str, Any]:
    summary: dict[str, Any] = {}
    for name, value in scores[0].items():
        if name.endswith("_ci"):
            continue
        values = [score[name] for score in scores]
        if name.startswith("n_") or value is None:
            summary[name] = value
            continue
        interval = t_interval(values)
        summary[name] = interval.mean
        summary[f"{name}_ci"] = None if interval.low is None else [interval.low, interval.high]
        summary[f"{name}_by_seed"] = values
    return summary
