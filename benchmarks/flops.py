"""What a backbone computes and moves for one picture, counted on tensors without memory.

A multiplication and an addition count as two operations, as in the rates that makers of GPUs print; published tables of
networks mostly count the pair once (multiply-accumulates).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import timm
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter
from torch.utils.flop_counter import FlopCounterMode

_VIEWS_ONLY = (
    "view", "_unsafe_view", "_reshape_alias", "expand", "permute", "transpose", "t", "slice", "select", "unbind",
    "split", "chunk", "unsqueeze", "squeeze", "detach", "alias",
)  # fmt: skip


@dataclass(frozen=True)
class BackboneCost:
    """One backbone on one picture.

    Attributes:
        name: timm name.
        parameters: weights and biases, without a classifier.
        forward_flops: operations of a forward pass in matrix products, convolutions and attention.
        step_elements: numbers that one more picture in a batch makes a forward and a backward pass read and write,
            when each operation reads its inputs from memory and writes its outputs there, as without
            ``torch.compile``. What is moved once a batch, such as the weights, is not in it.
    """

    name: str
    parameters: int
    forward_flops: int
    step_elements: int


class _Traffic(TorchDispatchMode):
    """Counts the elements of all inputs and outputs of operations that are more than a change of shape."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # untyped in torch
        self.elements = 0

    def __torch_dispatch__(
        self,
        function: Any,  # noqa: ANN401  # an operator of torch
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        outputs = function(*args, **(kwargs or {}))
        if function._overloadpacket.__name__ not in _VIEWS_ONLY:
            tensors = [x for x in tree_iter((args, kwargs, outputs)) if isinstance(x, Tensor)]
            self.elements += sum(tensor.numel() for tensor in tensors)
        return outputs


def count(name: str, side: int = 224) -> BackboneCost:
    """Count a timm backbone on one picture of ``side`` pixels; nothing is downloaded or computed."""
    with torch.device("meta"):
        model: Callable[[Tensor], Tensor] = timm.create_model(name, num_classes=0)
        batches = [torch.empty(pictures, 3, side, side) for pictures in (1, 2)]
    assert isinstance(model, torch.nn.Module)
    with FlopCounterMode(display=False) as counter:
        model(batches[0])
    moved = []
    for batch in batches:
        model.zero_grad()  # or the second pass would also read and write the gradients of the first
        with _Traffic() as traffic:
            model(batch).sum().backward()
        moved.append(traffic.elements)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return BackboneCost(name, parameters, counter.get_total_flops(), moved[1] - moved[0])
