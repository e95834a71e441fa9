"""Finished runs and what they say of some pairs, with stored masks or others."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from accelerate import Accelerator
from numpy.typing import NDArray

from datasets.index import PairIndex
from datasets.pairs import PairDataset
from datasets.readers import PairReader
from experiments.kinds import Model
from experiments.loading import in_order
from experiments.runs import RunRecord, find_runs, read_runs
from utils.engine import compute_logits
from utils.errors import DataError
from utils.sections import evaluation_batch_size

Logits = NDArray[np.float32]


@dataclass(frozen=True)
class Side:
    """The runs of one ``--run``: a single one, or the seeds of a series.

    Attributes:
        name: in tables.
        records: at least one, all over the same classes.
    """

    name: str
    records: list[RunRecord]

    @property
    def seeds(self) -> list[int]:
        """The training seed of each run."""
        return [record.config.train.seed for record in self.records]


def read_sides(folders: Sequence[str]) -> list[Side]:
    """Read the runs of each folder that ``--run`` names.

    Raises:
        ConfigError, DataError: as ``experiments.runs.read_runs``; the runs do not share their classes.
    """
    records = read_runs(folders)
    sides = []
    place = 0
    for folder in folders:
        count = len(find_runs([folder]))
        mine = records[place : place + count]
        place += count
        sides.append(Side(mine[0].series if count > 1 else mine[0].name, mine))
    for record in records[1:]:
        if record.classes != records[0].classes:
            raise DataError(
                f"the runs {records[0].path} and {record.path} do not share their classes "
                f"({len(records[0].classes)} and {len(record.classes)}, or in another order); compare runs of one list"
            )
    return sides


@dataclass(frozen=True)
class Scoring:
    """How runs are put to work: where they compute, pairs per pass (null: the run's own), and loader processes."""

    accelerator: Accelerator
    batch_size: int | None = None
    workers: int | Literal["auto"] = "auto"

    def logits(self, record: RunRecord, model: Model, index: PairIndex, reader: PairReader | None = None) -> Logits:
        """Return a run's logits N×C for the pairs and classes of an index.

        Args:
            record: the run; bars and, where it is null here, the batch size are its own.
            model: its model, on the accelerator's device.
            index: the pairs.
            reader: gives them with other masks; null reads what is stored.

        Raises:
            DataError: a picture cannot be read.
        """
        config = record.config
        data = replace(config.data, workers=self.workers)
        dataset = PairDataset(index, model.view_specs, data, training=False, seed=0, reader=reader)
        size = self.batch_size or evaluation_batch_size(config.train, config.eval)
        found = compute_logits(
            model,
            in_order(dataset, data, size, self.accelerator),
            model.prepare,
            self.accelerator,
            n_pairs=len(index),
            n_classes=len(record.classes),
        )
        return np.asarray(found[:, record.columns(index)])
