"""The ways of explaining that there are, and what is said of each."""

from collections.abc import Sequence

from experiments.explanation.maps import METHODS
from experiments.explanation.own_summary import OWN_DEFINITIONS, WHAT
from experiments.explanation.part_panels import PART_DEFINITIONS
from experiments.explanation.sheets import EVIDENCE_KEY, Key
from experiments.explanation.summary import DEFINITIONS
from Off_the_shelfs.own_maps import OWN_METHODS
from utils.errors import ConfigError, nearest

_KEYS = {
    "energy": Key(
        ("weakest", "strongest"),
        ["Activation energy of the backbone's maps, each level of each picture on a scale of its own; no class."],
    ),
    "score": Key(("0", "probability 1"), ["Probability of the class at each position; one scale for all maps."]),
    "kept": Key(None, ["In colour and outlined: positions that a level hands on to the combiner. Dark: dropped."]),
}


def check_any_method(method: str) -> None:
    """Refuse a method that is neither of ``METHODS`` nor of ``OWN_METHODS``; names the nearest."""
    names = [*METHODS, *OWN_METHODS]
    if method not in names:
        raise ConfigError(f"--method {method} is not known{nearest(method, names) or '.'} Allowed: {', '.join(names)}")


def key_of(method: str) -> Key:
    """Return what sheets say of a method's colours."""
    return _KEYS.get(method, EVIDENCE_KEY)


def heading_of(method: str, target: str) -> str:
    """Return the line above sheets of one section."""
    aim = "predicted" if target == "predicted" else "true"
    if method in ("energy", "kept"):
        return f"{WHAT[method]} of each level"
    return f"{WHAT.get(method, method)} for the {aim} class"


def definitions(method: str, columns: Sequence[str]) -> dict[str, str]:
    """Return what the numbers of a gallery are, whose table has these columns."""
    if method in OWN_METHODS:
        return {name: text for name, text in OWN_DEFINITIONS.items() if name == method or name not in OWN_METHODS}
    parts = any(name.startswith("part_probability_") for name in columns)
    return DEFINITIONS | PART_DEFINITIONS if parts else DEFINITIONS
