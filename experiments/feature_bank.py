"""Features of frozen backbones: computed once for each split, so that an epoch costs no more than the head."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from accelerate import Accelerator
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from tqdm import tqdm

from datasets.index import PairIndex
from datasets.pairs import PADDING_ROW
from datasets.sampling import OrderedBatches, StepSampler
from experiments.kinds import Config, Model
from experiments.loading import Splits, loader_for
from Off_the_shelfs.model import ViewClassifier
from utils.batch import Batch
from utils.data_sections import AugmentConfig
from utils.engine import Prepare, agree
from utils.memory import GIB, free_memory, machine_memory
from utils.processes import processes_here
from utils.transfer import on_device

BYTES_PER_FEATURE = 4
ROWS_AT_ONCE = 65536


def bank_applies(model: Model, augment: AugmentConfig) -> bool:
    """Return whether a pair's features are the same in every epoch: all backbones frozen, nothing drawn.

    What happens to every pair, such as a flip with probability 1, is no draw.
    """
    certain = all(chance in (0, 1) for chance in (augment.flip, augment.blank_roi, augment.blank_extra_roi))
    still = augment.min_crop_area == 1 and augment.rotate_degrees == 0
    plain = augment.color_jitter == 0 and augment.policy == "none"
    return certain and still and plain and model.still


def oversize_note(model: Model, n_pairs: int) -> str | None:
    """Return why features of that many pairs are not kept, in words; null where they fit into this machine's memory.

    Half of the memory is shared by the processes of the machine, each of which keeps them all.
    """
    memory, processes = machine_memory(), processes_here()
    needed = sum(feature_bytes(model, n_pairs).values()) * processes
    if memory is None or needed <= memory / 2:
        return None
    return (
        f"all backbones are frozen, but the features of {n_pairs} pairs would take {needed / GIB:.1f} GiB, more than "
        f"half of this machine's {memory / GIB:.1f} GiB: they are computed anew in each epoch"
    )


def feature_bytes(model: Model, n_pairs: int) -> dict[str, int]:
    """Return the size of a bank by view, in bytes."""
    return {name: n_pairs * b.num_features * BYTES_PER_FEATURE for name, b in model.backbones.items()}


@dataclass(frozen=True)
class FeatureBank:
    """The features of a split.

    Attributes:
        features: float32 N×D by view, row by row; on the device of training, or on the CPU where that is too full.
        label: int64 N, beside them.
    """

    features: Mapping[str, Tensor]
    label: Tensor

    def batch(self, rows: Tensor) -> Batch:
        """Return the batch of some rows, int64 B: ``views`` hold features B×D. Row ``~r`` is row r, not counted."""
        rows = rows.to(self.label.device, non_blocking=True)
        real = torch.where(rows < 0, ~rows, rows)
        return Batch(
            views={name: features[real] for name, features in self.features.items()},
            label=self.label[real],
            index=rows.clamp(min=PADDING_ROW),
            content_box={},
            flip={},
        )


class BankLoader:
    """Batches of a bank, in place of a loader of pictures; each iteration yields what ``batches`` says then.

    Args:
        bank: gives the bank; asked when an iteration begins.
        batches: (epoch, row) items of each batch of this process.
        pinned: put what lies on the CPU into page-locked memory.
    """

    def __init__(
        self, bank: Callable[[], FeatureBank], batches: StepSampler | OrderedBatches, *, pinned: bool = False
    ) -> None:
        self.bank, self.batches, self.pinned = bank, batches, pinned

    def __iter__(self) -> Iterator[Batch]:
        return self._from(self.bank())

    def __len__(self) -> int:
        return len(self.batches)

    def _from(self, bank: FeatureBank) -> Iterator[Batch]:
        for items in self.batches:
            rows = torch.tensor([row for _, row in items])
            batch = bank.batch(rows.pin_memory() if self.pinned else rows)
            yield batch.pin_memory() if self.pinned and batch.label.device.type == "cpu" else batch


class BankedModel(nn.Module):
    """A classifier that takes features instead of pictures; it has the same tensors in the same order.

    Frozen backbones stay in eval mode by themselves.
    """

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        assert isinstance(classifier, ViewClassifier)
        self.classifier = classifier

    def forward(self, features: dict[str, Tensor]) -> Tensor:
        """Return the logits B×C from the features B×D of each view."""
        return self.classifier.fuse(features)

    @staticmethod
    def prepare(batch: Batch) -> dict[str, Tensor]:
        """Return the features of a batch of a bank, by view name."""
        return batch.views


class HeadAverage:
    """Moves the head alone of a whole model's average: frozen tensors equal their average.

    Args:
        average: of the classifier in a ``BankedModel``; its decay is used, and its head is moved.
    """

    def __init__(self, average: ModelEmaV3) -> None:
        self.average = average

    @torch.no_grad()
    def update(self, model: nn.Module, step: int | None = None) -> None:
        """Move the average of the head towards that of a ``BankedModel``."""
        assert isinstance(model, BankedModel)
        averaged, weights = (list(m.head.parameters()) for m in (self.average.module, model.classifier))
        torch._foreach_lerp_(averaged, weights, weight=1.0 - self.average.get_decay(step))


@torch.no_grad()
def compute_features(
    model: Model,
    batches: Iterable[Batch],
    prepare: Prepare,
    accelerator: Accelerator,
    n_pairs: int,
    on_batch: Callable[[int], None] | None = None,
    *,
    device: torch.device | None = None,
) -> dict[str, Tensor]:
    """Return float32 features N×D of a split by view, in index order, gathered from all processes.

    Args:
        model: not wrapped; its backbones are frozen, so that its mode makes no difference and stays.
        batches: this process's share; their ``index`` counts from 0 within the split.
        prepare: turns a batch on the device into normalised pictures.
        accelerator: device, precision, processes.
        n_pairs: pairs of the split.
        on_batch: called with the pairs of each batch that is done.
        device: where the features are kept; null is the accelerator's.
    """
    assert model.still
    kept = {
        name: torch.zeros(n_pairs, backbone.num_features, device=device or accelerator.device)
        for name, backbone in model.backbones.items()
    }
    for batch in on_device(batches, accelerator.device):
        with accelerator.autocast():
            features = model.features(prepare(batch))
        for name, values in features.items():
            kept[name][batch.index.to(kept[name].device)] = values.to(kept[name])
        if on_batch is not None:
            on_batch(len(batch))
    if accelerator.num_processes > 1:
        for features_of_view in kept.values():
            for rows in torch.split(features_of_view, ROWS_AT_ONCE):  # each row is 0 in all processes but one
                rows.copy_(accelerator.reduce(rows.to(accelerator.device), reduction="sum"))
    return kept


@dataclass(frozen=True)
class PictureSource:
    """Where the features of a split come from.

    Attributes:
        index: the pairs.
        open: opens this process's share of the pictures, each pair once over all processes.
    """

    index: PairIndex
    open: Callable[[], Iterable[Batch]]


class FeatureBanks:
    """The banks of a run; each is made when it is first asked for, which all processes must do at the same place.

    Args:
        model: not wrapped, with the weights that are kept.
        accelerator: device, precision, processes.
        sources: by name of the split.
    """

    def __init__(self, model: Model, accelerator: Accelerator, sources: Mapping[str, PictureSource]) -> None:
        self.model, self.accelerator, self.sources = model, accelerator, sources
        self._made: dict[str, FeatureBank] = {}

    def of(self, split: str) -> FeatureBank:
        """Return the bank of a split."""
        if split not in self._made:
            self._made[split] = self._make(split)
        return self._made[split]

    def loader(self, split: str, batches: StepSampler | OrderedBatches) -> BankLoader:
        """Return what yields a split's features in the order of ``batches``."""
        return BankLoader(lambda: self.of(split), batches, pinned=self.accelerator.device.type == "cuda")

    def in_order(self, split: str, batch_size: int) -> BankLoader:
        """Return what yields this process's share of a split's features, row by row."""
        world, rank = self.accelerator.num_processes, self.accelerator.process_index
        return self.loader(
            split, OrderedBatches(len(self.sources[split].index), batch_size, world_size=world, rank=rank)
        )

    def _make(self, split: str) -> FeatureBank:
        source, accelerator = self.sources[split], self.accelerator
        index, hidden = source.index, None if accelerator.is_main_process else True
        device = self._place(split, len(index))
        with tqdm(total=len(index), desc=f"features of {split}", unit="pair", leave=False, disable=hidden) as bar:

            def on_batch(pairs: int) -> None:
                bar.update(pairs)

            features = compute_features(
                self.model, source.open(), self.model.prepare, accelerator, len(index), on_batch, device=device
            )
        return FeatureBank(features, torch.as_tensor(index.label, dtype=torch.int64).to(device))

    def _place(self, split: str, n_pairs: int) -> torch.device:
        """Return where a bank is kept, and say so where it is not the device."""
        device: torch.device = self.accelerator.device
        needed = sum(feature_bytes(self.model, n_pairs).values())
        free = free_memory(device)
        if free is None or needed <= free / 2:
            return device
        if self.accelerator.is_main_process:
            print(
                f"note: the features of the {n_pairs} {split} pairs, {needed / GIB:.1f} GiB, are kept in the machine's "
                f"memory: they are more than half of what {device} has free, {free / GIB:.1f} GiB"
            )
        return torch.device("cpu")


def banks_for(
    config: Config, model: Model, splits: Splits, accelerator: Accelerator, notes: list[str]
) -> FeatureBanks | None:
    """Return the banks of a run, still to be made, or null where pictures are needed; add what a user should know.

    Training pairs keep what is certain of their augmentation, which the other splits do not have.
    """
    if not bank_applies(model, config.data.augment):
        return None
    indexes = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    present = {split: index for split, index in indexes.items() if index is not None}
    too_large = oversize_note(model, sum(map(len, present.values())))
    if agree(accelerator, too_large is not None):
        notes.append(too_large or "all backbones are frozen, but another machine has too little memory for features")
        return None
    notes.append("all backbones are frozen and no augmentation is random: each split's features are computed once")
    open_pictures = partial(loader_for, specs=model.view_specs, config=config, accelerator=accelerator)
    sources = {
        split: PictureSource(index, partial(open_pictures, index, augmented=split == "train"))
        for split, index in present.items()
    }
    return FeatureBanks(model, accelerator, sources)
