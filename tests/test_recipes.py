import dataclasses
import types
import typing
from pathlib import Path
from typing import Any, Literal

import pytest
import timm
import yaml

from Off_the_shelfs.config import BackboneConfig, OffTheShelfConfig
from RveRNets.config import RveRNetConfig

ROOT = Path(__file__).parents[1]
RVERNET = ROOT / "RveRNets" / "train_cfgs"
OFF_THE_SHELF = ROOT / "Off_the_shelfs" / "train_cfgs"
FOODSEG = [RVERNET / f"train_config_FoodSeg103{end}.yaml" for end in ("", "_paper_as_written", "_paper_as_run")]
BASELINE = [OFF_THE_SHELF / f"train_config{end}.yaml" for end in ("", "_paper_as_written", "_paper_as_run")]
RECIPES: list[tuple[Path, type]] = [(path, RveRNetConfig) for path in sorted(RVERNET.rglob("*.yaml"))]
RECIPES += [(path, OffTheShelfConfig) for path in sorted(OFF_THE_SHELF.rglob("*.yaml"))]

# The paper's five models under timm's names.
NAMES = {
    "mobilenetv2": "mobilenetv2_100.ra_in1k",
    "vit": "vit_base_patch16_224.augreg_in1k",
    "deit": "deit_base_patch16_224.fb_in1k",
    "deit-distilled": "deit_base_distilled_patch16_224.fb_in1k",
    "mixer": "mixer_b16_224.goog_in21k_ft_in1k",
}


def read(path: Path) -> dict[str, Any]:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


def problems(value: object, expected: object, where: str) -> list[str]:
    """Say where a value read from YAML is not what an annotation asks for; no conversion but integer to float."""
    if dataclasses.is_dataclass(expected):
        if not isinstance(value, dict):
            return [f"{where}: not a section"]
        hints = typing.get_type_hints(expected if isinstance(expected, type) else type(expected))
        unknown = [f"{where}.{key}: unknown" for key in value if key not in hints]
        known = [problems(item, hints[key], f"{where}.{key}") for key, item in value.items() if key in hints]
        return unknown + [problem for found in known for problem in found]
    origin, arguments = typing.get_origin(expected), typing.get_args(expected)
    if origin in {typing.Union, types.UnionType}:
        fits = any(not problems(value, option, where) for option in arguments)
    elif origin is Literal:
        fits = value in arguments
    elif origin is list:
        fits = isinstance(value, list) and not any(problems(item, arguments[0], where) for item in value)
    elif expected is float:
        fits = isinstance(value, float | int) and not isinstance(value, bool)
    else:
        fits = type(value) is expected
    return [] if fits else [f"{where}: {value!r} is no {expected}"]


