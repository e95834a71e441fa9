import dataclasses
from pathlib import Path

import pytest
import yaml

from Off_the_shelfs.config import OffTheShelfConfig
from RveRNets.config import RveRNetConfig
from utils.config import from_mapping, load_yaml, parse_config, to_yaml
from utils.errors import ConfigError


def parse(*argv: str) -> RveRNetConfig:
    return parse_config(RveRNetConfig, list(argv), program="test", flags={"dry_run": "Say what would happen."})[0]


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_later_files_override_earlier_ones_and_the_command_line_both(tmp_path: Path) -> None:
    first = write(tmp_path / "first.yaml", "train:\n  epochs: 3\n  batch_size: 7\n  head_lr: 4e-3\n")
    second = write(tmp_path / "second.yaml", "train:\n  batch_size: 8\n")
    config = parse("--config", first, f"--config={second}", "--train.head_lr", "5e-3")
    assert (config.train.epochs, config.train.batch_size, config.train.head_lr) == (3, 8, 0.005)


def test_scientific_notation_without_a_point_is_a_number(tmp_path: Path) -> None:
    config = parse("--config", write(tmp_path / "a.yaml", "train:\n  backbone_lr: 4e-3\n"))
    assert config.train.backbone_lr == 0.004


def test_lists_are_written_with_commas() -> None:
    config = parse("--train.seeds", "0,1,2", "--data.exclude=sauce,french fries")
    assert config.train.seeds == [0, 1, 2]
    assert config.data.exclude == ["sauce", "french fries"]
    assert parse("--data.exclude", "sauce").data.exclude == ["sauce"]


def test_resolved_configuration_is_accepted_back(tmp_path: Path) -> None:
    config = parse("--train.epochs", "9", "--model.tied", "true", "--train.seeds", "4,5", "--data.augment.flip", "0")
    again = parse("--config", write(tmp_path / "config.yaml", to_yaml(config)))
    assert again == config
    assert from_mapping(RveRNetConfig, yaml.safe_load(to_yaml(config)), tmp_path) == config


def test_flags_are_reported() -> None:
    _, flags = parse_config(RveRNetConfig, ["--dry_run"], program="test", flags={"dry_run": "Say."})
    assert flags == {"dry_run": True}


def test_short_names_stand_for_their_keys() -> None:
    for argv in (["--profile", "5"], ["--profile=5"]):
        config, _ = parse_config(RveRNetConfig, argv, program="test", flags={}, short_names={"profile": "run.profile"})
        assert config.run.profile == 5
    with pytest.raises(ConfigError, match=r"unknown option '--profil'; did you mean '--profile'"):
        parse_config(RveRNetConfig, ["--profil", "5"], program="t", flags={}, short_names={"profile": "run.profile"})


def test_view_belongs_to_the_one_view_model_only() -> None:
    config, _ = parse_config(OffTheShelfConfig, ["--data.view", "photo"], program="test", flags={})
    assert config.data.view == "photo"
    with pytest.raises(ConfigError, match=r"unknown option '--data\.view'"):
        parse("--data.view", "roi")


