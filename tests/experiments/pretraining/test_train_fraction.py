"""Training on a part of the labels."""

import dataclasses
from pathlib import Path

import pytest

from experiments.continuation import refuse_other_configuration
from experiments.loading import load_splits
from Off_the_shelfs.config import OffTheShelfConfig
from utils.config import to_yaml
from utils.data_sections import DataConfig
from utils.errors import ConfigError
from utils.run_directory import CONFIG_FILE, RunDirectory


def test_the_part_is_taken_from_what_validation_leaves_and_changes_the_fingerprint(pair_tree: Path) -> None:
    whole = DataConfig(root=str(pair_tree), validation_fraction=0.25)
    part = dataclasses.replace(whole, train_fraction=0.5)
    one, other = load_splits(whole, 3), load_splits(part, 3)
    assert other.validation is not None
    assert other.fingerprint["validation"] == one.fingerprint["validation"]
    assert other.fingerprint["test"] == one.fingerprint["test"]
    assert other.fingerprint["train"] != one.fingerprint["train"]
    keys = [{splits.train.key(row) for row in range(len(splits.train))} for splits in (other, one)]
    assert keys[0] < keys[1]
    assert (other.train.class_counts() >= 1).all()


@pytest.mark.parametrize("fraction", ["0", "1.1", "-0.1", "nan"])
def test_a_part_out_of_range_is_refused(fraction: str) -> None:
    with pytest.raises(ConfigError, match=r"data.train_fraction is .*; it must be above 0 and at most 1"):
        DataConfig(train_fraction=float(fraction))


def test_a_run_does_not_go_on_with_another_part(tmp_path: Path) -> None:
    config = OffTheShelfConfig()
    (tmp_path / CONFIG_FILE).write_text(to_yaml(config))
    other = dataclasses.replace(config, data=dataclasses.replace(config.data, train_fraction=0.1))
    with pytest.raises(ConfigError, match=r"data.train_fraction was 1.0 and is now 0.1"):
        refuse_other_configuration(RunDirectory(tmp_path), other)
