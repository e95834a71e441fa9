"""Preprocessing, against a single-process numpy and Pillow loop that writes the same cut-outs."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.common import Result, in_turn, publish
from datasets.plates import PlatesConfig, generate_plates
from datasets.preprocess import PreprocessOptions, preprocess

PHOTOS, SIDE = 240, 480


def plain_loop(archive: Path, root: Path, size: int) -> int:
    """Cut every pair of an archive, one photo after the other; return the number of pairs."""
    lines = (archive / "category_id.txt").read_text(encoding="utf-8").splitlines()
    names = dict(line.split(maxsplit=1) for line in lines)
    pairs = 0
    for split in ("train", "test"):
        for path in sorted((archive / "Images" / "img_dir" / split).iterdir()):
            photo: Image.Image = Image.open(path).convert("RGB")
            mask: Image.Image = Image.open(archive / "Images" / "ann_dir" / split / f"{path.stem}.png")
            if size:
                scale = size / max(photo.size)
                target = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
                photo = photo.resize(target, Image.Resampling.BICUBIC)
                mask = mask.resize(target, Image.Resampling.NEAREST)
            pixels, ids = np.asarray(photo), np.asarray(mask)
            for class_id in np.unique(ids[ids > 0]):
                inside = (ids == class_id)[:, :, None]
                for view, part in (("roi", np.where(inside, pixels, 0)), ("extra-roi", np.where(inside, 0, pixels))):
                    folder = root / split / view / names[str(class_id)]
                    folder.mkdir(parents=True, exist_ok=True)
                    Image.fromarray(part).save(folder / f"{path.stem}.jpg", quality=95, subsampling=0)
                pairs += 1
    return pairs


def main(repeats: int = 3) -> None:
    """Print the ratios at the photo's own size and at 224 pixels."""
    with tempfile.TemporaryDirectory() as folder:
        archive, ours, theirs = Path(folder) / "archive", Path(folder) / "ours", Path(folder) / "theirs"
        generate_plates(PlatesConfig(photos=PHOTOS, side=SIDE), archive)
        results = []
        for size in (0, 224):

            def all_cores(size: int = size) -> None:
                shutil.rmtree(ours, ignore_errors=True)
                preprocess(PreprocessOptions(src=archive, dst=ours, size=size), say=lambda _line: None)

            def one_loop(size: int = size) -> None:
                shutil.rmtree(theirs, ignore_errors=True)
                plain_loop(archive, theirs, size)

            times = in_turn(all_cores, one_loop, repeats)
            name = f"preprocessing of {PHOTOS} photos of {SIDE} px" + (f" to {size} px" if size else "")
            results.append(Result(name, "all cores", "one plain loop", *times, target=1.7))
        publish("preprocess", results)


if __name__ == "__main__":
    main()
