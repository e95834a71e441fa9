"""What a pre-training leaves behind, how it goes on after an interruption, and that its weights are taken."""

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from experiments import training
from experiments.pretraining import pictures
from experiments.pretraining.collapse import CollapseMonitor
from Off_the_shelfs.backbones import build_backbone
from Off_the_shelfs.config import BackboneConfig
from R2O.model import R2OModel
from tests.experiments.pretraining.options import options_without
from utils.checkpoints import load_state, load_weights
from utils.engine import LOSS_UNITS, Meter
from utils.errors import ConfigError, RunError

if TYPE_CHECKING:
    from tests.server import Server

SCRIPT = Path(__file__).parents[3] / "pretrain_R2O.py"
Pretrain = Callable[..., Path]
RESUME = ("--run.resume", "auto")
NO_PICTURES = ("--train.picture_every", "0")


class Killed(BaseException):
    """Stands for the end of a process."""


def rows_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def without_times(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in row.items() if "second" not in key} for row in rows]


def test_the_log_tells_of_groups_regions_and_spread(pretrained_run: Path) -> None:
    first, second = rows_of(pretrained_run)
    assert [first["clusters"], second["clusters"]] == [5, 3]  # 3 + 3 cos(π/4) = 5.1 and 3
    for row in (first, second):
        means = row["train"]
        assert set(means) == {"loss", "regions", "valid_regions", "spread", "without_region"}
        assert 0 < means["loss"] < 4
        assert 1 <= means["valid_regions"] <= means["regions"] <= row["clusters"]
        assert 0.1 < means["spread"] <= 1.0001
    assert first["step"] == 3
    assert first["target_momentum"] == pytest.approx(1 - 0.01 * 0.75)  # a third of half a cosine
    assert second["lr_backbone"] > 0


def test_pictures_are_left_for_the_first_and_the_last_epoch(pretrained_run: Path) -> None:
    found = sorted(path.name for path in (pretrained_run / "regions").iterdir())
    assert found == ["epoch_0001.png", "epoch_0002.png"]
    for path in (*(pretrained_run / "regions").iterdir(), pretrained_run / "regions_over_clusters.png"):
        with Image.open(path) as picture:
            colours = picture.convert("RGB").getcolors(2**24)
            assert colours is not None
            assert len(colours) > 100


def test_the_weights_are_those_of_the_online_trunk_and_fit_a_module(pretrained_run: Path) -> None:
    written = load_file(pretrained_run / "model.safetensors")
    whole = load_weights(pretrained_run / "checkpoint_last" / "model.safetensors")
    prefix = "online.trunk.model."
    trunk = {key.removeprefix(prefix): value for key, value in whole.items() if key.startswith(prefix)}
    assert written.keys() == trunk.keys()
    assert all(torch.equal(written[key], trunk[key]) for key in trunk)
    config = BackboneConfig(name="test_efficientnet", pretrained=False, weights=str(pretrained_run))
    for place in (pretrained_run, pretrained_run / "model.safetensors"):
        config = BackboneConfig(name="test_efficientnet", pretrained=False, weights=str(place))
        backbone = build_backbone(config, role="roi", image_size=64)
        assert not [note for note in backbone.notes if "missing" in note or "unexpected" in note]
        assert all(torch.equal(value, written[key]) for key, value in backbone.model.state_dict().items())


def test_the_state_can_be_read_without_running_code(pretrained_run: Path) -> None:
    state = load_state(pretrained_run / "checkpoint_last")
    assert state["progress"]["step"] == 6
    assert state["fingerprint"].keys() == {"photos"}


@pytest.mark.parametrize(("kind", "number"), [("step", 4), ("fsync", 8)], ids=["after a step", "while it writes"])
def test_a_killed_run_ends_in_the_same_bytes(
    server: "Server",
    photo_folder: Path,
    pretrained_run: Path,
    pretrain_tiny: Pretrain,
    tmp_path: Path,
    kind: str,
    number: int,
) -> None:
    run, often = tmp_path / "run", ("--run.checkpoint_minutes", "1e-9", *NO_PICTURES)
    fault = {"folder": str(tmp_path), "kinds": [kind], "n": number, "action": {"do": "kill"}}
    argv = [str(SCRIPT), *options_without(photo_folder, run, *often)]
    assert server.wait(server.start(argv, fault)).status == -signal.SIGKILL
    assert not (run / "metrics.json").exists()
    pretrain_tiny(run, *RESUME, *NO_PICTURES)  # which change nothing: the other run has them
    for name in ("metrics.json", "model.safetensors"):
        assert (run / name).read_bytes() == (pretrained_run / name).read_bytes(), name
    assert without_times(rows_of(run)) == without_times(rows_of(pretrained_run))
    last = "checkpoint_last"  # online network, predictor and target, and how the optimiser would go on
    found, expected = (load_weights(folder / last / "model.safetensors") for folder in (run, pretrained_run))
    assert found.keys() == expected.keys()
    assert [name for name in expected if not torch.equal(found[name], expected[name])] == []
    one, other = (load_state(folder / last)["optimizer"] for folder in (run, pretrained_run))
    assert one["param_groups"] == other["param_groups"]
    assert other["state"]
    torch.testing.assert_close(one["state"], other["state"], rtol=0, atol=0)


