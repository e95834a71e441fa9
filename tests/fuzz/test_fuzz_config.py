"""Configuration files, command lines and suites: a configuration comes out, or one line says what is wrong."""

import dataclasses
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from experiments.evaluation.options import EvaluateOptions
from experiments.explanation.options import ExplainOptions
from experiments.robustness.suite import load_suite
from Off_the_shelfs.config import OffTheShelfConfig
from RveRNets.config import RveRNetConfig
from tests.fuzz.conftest import Fuzz, Told
from tests.fuzz.mutations import TOKENS, mutated
from utils.config import from_mapping, known_keys, load_yaml, parse_config, to_yaml
from utils.errors import run_script

PROJECT = Path(__file__).parents[2]
CLASSES: dict[str, Any] = {
    "off-the-shelf": OffTheShelfConfig,
    "rvernet": RveRNetConfig,
    "evaluate": EvaluateOptions,
    "explain": ExplainOptions,
}
TRAINED = ("off-the-shelf", "rvernet")  # their parsers take a tenth of a second
WORDS = [token.decode() for token in TOKENS if token.isascii() and len(token) < 400]
VALUES = st.one_of(
    st.sampled_from(["1", "0.5", "true", "a,b", "a b", "[1, 2]", "{a: 1}", "auto", "none", "cpu", "2", "16", "", "-"]),
    st.sampled_from(WORDS),
    st.integers().map(str),
    st.floats().map(str),
    st.text(max_size=8),
)


def full(config_class: Any) -> bytes:  # noqa: ANN401  # a dataclass
    """Return every key of a configuration with its default."""
    config, _ = parse_config(config_class, [], program="fuzz", flags={})
    return to_yaml(config).encode()


def keys_of(config_class: type) -> st.SearchStrategy[str]:
    """Return what makes options, now and then misspelt."""
    known = st.sampled_from(sorted(known_keys(config_class)))
    spoilt = st.builds(lambda key, place, word: key[: int(place * len(key))] + word, known, st.floats(0, 1), VALUES)
    return st.one_of(known, known, known, spoilt).map(lambda key: f"--{key}")


def lines_of(config_class: type) -> st.SearchStrategy[list[str]]:
    """Return what makes command lines."""
    option = st.one_of(
        st.tuples(keys_of(config_class), VALUES).map(list),
        st.tuples(keys_of(config_class), VALUES).map(lambda pair: ["=".join(pair)]),
        st.sampled_from([["--dry_run"], ["--print_config"], ["--config"], ["--help"], ["-h"], ["--"], ["x"], ["-1"]]),
    )
    return st.lists(option, max_size=4).map(lambda words: list(chain.from_iterable(words)))


@pytest.mark.parametrize("name", CLASSES)
def test_configuration_files(name: str, fuzz: Fuzz, told: Told, tmp_path: Path) -> None:
    path, config_class = tmp_path / "config.yaml", CLASSES[name]

    def check(data: bytes) -> bool:
        path.write_bytes(data)
        told(lambda: load_yaml(path), path)
        options = ["--config", str(path)]
        found = told(lambda: parse_config(config_class, options, program="fuzz", flags={})[0])
        if found is None:
            return False
        assert isinstance(found, config_class)
        assert from_mapping(config_class, dataclasses.asdict(found), path) == found  # what a run would write down
        return True

    fuzz(f"configuration file of {name}", mutated(st.just(full(config_class))), check, 5 if name in TRAINED else 10)


@pytest.mark.parametrize("name", CLASSES)
def test_command_lines(
    name: str, fuzz: Fuzz, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    def check(arguments: list[str]) -> bool:
        monkeypatch.setattr("sys.argv", ["fuzz", *arguments])
        capsys.readouterr()
        status = 0
        try:
            run_script(lambda argv: _parse(CLASSES[name], argv))
        except SystemExit as end:
            status = int(end.code or 0)
        printed = capsys.readouterr().err
        assert status in (0, 2), (arguments, status, printed)
        if status == 0:
            return True
        assert printed.startswith("error: "), (arguments, printed)
        assert len(printed.splitlines()) == 1, (arguments, printed)
        assert printed.rstrip("\n").isprintable(), (arguments, printed)
        return False

    fuzz(f"command line of {name}", lines_of(CLASSES[name]), check, 12 if name in TRAINED else 25)
    assert not list(tmp_path.iterdir())


def _parse(config_class: Any, argv: list[str]) -> None:  # noqa: ANN401  # as above
    config, _ = parse_config(config_class, argv, program="fuzz", flags={"dry_run": "Say."})
    assert isinstance(config, config_class)


def test_suites(fuzz: Fuzz, told: Told, tmp_path: Path) -> None:
    path = tmp_path / "suite.yaml"

    def check(data: bytes) -> bool:
        path.write_bytes(data)
        suite = told(lambda: load_suite(path), path)
        if suite is None:
            return False
        names = [condition.name for condition in suite.conditions]
        assert names[0] == "identity"
        assert len(names) == len(set(names))
        assert not [name for name in names if "/" in name or name.startswith(".")]
        return True

    files = [file.read_bytes() for file in sorted((PROJECT / "configs/suites").glob("*.yaml"))]
    fuzz("suite", mutated(st.sampled_from([data for data in files if len(data) < 4000])), check, 60)
