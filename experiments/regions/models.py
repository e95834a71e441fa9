"""The models that are compared, and the configuration of each under one budget."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from experiments.kinds import OFF_THE_SHELF, RVERNET, Config, Kind
from experiments.paper.options import project_file
from experiments.regions.grey_options import GreyRecipes
from experiments.regions.options import Budget, RegionRecipes
from utils.config import from_mapping, load_yaml
from utils.errors import ConfigError

MASK, LEARNED, WHOLE, CONTROL = "mask given", "region learned", "whole photo", "control"


@dataclass(frozen=True)
class RegionModel:
    """One model of the comparison.

    Attributes:
        key: name of its folder and on the command line.
        name: in tables.
        knows: what it is told of the region.
        kind: which script trains it.
        recipe: field of ``RegionRecipes`` that its model section comes from.
        options: dotted keys that make it what it is.
    """

    key: str
    name: str
    knows: str
    kind: Kind
    recipe: str
    options: Mapping[str, Any]


def _salience(key: str, name: str, knows: str, choose: str) -> RegionModel:
    options = {"data.view": "photo", "model.looks_at": "salience", "model.salience.choose": choose}
    return RegionModel(key, name, knows, OFF_THE_SHELF, "salience", options)


_PIM = {"data.view": "photo", "model.backbone.features": "pim"}
MODELS = {
    model.key: model
    for model in (
        RegionModel("roi", "roi only", MASK, OFF_THE_SHELF, "one_view", {"data.view": "roi"}),
        RegionModel("rvernet", "RveRNet", MASK, RVERNET, "two_views", {}),
        RegionModel("pim", "PIM on the photo", LEARNED, OFF_THE_SHELF, "pim", _PIM),
        _salience("salience", "salience on the photo", LEARNED, "learned"),
        _salience("salience_random", "salience: a random part", CONTROL, "random"),
        RegionModel("photo", "whole photo", WHOLE, OFF_THE_SHELF, "one_view", {"data.view": "photo"}),
    )
}
SALIENCE_WHOLE = _salience("salience_whole", "salience: the whole photo", CONTROL, "whole")


def make_config(
    model: RegionModel, recipes: RegionRecipes | GreyRecipes, budget: Budget, place: Mapping[str, Any]
) -> Config:
    """Return the configuration of a model.

    Args:
        model: which.
        recipes: files.
        budget: what departs from them, for all models.
        place: further dotted keys, such as ``data.root`` and ``run.dir``.

    Raises:
        ConfigError: names the model and what is wrong with its recipe or an option.
    """
    own = project_file(getattr(recipes, model.recipe))
    document = load_yaml(own)
    if model.recipe in ("pim", "salience"):
        base = load_yaml(project_file(recipes.one_view))
        document = {**base, "model": _merged(document.get("model") or {}, base.get("model") or {})}
    roles = ("backbone",) if model.kind is OFF_THE_SHELF else ("roi_backbone", "extra_roi_backbone")
    backbone = {f"model.{role}.{key}": value for role in roles for key, value in budget.of_backbone().items()}
    for key, value in {**backbone, **budget.overrides(), **model.options, **place}.items():
        _set(document, key, value)
    try:
        return from_mapping(model.kind.config_class, document, own)
    except ConfigError as error:
        raise ConfigError(f"{model.name}: {error}") from None


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one mapping of mappings over another."""
    result = dict(below)
    for key, value in above.items():
        before = result.get(key)
        result[key] = _merged(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return result


def _set(document: dict[str, Any], dotted: str, value: Any) -> None:  # noqa: ANN401  # any value of a key
    *path, last = dotted.split(".")
    for part in path:
        inner = document.get(part)
        document[part] = dict(inner) if isinstance(inner, dict) else {}
        document = document[part]
    document[last] = value


def refuse_unequal_budgets(configs: Mapping[str, Config], recipes: RegionRecipes) -> None:
    """Raise a ``ConfigError`` where models, by key, would not be trained alike: what differs, and in which file."""
    first, reference = next(iter(configs.items()))
    for key, config in configs.items():
        file = getattr(recipes, MODELS[key].recipe if key in MODELS else "salience")
        wanted, found = (dataclasses.asdict(one.train) | {"seed": None} for one in (reference, config))
        wanted["backbones"], found["backbones"] = backbone_names(reference)[:1], backbone_names(config)
        wanted["image_size"], found["image_size"] = reference.data.image_size, config.data.image_size
        for name, value in found.items():
            if value != wanted[name]:
                raise ConfigError(
                    f"{file}: {name} is {_plain(value)} and was {_plain(wanted[name])} for {first}; all models "
                    f"need one budget: change the recipe, or set --budget for all"
                )


def _plain(value: object) -> str:
    return " and ".join(map(str, value)) if isinstance(value, list) else str(value)


def backbone_names(config: Config) -> list[str]:
    """Return the different timm names of a configuration's backbones."""
    backbones = [value for value in vars(config.model).values() if hasattr(value, "pretrained")]
    return list(dict.fromkeys(backbone.name for backbone in backbones))


def data_differences(reference: Config, other: Config) -> list[str]:
    """Return where pictures are changed otherwise in training, such as ``augment.blank_extra_roi 0.3``."""
    one, two = (dataclasses.asdict(config.data) for config in (reference, other))
    return [
        f"data.{section}.{key} {value}" if section else f"data.{key} {value}"
        for section, mine, theirs in (("augment", one["augment"], two["augment"]),)
        for key, value in theirs.items()
        if value != mine[key]
    ] + [f"data.{key} {two[key]}" for key in ("bars", "normalise", "sampling") if one[key] != two[key]]
