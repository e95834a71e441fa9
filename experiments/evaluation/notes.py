"""Plain sentences beside the tables: what the intervals are, which seeds, and what is inside the noise."""

from collections.abc import Mapping
from typing import Any

from experiments.evaluation.tables import Document, series_of_several, shown_scores
from experiments.report import HEADINGS, Change, PValue, format_score
from experiments.robustness.suite import IDENTITY

LEVEL = 0.05
FEW_GROUPS = 50
_SPELT_OUT = 8  # changes inside the noise that are listed with their numbers


def reading_notes(document: Document) -> list[str]:
    """Return how the numbers are to be read: intervals, p-values, seeds, what was left out."""
    counts = sorted({len(run["conditions"]) - 1 for run in document["runs"].values()} - {0})
    resamples = document["resamples"]
    notes = [
        f"Scores are fractions of 1 on {document['n_pairs']:,} pairs in {document['n_groups']:,} groups (split "
        f"{document['split']}, {len(document['classes'])} classes). Brackets hold 95 % intervals. Those of a run come "
        f"from a bootstrap over the groups ({resamples:,} resamples) and say how another test set would vary; those of "
        f"a mean of runs are Student's t over training seeds, not cut at 0 or 1, and say how another training would."
    ]
    if document["n_groups"] < FEW_GROUPS:
        notes.append(
            f"{document['n_groups']} groups are few: such bootstrap intervals are rough and tend to be too narrow."
        )
    if counts:
        floors = [min(1.0, tests * 2 / (resamples + 1)) for tests in counts]
        floor = " or ".join(f"{least:.3f}" for least in floors)
        hopeless = ", so none can be significant: raise --resamples" if floors[0] > LEVEL else ""
        tests = " or ".join(map(str, counts))
        notes.append(
            f"A change is the condition less the unchanged pairs of the same run; the same groups are drawn for both. "
            f"Its p is two-sided and adjusted by Holm for the {tests} conditions of a run's table; with "
            f"{resamples:,} resamples no adjusted p can fall below {floor}{hopeless}."
        )
    notes += _seed_notes(document)
    if document["exclude"]:
        notes.append(f"Left out of pairs and outputs: {', '.join(document['exclude'])}.")
    if not document["ambiguous"]:
        notes.append("The data declare no ambiguous class, so ambiguous-F1 is undefined.")
    if any(row.get("top1") is not None and "context" in row["model"] for row in document["baselines"]):
        notes.append(
            "Baselines without a network were fitted on the training split; a claim that context helps must beat those "
            "that know the names of the other classes of the photo. They know them without error, and every class of a "
            "photo is asked for in turn: where photos hold nearly all classes, the missing name gives the answer away."
        )
    notes += [f"Baseline {row['model']}: {row['note']}." for row in document["baselines"] if row.get("note")]
    return notes + [f"{note[0].upper()}{note[1:].rstrip('.')}." for note in document["notes"]]


def _seed_notes(document: Document) -> list[str]:
    runs = document["runs"].values()
    drawn = [entry["seeds"] for run in runs for entry in run["conditions"].values() if len(entry["seeds"]) > 1]
    notes = []
    if drawn:
        seeds = max(drawn, key=len)
        listed = ", ".join(map(str, seeds))
        notes.append(f"Random conditions are the mean over the perturbation seeds {listed}, resample by resample.")
    several = series_of_several(document)
    if several:
        parts = [
            f"{series}: {', '.join(str(document['runs'][name]['seed']) for name in names)}"
            for series, names in several.items()
        ]
        notes.append(f"Training seeds: {'; '.join(parts)}.")
    return notes


