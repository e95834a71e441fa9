"""What ``auto`` becomes, and that a continued run keeps it."""

import dataclasses
from pathlib import Path

import pytest

from experiments import settle as settle_module
from experiments.kinds import Config
from experiments.settle import settle
from Off_the_shelfs.config import BackboneConfig, OffTheShelfConfig, OffTheShelfModelConfig
from utils.config import to_yaml
from utils.errors import ConfigError
from utils.sections import RunConfig, TrainConfig


def make(folder: Path | None = None, resume: bool = True, **train: object) -> OffTheShelfConfig:
    return OffTheShelfConfig(
        model=OffTheShelfModelConfig(backbone=BackboneConfig(name="test_vit", pretrained=False)),
        train=TrainConfig(**{"device": "cpu", **train}),  # type: ignore[arg-type]
        run=RunConfig(dir=str(folder) if folder else None, resume="auto" if resume else "never"),
    )


def compiled(config: Config) -> bool | str:
    assert isinstance(config, OffTheShelfConfig)
    return config.model.backbone.compile


def record(config: OffTheShelfConfig, folder: Path, *, compile_it: bool, **train: object) -> None:
    """Write the ``config.yaml`` of a run that was started with other values than this machine would choose."""
    before = dataclasses.replace(settle(config).train, **train)  # type: ignore[arg-type]
    backbone = dataclasses.replace(config.model.backbone, compile=compile_it)
    model = dataclasses.replace(config.model, backbone=backbone)
    folder.mkdir()
    (folder / "config.yaml").write_text(to_yaml(dataclasses.replace(config, train=before, model=model)))


def test_nothing_that_a_number_depends_on_stays_auto() -> None:
    config = settle(make())
    train = config.train
    assert (train.device, train.precision, train.tf32, train.fused) == ("cpu", "fp32", False, False)
    assert compiled(config) is False


def test_a_continued_run_keeps_what_it_was_started_with(tmp_path: Path) -> None:
    config = make(tmp_path / "run")
    record(config, tmp_path / "run", compile_it=True, precision="bf16", micro_batch=7)
    asked = dataclasses.replace(config, train=dataclasses.replace(config.train, micro_batch="auto"))
    settled = settle(asked)
    assert (settled.train.precision, settled.train.micro_batch) == ("bf16", 7)
    assert compiled(settled)


def test_what_is_asked_for_by_name_is_not_overruled(tmp_path: Path) -> None:
    config = make(tmp_path / "run", precision="fp32")
    record(config, tmp_path / "run", compile_it=False, precision="bf16", micro_batch=7)
    assert settle(config).train.precision == "fp32"
    assert settle(config).train.micro_batch is None


def test_a_new_run_ignores_the_folder_of_another(tmp_path: Path) -> None:
    config = make(tmp_path / "run", resume=False)
    record(config, tmp_path / "run", compile_it=True, precision="bf16")
    assert settle(config).train.precision == "fp32"


def test_a_run_of_a_gpu_is_not_continued_without_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = make(tmp_path / "run", device="auto")
    monkeypatch.setattr(settle_module, "resolve_device", lambda setting: "cpu" if setting == "auto" else setting)
    record(config, tmp_path / "run", compile_it=False, device="cuda")
    monkeypatch.undo()
    with pytest.raises(ConfigError, match=r"train\.device is cuda, but this machine has .*cpu"):
        settle(config)
