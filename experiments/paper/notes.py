"""What a reader must know of a row before setting it beside the published one."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from experiments.paper.finished import Finished
from experiments.paper.jobs import Job
from experiments.paper.published import Published
from utils.files import write_text
from utils.json_file import read_json_object

DATA_FILE = "data.json"


def save_train_counts(folder: Path, jobs: Sequence[Job]) -> None:
    """Record the class counts of the training pairs, by fingerprint, so that a report needs no tree of pairs."""
    before = load_train_counts(folder)
    known = dict(before)
    for job in jobs:
        train = job.splits.train
        fingerprint = train.fingerprint() if job.splits.validation is not None else job.splits.fingerprint["train"]
        known[fingerprint] = dict(zip(train.classes.names, train.class_counts().tolist(), strict=True))
    if known != before:
        write_text(folder / DATA_FILE, json.dumps(known, indent=2, ensure_ascii=False) + "\n")


def load_train_counts(folder: Path) -> dict[str, dict[str, int]]:
    """Return the class counts of training pairs by their fingerprint; empty where none were recorded."""
    path = folder / DATA_FILE
    if not path.is_file():
        return {}
    return read_json_object(path, "record of class counts")


def data_differences(one: Finished, published: Published, counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Return what differs between a run's data and the published counts, each with both numbers; empty for nothing.

    Of a run without a class, the pairs have no published number and only classes and foods are compared.
    """
    data, twin = published.data, one.plan.exclude is not None
    found = [_difference("classes", len(one.record.classes), data["classes"] - (1 if twin else 0))]
    if not twin:
        found.append(_difference("training pairs", one.record.metrics["train"]["n_pairs"], data["train_pairs"]))
        found.append(_difference("test pairs", len(one.label), data["test_pairs"]))
    train = counts.get(one.record.metrics["fingerprint"]["train"])
    for food, (in_train, in_test) in data["class_counts"].items():
        index = one.foods[food]
        if index is None:
            found.append(f"{food} is not in this data ({in_train} training and {in_test} test pairs)")
            continue
        number = None if train is None else train.get(one.record.classes[index])
        found.append(_difference(f"training pairs of {food}", number, in_train))
        found.append(_difference(f"test pairs of {food}", int((one.label == index).sum()), in_test))
    return [text for text in found if text]


def _difference(what: str, ours: int | None, theirs: int) -> str:
    if ours == theirs:
        return ""
    return f"{'an unknown number of' if ours is None else f'{ours:,}'} {what} ({theirs:,})"


def row_notes(
    one: Finished, published: Published, counts: Mapping[str, Mapping[str, int]], stand_ins: Sequence[tuple[str, str]]
) -> list[str]:
    """Return the notes that mark a row: other data, other backbones, weights that are not pretrained, other epochs.

    ``stand_ins`` are the ``other_backbones`` of the whole table, so that one note serves all of its rows.
    """
    notes = []
    differences = data_differences(one, published, counts)
    if differences:
        which = f" of the run without {one.plan.exclude}" if one.plan.exclude else ""
        notes.append(f"Classes and pairs{which} as published: no. Ours (published): {'; '.join(differences)}.")
    if other_backbones(one):
        listed = "; ".join(f"{name} for {expected}" for name, expected in stand_ins)
        notes.append(f"Made with other backbones than the paper's: {listed}.")
    if "random" in weights(one).values():
        notes.append("Trained from random weights; the paper's were pretrained on ImageNet-1K.")
    epochs = int(one.record.metrics["epochs"])
    if epochs != published.data["epochs"]:
        notes.append(f"Trained for {epochs} epoch{'' if epochs == 1 else 's'} ({published.data['epochs']}).")
    return notes


def other_backbones(one: Finished) -> list[tuple[str, str]]:
    """Return (backbone used, backbone that the grid's layer names) where the two differ, each once."""
    model: Any = one.record.config.model
    used = [(getattr(model, role).name, expected) for role, expected in one.plan.backbones.items()]
    return list(dict.fromkeys(pair for pair in used if pair[0] != pair[1]))


def weights(one: Finished) -> dict[str, str]:
    """Return by view where the run's initial weights came from, as its environment records it."""
    path = one.record.path / "env.json"
    environment = read_json_object(path, "record of the environment") if path.is_file() else {}
    recorded = environment.get("weights") or {}
    return {view: str(one["source"] if isinstance(one, dict) else one) for view, one in recorded.items()}


def perturbation_lines(runs: Sequence[Finished], conditions: Sequence[str]) -> list[str]:
    """Say for each condition what was done, in the pixels used, and how much of the content stayed in the picture."""
    parts = []
    for condition in conditions:
        entries = [_conditions(one)[condition] for one in runs if condition in _conditions(one)]
        if not entries:
            continue
        done = " and ".join(
            dict.fromkeys(f"{what} on {view}" for entry in entries for view, what in entry["inputs"].items())
        )
        pixels = " or ".join(dict.fromkeys(_pixels(entry["pixels"]) for entry in entries))
        kept = [fraction for entry in entries for fraction in entry["content_kept"].values()]
        share = f", {100 * sum(kept) / len(kept):.0f} % of the content kept" if kept else ""
        parts.append(f"`{condition}` is {done}, here {pixels}{share}")
    if not parts:
        return []
    suites = " and ".join(dict.fromkeys(one.plan.suite for one in runs if one.evaluation is not None))
    return [f"Conditions of the suite {suites}, distances as written for 224 pixels: {'; '.join(parts)}."]


def _conditions(one: Finished) -> dict[str, Any]:
    return {} if one.evaluation is None else dict(one.evaluation["conditions"])


def _pixels(pixels: Mapping[str, Any]) -> str:
    return (
        ", ".join(f"{name} {_number(value)}" for name, value in pixels.items()) + " pixels" if pixels else "as written"
    )


def _number(value: Any) -> str:  # noqa: ANN401  # a number, or one per view
    return " and ".join(f"{part:g}" for part in value) if isinstance(value, list) else f"{value:g}"
