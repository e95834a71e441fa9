"""What a run's model says of its test pairs now, next to the logits that were recorded."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from datasets.changes import describe_change
from datasets.index import PairIndex
from experiments.feature_bank import bank_applies
from experiments.kinds import Config, Model
from experiments.loading import loader_for
from experiments.runs import RunRecord, load_index
from experiments.verification.checks import Check
from experiments.verification.measured import compare_measures
from experiments.verification.reading import Recorded
from utils.devices import available_devices, make_accelerator, resolve_precision, resolve_tf32
from utils.engine import compute_logits
from utils.errors import ConfigError, DataError
from utils.measures import compute_measures
from utils.metrics import predicted_classes
from utils.provenance import DIGITS, describe_machine
from utils.sections import Device, TrainConfig

# Largest difference allowed between two machines, as a part of the largest logit.
TOLERANCES = {"fp32": 1e-4, "tf32": 1e-2, "fp16": 1e-2, "bf16": 5e-2}
_ALIKE = ("device", "processor", "threads", "processes")


def check_recomputed(run: Recorded, record: RunRecord, root: Path | None) -> list[Check]:
    """Compute the logits of the test pairs again and compare them.

    Args:
        run: the files of the run.
        record: the same run, its configuration parsed.
        root: pairs or archive; None takes what the run was trained on.

    Raises:
        DataError: the pairs are not there, cannot be read, or are of other classes.
        ConfigError: several processes were started and cannot work together.
    """
    try:
        index = load_index(record, root)
    except DataError as error:
        advice = "name the run's pairs with --root DIR, or leave them alone with --scores_only"
        raise DataError(f"the pairs to verify {run.path} on cannot be used: {error}\n{advice}") from None
    data = _check_data(run, index)
    if not data.agrees:
        return [data, Check("model", "not computed: the pairs are not those of the run", done=False)]
    if run.arrays is None or run.arrays["test"].shape != (len(index), len(record.classes)):
        return [data, Check("model", "not computed: the recorded logits are not those of these pairs", done=False)]
    config, told = settings_here(record.config)
    rounding = max(_rounding(record.config.train), _rounding(config.train), key=lambda name: TOLERANCES[name])
    threads = _recorded_part(run).get("threads")
    before = torch.get_num_threads()
    if isinstance(threads, int) and threads > 0 and config.train.device == "cpu" and not told:
        torch.set_num_threads(threads)  # sums of other lengths end in other digits
    try:
        accelerator = make_accelerator(config.train)
        try:
            model = record.load_model(accelerator.device)
        except DataError as error:
            return [data, Check("model", "", [str(error)])]
        exact = not told and _bits_repeat(run, config, model)
        logits = compute_logits(
            model,
            loader_for(index, model.view_specs, config, accelerator),
            model.prepare,
            accelerator,
            n_pairs=len(index),
            n_classes=len(index.classes),
        )
        measures = {}
        if model.has_measures:
            loader = loader_for(index, model.view_specs, config, accelerator)
            measures = compute_measures(model, loader, model.prepare, accelerator, n_pairs=len(index))
    finally:
        torch.set_num_threads(before)
    found = _compare(run.arrays["test"], logits, index.label, rounding, exact=exact, told=told)
    return [data, found, *compare_measures(run, measures, exact=exact)]


def _check_data(run: Recorded, index: PairIndex) -> Check:
    check = Check("pairs", f"the {len(index)} test pairs of {index.root} are those that were scored")
    recorded = run.metrics.get("data", {}).get("test")
    if recorded is not None:
        check.differences = describe_change({"test": recorded}, {"test": index.summary()})
    elif run.metrics.get("fingerprint", {}).get("test") != index.fingerprint():
        check.differences = ["test: the set of pairs is another"]
    if check.differences:
        check.differences.append(f"these are the pairs of {index.root}; name those of the run with --root")
    return check


def settings_here(config: Config) -> tuple[Config, str]:
    """Return the run's own settings, or those nearest to them here and how they differ."""
    devices = available_devices()
    device: Device = config.train.device if config.train.device in devices else devices[0]
    lacks = _lacking(config.train, device)
    if lacks is None:
        return config, ""
    train = replace(config.train, device=device, precision="fp32", tf32=False)
    return replace(config, train=train), f"on {device} in fp32, as this machine lacks {lacks}"


def _lacking(train: TrainConfig, device: Device) -> str | None:
    """Return the first of device, precision and TF32 that a run asks for in vain."""
    if train.device not in ("auto", device):
        return train.device
    try:
        resolve_precision(train.precision, device)
    except ConfigError:
        return train.precision
    try:
        resolve_tf32(train.tf32, device)
    except ConfigError:
        return "tf32"
    return None


def _rounding(train: TrainConfig) -> str:
    """Return in which numbers products are computed: a key of ``TOLERANCES``."""
    if train.precision == "auto":
        return "fp32" if train.device == "cpu" else "bf16"
    return (
        "tf32" if train.precision == "fp32" and train.tf32 is not False and train.device != "cpu" else train.precision
    )


def _bits_repeat(run: Recorded, config: Config, model: Model) -> bool:
    """Return whether this machine must find the very bits: one process, the same processor and software."""
    then, now = _recorded_part(run), describe_machine(config.train.device)
    if config.train.device != "cpu" or then.get("processes") != 1:
        return False
    if any(then.get(key) != now[key] for key in _ALIKE):
        return False
    versions = then.get("versions")
    if not isinstance(versions, dict) or any(versions.get(name) != now["versions"][name] for name in DIGITS):
        return False
    if any(backbone.wants_compile for backbone in model.backbones.values()):
        return False  # loaded models are not compiled
    return not bank_applies(model, config.data.augment)  # features of a bank come from batches of another size


def _recorded_part(run: Recorded) -> dict[str, Any]:
    """Return the machine on which the run ended."""
    parts = run.environment.get("parts")
    return parts[-1] if isinstance(parts, list) and parts and isinstance(parts[-1], dict) else {}


def _compare(
    recorded: NDArray[Any], computed: NDArray[Any], truth: NDArray[Any], rounding: str, *, exact: bool, told: str
) -> Check:
    allowed = 0.0 if exact else TOLERANCES[rounding] * max(1.0, float(np.abs(recorded).max()))
    largest = float(np.abs(recorded - computed).max())
    before, after = predicted_classes(recorded), predicted_classes(computed)
    changed = int((before != after).sum())
    found = f"largest difference of logits {largest:.3g}, {changed} of {len(truth)} predictions changed"
    where = f" ({told})" if told else ""
    if largest <= allowed:  # not for NaN
        if largest == 0:
            return Check("model", f"gives the recorded logits bit for bit{where}")
        return Check("model", f"{found}; up to {allowed:.3g} is rounding in {rounding}{where}")
    limit = (
        "the processor, the threads and the versions are those of the run, so that there should be none"
        if exact
        else f"up to {allowed:.3g} would be rounding in {rounding}"
    )
    top1 = f"top-1 is {np.mean(before == truth):.4f} recorded and {np.mean(after == truth):.4f} here"
    return Check("model", "", [f"{found}; {limit}; {top1}{where}"])
