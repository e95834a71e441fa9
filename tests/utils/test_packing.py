"""A packed state is the state again, tensor by tensor."""

import io
from collections import OrderedDict
from typing import Any

import pytest
import torch

from utils.packing import pack, unpack

STATE: dict[str, Any] = {
    "optimizer": {
        "state": {
            0: {"step": torch.tensor(3.0), "exp_avg": torch.arange(6.0).reshape(2, 3)},
            1: {"step": torch.tensor(4.0), "exp_avg": torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)},
        },
        "param_groups": [{"lr": 1e-3, "betas": (0.9, 0.999), "params": [0, 1]}],
    },
    "random": torch.arange(7, dtype=torch.uint8),
    "empty": torch.zeros(0, 3),
    "half": torch.tensor([1.5, float("nan")], dtype=torch.bfloat16),
    "strange": torch.arange(6.0).reshape(2, 3).T,
    "ordered": OrderedDict(b=torch.tensor([1, 2]), a=None),
    "text": "kept",
}


def same(one: Any, other: Any) -> bool:  # noqa: ANN401
    if isinstance(one, torch.Tensor):
        equal = (
            torch.equal(one.nan_to_num(), other.nan_to_num()) if one.is_floating_point() else torch.equal(one, other)
        )
        return equal and one.dtype == other.dtype and one.stride() == other.stride() and one.shape == other.shape
    if isinstance(one, dict):
        return type(one) is type(other) and list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return type(one) is type(other) and len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def test_a_state_comes_back_through_a_file_as_it_was() -> None:
    buffer = io.BytesIO()
    torch.save(pack(STATE), buffer)
    buffer.seek(0)
    found = unpack(torch.load(buffer, weights_only=True))
    assert same(STATE, found)
    assert not same(STATE, unpack(pack(STATE | {"random": torch.arange(7, dtype=torch.uint8) + 1})))


def test_tensors_do_not_share_memory_afterwards() -> None:
    found = unpack(pack({"a": torch.zeros(2), "b": torch.zeros(2)}))
    found["a"] += 1
    assert found["b"].tolist() == [0, 0]
    assert found["a"].untyped_storage().nbytes() == 8


def test_one_tensor_per_type_of_number_is_written() -> None:
    packed = pack({"layers": [torch.ones(3) for _ in range(100)], "steps": [torch.tensor(1) for _ in range(50)]})
    assert {kind: flat.numel() for kind, flat in packed["packed"].items()} == {
        "torch.float32": 300,
        "torch.int64": 50,
    }
    assert not [value for value in packed["state"]["layers"] if isinstance(value, torch.Tensor)]


def test_a_state_that_was_not_packed_is_taken_as_it_is() -> None:
    assert unpack(STATE) is STATE


@pytest.mark.parametrize("place", [["f", 0, [4], False], ["f", -1, [1], False], ["i", 0, [1], False], [1]])
def test_a_place_that_is_not_there_is_refused(place: list[object]) -> None:
    with pytest.raises((ValueError, KeyError, RuntimeError)):
        unpack({"state": {"x": {"\0place": place}}, "packed": {"f": torch.zeros(3)}})
