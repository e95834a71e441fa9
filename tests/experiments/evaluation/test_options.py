"""Where an evaluation reads its suite and puts its results; what is refused before anything is computed."""

from pathlib import Path

import pytest

from experiments.evaluation.options import (
    SUITES,
    EvaluateOptions,
    EvaluationData,
    output_folder,
    resamples_for,
    suite_file,
)
from utils.errors import ConfigError


def test_a_suite_is_a_file_or_a_shipped_name(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text("conditions: {identity: {}}\n")
    assert suite_file(EvaluateOptions(suite=str(own))) == own
    assert suite_file(EvaluateOptions(suite="paper")) == SUITES / "paper.yaml"
    assert suite_file(EvaluateOptions()) is None


def test_a_missing_suite_names_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "severity_fine.yaml").write_text("")
    with pytest.raises(ConfigError, match=r"severty_fine.yaml does not exist; did you mean 'severity_fine.yaml'\?"):
        suite_file(EvaluateOptions(suite=str(tmp_path / "severty_fine.yaml")))
    with pytest.raises(ConfigError, match=r"papr does not exist; did you mean 'paper'\?.*shipped suites: .*paper"):
        suite_file(EvaluateOptions(suite="papr"))


def test_results_of_one_run_lie_in_its_folder(tmp_path: Path) -> None:
    assert output_folder(EvaluateOptions(run=[str(tmp_path)]), "paper") == tmp_path / "evaluation" / "paper"
    named = EvaluateOptions(run=["a", "b"], out=str(tmp_path / "results"))
    assert output_folder(named, "paper") == tmp_path / "results"
    with pytest.raises(ConfigError, match=r"--run names 2 folders.*say where with --out DIR"):
        output_folder(EvaluateOptions(run=["a", "b"]), "paper")


def test_only_an_earlier_evaluation_is_ever_replaced(tmp_path: Path) -> None:
    options = EvaluateOptions(run=["a"], out=str(tmp_path))
    assert output_folder(options, "paper") == tmp_path, "an empty folder will do"
    (tmp_path / "letters.txt").write_text("dear ...")
    for overwrite in (False, True):
        with pytest.raises(ConfigError, match=r"is not empty and no evaluation filled it"):
            output_folder(EvaluateOptions(run=["a"], out=str(tmp_path), overwrite=overwrite), "paper")
    with pytest.raises(ConfigError, match=r"letters.txt is a file; name a folder"):
        output_folder(EvaluateOptions(run=["a"], out=str(tmp_path / "letters.txt")), "paper")
    (tmp_path / "letters.txt").unlink()
    (tmp_path / "results.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"holds an earlier evaluation; add --overwrite"):
        output_folder(options, "paper")
    assert output_folder(EvaluateOptions(run=["a"], out=str(tmp_path), overwrite=True), "paper") == tmp_path


def test_many_conditions_take_more_resamples_so_that_holm_leaves_something() -> None:
    options = EvaluateOptions()
    assert resamples_for(options, 6) == 2000
    many = resamples_for(options, 58)
    assert 58 * 2 / (many + 1) <= 0.01
    assert resamples_for(EvaluateOptions(resamples=500), 58) == 500


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resamples": 99}, "resamples is 99; it must be 'auto' or at least 100"),
        ({"batch_size": 0}, "batch_size is 0; it must be null or at least 1"),
    ],
)
def test_numbers_out_of_range_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        EvaluateOptions(**options)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"data.workers is -1"):
        EvaluationData(workers=-1)
