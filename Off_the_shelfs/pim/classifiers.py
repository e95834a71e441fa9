"""What a single position looks like."""

from typing import cast

from torch import Tensor, nn


class PositionClassifier(nn.Module):
    """Classifies each position by itself: F → F, BatchNorm, ReLU, F → K.

    A single linear layer in its place does not train well, as the authors found (arXiv 2202.03822).
    """

    def __init__(self, width: int, n_classes: int) -> None:
        super().__init__()
        self.hidden = nn.Linear(width, width)
        self.norm = nn.BatchNorm1d(width)
        self.activation = nn.ReLU(inplace=True)
        self.output = nn.Linear(width, n_classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return logits B×S×K of tokens B×S×F; BatchNorm's statistics are over pictures and positions."""
        hidden = self.norm(self.hidden(tokens).flatten(0, 1))
        logits = self.output(self.activation(hidden))
        return cast(Tensor, logits.unflatten(0, tokens.shape[:2]))
