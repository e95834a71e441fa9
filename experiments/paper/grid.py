"""The list of runs behind the tables, read from a grid file, and the configuration of each."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from experiments.kinds import KINDS, Config, Kind
from experiments.paper.options import project_file
from utils.config import load_yaml, parse_config
from utils.errors import ConfigError, nearest

_KEYS = ("extends", "tables", "seeds", "recipes", "layers", "runs", "stand_ins", "options")
_RUN_KEYS = ("kind", "every_epoch", "without", "options", "options_for")


@dataclass(frozen=True)
class Recipe:
    """A recipe: by kind of model, its configuration file and the suite under which its runs are evaluated."""

    name: str
    configs: Mapping[str, str]
    suites: Mapping[str, str]


@dataclass(frozen=True)
class PlannedRun:
    """One run of the grid, under one recipe.

    Attributes:
        key: name of its folder; that of a twin ends in ``-without-<class>``.
        base: key in the tables of the paper.
        exclude: class that this twin is trained and scored without; None for the run itself.
        kind: which script trains it.
        files: configuration files, laid over each other in this order.
        options: dotted keys that override the files.
        suite: suite under which it is evaluated.
        backbones: by view or role, the backbone that the paper used, as its layer names it.
    """

    key: str
    base: str
    exclude: str | None
    kind: Kind
    files: tuple[Path, ...]
    options: Mapping[str, Any]
    suite: str
    backbones: Mapping[str, str]

    def config(self, overrides: Mapping[str, Any]) -> Config:
        """Return the run's configuration, checked; ``overrides`` come last.

        Raises:
            ConfigError: names the run and what is wrong with its files or options.
        """
        argv = [part for file in self.files for part in ("--config", str(file))]
        for key, value in {**self.options, **overrides}.items():
            argv += [f"--{key}", _as_argument(value)]
        try:
            config, _ = parse_config(self.kind.config_class, argv, program=self.kind.script, flags={})
        except ConfigError as error:
            raise ConfigError(f"run {self.key}: {error}") from None
        return config


@dataclass(frozen=True)
class Grid:
    """A grid file."""

    path: Path
    tables: Path
    seeds: tuple[int, ...]
    recipes: Mapping[str, Recipe]
    layers: Mapping[str, str]
    runs: Mapping[str, Mapping[str, Any]]
    stand_ins: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)

    def recipe(self, name: str | None) -> Recipe:
        """Return a recipe, the first one where no name is given; a ``ConfigError`` names those there are."""
        if name is None:
            return next(iter(self.recipes.values()))
        if name not in self.recipes:
            known = ", ".join(self.recipes)
            raise ConfigError(
                f"--recipe {name}: {self.path} has no such recipe{nearest(name, self.recipes)}; one of {known}"
            )
        return self.recipes[name]

    def plan(self, recipe: Recipe, wanted: Iterable[tuple[str, str | None]]) -> list[PlannedRun]:
        """Return the runs that are wanted, as (key, class left out), in the grid's order, twins last.

        Raises:
            ConfigError: a table shows a run, or a twin of it, that the grid does not describe.
        """
        wanted = set(wanted)
        for key, exclude in sorted(wanted, key=str):
            if key not in self.runs:
                raise ConfigError(
                    f"{self.path} describes no run '{key}'{nearest(key, self.runs)}, which a table shows; add it under "
                    f"runs, or leave the table out with --tables"
                )
            if exclude is not None and exclude not in self.runs[key].get("without", []):
                raise ConfigError(
                    f"{self.path}: run '{key}' has no twin without '{exclude}', which a table shows; add without: "
                    f"[{exclude}] to it"
                )
        return sorted(
            (self._planned(recipe, key, exclude) for key in self.runs for k, exclude in wanted if k == key),
            key=lambda run: run.exclude is not None,
        )

    def _planned(self, recipe: Recipe, base: str, exclude: str | None) -> PlannedRun:
        entry = self.runs[base]
        kind = KINDS[entry["kind"]]
        layer = project_file(self.layers[kind.name].format(run=base), self.path.parent)
        backbones = _backbones_of(load_yaml(layer))
        options = {**self.options, **entry.get("options", {}), **entry.get("options_for", {}).get(recipe.name, {})}
        if entry.get("every_epoch") and exclude is None:
            options["eval.test_every_epoch"] = True
        if exclude is not None:
            options["data.exclude"] = [exclude]
        options |= {
            f"model.{role}.name": self.stand_ins[name] for role, name in backbones.items() if name in self.stand_ins
        }
        return PlannedRun(
            key=run_key(base, exclude),
            base=base,
            exclude=exclude,
            kind=kind,
            files=(project_file(recipe.configs[kind.name], self.path.parent), layer),
            options=options,
            suite=recipe.suites[kind.name],
            backbones=backbones,
        )


def run_key(base: str, exclude: str | None) -> str:
    """Return the key of a run, or of its twin without a class."""
    return base if exclude is None else f"{base}-without-{exclude.replace(' ', '_')}"


def load_grid(path: Path) -> Grid:
    """Read a grid file, and the one that it extends.

    Raises:
        ConfigError: unknown or missing key, unknown kind of run, options for a recipe that is not there.
    """
    path = project_file(path)
    document = _document(path)
    missing = [key for key in ("tables", "recipes", "layers", "runs") if not document.get(key)]
    if missing:
        raise ConfigError(
            f"{path} has no {' and no '.join(missing)}; see configs/grids/paper.yaml for what a grid holds"
        )
    recipes = {name: _recipe(name, entry, path) for name, entry in document["recipes"].items()}
    for kind in KINDS:
        if kind not in document["layers"]:
            raise ConfigError(f"{path}: layers has no entry for {kind}; one for each of {', '.join(KINDS)}")
    for key, entry in document["runs"].items():
        _check_run(key, entry, path)
    return Grid(
        path=path,
        tables=project_file(str(document["tables"]), path.parent),
        seeds=tuple(document.get("seeds") or (0,)),
        recipes=recipes,
        layers=document["layers"],
        runs=document["runs"],
        stand_ins=document.get("stand_ins") or {},
        options=document.get("options") or {},
    )


def _document(path: Path) -> dict[str, Any]:
    document = load_yaml(path)
    for key in document:
        if key not in _KEYS:
            raise ConfigError(f"{path} has the unknown key '{key}'{nearest(key, _KEYS)}; allowed: {', '.join(_KEYS)}")
    if "extends" not in document:
        return document
    parent = path.parent / str(document.pop("extends"))
    if parent.resolve() == path.resolve():
        raise ConfigError(f"{path} extends itself; name another grid file, or leave extends out")
    return {**_document(parent), **document}


def _recipe(name: str, entry: Any, path: Path) -> Recipe:  # noqa: ANN401  # whatever a file holds
    try:
        return Recipe(
            name,
            {kind: str(entry[kind]["config"]) for kind in KINDS},
            {kind: str(entry[kind]["suite"]) for kind in KINDS},
        )
    except (KeyError, TypeError):
        kinds = " and ".join(KINDS)
        raise ConfigError(f"{path}: the recipe '{name}' needs 'config' and 'suite' for each of {kinds}") from None


def _check_run(key: str, entry: Any, path: Path) -> None:  # noqa: ANN401  # whatever a file holds
    if not isinstance(entry, dict) or entry.get("kind") not in KINDS:
        raise ConfigError(f"{path}: run '{key}' needs kind: {' or '.join(KINDS)}")
    for name in entry:
        if name not in _RUN_KEYS:
            raise ConfigError(f"{path}: run '{key}' has the unknown key '{name}'{nearest(name, _RUN_KEYS)}")


def _backbones_of(layer: dict[str, Any]) -> dict[str, str]:
    return {
        role: part["name"] for role, part in layer.get("model", {}).items() if isinstance(part, dict) and "name" in part
    }


def _as_argument(value: Any) -> str:  # noqa: ANN401  # any value of an option
    """Return a value as the command line takes it."""
    if isinstance(value, str):
        return value
    text: str = yaml.safe_dump(value, default_flow_style=True, width=10_000)
    return text.removesuffix("...\n").strip()
