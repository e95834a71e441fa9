"""Many small tensors in one large one, since a file of a thousand tensors takes far longer to write than one."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

_PLACE = "\0place"  # no state of ours has such a key
_PACKED, _STATE = "packed", "state"
_NHWC, _NCHW = (0, 2, 3, 1), (0, 3, 1, 2)


def pack(state: dict[str, Any]) -> dict[str, Any]:
    """Return a state whose tensors lie one behind the other on the CPU, in one tensor per type of number.

    Args:
        state: dicts, lists and tuples, to any depth, of tensors and whatever else ``torch.save`` takes.

    Returns:
        What ``unpack`` makes the same state of, on the CPU; shapes, types, values and the order in memory of
        contiguous and channels-last tensors included.
    """
    parts: dict[str, list[Tensor]] = {}
    lengths: dict[str, int] = {}

    def place(value: object) -> object:
        if not isinstance(value, Tensor):
            return value
        channels_last = not value.is_contiguous()
        if channels_last and not (value.ndim == 4 and value.is_contiguous(memory_format=torch.channels_last)):
            return value
        values = (value.permute(_NHWC) if channels_last else value).detach().reshape(-1)
        kind = str(value.dtype)
        parts.setdefault(kind, []).append(values)
        start = lengths.get(kind, 0)
        lengths[kind] = start + values.numel()
        return {_PLACE: [kind, start, list(value.shape), channels_last]}

    placed = _each(state, place)
    return {_STATE: placed, _PACKED: {kind: _joined(own, lengths[kind]) for kind, own in parts.items()}}


def _joined(parts: list[Tensor], length: int) -> Tensor:
    """Join flat tensors on the CPU, one by one: a GPU may have no room for a second optimiser state."""
    joined, start = torch.empty(length, dtype=parts[0].dtype), 0
    for part in parts:
        joined[start : start + part.numel()].copy_(part)
        start += part.numel()
    return joined


def unpack(packed: dict[str, Any]) -> dict[str, Any]:
    """Return the state that ``pack`` was given; one that was never packed is returned as it is.

    Raises:
        Exception: of whatever kind, where the content is not what ``pack`` makes.
    """
    if packed.keys() != {_STATE, _PACKED}:
        return packed
    flat: dict[str, Tensor] = packed[_PACKED]

    def taken(value: object) -> object:
        if not isinstance(value, dict) or value.keys() != {_PLACE}:
            return value
        kind, start, shape, channels_last = value[_PLACE]
        count = math.prod(shape)
        values = flat[kind][start : start + count]
        if start < 0 or values.numel() != count:
            raise ValueError(f"a tensor of {count} values at {start} is not there")
        if channels_last:
            return values.reshape([shape[axis] for axis in _NHWC]).clone().permute(_NCHW)
        return values.reshape(shape).clone()

    state: dict[str, Any] = dict(_each(packed[_STATE], taken))
    return state


def _each(value: Any, change: Callable[[object], object]) -> Any:  # noqa: ANN401  # states hold anything
    """Return nested dicts, lists and tuples with every part changed, from the outside in."""
    changed: Any = change(value)
    if changed is not value:
        return changed
    if isinstance(value, dict):
        return type(value)((key, _each(one, change)) for key, one in value.items())
    if type(value) in (list, tuple):
        return type(value)(_each(one, change) for one in value)
    return value
