"""The network that learns by matching regions across two views of a photo (Gokul et al. 2022, arXiv 2208.11821)."""

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from R2O.answer import R2OAnswer
from R2O.config import R2OConfig
from R2O.heads import mlp
from R2O.lattice import replay
from R2O.loss import present_in_both, region_loss, region_weights, spread
from R2O.pooling import pool_regions
from R2O.regions import Regions, refine
from R2O.target import follower, looked_at, move
from R2O.trunk import Trunk
from utils.batch import Batch, ViewSpec, normalise

PICTURES = ("view_1", "view_2", "photo")
LATTICE_STRIDE = 4  # pixels of a view per cell of the lattice that regions are painted on


class Branch(nn.Module):
    """A trunk and the projector on top of it; the online network and its target are one each."""

    def __init__(self, trunk: Trunk, projector: nn.Module) -> None:
        super().__init__()
        self.trunk = trunk
        self.projector = projector


@dataclass(frozen=True)
class _Matched:
    """The regions of a batch in the order of its two directions, view 1 first.

    Attributes:
        masks: of the online side, 2B×K×h×w; the target's are its halves swapped.
        swapped: of the target's side.
    """

    masks: Tensor
    swapped: Tensor


class R2OModel(nn.Module):
    """Online network, predictor and target.

    One call takes a micro-batch through a whole step but the optimiser: the target as it stands divides the photos
    into regions, the online network describes those of both views in one pass, the target moves (once per optimiser
    step), describes the same regions in the other view, and each description has to predict the other one's.

    Where a step has several micro-batches, the target moves in the first one, so that the photos of the others are
    divided into regions by the moved target.

    Call ``set_step`` before each optimiser step. Nothing that it sets is in the state dict.

    Args:
        trunk: of the online network; the target starts as its copy.
        config: of the run.
    """

    def __init__(self, trunk: Trunk, config: R2OConfig) -> None:
        super().__init__()
        model = config.model
        self.fidelity, self.train_config = config.fidelity, config.train
        self.side = config.data.image_size // LATTICE_STRIDE
        self.spec = ViewSpec(size=config.data.image_size, mean=trunk.mean, std=trunk.std)
        self.online = Branch(trunk, mlp(trunk.channels, model.projector_width, model.embedding))
        self.predictor = mlp(model.embedding, model.predictor_width, model.embedding)
        self.target = follower(self.online)
        self.clusters: int | None = None
        self.momentum = 1.0
        self._has_to_move = False

    def set_step(self, clusters: int | None, momentum: float) -> None:
        """Say how many groups the next optimiser step forms, and how much of the target it keeps.

        Args:
            clusters: K, at least 1; null where superpixels are the regions.
            momentum: of the target, 0..1.
        """
        self.clusters, self.momentum, self._has_to_move = clusters, momentum, True

    def prepare(self, batch: Batch) -> dict[str, Tensor]:
        """Return what ``forward`` takes of a batch on its device: its pictures normalised, and its extras.

        Pictures are float32 B×3×S×S ``view_1``, ``view_2`` and ``photo``; ``superpixels`` are labels B×S×S from 0 and
        ``record`` is B×2×5: top, left, bottom and right as fractions of the photo and the mirror flag of each view.
        """
        return {name: normalise(batch.views[name], self.spec) for name in PICTURES} | batch.extras

    def forward(self, inputs: dict[str, Tensor]) -> R2OAnswer:
        """Return loss and measures of a batch; see ``prepare`` for what it takes."""
        with torch.no_grad():
            regions = self._refine(inputs["photo"], inputs["superpixels"], self.clusters)
            matched = self._seen_in_views(regions, inputs["record"])
        first, second = inputs["view_1"], inputs["view_2"]
        features = self.online.trunk(torch.cat([first, second]))
        online = pool_regions(features, matched.masks, self.fidelity.pool_divisor)
        with torch.no_grad():
            self._move_target()
            seen = self.target.trunk(torch.cat([second, first]))
            target = pool_regions(seen, matched.swapped, self.fidelity.pool_divisor)
        area_1, area_2 = online.area.chunk(2)
        train = self.train_config
        weights = region_weights(area_1, area_2, overlap=train.overlap, by_area=train.weight_by_area)
        present = present_in_both(area_1, area_2)
        both = torch.cat([weights, weights])
        compared: tuple[Tensor, ...] = (online.rows.flatten(0, 1), target.rows.flatten(0, 1), both.flatten())
        if self.fidelity.bn_rows == "valid":
            chosen = torch.cat([present, present]).flatten().nonzero()[:, 0]  # waits for a device, once
            compared = tuple(rows.index_select(0, chosen) for rows in compared)
        loss, spread_out = self._compare(features, *compared)
        return self._answer(loss, spread_out, regions, present)

    @torch.no_grad()
    def regions_of(self, photo: Tensor, superpixels: Tensor, clusters: int | None) -> Tensor:
        """Return the regions of photos for a picture: ids B×L×L on the lattice, alike across photos.

        The target runs in eval mode and the random numbers of training are left where they are, so that the model
        and the run are the same with and without pictures.

        Args:
            photo: normalised B×3×S×S.
            superpixels: labels B×S×S.
            clusters: K, or null.
        """
        with looked_at(self.target), torch.random.fork_rng(devices=[]):
            return self._refine(photo, superpixels, clusters).ids

    def _refine(self, photo: Tensor, superpixels: Tensor, clusters: int | None) -> Regions:
        """Divide photos into regions by what the target sees in them as it stands."""
        features = None if clusters is None else self.target.trunk.clustered(photo)
        return refine(features, superpixels, clusters, self.fidelity, self.side)

    def _seen_in_views(self, regions: Regions, record: Tensor) -> _Matched:
        cells, aligned = self.online.trunk.cells, self.fidelity.roi_aligned
        first, second = (replay(regions.masks, record[:, view], cells, aligned) for view in (0, 1))
        return _Matched(torch.cat([first, second]), torch.cat([second, first]))

    def _move_target(self) -> None:
        if self._has_to_move:
            move(self.target, self.online, self.momentum)
            self._has_to_move = False

    def _compare(self, features: Tensor, ours: Tensor, theirs: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Run the heads on the rows N×D of both sides and return the loss and the spread of the target's vectors."""
        if not self._heads_can_run(ours):
            return self._nothing(features), weights.new_zeros(())
        predicted = self.predictor(self.online.projector(ours))
        with torch.no_grad():
            wanted = self.target.projector(theirs)
        loss = region_loss(predicted, wanted, weights)
        return loss if len(ours) else loss + self._nothing(features), spread(wanted, weights)

    def _heads_can_run(self, rows: Tensor) -> bool:
        """Say whether BatchNorm has the two rows that it needs, here or over all processes where they share them."""
        shared = any(isinstance(part, nn.SyncBatchNorm) and part.training for part in self.predictor)
        if not (shared and dist.is_initialized()):
            return len(rows) >= 2
        count = torch.tensor(len(rows), device=rows.device)
        dist.all_reduce(count)
        return int(count) >= 2

    def _nothing(self, features: Tensor) -> Tensor:
        """Return 0 with a backward pass that reaches all that is trained and leaves zeros there.

        Sums of no element are that, whatever the features hold; a factor 0 would make NaN of infinite ones.
        """
        parts = [features, *self.online.projector.parameters(), *self.predictor.parameters()]
        return torch.stack([part.flatten()[:0].float().sum() for part in parts]).sum()

    def _answer(self, loss: Tensor, spread_out: Tensor, regions: Regions, present: Tensor) -> R2OAnswer:
        count = len(present)
        valid = present.sum()
        tallies = {
            "regions": regions.counts.sum(),
            "valid_regions": valid,
            "spread": spread_out * count,
            "without_region": (valid == 0) * count,
        }
        return R2OAnswer(loss.expand(count), {name: value.detach().float() for name, value in tallies.items()})