def test_configurations_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        parse().train.epochs = 4  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train:\n  epoch: 4\n", r"unknown key 'train\.epoch'; did you mean 'train\.epochs'\?"),
        ("trian:\n  epochs: 4\n", r"unknown key 'trian'; did you mean 'train'\?"),
        ("train:\n  epochs: 4\n  epochs: 5\n", r"the key 'epochs' is given twice"),
        ("train:\n  epochs: 0010\n", r"'0010' is not a plain decimal number"),
        ("train:\n  epochs: 30.5\n", r"train\.epochs.*expected int"),
        ("train:\n  epochs: ten\n", r"train\.epochs.*expected int"),
        ("train:\n  warmup: yes\n", r"train\.warmup.*expected float"),
        ("train: 3\n", r"'train' is a section"),
        ("- 1\n", r"must hold 'section"),
        ("train: [\n", r"not valid YAML"),
        ("data:\n  bars: white\n", r"data\.bars.*'black', 'grey'.*white"),
    ],
)
def test_files_with_mistakes_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse("--config", write(tmp_path / "wrong.yaml", text))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--train.epochss", "3"], r"unknown option '--train\.epochss'; did you mean '--train\.epochs'\?"),
        (["--train.epo", "3"], r"unknown option '--train\.epo'"),
        (["--train.epochs", "0"], r"train\.epochs is 0; it must be at least 1"),
        (["--train.epochs", "4.5"], r"train\.epochs.*expected int"),
        (["--train.head_lr", "0"], r"train\.head_lr is 0\.0"),
        (["--train.head_lr", "nan"], r"train\.head_lr"),
        (["--train.backbone_lr", ".inf"], r"train\.backbone_lr"),
        (["--train.head_lr", "-1"], r"train\.head_lr is -1\.0"),
        (["--train.batch_size", "0"], r"train\.batch_size is 0"),
        (["--train.warmup", "1"], r"train\.warmup is 1\.0"),
        (["--train.seeds", "1,1"], r"train\.seeds is \[1, 1\]; it must be .*different"),
        (["--data.augment.flip", "2"], r"data\.augment\.flip is 2\.0; it must be a probability"),
        (["--data.augment.policy", "mixup"], r"blends two photos"),
        (["--data.augment.policy", "cutmix"], r"blends two photos"),
        (["--data.augment.policy", "randaug"], r"one of none, randaugment"),
        (["--data.image_size", "8"], r"data\.image_size is 8"),
        (["--data.splits.test", "train"], r"another folder than data\.splits\.train"),
        (["--eval.resamples", "3"], r"eval\.resamples is 3"),
        (["--train.micro_batch", "0"], r"train\.micro_batch is 0; it must be null, 'auto' or at least 1"),
        (["--data.archive.min_area", "1"], r"data\.archive\.min_area is 1\.0; it must be at least 0 and below 1"),
        (["--data.prefetch", "0"], r"data\.prefetch is 0; it must be 'auto' or at least 1"),
        (["--data.source", "folder"], r"data\.source.*pairs.*archive.*folder"),
        (["--run.profile", "-1"], r"run\.profile is -1; it must be 0 or the number of steps"),
        (["--data.workers", "many"], r"data\.workers.*'auto'.*many"),
        (["stray"], r"'stray' stands alone"),
        (["--run.dir"], r"run\.dir"),
        (["--config", "nowhere.yaml"], r"nowhere\.yaml does not exist"),
    ],
)
def test_command_lines_with_mistakes_are_refused(argv: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        parse(*argv)
    assert "\n" not in str(caught.value)


def test_missing_file_suggests_its_neighbour(tmp_path: Path) -> None:
    write(tmp_path / "train_config.yaml", "")
    with pytest.raises(ConfigError, match=r"did you mean 'train_config\.yaml'"):
        load_yaml(tmp_path / "train_confg.yaml")


def test_what_is_true_or_false_may_stand_alone() -> None:
    assert parse("--model.tied", "--train.epochs", "3").model.tied
    assert parse("--train.epochs", "3", "--model.tied").model.tied
    assert not parse("--model.tied", "false").model.tied
    assert parse("--train.tf32", "--train.fused").train.tf32 is True  # may be 'auto' too
    assert parse("--train.tf32", "auto").train.tf32 == "auto"


@pytest.mark.parametrize("argv", [["--train.epochs", "null"], ["--config", "FILE"]])
def test_null_is_refused_where_a_value_is_needed(tmp_path: Path, argv: list[str]) -> None:
    file = write(tmp_path / "a.yaml", "train:\n  epochs:\n")
    with pytest.raises(ConfigError, match=r"train\.epochs.* (is null; give it a value|expected int)"):
        parse(*(file if word == "FILE" else word for word in argv))


def test_a_section_is_no_option() -> None:
    with pytest.raises(ConfigError, match=r"^'--data' is a section; options are written --data\.key value"):
        parse("--data", "other.yaml")
