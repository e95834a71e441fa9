"""Suites: YAML files of named conditions, each of them perturbations of one view or both."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets.pairs import VIEWS
from experiments.robustness.registry import PERTURBATIONS, Letterbox, Number, Perturbation
from utils.config import load_yaml
from utils.errors import ConfigError, nearest

IDENTITY = "identity"
ONLY_VIEW = "single"  # stands for the view of a one-view model until the model is known
EACH_VIEW = ("roi", "extra_roi")
_KEYS = ("name", "seeds", "letterbox", "conditions")
_LETTERBOXES = ("run", "released")
_RESERVED = ("analysis",)  # beside the conditions' folders of an evaluation
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.=-]*")


@dataclass(frozen=True)
class Variant:
    """What is done to one view.

    Attributes:
        perturbation: key of ``PERTURBATIONS``.
        parameters: (name, value) in the registry's order, distances as written for 224 pixels.
    """

    perturbation: str
    parameters: tuple[tuple[str, Number], ...]

    @property
    def random(self) -> bool:
        """Whether a seed matters."""
        return PERTURBATIONS[self.perturbation].random

    def __str__(self) -> str:
        """Return it as ``permute_patches(patch=16)``."""
        return f"{self.perturbation}({', '.join(f'{name}={value:g}' for name, value in self.parameters)})"


@dataclass(frozen=True)
class Condition:
    """One row of a table of robustness.

    Attributes:
        name: safe as a folder name, unique in the suite: ``identity``, ``permute_roi``, ``noise-roi-sd=25``.
        inputs: by view name, what is done to it; views not named are unchanged, ``{}`` is the identity. The view
            ``single`` is that of a one-view model.
        family: the name without the swept value (``noise-roi``), for plots of score against severity.
        parameter: the swept parameter; None where nothing is swept.
        value: its value here, as written.
    """

    name: str
    inputs: Mapping[str, Variant]
    family: str
    parameter: str | None = None
    value: float | None = None

    @property
    def random(self) -> bool:
        """Whether the suite's seeds matter."""
        return any(variant.random for variant in self.inputs.values())


@dataclass(frozen=True)
class Suite:
    """A file of conditions.

    Attributes:
        name: the file's stem unless the file gives a name.
        path: of the file.
        conditions: in the file's order, sweeps written out; the identity comes first.
        seeds: of the random perturbations.
        letterbox: ``run`` for the transforms of this project, ``released`` for those of the released code.
    """

    name: str
    path: Path
    conditions: tuple[Condition, ...]
    seeds: tuple[int, ...]
    letterbox: Letterbox


def load_suite(path: Path) -> Suite:
    """Read a suite file.

    A file has ``seeds`` (whole numbers, [0, 1, 2] where absent), ``letterbox`` (``run`` where absent, or ``released``),
    optionally ``name``, and ``conditions``: by name, ``perturbation``, ``views`` and its parameters, distances in
    pixels of a picture of 224. ``views`` is a list of views that are perturbed alike, ``each`` for one condition per
    cut-out, or ``single`` for the view of a one-view model. A parameter given as a list is swept, one condition per
    value. The identity is written ``identity: {}`` and is there even where the file leaves it out.

    Raises:
        ConfigError: unknown key, perturbation, parameter or view, with the nearest names; a wrong type, a value out of
            range, a name that cannot be a folder or occurs twice, no conditions.
    """
    document = load_yaml(path)
    for key in document:
        if key not in _KEYS:
            raise ConfigError(f"{path} has the unknown key '{key}'{_hint(key, _KEYS)}")
    name = document.get("name", path.stem)
    _check_name(name, f"{path}: name")
    letterbox = document.get("letterbox", "run")
    if letterbox not in _LETTERBOXES:
        raise ConfigError(f"{path}: letterbox is '{letterbox}'{_hint(letterbox, _LETTERBOXES)}")
    described = document.get("conditions")
    if not isinstance(described, dict) or not described:
        raise ConfigError(
            f"{path}: conditions must hold at least one entry, such as 'permute_roi: {{perturbation: permute_patches, "
            f"views: [roi], patch: 16}}'"
        )
    conditions = [Condition(IDENTITY, {}, IDENTITY)]
    for key, settings in described.items():
        conditions += _expand(key, settings, path)
    _refuse_doubles([condition.name for condition in conditions], path)
    return Suite(name, path, tuple(conditions), _seeds(document.get("seeds", [0, 1, 2]), path), letterbox)


