"""Everything that an evaluation needs, read and checked before a model is loaded."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from datasets.index import PairIndex
from datasets.sources import has_split
from experiments.evaluation.options import EvaluateOptions, output_folder, resamples_for, suite_file
from experiments.robustness.plan import applicable, check_patches
from experiments.robustness.plan import make_plan as plan_passes
from experiments.robustness.suite import IDENTITY, Condition, Suite, load_suite
from experiments.runs import RunRecord, load_index, read_runs
from utils.batch import ViewSpec
from utils.errors import DataError

_SHOWN = 3  # names listed of each side of a difference


@dataclass(frozen=True)
class Design:
    """What a run's model asks of each view, and its module passes per pair: distinct, and in a loop of conditions."""

    specs: dict[str, ViewSpec]
    distinct_passes: int
    naive_passes: int


@dataclass(frozen=True)
class Plan:
    """What is evaluated.

    Attributes:
        options: as they were given.
        records: the runs.
        indices: the pairs as each run sees them: the same keys and groups, perhaps in other trees.
        train: the training pairs that baselines are fitted on; None where none are wanted or none are there.
        suite: the conditions; the unchanged pairs alone where no suite is named.
        suite_file: where the suite was read; None for none.
        folder: to be filled.
        resamples: bootstrap resamples behind each interval.
        designs: for each run, its views and what they cost.
        notes: what the user should know of the data, one line each.
    """

    options: EvaluateOptions
    records: list[RunRecord]
    indices: list[PairIndex]
    train: PairIndex | None
    suite: Suite
    suite_file: Path | None
    folder: Path
    resamples: int
    designs: list[Design]
    notes: list[str]

    @property
    def index(self) -> PairIndex:
        """The pairs of the first run, which stand for all in labels, groups and classes."""
        return self.indices[0]


def make_plan(options: EvaluateOptions) -> Plan:
    """Read runs, suite and pairs, and check them against each other.

    Raises:
        ConfigError: the suite or the output folder cannot be used; a run is not there.
        DataError: a run is unfinished, its classes are not those of the data, or the runs see different pairs.
    """
    records = read_runs(options.run)
    path = suite_file(options)
    suite = load_suite(path) if path is not None else _unchanged_only()
    folder = output_folder(options, suite.name)
    data = options.data
    indices = [load_index(record, data.root, data.split, options.exclude, data.max_megapixels) for record in records]
    for record, index in zip(records[1:], indices[1:], strict=True):
        _refuse_other_pairs(records[0], indices[0], record, index)
    designs = _designs(records, indices, suite)
    train, notes = _training_pairs(options, records[0], indices[0]) if options.baselines else (None, [])
    changed = sum(condition.name != IDENTITY for condition in suite.conditions)
    resamples = resamples_for(options, changed)
    notes = list(dict.fromkeys([*indices[0].notes, *notes]))
    return Plan(options, records, indices, train, suite, path, folder, resamples, designs, notes)


def _designs(records: Sequence[RunRecord], indices: Sequence[PairIndex], suite: Suite) -> list[Design]:
    """Refuse conditions that a run cannot take before any run is computed; return the design of each run."""
    seen: list[tuple[object, Design]] = []
    designs = []
    for record, index in zip(records, indices, strict=True):
        settings = (record.kind.name, record.config.model, record.config.data)  # alike for the seeds of a series
        design = next((known for other, known in seen if other == settings), None)
        if design is None:
            specs = dict(record.kind.build(record.config, len(record.classes), False).view_specs)
            conditions, _ = applicable(suite, list(specs))
            check_patches(conditions, index, {view: spec.size for view, spec in specs.items()}, suite.letterbox)
            passes = plan_passes(conditions, list(specs), suite.seeds)
            design = Design(specs, passes.distinct_passes, passes.naive_passes)
            seen.append((settings, design))
        designs.append(design)
    return designs


def _unchanged_only() -> Suite:
    condition = Condition(name=IDENTITY, inputs={}, family=IDENTITY, parameter=None, value=None)
    return Suite(name=IDENTITY, path=Path(), conditions=(condition,), seeds=(0,), letterbox="run")


def _training_pairs(options: EvaluateOptions, record: RunRecord, test: PairIndex) -> tuple[PairIndex | None, list[str]]:
    """Return the training pairs beside the test pairs, or a note that they are not there."""
    split = record.config.data.splits.train
    if not has_split(test, split):
        return None, [f"no baselines: {test.root} has no split {split} to fit them on"]
    return load_index(record, options.data.root, split, options.exclude, options.data.max_megapixels), []


def _refuse_other_pairs(record_a: RunRecord, a: PairIndex, record_b: RunRecord, b: PairIndex) -> None:
    """Raise a ``DataError`` where two runs see different classes, pairs or groups: no paired test could be made."""
    if a.classes.names != b.classes.names or a.classes.ambiguous != b.classes.ambiguous:
        only_a = [name for name in a.classes.names if name not in b.classes.names]
        only_b = [name for name in b.classes.names if name not in a.classes.names]
        detail = _sides(record_a, only_a, record_b, only_b) or "their order or the ambiguous group differs"
        raise DataError(
            f"the runs {record_a.path} and {record_b.path} do not share their classes ({detail}); compare runs of the "
            f"same classes, or leave some out of both with --exclude"
        )
    keys_a, keys_b = _keys(a), _keys(b)
    if keys_a != keys_b:
        set_a, set_b = set(keys_a), set(keys_b)
        only_a, only_b = [key for key in keys_a if key not in set_b], [key for key in keys_b if key not in set_a]
        raise DataError(
            f"the runs {record_a.path} ({len(a)} pairs of {a.root}, split {a.split}) and {record_b.path} ({len(b)} "
            f"pairs of {b.root}, split {b.split}) see different pairs ({_sides(record_a, only_a, record_b, only_b)}), "
            f"and a paired test needs the same; give one tree and split with --data.root and --data.split"
        )
    if _groups(a) != _groups(b):
        raise DataError(
            f"the pairs of {a.root} and {b.root} are grouped differently, so the runs {record_a.path} and "
            f"{record_b.path} cannot be compared; give one tree with --data.root"
        )


def _sides(record_a: RunRecord, only_a: Sequence[str], record_b: RunRecord, only_b: Sequence[str]) -> str:
    parts = []
    for record, only in ((record_a, only_a), (record_b, only_b)):
        if only:
            rest = f" and {len(only) - _SHOWN} more" if len(only) > _SHOWN else ""
            parts.append(f"only in {record.name}: {', '.join(only[:_SHOWN])}{rest}")
    return "; ".join(parts)


def _keys(index: PairIndex) -> list[str]:
    """Return class and stem of every pair; the split's folder may have another name in another tree."""
    return ["/".join(index.key(row)[1:]) for row in range(len(index))]


def _groups(index: PairIndex) -> list[int]:
    """Return the group of every pair as the first pair that has it, so that names do not matter."""
    first: dict[int, int] = {}
    return [first.setdefault(int(code), row) for row, code in enumerate(index.group)]