def flat(section: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    pairs: dict[str, Any] = {}
    for key, value in section.items():
        pairs |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return pairs


def test_the_strict_reader_finds_mistakes() -> None:
    bad = {"train": {"epochs": "3", "learning_rate": 1.0, "seeds": [1, "2"]}, "data": {"bars": "white", "splits": 3}}
    assert problems(bad, RveRNetConfig, "") == [
        ".train.learning_rate: unknown",
        ".train.epochs: '3' is no <class 'int'>",
        ".train.seeds: [1, '2'] is no list[int] | None",
        ".data.bars: 'white' is no typing.Literal['black', 'grey']",
        ".data.splits: not a section",
    ]


@pytest.mark.parametrize(("path", "config_class"), RECIPES, ids=lambda value: getattr(value, "stem", None))
def test_every_recipe_fits_its_dataclass(path: Path, config_class: type) -> None:
    assert problems(read(path), config_class, path.name) == []


@pytest.mark.parametrize(("path", "config_class"), RECIPES, ids=lambda value: getattr(value, "stem", None))
def test_every_backbone_has_published_weights(path: Path, config_class: type) -> None:
    del config_class
    names = [value for key, value in flat(read(path)).items() if key.endswith("backbone.name")]
    assert names
    assert set(names) <= set(timm.list_pretrained())


def test_there_are_the_eight_module_pairs_of_tables_3_11_and_12() -> None:
    mobilenet, vit, deit, distilled = "mobilenetv2", "vit", "deit", "deit-distilled"
    table_3 = {(mobilenet, mobilenet), (mobilenet, vit), (vit, vit), (vit, mobilenet), (mobilenet, distilled)}
    table_3 |= {(deit, deit), (distilled, distilled)}
    tables_11_and_12 = table_3 - {(mobilenet, distilled)} | {(deit, distilled)}
    found = {}
    for path in (RVERNET / "pairs").glob("*.yaml"):
        model = read(path)["model"]
        assert set(read(path)) == {"model"}
        roi, extra_roi = path.stem.split("_")
        found[roi, extra_roi] = (model["roi_backbone"]["name"], model["extra_roi_backbone"]["name"])
        # Two kinds cannot be shared; whether two of one kind are is the recipe's business.
        assert model.get("tied") == (None if roi == extra_roi else False)
    assert found == {(roi, extra): (NAMES[roi], NAMES[extra]) for roi, extra in table_3 | tables_11_and_12}
    assert len(found) == 8


def test_there_are_five_roi_rows_and_three_extra_roi_rows() -> None:
    expected = {("roi", name) for name in NAMES}
    expected |= {("extra_roi", name) for name in ("mobilenetv2", "vit", "deit-distilled")}
    found = set()
    for path in (OFF_THE_SHELF / "rows").glob("*.yaml"):
        row = flat(read(path))
        assert set(row) == {"data.view", "model.backbone.name"}
        name = next(short for short, name in NAMES.items() if name == row["model.backbone.name"])
        assert path.stem == f"{row['data.view']}_{name}"
        found.add((row["data.view"], name))
    assert found == expected


@pytest.mark.parametrize("recipes", [FOODSEG, BASELINE], ids=["RveRNet", "baseline"])
def test_the_three_recipes_spell_out_the_same_keys(recipes: list[Path]) -> None:
    recommended, as_written, as_run = (flat(read(path)) for path in recipes)
    assert list(recommended) == list(as_written) == list(as_run)


@pytest.mark.parametrize(("pair", "single"), list(zip(FOODSEG, BASELINE, strict=True)))
def test_the_baselines_recipes_differ_in_the_model_alone(pair: Path, single: Path) -> None:
    two, one = read(pair), read(single)
    assert two["train"] == one["train"]
    assert two["eval"] == one["eval"]
    assert two["model"]["roi_backbone"] == two["model"]["extra_roi_backbone"] == one["model"]["backbone"]
    assert one["data"].pop("view") == "roi"
    del two["data"]["augment"]["flip_views"]
    assert two["data"] == one["data"]


def test_what_the_paper_states_stands_in_both_of_its_recipes() -> None:
    for path in FOODSEG[1:]:
        recipe = flat(read(path))
        stated = {
            "train.optimizer": "adam",
            "train.backbone_lr": 4e-3,
            "train.head_lr": 4e-3,
            "train.batch_size": 50,
            "train.epochs": 30,
            "data.augment.flip": 0.5,
            "data.image_size": 224,
            "data.bars": "grey",
            "model.hidden_width": 640,
            "eval.selection": "last",
        }
        assert {key: recipe[key] for key in stated} == stated


def test_the_papers_two_recipes_differ_in_what_the_code_does_otherwise() -> None:
    as_written, as_run = (flat(read(path)) for path in FOODSEG[1:])
    differ = {key: (as_written[key], as_run[key]) for key in as_run if as_written[key] != as_run[key]}
    assert differ == {
        "data.normalise": ("backbone", "none"),
        "data.augment.flip_views": ("joint", "separate"),
        "model.roi_backbone.features": ("pooled", "logits"),
        "model.extra_roi_backbone.features": ("pooled", "logits"),
        "model.tied": (False, True),
        "train.schedule_unit": ("step", "epoch"),
        "train.schedule_rounding": ("up", "down"),
        "eval.test_every_epoch": (False, True),
    }


def test_the_recommended_recipe_says_that_it_was_not_measured() -> None:
    for path in (FOODSEG[0], BASELINE[0]):
        text = path.read_text(encoding="utf-8")
        assert "not measured on FoodSeg103" in text
        recipe = flat(read(path))
        assert recipe["train.backbone_lr"] < recipe["train.head_lr"]
        assert recipe["data.bars"] == "black"


@pytest.mark.parametrize("path", FOODSEG[1:] + BASELINE[1:], ids=lambda path: path.stem)
def test_every_line_of_the_papers_recipes_says_whose_it_is(path: Path) -> None:
    repeated = False
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#") or not line.strip() or line.rstrip().endswith(":"):
            # The second module repeats the first one line by line.
            repeated = "extra_roi_backbone:" in line
            continue
        if not repeated or not line.startswith("    "):
            repeated = False
            assert any(f"# {owner}" in line for owner in ("paper", "code", "ours")), line


def test_the_tiny_recipes_need_neither_network_nor_gpu() -> None:
    for path in (RVERNET / "tiny_cpu.yaml", OFF_THE_SHELF / "tiny_cpu.yaml"):
        recipe = flat(read(path))
        assert [value for key, value in recipe.items() if key.endswith("pretrained")] in ([False], [False, False])
        assert (recipe["train.device"], recipe["data.image_size"], recipe["train.epochs"]) == ("cpu", 64, 8)


def test_a_recipe_spells_out_every_key_of_a_backbone_that_decides_its_features() -> None:
    decisive = {"name", "pretrained", "features", "drop_rate", "drop_path_rate"}
    assert decisive <= {field.name for field in dataclasses.fields(BackboneConfig)}
    for path in FOODSEG:
        model = read(path)["model"]
        assert set(model["roi_backbone"]) == set(model["extra_roi_backbone"]) == decisive
