"""What other commands make of the folder of a pre-training."""

import shutil
from pathlib import Path

import pytest
from PIL import Image

from experiments.run_diagnosis import examine_run
from experiments.runs import is_pretraining, read_runs
from utils.errors import DataError


def test_the_doctor_finds_nothing_wrong_and_names_what_changed(
    pretrained_run: Path, photo_folder: Path, tmp_path: Path
) -> None:
    assert is_pretraining(pretrained_run)
    assert examine_run(pretrained_run).findings == []
    run, photos = tmp_path / "run", tmp_path / "photos"
    shutil.copytree(pretrained_run, run)
    shutil.copytree(photo_folder, photos)
    config = run / "config.yaml"
    config.write_text(config.read_text().replace(str(photo_folder), str(photos)))
    assert examine_run(run).findings == []
    Image.new("RGB", (70, 90)).save(photos / "a" / "0.png")
    (run / "model.safetensors").unlink()
    found = {one.code: one.what for one in examine_run(run).findings}
    assert found.keys() == {"missing-file", "changed-data"}
    assert "the same names, but photos of other content" in found["changed-data"]


def test_what_needs_scores_says_what_the_run_is(pretrained_run: Path) -> None:
    with pytest.raises(DataError, match=r"is a pre-training, which has neither classes nor scores; train a classifier"):
        read_runs([pretrained_run])
