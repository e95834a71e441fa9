"""One strict way from YAML files and a command line to a frozen dataclass."""

import dataclasses
import json
import re
import types
import typing
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, cast

import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace

from utils.errors import ConfigError, nearest
from utils.names import shown
from utils.yaml_file import load_yaml

__all__ = ["from_mapping", "known_keys", "load_yaml", "parse_config", "to_yaml"]

Config = TypeVar("Config")
# The parser raises more than its own kind on values that no type takes, such as lists in lists in lists.
_PARSER_ERRORS = (ArgumentError, ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


def parse_config(
    config_class: type[Config],
    argv: list[str],
    *,
    program: str,
    flags: Mapping[str, str],
    short_names: Mapping[str, str] | None = None,
) -> tuple[Config, dict[str, bool]]:
    """Read ``--config`` files and overrides into a configuration.

    Later files override earlier ones, the command line overrides both.

    Args:
        config_class: a frozen dataclass of sections.
        argv: arguments without the program's name.
        program: name of the script, for ``--help``.
        flags: further options without a value, with their help texts.
        short_names: options that stand for a dotted key, such as ``profile`` for ``run.profile``.

    Returns:
        The configuration and the flags.

    Raises:
        ConfigError: unknown or doubled key, wrong type, value out of range; says what is allowed.
    """
    parser = _parser_of_arguments(cast(Any, config_class), program, tuple(flags.items()))
    short = short_names or {}
    options = known_keys(config_class) | set(flags) | set(short) | {"config", "print_config", "help"}
    _refuse_unprintable(argv)
    argv = [_in_full(argument, short) for argument in argv]
    argv = _with_list_values(config_class, _with_switches(config_class, argv))
    for path in _config_files(argv):
        _refuse_unknown_keys(load_yaml(path), config_class, path)
    _refuse_unknown_options(argv, options)
    _refuse_sections(argv, config_class)
    try:
        namespace = parser.parse_args(argv)
        _refuse_nulls(namespace, config_class)
        values = cast(Namespace, parser.instantiate(namespace))
    except _PARSER_ERRORS as error:
        raise ConfigError(_problem(error, cast(Any, config_class))) from None
    sections = {field.name: values[field.name] for field in dataclasses.fields(cast(Any, config_class))}
    return config_class(**sections), {flag: bool(values[flag]) for flag in flags}


def from_mapping(config_class: type[Config], document: Mapping[str, Any], source: Path) -> Config:
    """Build a configuration from the mapping of a ``config.yaml`` that a run wrote."""
    _refuse_unknown_keys(dict(document), config_class, source)
    parser = _parser_of_mappings(cast(Any, config_class))
    try:
        namespace = parser.parse_object(dict(document))
        _refuse_nulls(namespace, config_class)
        values = cast(Namespace, parser.instantiate(namespace))
    except _PARSER_ERRORS as error:
        raise ConfigError(f"{source}: {_problem(error, cast(Any, config_class))}") from None
    return config_class(**{field.name: values[field.name] for field in dataclasses.fields(cast(Any, config_class))})


@cache
def _parser_of_arguments(config_class: type, program: str, flags: tuple[tuple[str, str], ...]) -> ArgumentParser:
    """Build a script's parser once; building costs more than parsing."""
    parser = ArgumentParser(prog=program, exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--config", action="config", help="YAML file; may be given several times.")
    parser.add_class_arguments(config_class)
    for flag, text in flags:
        parser.add_argument(f"--{flag}", action="store_true", help=text)
    return parser


@cache
def _parser_of_mappings(config_class: type) -> ArgumentParser:
    """Build the parser once for all runs that are read; building costs as much as parsing."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(config_class)
    return parser


def to_yaml(config: object) -> str:
    """Return a configuration as YAML that ``--config`` takes back."""
    text: str = yaml.safe_dump(dataclasses.asdict(cast(Any, config)), sort_keys=False, allow_unicode=True)
    return text


def known_keys(config_class: type, prefix: str = "") -> set[str]:
    """Return every dotted key of a nested dataclass, sections included."""
    keys: set[str] = set()
    hints = _hints(config_class)
    for field in dataclasses.fields(config_class):
        keys.add(prefix + field.name)
        if dataclasses.is_dataclass(hints[field.name]):
            keys |= known_keys(hints[field.name], f"{prefix}{field.name}.")
    return keys


def _hint(config_class: type, key: str) -> Any:  # noqa: ANN401  # whatever may stand in an annotation
    """Return the type of a dotted key, None for an unknown one."""
    hint: Any = config_class
    for part in key.split("."):
        if not dataclasses.is_dataclass(hint):
            return None
        hint = _hints(cast(type, hint)).get(part)
    return hint


@cache
def _hints(config_class: type) -> dict[str, Any]:
    """Return the types of a dataclass's fields; resolving them takes longer than all the rest here."""
    return typing.get_type_hints(config_class)


def _members(config_class: type, key: str) -> tuple[Any, ...]:
    """Return the types that a dotted key takes, one by one."""
    hint = _hint(config_class, key)
    return typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)


def _is_list(config_class: type, key: str) -> bool:
    return any(typing.get_origin(member) is list for member in _members(config_class, key))


def _in_full(argument: str, short_names: Mapping[str, str]) -> str:
    """Return an argument with the short name of an option replaced by its dotted key."""
    option, equals, value = argument.partition("=")
    key = short_names.get(option.removeprefix("--")) if option.startswith("--") else None
    return argument if key is None else f"--{key}{equals}{value}"


def _with_switches(config_class: type, argv: list[str]) -> list[str]:
    """Let an option that is true or false stand alone for true: ``--overwrite``."""
    switches = {word for word in argv if word.startswith("--") and bool in _members(config_class, word[2:])}
    follows = [*argv, "--"][1:]
    return [
        f"{word}=true" if word in switches and _is_option(after) else word
        for word, after in zip(argv, follows, strict=True)
    ]


def _with_list_values(config_class: type, argv: list[str]) -> list[str]:
    """Let list options be written as ``--train.seeds 0,1,2``, ``--run a b`` and ``--run a --run b``."""
    joined: list[str] = []
    places: dict[str, int] = {}
    position = 0
    while position < len(argv):
        option, equals, value = argv[position].partition("=")
        position += 1
        if not option.startswith("--") or not _is_list(config_class, option[2:]):
            joined.append(argv[position - 1])
            continue
        values = [value] if equals else []
        while not equals and position < len(argv) and not _is_option(argv[position]):
            values.append(argv[position])
            position += 1
        given = _as_list(values)
        if given is None:  # nothing, or a list in the parser's own notation
            joined += [option, *values]
        elif option in places:
            joined[places[option]] = json.dumps([*json.loads(joined[places[option]]), *given])
        else:
            joined += [option, json.dumps(given)]
            places[option] = len(joined) - 1
    return joined


def _is_option(argument: str) -> bool:
    return argument.startswith("-") and not _is_number(argument)


def _as_list(values: list[str]) -> list[int | str] | None:
    if not values or (len(values) == 1 and (values[0].lstrip().startswith("[") or values[0] in ("null", "None"))):
        return None
    parts = [part.strip() for value in values for part in value.split(",") if part.strip()]
    return [int(part) if part.lstrip("-").isdigit() else part for part in parts]


def _config_files(argv: list[str]) -> list[Path]:
    files = [Path(argument.partition("=")[2]) for argument in argv if argument.startswith("--config=")]
    return files + [Path(argv[i + 1]) for i in range(len(argv) - 1) if argv[i] == "--config"]


def _refuse_unknown_keys(document: dict[str, Any], config_class: type, path: Path) -> None:
    allowed = known_keys(config_class)
    sections = {key for key in allowed if any(other.startswith(f"{key}.") for other in allowed)}

    def walk(mapping: Mapping[Any, Any], prefix: str) -> None:
        for key, value in mapping.items():
            dotted = f"{prefix}{key}"
            if dotted not in allowed:
                siblings = [name for name in allowed if name.rpartition(".")[0] == prefix.rstrip(".")]
                hint = (
                    nearest(dotted, siblings) or nearest(dotted, allowed) or f"; allowed: {', '.join(sorted(siblings))}"
                )
                raise ConfigError(f"{path} has the unknown key '{dotted}'{hint}")
            if dotted in sections:
                if not isinstance(value, dict):
                    raise ConfigError(f"{path}: '{dotted}' is a section and needs 'key: value' lines, not '{value}'")
                walk(value, f"{dotted}.")

    walk(document, "")


def _refuse_unknown_options(argv: list[str], options: set[str]) -> None:
    for position, argument in enumerate(argv):
        if argument == "-h":
            continue
        if argument.startswith("-") and not _is_number(argument):
            name = argument.lstrip("-").partition("=")[0].removesuffix("+")
            if name not in options:
                hint = nearest(f"--{name}", [f"--{option}" for option in options])
                raise ConfigError(f"unknown option '--{name}'{hint or '; see --help'}")
        elif position == 0 or "=" in argv[position - 1] or not argv[position - 1].startswith("--"):
            raise ConfigError(f"'{argument}' stands alone; options are written --section.key value, see --help")


def _refuse_nulls(namespace: Namespace, config_class: type) -> None:
    """Refuse null where it is not allowed, which the parser takes for every type."""
    for key in sorted(known_keys(config_class)):
        members = _members(config_class, key)
        if types.NoneType not in members and namespace.get(key, "") is None:
            raise ConfigError(f"{key} is null; give it a value, or leave the key out")


def _refuse_unprintable(argv: list[str]) -> None:
    for argument in argv:
        if not argument.isprintable():
            raise ConfigError(f"the argument {shown(argument)} holds characters that cannot be printed; type it anew")


def _refuse_sections(argv: list[str], config_class: type) -> None:
    """Refuse a whole section as a value, which the parser would read from a file by rules of its own."""
    for argument in argv:
        key = argument.removeprefix("--").partition("=")[0].removesuffix("+")
        if argument.startswith("--") and dataclasses.is_dataclass(_hint(config_class, key)):
            raise ConfigError(f"'--{key}' is a section; options are written --{key}.key value, files --config FILE")


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _problem(error: Exception, config_class: type) -> str:
    """Say what the parser refused; a field may tell in its metadata what is ``allowed``."""
    text = str(error) or type(error).__name__
    key = re.search(r'Parser key "([\w.]+)\.(\w+)"', text)
    fields = getattr(_hint(config_class, key[1]), "__dataclass_fields__", {}) if key else {}
    if key and key[2] in fields and (allowed := fields[key[2]].metadata.get("allowed")):
        return f"{key[1]}.{key[2]} is {text.rpartition('Given value: ')[2]}, but must be {allowed}"
    return _one_line(text)


def _one_line(message: str) -> str:
    """Shorten a parser message to what a user needs: the key, the value and what was expected."""
    lines = [line.strip(" -") for line in message.splitlines() if line.strip()]
    expected = " or ".join(line.removeprefix("Expected a ") for line in lines if line.startswith("Expected a "))
    got = "".join(line.replace("Given value:", ", but got") for line in lines if line.startswith("Given value:"))
    if not expected:
        return " ".join(lines).replace("Parser key ", "")
    expected = re.sub(r"(?:typing\.)?Literal\[(.*?)\]", r"one of \1", expected)
    if got:
        expected = re.sub(r"\. Got value: .*?(?= or |$)", "", expected)  # a member of the list; the whole value follows
    text = f"{lines[0].replace('Parser key ', '')} expected {expected}{got}"
    for noise, plain in (
        ("<class '", ""),
        ("'>", ""),
        ("typing.", ""),
        ("NoneType", "null"),
        (". Got value:", ", but got"),
    ):
        text = text.replace(noise, plain)
    return text