def _expand(name: Any, settings: Any, path: Path) -> Iterator[Condition]:  # noqa: ANN401  # whatever a file holds
    """Yield the conditions of one entry."""
    _check_name(name, f"{path}: a condition's name")
    if name.casefold() in _RESERVED:
        raise ConfigError(
            f"{path}: a condition is called '{name}', the name of another folder of the results; rename it"
        )
    where = f"{path}: condition '{name}'"
    if name == IDENTITY:
        if settings != {}:
            raise ConfigError(f"{where} changes nothing and is written 'identity: {{}}'; give other conditions a name")
        return
    if not isinstance(settings, dict) or "perturbation" not in settings:
        raise ConfigError(f"{where} names no perturbation; allowed: {', '.join(PERTURBATIONS)}")
    kind = settings["perturbation"]
    if not isinstance(kind, str) or kind not in PERTURBATIONS:
        raise ConfigError(f"{where} has the unknown perturbation '{kind}'{_hint(kind, PERTURBATIONS)}")
    variants = _sweep(kind, {k: v for k, v in settings.items() if k not in ("perturbation", "views")}, where)
    for suffix, views in _views(settings.get("views"), where):
        family = f"{name}{suffix}"
        for parameter, value, variant in variants:
            full = family if parameter is None else f"{family}-{parameter}={value:g}"
            yield Condition(full, dict.fromkeys(views, variant), family, parameter, value)


def _sweep(kind: str, given: dict[Any, Any], where: str) -> list[tuple[str | None, float | None, Variant]]:
    """Return (swept parameter, value, variant) for each value of the swept parameter."""
    perturbation = PERTURBATIONS[kind]
    for key in given:
        if key not in perturbation.parameters:
            hint = nearest(str(key), [*perturbation.parameters, "views", "perturbation"])
            allowed = ", ".join(perturbation.parameters) or "none"
            raise ConfigError(f"{where} has the unknown parameter '{key}'{hint}; {kind} takes: {allowed}")
    _check_present(kind, perturbation, given, where)
    swept = [key for key in given if isinstance(given[key], list)]
    if len(swept) > 1:
        raise ConfigError(f"{where} sweeps {' and '.join(swept)}; sweep one parameter at a time, in conditions apart")
    order = [key for key in perturbation.parameters if key in given]
    rows: list[tuple[str | None, float | None, Variant]] = []
    for values in [given | {swept[0]: value} for value in given[swept[0]]] if swept else [given]:
        for key in order:
            if not perturbation.parameters[key].allows(values[key]):
                raise ConfigError(f"{where}: {key} is {values[key]!r}; allowed: {perturbation.parameters[key]}")
        variant = Variant(kind, tuple((key, values[key]) for key in order))
        rows.append((swept[0], float(values[swept[0]]), variant) if swept else (None, None, variant))
    if not rows:
        raise ConfigError(f"{where}: {swept[0]} is an empty list; give at least one value")
    return rows


def _check_present(kind: str, perturbation: Perturbation, given: Mapping[Any, Any], where: str) -> None:
    absent = [key for key in perturbation.parameters if key not in given]
    if absent and (not perturbation.optional or not given):
        some = "one of " if perturbation.optional else ""
        raise ConfigError(f"{where} lacks a parameter: {kind} needs {some}{', '.join(absent)}")
    for axis in ("dx", "dy"):
        if axis in given and f"{axis}_percent" in given:
            raise ConfigError(f"{where} gives both {axis} and {axis}_percent; keep one of them")


def _views(given: Any, where: str) -> list[tuple[str, tuple[str, ...]]]:  # noqa: ANN401  # whatever a file holds
    """Return (suffix of the name, views) for each condition that ``views`` stands for."""
    if given == "each":
        return [(f"-{view}", (view,)) for view in EACH_VIEW]
    if given == ONLY_VIEW:
        return [("", (ONLY_VIEW,))]
    allowed = f"a list such as [roi], each, or {ONLY_VIEW}"
    if not isinstance(given, list) or not given:
        shown = "is absent" if given is None else f"is '{given}'"
        raise ConfigError(f"{where}: views {shown}; allowed: {allowed}, of the views {', '.join(VIEWS)}")
    for view in given:
        if view not in VIEWS:
            raise ConfigError(f"{where} has the unknown view '{view}'{_hint(view, VIEWS)}")
    if len(set(given)) < len(given):
        raise ConfigError(f"{where}: views names one of {', '.join(given)} twice; name each view once")
    return [("", tuple(view for view in VIEWS if view in given))]


def _seeds(given: Any, path: Path) -> tuple[int, ...]:  # noqa: ANN401  # whatever a file holds
    numbers = given if isinstance(given, list) else []
    good = all(isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed < 2**31 for seed in numbers)
    if not numbers or not good or len(set(numbers)) < len(numbers):
        raise ConfigError(f"{path}: seeds is {given}; allowed: a list of different numbers from 0, such as [0, 1, 2]")
    return tuple(numbers)


def _check_name(name: object, where: str) -> None:
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigError(
            f"{where} is '{name}', which must do as a folder name: letters, digits, '_', '-', '.' and '=', the first "
            f"of them a letter or a digit"
        )


def _refuse_doubles(names: Sequence[str], path: Path) -> None:
    folded = [name.casefold() for name in names]  # folders that differ by case alone are one on some systems
    doubled = [name for place, name in enumerate(names) if folded[place] in folded[:place]]
    if doubled:
        raise ConfigError(f"{path} has two conditions called '{doubled[0]}', sweeps written out; rename one of them")


def _hint(word: object, allowed: Sequence[str] | Mapping[str, object]) -> str:
    return f"{nearest(str(word), allowed)}; allowed: {', '.join(allowed)}"
