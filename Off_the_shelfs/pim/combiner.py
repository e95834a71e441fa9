"""One vector from all kept positions, by a small graph network (arXiv 2202.03822, section 3.3)."""

from typing import Literal

import torch
from torch import Tensor, nn


class Combiner(nn.Module):
    """Pools T kept positions to J joints, mixes these along a graph, and pools them to one vector.

    The graph is ``adjacency + alpha · tanh(q_r - k_c)``, of which the first part is free and the second depends on the
    picture; ``alpha`` begins at 0. The position's rank is what ``pool_ranks`` knows it by, so order matters.

    Attributes:
        n_joints: J.
    """

    def __init__(self, n_kept: int, n_joints: int, width: int, query_channels: Literal["one", "quarter"]) -> None:
        super().__init__()
        channels = width // 4 if query_channels == "quarter" else 1
        self.n_joints = n_joints
        self.pool_ranks = nn.Linear(n_kept, n_joints)
        self.adjacency = nn.Parameter(0.01 + 0.01 * torch.eye(n_joints))
        self.alpha = nn.Parameter(torch.zeros(1))
        self.query = nn.Linear(width, channels)
        self.key = nn.Linear(width, channels)
        self.mix = nn.Linear(width, width)
        self.norm = nn.BatchNorm1d(width)
        self.pool_joints = nn.Linear(n_joints, 1)

    def graph(self, joints: Tensor) -> Tensor:
        """Return the adjacency B×J×J, from row to column, of joints B×J×F."""
        query, key = self.query(joints).mean(-1), self.key(joints).mean(-1)
        return self.adjacency + self.alpha * torch.tanh(query[:, :, None].float() - key[:, None, :].float())

    def forward(self, kept: Tensor) -> Tensor:
        """Return features B×F of the kept positions B×T×F, level by level and by falling confidence in each."""
        joints = self.pool_ranks(kept.transpose(1, 2)).transpose(1, 2)
        mixed = self.graph(joints).transpose(1, 2) @ self.mix(joints)
        mixed = self.norm(mixed.flatten(0, 1)).unflatten(0, mixed.shape[:2])
        pooled: Tensor = self.pool_joints(mixed.transpose(1, 2))
        return pooled.squeeze(-1)