def run_notes(document: Document, name: str) -> list[str]:
    """Return the notes under a run's table: passes, conditions that do not apply, changes inside the noise."""
    run = document["runs"][name]
    notes = [passes_line(run)] if len(run["conditions"]) > 1 else []
    for reason in dict.fromkeys(run["not_applicable"].values()):
        names = [condition for condition, why in run["not_applicable"].items() if why == reason]
        notes.append(f"Not applicable, since {reason}: {', '.join(names)}.")
    for score in shown_scores(document):
        changes = {name: entry["change"] for name, entry in run["conditions"].items() if name != IDENTITY}
        inside = [name for name, change in changes.items() if _inside_noise(change[score], change[f"{score}_p_holm"])]
        if inside:
            few = len(inside) <= _SPELT_OUT
            spelt = [
                f"{name} {signed(changes[name][score], changes[name][f'{score}_ci'])}" if few else name
                for name in inside
            ]
            notes.append(
                f"The change in {HEADINGS[score]} is inside the noise (p after Holm above {LEVEL}) under {len(inside)} "
                f"of {len(changes)} conditions: {('; ' if few else ', ').join(spelt)}."
            )
    return notes + [f"{note[0].upper()}{note[1:].rstrip('.')}." for note in run["notes"]]


def series_notes(document: Document, series: str) -> list[str]:
    """Return for each score in how many runs of a series a change lies outside the noise of the test pairs."""
    runs = [run for run in document["runs"].values() if run["series"] == series]
    notes = []
    for score in shown_scores(document):
        found: dict[int, list[str]] = {}
        for condition, entry in document["series"][series].items():
            if "change" in entry:
                changes = [run["conditions"][condition]["change"] for run in runs]
                sure = [change for change in changes if not _inside_noise(change[score], change[f"{score}_p_holm"])]
                found.setdefault(len(sure), []).append(condition)
        parts = []
        for number, names in sorted(found.items()):
            many = number == 0 and len(names) > _SPELT_OUT
            listed = f"the other {len(names)}" if many else ", ".join(names)
            parts.append(f"in {number or 'none'} of {len(runs)} runs: {listed}")
        if parts:
            notes.append(
                f"The change in {HEADINGS[score]} is outside the noise of the test pairs (p after Holm at most "
                f"{LEVEL}) {'; '.join(reversed(parts))}."
            )
    return notes


def passes_line(run: Mapping[str, Any]) -> str:
    """Return what computing each distinct module input once saved."""
    distinct, naive = run["passes"]["distinct"], run["passes"]["naive"]
    saved = f" instead of {naive}" if naive > distinct else ", each needed once"
    return f"{distinct} module passes per pair{saved}."


def comparison_notes(document: Document) -> list[str]:
    """Return a plain sentence for each comparison: which is better, or that the difference is inside the noise."""
    notes = []
    for entry in document["comparisons"]:
        parts = [_verdict(score, entry["scores"][score], entry["a"], entry["b"]) for score in shown_scores(document)]
        notes.append(f"{entry['a']} against {entry['b']}: {'; '.join(part for part in parts if part)}.")
    return notes


def series_comparison_notes(document: Document) -> list[str]:
    """Return a plain sentence for each comparison of series."""
    notes = []
    for entry in document["series_comparisons"]:
        parts = [_verdict(score, entry["scores"][score], entry["a"], entry["b"]) for score in shown_scores(document)]
        notes.append(
            f"{entry['a']} against {entry['b']}, over {len(entry['seeds'])} training seeds: "
            f"{'; '.join(part for part in parts if part)}."
        )
    return notes


def _verdict(score: str, found: Mapping[str, Any] | None, a: str, b: str) -> str:
    if found is None:
        return ""
    difference, p = found["difference"], found["p_holm"]
    shown = f"{HEADINGS[score]} {signed(difference, found['interval'])}"
    tested = "" if p is None else f"p {format_score(PValue(p))} after Holm"
    if not _inside_noise(difference, p):
        return f"{shown}, {a if difference > 0 else b} is better ({tested})"
    least = found.get("detectable")
    seen = "" if least is None else f"these pairs are likely to show a difference of {least:.3f}"
    detail = "; ".join(part for part in (tested, seen) if part)
    return f"{shown} is inside the noise" + (f" ({detail})" if detail else "")


def _inside_noise(difference: float | None, p: float | None) -> bool:
    return difference is not None and (p is None or p > LEVEL)


def signed(value: float, interval: list[float] | None) -> str:
    """Return a difference with its interval, both with signs."""
    return format_score(Change(value), interval)
