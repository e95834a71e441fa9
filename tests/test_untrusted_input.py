"""Files that mean harm: code in pickles, YAML that is more than data, names and links that lead out, bombs.

How each format fails on any bytes at all is in fuzz/. Names in lists and tables are in test_untrusted_names.py.
"""

import io
import os
import pickle
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, PngImagePlugin

from datasets.classes import ClassMap
from datasets.decode import decode_labels, decode_photo, read_photo_header
from datasets.picture_size import PixelLimit
from datasets.sources import load_index_of
from datasets.transforms import read_rgb
from datasets.tree import TreeRecord
from experiments.commands import train_command
from experiments.kinds import OFF_THE_SHELF
from Off_the_shelfs.weights import read_weights
from utils.arrays import read_arrays
from utils.checkpoints import STATE_FILE, load_state
from utils.config import parse_config
from utils.data_sections import DataConfig
from utils.errors import DataError, UserError
from utils.yaml_file import load_yaml


class Planted:
    """Runs code when it is unpickled: makes a file."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, int]]:
        return os.open, (str(self.proof), os.O_CREAT)


def one_line(error: pytest.ExceptionInfo[UserError], path: Path) -> str:
    text = str(error.value)
    assert str(path) in text
    assert len(text.splitlines()) == 1
    assert "Traceback" not in text
    return text


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", ["w.pt", "w.pth", "w.bin", "w.ckpt", "w.safetensors", "w.npz", "w"])
def test_weights_run_no_code(tmp_path: Path, name: str, zipped: bool) -> None:
    path, proof = tmp_path / name, tmp_path / "proof"
    torch.save({"weight": torch.zeros(2), "x": Planted(proof)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError) as caught:
        read_weights(str(path), "roi")
    one_line(caught, path)
    path.write_bytes(pickle.dumps(Planted(proof), protocol=2))
    with pytest.raises(UserError) as caught:
        read_weights(str(path), "roi")
    one_line(caught, path)
    assert not proof.exists()
    os.close(pickle.loads(path.read_bytes()))  # noqa: S301  # the plant does what it says
    assert proof.exists()


def test_the_state_of_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    torch.save({"step": 1, "x": Planted(tmp_path / "proof")}, tmp_path / STATE_FILE)
    with pytest.raises(DataError) as caught:
        load_state(tmp_path)
    one_line(caught, tmp_path / STATE_FILE)
    assert not (tmp_path / "proof").exists()


def test_recorded_scores_run_no_code(tmp_path: Path) -> None:
    np.savez(tmp_path / "logits.npz", test=np.array([Planted(tmp_path / "proof")], dtype=object))
    with pytest.raises(DataError) as caught:
        read_arrays(tmp_path / "logits.npz", ("test",))
    assert "damaged or holds more than numbers" in one_line(caught, tmp_path / "logits.npz")
    assert not (tmp_path / "proof").exists()


LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{new}: &{new} [*{old}, *{old}]\n" for old, new in zip("abcdefg", "bcdefgh", strict=True)
)
YAML = [
    ("train: !!python/object/apply:os.system [touch proof]\n", r"line 1, is not valid YAML: the tag '\S+' is refused"),
    ("a: 1\nb: !env SECRET\n", r"line 2, is not valid YAML: the tag '!env' is refused; write plain values"),
    ("a: !!str 1\n", r"the tag 'tag:yaml\.org,2002:str' is refused"),
    (LAUGHS, r"line 1, is not valid YAML: the anchor '&a' is refused"),
    ("a: 1\nb: *a\n", r"line 2, is not valid YAML: the alias '\*a' is refused; write the value out"),
    ("a:\n  <<: {b: 1}\n", r"line 2, is not valid YAML: the merge key '<<' is refused"),
    ("a: 1\na: 2\n", r"line 2, is not valid YAML: the key 'a' is given twice; keep one of them"),
    ("a: {b: 1, b: 2}\n", r"the key 'b' is given twice"),
    ("a: " + "[" * 200, r"nested more than 32 levels deep"),
    ("- " * 2_000 + "a\n", r"nested more than 32 levels deep"),
    ("? [a]\n: 1\n", r"a key is a list or a mapping"),
    ("a: 2024-99-99\n", r"'2024-99-99' is no date"),
    (f"a: {'9' * 5000}\n", r"has 5000 digits"),
    ("a: 1:30\n", r"not a plain decimal number"),
    ("a: 0x1F\n", r"not a plain decimal number"),
    ("a: \x01\n", r"is not valid YAML: .*special characters are not allowed"),
    ("a: [1\n", r"line 2, is not valid YAML: while parsing a flow sequence"),
    ("#" * (5 << 20), r"has more than [\d,]+ bytes"),
]


@pytest.mark.parametrize(("text", "message"), YAML)
def test_yaml_is_plain_data(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(text, encoding="utf-8")
    options = ["--config", str(path)]
    readers: list[Callable[[], object]] = [
        lambda: load_yaml(path),
        lambda: ClassMap.load(path),
        lambda: TreeRecord.load(path),
        lambda: parse_config(OFF_THE_SHELF.config_class, options, program="test", flags={}),
    ]
    for read in readers:
        with pytest.raises(UserError, match=message) as caught:
            read()
        one_line(caught, path)


def test_yaml_of_many_values_is_refused_before_all_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "classes.yaml"
    ClassMap.from_names([f"food {number}" for number in range(2000)]).save(path)
    assert path.stat().st_size > 64 * 1024
    assert len(ClassMap.load(path)) == 2000
    with pytest.raises(UserError, match=r"^the configuration file .* has more than 65,536 bytes"):
        load_yaml(path)
    monkeypatch.setattr("utils.yaml_file.MOST_NODES", 100)
    with pytest.raises(UserError, match=rf"^{path}, line \d\d, is not valid YAML: it holds more than 100 values"):
        ClassMap.load(path)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rest = chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + rest


def stated(kind: str, width: int, height: int) -> bytes:
    """Return a small picture whose header states another size."""
    if kind == "PNG":
        return png(width, height)
    buffer = io.BytesIO()
    Image.new("RGB", (16, 8), (90, 30, 10)).save(buffer, kind, **({"lossless": True} if kind == "WEBP" else {}))
    data = bytearray(buffer.getvalue())
    if kind == "JPEG":
        place = data.index(b"\xff\xc0") + 5
        data[place : place + 4] = struct.pack(">HH", height, width)
    elif kind == "WEBP":
        data[21:25] = struct.pack("<I", (width - 1) | (height - 1) << 14)
    elif kind == "GIF":
        data[6:10] = struct.pack("<HH", width, height)
    elif kind == "BMP":
        data[18:26] = struct.pack("<ii", width, height)
    return bytes(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
def test_a_picture_that_states_too_many_pixels_is_refused_by_its_header(tmp_path: Path, kind: str) -> None:
    data, path = stated(kind, 16_000, 16_000), tmp_path / "p.png"
    path.write_bytes(data)
    told = r"the picture has 16000×16000 pixels, more than {} 180 million; make it smaller, or raise that limit$"
    for decode in (decode_photo, decode_labels, read_photo_header):
        with pytest.raises(DataError, match=rf"^{path}: " + told.format("--max_megapixels")):
            decode(data, str(path))
    if kind not in ("BMP", "GIF"):  # no cut-out is stored that way
        with pytest.raises(DataError, match=rf"^{path}: " + told.format(r"data\.max_megapixels")):
            read_rgb(path)


def test_the_limit_can_be_lowered_and_raised(tmp_path: Path) -> None:
    path = tmp_path / "p.png"
    Image.new("RGB", (40, 50)).save(path)
    with pytest.raises(DataError, match=r"has 40×50 pixels, more than x 0\.001 million"):
        read_rgb(path, PixelLimit(0.001, "x"))
    assert read_rgb(path, PixelLimit(0.002, "x")).shape == (3, 50, 40)
    large = stated("PNG", 16_000, 16_000)
    with pytest.raises(DataError, match="damaged or cut short"):  # its pixels are missing
        read_photo_header(large, "p", PixelLimit(1000))


def test_the_limit_of_a_configuration_reaches_every_reader(pair_tree: Path) -> None:
    index = load_index_of(DataConfig(root=str(pair_tree), max_megapixels=0.5), "train")
    assert index.limit == PixelLimit(0.5, "data.max_megapixels")
    assert index.subset([0]).limit == index.limit


def test_texts_in_a_picture_are_no_bomb(tmp_path: Path) -> None:
    info = PngImagePlugin.PngInfo()
    info.add_text("k", "a" * 8_000_000, zip=True)
    path = tmp_path / "p.png"
    Image.new("RGB", (4, 4)).save(path, pnginfo=info)
    assert path.stat().st_size < 20_000
    with pytest.raises(DataError, match=rf"^{path}: damaged or cut short \(Decompressed data too large"):
        decode_photo(path.read_bytes(), str(path))
    with pytest.raises(DataError, match=rf"^{path} cannot be decoded \(Decompressed data too large"):
        read_rgb(path)


def test_an_enormous_exif_block_is_told() -> None:
    buffer = io.BytesIO()
    exif = b"Exif\0\0II*\0\x08\0\0\0\xff\xff" + b"\x12\x01\x03\0\xff\xff\xff\xff\x00\x00\x00\x10" * 4000
    Image.new("RGB", (2, 2)).save(buffer, "JPEG", exif=exif)
    assert decode_photo(buffer.getvalue(), "p").orientation == 1


def test_formats_that_start_programs_are_not_opened() -> None:
    text = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\n(proof) (w) file\n%%EOF\n"
    with pytest.raises(DataError, match="not a picture that Pillow can read"):
        decode_photo(text, "p.jpg")


def test_no_secret_of_the_environment_is_written(
    pair_tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ("WANDB_API_KEY", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "MY_PASSWORD")
    for name in names:
        monkeypatch.setenv(name, f"planted-{name.lower()}-0123456789")
    options = ["--data.root", str(pair_tree), "--data.image_size", "32", "--data.workers", "0", "--train.device", "cpu"]
    options += ["--train.epochs", "1", "--train.batch_size", "24", "--eval.resamples", "100"]
    options += ["--model.backbone.name", "test_resnet", "--model.backbone.pretrained", "false"]
    train_command(OFF_THE_SHELF, [*options, "--run.dir", str(tmp_path / "run")])
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert {"env.json", "config.yaml", "metrics.json"} <= {path.name for path in files}
    assert not [path for path in files if b"planted-" in path.read_bytes()]
    printed = capsys.readouterr()
    assert "planted-" not in printed.out + printed.err