def test_workers_and_kept_superpixels_change_nothing(
    pretrained_run: Path, pretrain_tiny: Pretrain, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    options = ("--data.workers", "1", "--data.superpixels.cache", "always", "--data.superpixels.cache_dir", str(kept))
    run = pretrain_tiny(tmp_path / "run", *options, *NO_PICTURES)
    assert not (run / "regions").exists()
    assert len([path for path in kept.rglob("*") if path.is_file()]) >= 12
    assert (run / "model.safetensors").read_bytes() == (pretrained_run / "model.safetensors").read_bytes()


def test_a_finished_run_is_not_run_again(pretrained_run: Path, pretrain_tiny: Pretrain) -> None:
    with patch.object(training.TrainingLoop, "complete", side_effect=Killed):
        pretrain_tiny(pretrained_run, *RESUME)


def test_no_clustering_has_the_superpixels_as_regions(pretrain_tiny: Pretrain, tmp_path: Path) -> None:
    options = ("--train.clusters.kind", "constant", "--train.clusters.values", "[null]", "--train.epochs", "1")
    run = pretrain_tiny(tmp_path / "run", *options, "--train.warmup_epochs", "0.5", *NO_PICTURES)
    (row,) = rows_of(run)
    assert row["clusters"] is None
    assert row["train"]["regions"] > 5


def test_a_collapse_stops_the_run_before_a_checkpoint(pretrain_tiny: Pretrain, tmp_path: Path) -> None:
    constant = R2OModel._compare

    def collapsed(self: R2OModel, *rows: Any) -> Any:  # noqa: ANN401  # passed on
        loss, spread = constant(self, *rows)
        return loss, 0 * spread + 0.01

    run = tmp_path / "run"
    with patch.object(R2OModel, "_compare", collapsed), pytest.raises(RunError, match=r"collapsed.*step 1 .*0\.010"):
        pretrain_tiny(run)
    assert not (run / "checkpoint_last").exists()


def test_the_monitor_sees_what_came_since_it_looked_last() -> None:
    monitor, meter = CollapseMonitor(0.5), Meter(torch.device("cpu"), pairs=10, tallies={"spread": 0})
    monitor.begin(meter)  # what an earlier part of the epoch tallied was looked at then
    meter.pairs, meter.tallies = 20, {"spread": 10 * LOSS_UNITS, "without_region": 0}
    monitor.look(meter, 1)
    meter.pairs, meter.tallies = 30, {"spread": 14 * LOSS_UNITS, "without_region": 4 * LOSS_UNITS}
    monitor.look(meter, 2)  # 4 of the 6 photos that had a region
    meter.pairs, meter.tallies = 40, {"spread": 18 * LOSS_UNITS, "without_region": 4 * LOSS_UNITS}
    with pytest.raises(RunError, match=r"0\.400"):  # 14 / 26 of all would have passed
        monitor.look(meter, 3)


def test_an_epoch_that_is_looked_at_once_counts_by_itself() -> None:
    monitor = CollapseMonitor(0.5)
    for spread, empty in ((7, 2), (7, 0)):  # of 10 photos
        meter = Meter(torch.device("cpu"))
        monitor.begin(meter)
        meter.pairs, meter.tallies = 10, {"spread": spread * LOSS_UNITS, "without_region": empty * LOSS_UNITS}
        monitor.look(meter, 1)
    monitor.begin(meter := Meter(torch.device("cpu")))
    meter.pairs, meter.tallies = 10, {"spread": 0, "without_region": 0}
    with pytest.raises(RunError, match=r"0\.000"):
        monitor.look(meter, 3)


def test_changed_photos_are_told_apart(pretrain_tiny: Pretrain, photo_folder: Path, tmp_path: Path) -> None:
    run, photos = tmp_path / "run", tmp_path / "photos"
    photos.mkdir()
    for path in photo_folder.rglob("*.png"):
        (photos / path.name).write_bytes(path.read_bytes())
    with patch.object(training.TrainingLoop, "_record_epoch", side_effect=Killed), pytest.raises(Killed):
        pretrain_tiny(run, "--data.root", str(photos))
    (photos / "3.png").unlink()
    with pytest.raises(ConfigError, match=r"the photos under .* changed since .*restore them.*were 14 photos.*13"):
        pretrain_tiny(run, "--data.root", str(photos), *RESUME)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--train.batch_size", "15"), r"there are 14 photos, fewer than one batch .*15.*at most 14"),
        (("--model.backbone", "test_efficientnett"), r"unknown backbone.*did you mean"),
        (("--model.cluster_stride", "7"), r"stride"),
        (("--data.image_size", "66"), r"data\.image_size is 66.*divisible by 4"),
        (("--train.clusters.values", "6,null"), r"train\.clusters\.values.*piecewise"),
        (("--train.clusters.hold", "9"), r"hold"),
        (("--train.sync_batchnorm", "true"), r"train\.sync_batchnorm needs GPUs"),
        (("--train.epoch", "3"), r"--train\.epoch.*--train\.epochs"),
    ],
)
def test_bad_options_are_named(pretrain_tiny: Pretrain, tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        pretrain_tiny(tmp_path / "run", *options)
    assert not (tmp_path / "run").exists()


def test_more_groups_than_superpixels_are_as_many_as_there_are(pretrain_tiny: Pretrain, tmp_path: Path) -> None:
    options = ("--train.clusters.values", "5000,4000", "--train.epochs", "1", "--train.warmup_epochs", "0.5")
    run = pretrain_tiny(tmp_path / "run", *options, "--train.lr_clusters", "null", *NO_PICTURES)
    assert 1 <= rows_of(run)[0]["train"]["regions"] <= 40


def test_the_sample_of_a_picture_is_spread_over_the_photos() -> None:
    class Dataset:
        def __getitems__(self, items: list[tuple[int, int]]) -> list[int]:
            return [row for _, row in items]

    for count in (1, 5, 100):
        setup: Any = type("Setup", (), {"photos": range(count), "dataset": Dataset()})
        rows: Any = pictures.sample(setup)
        assert len(rows) == len(set(rows)) == min(32, count)
        assert (min(rows[:6]), max(rows[:6])) == (0, count - 1)
