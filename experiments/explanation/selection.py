"""Which pairs to look at: by key, by class, by chance, or by who gets them right."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from datasets.index import PairIndex
from experiments.explanation.gallery import Section
from experiments.explanation.options import ExplainOptions
from experiments.loading import loader_for
from experiments.runs import RunRecord
from experiments.statistics import mcnemar
from utils.arrays import read_arrays
from utils.devices import make_accelerator
from utils.engine import compute_logits
from utils.errors import ConfigError, DataError, nearest
from utils.run_directory import LOGITS_FILE
from utils.sections import TrainConfig

Rows = NDArray[np.int64]


def select(options: ExplainOptions, records: Sequence[RunRecord], index: PairIndex) -> tuple[list[Section], list[str]]:
    """Return the sections of pairs to explain, and a sentence on each selection.

    Raises:
        ConfigError: ``disagree`` without two runs.
        DataError: an unknown class or key, with the nearest names; no pair is left.
    """
    if options.keys:
        rows = np.array([_row(key, index) for key in options.keys], dtype=np.int64)
        return [Section("", rows)], []
    rows = _of_classes(options.classes, index)
    if options.select == "disagree":
        return _disagreements(options, records, index, rows)
    if options.select in ("wrong", "confidently_wrong"):
        return _mistakes(options, records[0], index, rows)
    if options.select == "random":
        rows = _sample(rows, options)
    return [Section("", rows[: options.count] if options.select == "first" else rows)], []


def logits_of(record: RunRecord, index: PairIndex, options: ExplainOptions) -> NDArray[np.float32]:
    """Return a run's logits N×C for the classes of an index: the recorded ones where they fit, else computed.

    Without a manifest the index knows no digest of the photos, so recorded logits could be those of other pictures.
    """
    if index.source_digest is not None and record.metrics.get("fingerprint", {}).get("test") == index.fingerprint():
        file = record.path / LOGITS_FILE
        if file.is_file():
            recorded: NDArray[np.float32] = read_arrays(file, ("test",))["test"]
            if recorded.shape == (len(index), len(record.classes)):
                return recorded[:, record.columns(index)]
    accelerator = make_accelerator(TrainConfig(device=options.device))
    model = record.load_model(accelerator.device)
    batches = loader_for(index, model.view_specs, record.config, accelerator)
    found = compute_logits(model, batches, model.prepare, accelerator, len(index), len(record.classes))
    logits: NDArray[np.float32] = found[:, record.columns(index)]
    return logits


def _row(key: str, index: PairIndex) -> int:
    if not (split := index.split) or not key.startswith(f"{split}/"):
        raise DataError(f"--keys {key}: keys of this split start with '{split}/', such as {index.draw_key(0)}")
    keys = [index.draw_key(row) for row in range(len(index))]
    if key in keys:
        return keys.index(key)
    raise DataError(f"--keys {key}: {index.root} has no such pair{nearest(key, keys)}; keys are split/class/stem")


def _of_classes(classes: Sequence[str], index: PairIndex) -> Rows:
    names = index.classes.names
    for name in classes:
        if name not in names:
            hint = nearest(name, names) or f"; its classes: {', '.join(names[:12])}{', …' if len(names) > 12 else ''}"
            raise DataError(f"--classes {name}: {index.root} has no such class{hint}")
    wanted = [names.index(name) for name in classes] or range(len(names))
    rows = np.flatnonzero(np.isin(index.label, list(wanted)))
    if not len(rows):
        raise DataError(f"the split {index.split} of {index.root} holds no pair of {', '.join(classes)}")
    return rows


def _sample(rows: Rows, options: ExplainOptions) -> Rows:
    """Draw ``count`` rows without replacement, in index order."""
    if len(rows) <= options.count:
        return rows
    return np.sort(np.random.default_rng(options.seed).choice(rows, options.count, replace=False))


def _mistakes(
    options: ExplainOptions, record: RunRecord, index: PairIndex, rows: Rows
) -> tuple[list[Section], list[str]]:
    logits = logits_of(record, index, options)[rows]
    guess = logits.argmax(axis=1)
    wrong = np.flatnonzero(guess != index.label[rows])
    if not len(wrong):
        raise DataError(f"{record.name} gets all {len(rows):,} pairs right; there is no mistake to show")
    text = f"{record.name} is wrong on {len(wrong):,} of {len(rows):,} pairs"
    if options.select == "wrong":
        return [Section(text, _sample(rows[wrong], options))], [text]
    sure = softmax(logits.astype(np.float64), axis=1)[wrong, guess[wrong]]
    order = np.argsort(-sure, kind="stable")[: options.count]
    return [Section(f"{text}; the most confident first", rows[wrong[order]])], [text]


def _disagreements(
    options: ExplainOptions, records: Sequence[RunRecord], index: PairIndex, rows: Rows
) -> tuple[list[Section], list[str]]:
    """Return the pairs that one run gets right and the other wrong, as in the paper's Figures 3 and 5."""
    if len(records) != 2:
        raise ConfigError(f"--select disagree compares two runs, but --run names {len(records)}; name two")
    correct: list[NDArray[Any]] = [
        logits_of(record, index, options)[rows].argmax(axis=1) == index.label[rows] for record in records
    ]
    sections, notes = [], []
    for right, wrong in ((0, 1), (1, 0)):
        found = rows[correct[right] & ~correct[wrong]]
        text = (
            f"{records[right].name} is right and {records[wrong].name} wrong on {len(found):,} of {len(rows):,} pairs"
        )
        notes.append(text)
        sections.append(Section(text, _sample(found, options)))
    if not any(len(section.rows) for section in sections):
        raise DataError(
            f"{records[0].name} and {records[1].name} are right and wrong on the same pairs; nothing to show"
        )
    test = mcnemar(correct[0], correct[1], index.group[rows])
    p_value = test.grouped_p_value if test.grouped_p_value is not None else test.p_value
    notes.append(f"McNemar's exact test on these pairs, whole groups swapped: p = {p_value:.2g}")
    return sections, notes
