"""Two finished runs with random weights, in folders as the train scripts leave them."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from datasets.index import PairIndex
from experiments import runs
from experiments.kinds import OFF_THE_SHELF, RVERNET, Config, Kind
from Off_the_shelfs.config import BackboneConfig, OffTheShelfConfig, OffTheShelfModelConfig, OneViewDataConfig
from RveRNets.config import RveRNetConfig, RveRNetModelConfig
from utils.checkpoints import WEIGHTS_FILE, save_weights
from utils.config import from_mapping, to_yaml
from utils.data_sections import DataConfig
from utils.run_directory import CONFIG_FILE, METRICS_FILE

VIT = BackboneConfig(name="test_vit", pretrained=False)
CNN = BackboneConfig(name="test_efficientnet", pretrained=False)


def write_run(folder: Path, kind: Kind, config: Config, index: PairIndex, logits: np.ndarray) -> Path:
    """Write what ``read_runs`` reads; ``logits`` stand for the recorded ones of the test split."""
    folder.mkdir()
    torch.manual_seed(0)
    save_weights(kind.build(config, len(index.classes), False).state_dict(), folder / WEIGHTS_FILE)
    (folder / CONFIG_FILE).write_text(to_yaml(config))
    metrics = {"model": kind.name, "classes": list(index.classes.names), "test": {}}
    (folder / METRICS_FILE).write_text(json.dumps(metrics | {"fingerprint": {"test": index.fingerprint()}}))
    np.savez(folder / "logits.npz", test=logits)
    return folder


@pytest.fixture(scope="session", autouse=True)
def configurations_read_once() -> Iterator[None]:
    """Parse the configuration of a run once, since two runs are read by almost all tests and never change."""
    known: dict[str, Any] = {}

    def read(config_class: type, document: dict[str, Any], source: Path) -> Any:  # noqa: ANN401
        key = json.dumps([str(source), document])
        if key not in known:
            known[key] = from_mapping(config_class, document, source)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "from_mapping", read)
        yield


@pytest.fixture(scope="session")
def test_index(pair_tree: Path) -> PairIndex:
    return PairIndex.from_tree(pair_tree, "test")


@pytest.fixture(scope="session")
def two_view_run(tmp_path_factory: pytest.TempPathFactory, test_index: PairIndex) -> Path:
    """A run whose recorded logits are right on every pair but the first two."""
    config = RveRNetConfig(
        data=DataConfig(root=str(test_index.root), image_size=32),
        model=RveRNetModelConfig(roi_backbone=VIT, extra_roi_backbone=CNN, hidden_width=8),
    )
    logits = np.eye(3, dtype=np.float32)[test_index.label]
    logits[:2] = np.roll(logits[:2], 1, axis=1)
    return write_run(tmp_path_factory.mktemp("two") / "both", RVERNET, config, test_index, logits)


@pytest.fixture(scope="session")
def one_view_run(tmp_path_factory: pytest.TempPathFactory, test_index: PairIndex) -> Path:
    """A run of the roi whose recorded logits are wrong on the last three pairs, the last one most confidently."""
    config = OffTheShelfConfig(
        data=OneViewDataConfig(root=str(test_index.root), image_size=32, bars="grey"),
        model=OffTheShelfModelConfig(backbone=VIT),
    )
    logits = np.eye(3, dtype=np.float32)[test_index.label]
    logits[-3:] = np.roll(logits[-3:], 1, axis=1)
    logits[-1] *= 9
    return write_run(tmp_path_factory.mktemp("one") / "roi", OFF_THE_SHELF, config, test_index, logits)


@pytest.fixture(scope="session")
def write() -> Callable[[Path, Kind, Config, PairIndex, np.ndarray], Path]:
    """``write_run`` for tests that make runs of their own."""
    return write_run
