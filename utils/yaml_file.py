"""The one way to read YAML: plain data only, whoever wrote it. Needs no torch and no jsonargparse."""

import re
from pathlib import Path
from typing import Any, NoReturn

import yaml

from utils.errors import ConfigError, UserError, nearest

LARGEST_FILE = 64 * 1024  # bytes of a configuration
LARGEST_RECORD = 4 * 1024 * 1024  # bytes of what lists classes or photos
MOST_NODES = 100_000
DEEPEST = 32
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9_]*)")


class _StrictLoader(yaml.SafeLoader):
    """YAML without its surprises: no tags, anchors and aliases, no key given twice, no endless nesting."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = self._nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:  # noqa: ANN401  # as above it
        event: Any = self.peek_event()  # type: ignore[no-untyped-call]  # published without types
        if isinstance(event, yaml.AliasEvent):
            _refuse(f"the alias '*{event.anchor}' is refused; write the value out", event.start_mark)
        if getattr(event, "anchor", None) is not None:
            _refuse(f"the anchor '&{event.anchor}' is refused; take it out", event.start_mark)
        if getattr(event, "tag", None) is not None:
            _refuse(f"the tag '{event.tag}' is refused; write plain values", event.start_mark)
        self._depth += 1
        self._nodes += 1
        if self._nodes > MOST_NODES:
            _refuse(f"it holds more than {MOST_NODES:,} values; shorten it", event.start_mark)
        if self._depth > DEEPEST:
            _refuse(f"it is nested more than {DEEPEST} levels deep; flatten it", event.start_mark)
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _refuse(problem: str, mark: Any) -> NoReturn:  # noqa: ANN401  # there are two classes of marks
    raise yaml.constructor.ConstructorError(None, None, problem, mark)


def _mapping(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    found: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            _refuse("a key is a list or a mapping; write one word", key_node.start_mark)
        if key_node.tag == "tag:yaml.org,2002:merge":
            _refuse("the merge key '<<' is refused; write the values out", key_node.start_mark)
        key = loader.construct_object(key_node, deep=True)
        if key in found:
            _refuse(f"the key '{key}' is given twice; keep one of them", key_node.start_mark)
        found[key] = loader.construct_object(value_node, deep=True)
    return found


def _integer(loader: _StrictLoader, node: yaml.ScalarNode) -> int:
    text = str(node.value)
    if not _INTEGER.fullmatch(text):
        _refuse(f"'{text[:40]}' is not a plain decimal number; write it without leading zeros", node.start_mark)
    if len(text) > 100:
        _refuse(f"the number '{text[:20]}…' has {len(text)} digits; write a smaller one", node.start_mark)
    return int(loader.construct_yaml_int(node))


def _float(loader: _StrictLoader, node: yaml.ScalarNode) -> float:
    text = str(node.value)
    if ":" in text:
        _refuse(f"'{text[:40]}' would be read as a number of base 60; put it in quotes", node.start_mark)
    return float(loader.construct_yaml_float(node))


def _timestamp(loader: _StrictLoader, node: yaml.ScalarNode) -> object:
    try:
        return loader.construct_yaml_timestamp(node)
    except (ValueError, OverflowError):
        _refuse(f"'{node.value}' is no date; put it in quotes where it is a text", node.start_mark)


_StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)
_StrictLoader.add_constructor("tag:yaml.org,2002:int", _integer)
_StrictLoader.add_constructor("tag:yaml.org,2002:float", _float)
_StrictLoader.add_constructor("tag:yaml.org,2002:timestamp", _timestamp)


def parse_yaml(text: str, name: str, error: type[UserError] = ConfigError) -> Any:  # noqa: ANN401  # what YAML holds
    """Return what a YAML text holds: dictionaries, lists, texts, numbers, dates, true, false, null.

    Args:
        text: the document.
        name: its file, for messages.
        error: what is raised.

    Raises:
        UserError: of the kind given, one line with file, line and reason: broken syntax, tags, anchors, aliases,
            merge keys, a key given twice, nesting of more than ``DEEPEST`` levels, more than ``MOST_NODES`` values,
            numbers that mean something else.
    """
    try:
        return yaml.load(text, Loader=_StrictLoader)  # noqa: S506 - a SafeLoader
    except yaml.MarkedYAMLError as problem:
        mark = problem.problem_mark or problem.context_mark
        where = "" if mark is None else f", line {mark.line + 1}"
        what = " ".join(str(part) for part in (problem.context, problem.problem) if part)
        raise error(f"{name}{where}, is not valid YAML: {_shown(what)}") from None
    except (yaml.YAMLError, ValueError) as problem:
        raise error(f"{name} is not valid YAML: {_shown(str(problem))}") from None


def _shown(text: str) -> str:
    """Return a text as one line of printable characters."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in " ".join(text.split()))[:300]


def read_yaml(
    path: Path,
    what: str = "configuration file",
    error: type[UserError] = ConfigError,
    *,
    largest: int = LARGEST_FILE,
) -> Any:  # noqa: ANN401  # as above
    """Read a YAML file as ``parse_yaml`` does.

    Args:
        path: the file.
        what: what it is to the user, for messages.
        error: what is raised.
        largest: bytes that are read at most.

    Raises:
        UserError: of the kind given, where it is absent, no UTF-8 text, larger, or not plain YAML.
    """
    try:
        with path.open("rb") as file:
            data = file.read(largest + 1)
        if len(data) > largest:
            raise error(f"the {what} {path} has more than {largest:,} bytes, which is the most that is read")
        text = data.decode("utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        near = nearest(path.name, [p.name for p in path.parent.glob("*.yaml")] if path.parent.is_dir() else [])
        raise error(f"the {what} {path} does not exist{near}") from None
    except UnicodeDecodeError as problem:
        raise error(f"the {what} {path} is not UTF-8 text (at byte {problem.start:,}); save it as UTF-8") from None
    except (OSError, ValueError) as problem:  # a path may hold NUL
        raise error(f"the {what} {_shown(str(path))} cannot be read: {_shown(str(problem))}") from None
    return parse_yaml(text, str(path), error)


def load_yaml(path: Path, what: str = "configuration file", error: type[UserError] = ConfigError) -> dict[str, Any]:
    """Read a YAML mapping, {} from an empty file; the arguments and errors are those of ``read_yaml``."""
    document = read_yaml(path, what, error)
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise error(f"{path} must hold 'section: {{key: value}}' entries, not a {type(document).__name__}")
    return document
