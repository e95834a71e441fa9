"""A tree from prompts that a small SAM answers, through the script."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

import preprocess_foodseg103
from datasets.manifest import read_manifest
from datasets.mask_table import read_masks
from segmenters.prompts import Prompt
from segmenters.sam import SamSegmenter
from segmenters.segmenter import Candidate, Photo

if TYPE_CHECKING:
    from tests.datasets.prompted.conftest import Photos


def test_sam_sees_each_photo_once_and_shards_write_the_same(
    photos: "Photos", small_sam: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    real = SamSegmenter.answers

    def answers(self: SamSegmenter, photo: Photo, prompts: Sequence[Prompt]) -> Iterator[list[Candidate]]:
        seen.append(len(prompts))
        return real(self, photo, prompts)

    monkeypatch.setattr(SamSegmenter, "answers", answers)
    sam = ["--segmenter", "sam", "--segmenter.checkpoint", str(small_sam), "--segmenter.device", "cpu"]

    def run(target: str, *options: str) -> Path:
        source = ["--prompts", str(photos.file), "--src", str(photos.folder), "--format", "png", "--size", "0"]
        preprocess_foodseg103.main([*source, *sam, "--dst", str(photos.root / target), *options])
        return photos.root / target

    tree = run("tree")
    assert sorted(seen) == [1, 1, 2]
    sha256 = hashlib.sha256(small_sam.read_bytes()).hexdigest()
    (entry,) = yaml.safe_load((tree / "preprocess.yaml").read_text())["archives"]
    assert entry["segmenter"]["checkpoint_sha256"] == sha256
    assert small_sam.name not in str(entry), "the file's name is no part of the segmenter"
    sources = {row.mask_source for row in read_manifest(tree / "manifest.csv")}
    assert sources == {row.segmenter for row in read_masks(tree / "masks.csv")}
    (source,) = sources
    assert source.startswith("sam_")
    assert source.endswith(f":{sha256[:12]}")
    run("shards", "--shard", "1/2")
    run("shards", "--shard", "2/2")
    assert photos.files(photos.root / "shards") == photos.files(tree)
