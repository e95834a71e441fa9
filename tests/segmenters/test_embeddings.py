"""Embeddings that are kept: computed once, never taken from a file that is damaged or of other weights."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from segmenters import sam
from segmenters.embeddings import _IN_MEMORY, Embeddings
from segmenters.prompts import Prompt
from segmenters.sam import SamSegmenter
from segmenters.segmenter import Photo
from utils.errors import ConfigError, DataError

BOX = Prompt(box=(10, 10, 40, 40))
Passes = Callable[[SamSegmenter], AbstractContextManager[dict[str, int]]]


class Encoder:
    """An encoder whose embedding is the photo's pixels, and that counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, photo: Photo) -> Tensor:
        self.calls += 1
        return torch.from_numpy(photo.astype(np.float32)).permute(2, 0, 1)[None]


def plain(value: int) -> Photo:
    return np.full((4, 6, 3), value, dtype=np.uint8)


def flip_last_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def other_tensor(path: Path) -> None:
    content = safetensors.torch.load_file(path)
    safetensors.torch.save_file({**content, "embedding": content["embedding"] + 1}, path)


DAMAGE: dict[str, Callable[[Path], Any]] = {
    "one bit of the tensor": flip_last_byte,
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-9]),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("not an embedding"),
    "another tensor": other_tensor,
    "no checksum": lambda path: safetensors.torch.save_file({"embedding": torch.zeros(1, 3, 4, 6)}, path),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE.keys())
def test_damaged_file_is_replaced(damage: Callable[[Path], Any], tmp_path: Path) -> None:
    encode = Encoder()
    whole = Embeddings(encode, {"checkpoint": "a"}, tmp_path).of(plain(7))
    (path,) = tmp_path.iterdir()
    content = path.read_bytes()
    damage(path)
    assert path.read_bytes() != content
    assert torch.equal(Embeddings(encode, {"checkpoint": "a"}, tmp_path).of(plain(7)), whole)
    assert encode.calls == 2
    assert path.read_bytes() == content
    assert len(list(tmp_path.iterdir())) == 1  # nothing half-written beside it


def test_file_under_the_name_of_another_photo_is_not_used(tmp_path: Path) -> None:
    embeddings = Embeddings(Encoder(), {}, tmp_path)
    embeddings.of(plain(1))
    (first,) = tmp_path.iterdir()
    embeddings.of(plain(2))
    (second,) = set(tmp_path.iterdir()) - {first}
    second.write_bytes(first.read_bytes())
    assert Embeddings(Encoder(), {}, tmp_path).of(plain(2)).mean() == 2


def test_each_fact_and_each_pixel_has_an_embedding_of_its_own(tmp_path: Path) -> None:
    encode = Encoder()
    turned = plain(1).reshape(6, 4, 3)  # the same bytes
    all_facts: list[dict[str, str | int]] = [{"checkpoint": "a", "size": 8}, {"checkpoint": "b", "size": 8}]
    all_facts.append({"checkpoint": "a", "size": 9})
    for facts in all_facts:
        for photo in (plain(1), plain(2), turned):
            Embeddings(encode, facts, tmp_path).of(photo)
            Embeddings(encode, facts, tmp_path).of(photo)
    assert encode.calls == 9
    assert len(list(tmp_path.iterdir())) == 9


def test_another_way_of_rounding_has_an_embedding_of_its_own(tmp_path: Path) -> None:
    encode = Encoder()
    embeddings = Embeddings(encode, {}, tmp_path)
    for rounding in ("none", "products", "none", "products"):
        embeddings.of(plain(1), rounding)
    assert encode.calls == 2


def test_segmenters_of_other_devices_do_not_share(
    photo: Photo, small: Callable[..., SamSegmenter], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(embeddings=tmp_path).segment(photo, [BOX])
    small(embeddings=tmp_path).segment(photo, [BOX])
    assert len(list(tmp_path.iterdir())) == 1

    def of_another_device(encode: Any, facts: dict[str, str | int], folder: Path | None) -> Embeddings:  # noqa: ANN401
        assert facts["device"] == "cpu"
        return Embeddings(encode, facts | {"device": "cuda"}, folder)

    monkeypatch.setattr(sam, "Embeddings", of_another_device)
    small(embeddings=tmp_path).segment(photo, [BOX])
    assert len(list(tmp_path.iterdir())) == 2


def test_a_folder_in_the_place_of_an_embedding_is_told(tmp_path: Path) -> None:
    Embeddings(Encoder(), {}, tmp_path).of(plain(1))
    (path,) = tmp_path.iterdir()
    path.unlink()
    path.mkdir()
    with pytest.raises(DataError) as refused:
        Embeddings(Encoder(), {}, tmp_path).of(plain(1))
    assert str(refused.value) == f"segmenter.embeddings holds '{path}', which cannot be used: Is a directory; delete it"


def test_the_last_few_stay_in_memory() -> None:
    encode = Encoder()
    embeddings = Embeddings(encode, {}, None)
    for value in range(_IN_MEMORY):
        embeddings.of(plain(value))
    embeddings.of(plain(0))
    assert encode.calls == _IN_MEMORY
    embeddings.of(plain(200))  # pushes out 1, as 0 was asked for since
    embeddings.of(plain(0))
    assert encode.calls == _IN_MEMORY + 1
    embeddings.of(plain(1))
    assert encode.calls == _IN_MEMORY + 2


def test_threads_wait_for_one_embedding(tmp_path: Path) -> None:
    encode = Encoder()
    embeddings = Embeddings(encode, {}, tmp_path)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(embeddings.of, [plain(5)] * 16))
    assert encode.calls == 1
    assert all(torch.equal(one, found[0]) for one in found)


def test_segmenter_reads_its_embeddings_from_the_folder(
    photo: Photo, small: Callable[..., SamSegmenter], passes: Passes, tmp_path: Path
) -> None:
    folder = tmp_path / "made" / "embeddings"
    first, second = small(embeddings=folder), small(embeddings=folder)
    expected = first.segment(photo, [BOX])
    with passes(second) as counts:
        found = second.segment(photo, [BOX])
    assert counts == {"encoder": 0, "decoder": 1}
    np.testing.assert_array_equal(found[0][0].mask, expected[0][0].mask)
    assert found[0][0].score == expected[0][0].score


def test_segmenters_of_other_weights_or_precision_do_not_share(
    photo: Photo, small: Callable[..., SamSegmenter], small_sam_network: nn.Module, passes: Passes, tmp_path: Path
) -> None:
    weights = {name: tensor.clone() for name, tensor in small_sam_network.state_dict().items()}
    weights["image_encoder.neck.0.weight"] *= 2
    torch.save(weights, tmp_path / "other.pth")
    folder = tmp_path / "embeddings"
    small(embeddings=folder).segment(photo, [BOX])
    for segmenter in (small(tmp_path / "other.pth", embeddings=folder), small(embeddings=folder, precision="bf16")):
        with passes(segmenter) as counts:
            segmenter.segment(photo, [BOX])
        assert counts["encoder"] == 1
    assert len(list(folder.iterdir())) == 3


def test_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"segmenter\.embeddings '.*file' cannot be made: File exists; give a folder"):
        Embeddings(Encoder(), {}, tmp_path / "file")
