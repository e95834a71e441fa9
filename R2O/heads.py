"""The heads: small networks that turn the features of a region into the vector that is compared."""

from collections import OrderedDict

from torch import Tensor, nn


class InFp32(nn.Module):
    """Passes its input on in fp32, so that what follows takes its statistics there, whatever the autocast."""

    def forward(self, rows: Tensor) -> Tensor:
        """Return ``rows`` in fp32."""
        return rows.float()


def mlp(width_in: int, hidden: int, width_out: int) -> nn.Sequential:
    """Return a projector or predictor: N×``width_in`` → N×``width_out``, with one hidden layer and BatchNorm there.

    Both layers have a bias and nothing follows the last one (Grill et al. 2020).
    """
    layers: list[tuple[str, nn.Module]] = [
        ("hidden", nn.Linear(width_in, hidden)),
        # A process without a row sends its empty statistics in the dtype of its input, and all have to send the same.
        ("fp32", InFp32()),
        ("norm", nn.BatchNorm1d(hidden)),
        ("relu", nn.ReLU(inplace=True)),
        ("out", nn.Linear(hidden, width_out)),
    ]
    return nn.Sequential(OrderedDict(layers))
