"""The models that are compared, and the configuration of each under one budget."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from experiments.kinds import OFF_THE_SHELF, RVERNET, Config, Kind
from experiments.paper.options import project_file
from experiments.regions.grey_options import GreyRecipes
from experiments.regions.options import Budget, RegionRecipes
from Off_the_shelfs.config import BackboneConfig
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
        set_key(document, key, value)
    try:
        config: Config = from_mapping(model.kind.config_class, document, own)
    except ConfigError as error:
        raise ConfigError(f"{model.name}: {error}") from None
    if config.train.seeds is not None or config.data.validation_fraction:
        raise ConfigError(
            f"{model.name}: its recipe sets train.seeds or data.validation_fraction, which has no place here; give the "
            f"seeds with --seeds, and leave the other out"
        )
    return config


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Lay one mapping of mappings over another."""
    result = dict(below)
    for key, value in above.items():
        before = result.get(key)
        result[key] = _merged(before, value) if isinstance(before, dict) and isinstance(value, dict) else value
    return result


def set_key(document: dict[str, Any], dotted: str, value: Any) -> None:  # noqa: ANN401  # any value of a key
    """Set a dotted key of a mapping of mappings in place; mappings that it lies in are copied."""
    *path, last = dotted.split(".")
    for part in path:
        inner = document.get(part)
        document[part] = dict(inner) if isinstance(inner, dict) else {}
        document = document[part]
    document[last] = value


def refuse_unequal_budgets(configs: Mapping[str, Config], recipes: RegionRecipes) -> None:
    """Raise a ``ConfigError`` where models, by key, would not be trained and scored alike: what differs, and where."""
    first, reference = next(iter(configs.items()))
    ((_, wanted), *_) = _budgets(reference)
    for key, config in configs.items():
        for role, found in _budgets(config):
            for name, value in found.items():
                # PIM takes maps, which is what it is; the others have to take the same kind of features.
                if value == wanted.get(name, value):
                    wanted.setdefault(name, value)
                    continue
                place = name.replace("backbone.", f"model.{role}.")
                raise ConfigError(
                    f"{getattr(recipes, MODELS[key].recipe)}: {place} is {value} and was {wanted[name]} for {first}; "
                    f"all models need one budget: change the recipe, or set --budget for all"
                )


def _budgets(config: Config) -> list[tuple[str, dict[str, Any]]]:
    """Return for each backbone its name in the model section and all that has to be equal, by dotted key."""
    data = {f"data.{key}": getattr(config.data, key) for key in ("image_size", "exclude", "group_by_photo")}
    sections = {
        f"{section}.{key}": value
        for section, part in (("train", config.train), ("eval", config.eval))
        for key, value in dataclasses.asdict(part).items()
        if (section, key) != ("train", "seed")
    }
    budgets = []
    for role, backbone in _backbones(config).items():
        own = {f"backbone.{key}": value for key, value in dataclasses.asdict(backbone).items() if key != "pim"}
        if backbone.features == "pim":
            del own["backbone.features"]
        budgets.append((role, sections | data | own))
    return budgets


def _backbones(config: Config) -> dict[str, BackboneConfig]:
    return {role: part for role, part in vars(config.model).items() if isinstance(part, BackboneConfig)}


def backbone_of(config: Config) -> BackboneConfig:
    """Return the first of a configuration's backbones."""
    return next(iter(_backbones(config).values()))


def differences(reference: Config, other: Config) -> list[str]:
    """Return what is otherwise in training beside what makes a model what it is, such as ``model.dropout 0.1``."""
    one, two = _own_ways(reference), _own_ways(other)
    return [f"{name} {value}" for name, value in two.items() if value != one[name]]


def _own_ways(config: Config) -> dict[str, Any]:
    hidden = getattr(config.model, "hidden_width", None)
    found = {f"data.augment.{key}": value for key, value in dataclasses.asdict(config.data.augment).items()}
    found |= {f"data.{key}": getattr(config.data, key) for key in ("bars", "normalise", "sampling")}
    found["model.dropout"] = config.model.dropout
    found["a head of"] = "one linear layer" if hidden is None else f"two layers with {hidden} units between them"
    return found
