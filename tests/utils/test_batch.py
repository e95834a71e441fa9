"""From stored pixels to what a backbone takes."""

import pytest
import torch

import utils.batch
from utils.batch import ViewSpec, mirror, normalise

SPEC = ViewSpec(4, (0.1, 0.5, 0.9), (0.2, 0.3, 0.4))


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("wanted", [torch.contiguous_format, torch.channels_last])
def test_pixels_by_hand_in_every_layout(
    layout: torch.memory_format, wanted: torch.memory_format, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Bit for bit what three divisions and subtractions give, whatever the order in memory."""
    monkeypatch.setattr(utils.batch, "image_memory_format", lambda _device: wanted)
    pixels = torch.arange(2 * 3 * 5 * 4).reshape(2, 3, 5, 4).to(torch.uint8).contiguous(memory_format=layout)
    before = pixels.clone()
    found = normalise(pixels, SPEC)
    expected = torch.empty(2, 3, 5, 4)
    for channel in range(3):
        mean, std = torch.tensor(SPEC.mean[channel]) * 255, torch.tensor(SPEC.std[channel]) * 255
        expected[:, channel] = (pixels[:, channel].float() - mean) / std
    assert torch.equal(found, expected)
    assert found.is_contiguous(memory_format=wanted)
    assert torch.equal(pixels, before)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_chosen_pictures_are_mirrored_and_the_others_untouched(layout: torch.memory_format) -> None:
    pixels = torch.randint(0, 256, (4, 3, 5, 7), dtype=torch.uint8).contiguous(memory_format=layout)
    before = pixels.clone()
    found = mirror(pixels, torch.tensor([True, False, False, True]))
    for row, mirrored in enumerate([True, False, False, True]):
        columns = range(6, -1, -1) if mirrored else range(7)
        assert torch.equal(found[row], torch.stack([before[row, :, :, column] for column in columns], dim=2))
    assert torch.equal(pixels, before)


def test_statistics_made_in_inference_serve_training() -> None:
    spec = ViewSpec(2, (0.25, 0.5, 0.75), (0.5, 0.5, 0.5))
    with torch.inference_mode():
        normalise(torch.zeros(1, 3, 2, 2, dtype=torch.uint8), spec)
    weight = torch.ones(1, requires_grad=True)
    torch.autograd.backward((normalise(torch.zeros(1, 3, 2, 2, dtype=torch.uint8), spec) * weight).sum())
    assert weight.grad is not None
    assert weight.grad.item() == pytest.approx(4 * (-0.5 - 1 - 1.5))
