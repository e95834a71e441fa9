"""Start of a run: the table of pairs, against decoding every extra-roi picture as the released code does."""

import tempfile
from pathlib import Path

import numpy as np
import torchvision.io
from PIL import Image

from benchmarks.common import Result, in_turn, publish
from datasets.classes import ClassMap
from datasets.cutouts import encode
from datasets.index import PairIndex
from datasets.manifest import ManifestRow, write_manifest

CLASSES, PHOTOS, SIDE = 11, 422, (480, 360)


def make_tree(root: Path) -> int:
    """Write 4,642 pairs whose files are hard links to one JPEG per view; return their number."""
    names = [f"class {number:02d}" for number in range(CLASSES)]
    pixels = np.random.default_rng(0).integers(0, 256, (SIDE[1], SIDE[0], 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(pixels).resize((20, 15)).resize(SIDE))
    picture = root / "picture.jpg"
    picture.write_bytes(encode(smooth, "jpg"))
    rows = []
    for name in names:
        for view in ("roi", "extra-roi"):
            (root / "train" / view / name).mkdir(parents=True)
        for photo in range(PHOTOS):
            stem = f"photo_{photo:05d}"
            for view in ("roi", "extra-roi"):
                (root / "train" / view / name / f"{stem}.jpg").hardlink_to(picture)
            rows.append(_row(name, stem))
    ClassMap.from_names(names).save(root / "classes.yaml")
    write_manifest(root / "manifest.csv", rows, names)
    return len(rows)


def _row(name: str, stem: str) -> ManifestRow:
    return ManifestRow(
        split="train",
        class_name=name,
        stem=stem,
        group=f"train/{stem}",
        photo=f"Images/img_dir/train/{stem}.jpg",
        width=480,
        height=360,
        content_width=SIDE[0],
        content_height=SIDE[1],
        area_fraction=0.1,
        box_left=0,
        box_top=0,
        box_width=10,
        box_height=10,
        photo_sha256="0" * 64,
        mask_sha256="0" * 64,
        mask_source="annotation",
    )


def main(repeats: int = 3) -> None:
    """Print the ratio with a manifest, and the one without, where every header is read."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        pairs = make_tree(root)
        files = sorted((root / "train" / "extra-roi").rglob("*.jpg"))

        def with_manifest() -> None:
            assert len(PairIndex.from_tree(root, "train")) == pairs

        def decode_all() -> None:
            for file in files:
                torchvision.io.decode_image(str(file))

        name = f"index of {pairs} pairs"
        indexed = Result(name, "manifest", "decode all", *in_turn(with_manifest, decode_all, repeats), target=10)
        (root / "manifest.csv").unlink()
        headers = Result(name, "header reads", "decode all", *in_turn(with_manifest, decode_all, repeats))
        publish("index", [indexed, headers])


if __name__ == "__main__":
    main()
