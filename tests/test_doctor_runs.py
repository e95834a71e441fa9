import dataclasses
import shutil
from pathlib import Path

import pytest

import doctor
from datasets.manifest import read_manifest, write_manifest
from experiments.diagnosis import diagnose
from experiments.loading import load_splits
from experiments.run_diagnosis import examine_run
from Off_the_shelfs.config import OffTheShelfConfig, OneViewDataConfig
from utils.errors import ConfigError, DataError
from utils.locks import FileLock


def _config(root: Path, *accept: str) -> OffTheShelfConfig:
    return OffTheShelfConfig(data=OneViewDataConfig(root=str(root), accept=list(accept)))


def _diagnosed(config: OffTheShelfConfig) -> tuple[str, str]:
    return diagnose(load_splits(config.data, 0), config).lines


@pytest.fixture
def leaking(pair_tree: Path, tmp_path: Path) -> Path:
    """A tree whose first test photo has the bytes of a training photo, under another name and with another mask."""
    root = tmp_path / "tree"
    shutil.copytree(pair_tree, root)
    rows = read_manifest(root / "manifest.csv")
    train, test = (next(row for row in rows if row.split == split) for split in ("train", "test"))
    rows = [
        dataclasses.replace(row, photo_sha256=train.photo_sha256) if row.photo == test.photo else row for row in rows
    ]
    write_manifest(root / "manifest.csv", rows, ["tomato", "spinach", "blueberry"])
    return root


def test_two_lines_about_pairs_without_a_finding(pair_tree: Path) -> None:
    assert _diagnosed(_config(pair_tree)) == (
        "data: 48 pairs of 24 photos to train, 20 pairs of 10 photos to test, 3 classes; "
        "checked by names, numbers and recorded hashes",
        "data: nothing found",
    )


def test_one_photo_in_both_splits_is_refused_until_it_is_accepted(leaking: Path) -> None:
    with pytest.raises(DataError) as caught:
        _diagnosed(_config(leaking))
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"data.root {leaking}: 1 error would make the scores untrue: [same-photo] ")
    assert line.endswith("To go on anyway: --data.accept same-photo")
    _, second = _diagnosed(_config(leaking, "same-photo"))
    assert second.startswith("data: note [same-photo] ")
    assert "accepted: are the same photo in two splits" in second
    with pytest.raises(ConfigError, match=r"^data\.accept: no finding has the code 'same-foto'; did you mean"):
        _diagnosed(_config(leaking, "same-foto"))


def test_a_validation_split_is_part_of_training(leaking: Path) -> None:
    config = _config(leaking)
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, validation_fraction=0.3))
    with pytest.raises(DataError, match=r"\[same-photo\]"):
        _diagnosed(config)


def test_finished_runs_have_no_finding(tiny_runs: Path) -> None:
    for name, looked_at in (("both", "2 runs"), ("roi", "1 run")):
        report = examine_run(tiny_runs / name)
        assert (report.looked_at, report.findings) == (looked_at, [])


def test_what_is_wrong_with_a_run(tiny_runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_runs / "roi", run)
    (run / "predictions.csv").write_text("other")
    (run / "logits.npz").unlink()
    (run / "model.safetensors").write_bytes(b"short")
    (run / ".metrics.7.tmp.json").write_text("{")
    state = run / "checkpoint_last" / "state.pt"
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(SystemExit, match="2"):
        doctor.main([str(run)])
    lines = capsys.readouterr().out.splitlines()
    codes = [line.partition("]")[0] + "]" for line in lines[:-1]]
    assert codes == [
        "error [missing-file]",
        *["error [damaged-run]"] * 3,  # the weights' header and hash, and the hash of the predictions
        "warning [damaged-checkpoint]",
        "warning [leftovers]",
    ]


def test_an_unfinished_run_and_other_data(tiny_runs: Path, leaking: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_runs / "roi", run)
    (run / "metrics.json").unlink()
    (one,) = examine_run(run).findings
    assert (one.code, one.severity) == ("unfinished", "note")
    assert one.fix == f"its training command with --run.dir {run} --run.resume auto goes on from checkpoint_last"
    config = run / "config.yaml"
    text = config.read_text()
    line = next(line for line in text.splitlines() if line.strip().startswith("root: "))
    for root, code in ((leaking, "changed-data"), (tmp_path / "none", "missing-data")):
        config.write_text(text.replace(line, f"  root: {root}"))
        assert {one.code for one in examine_run(run).findings} == {"unfinished", code}


def test_a_checkpoint_that_a_run_needs_is_no_leftover(tiny_runs: Path, tmp_path: Path) -> None:
    """As after a kill between two renames: ``last`` is ``previous`` already, and the newest is still ``last.new``."""
    run = tmp_path / "run"
    shutil.copytree(tiny_runs / "roi", run)
    (run / "metrics.json").unlink()
    fresh, old = run / "checkpoint_last.new", run / "checkpoint_previous.old"
    (run / "checkpoint_last").rename(fresh)
    (one,) = examine_run(run).findings
    assert one.fix.endswith("goes on from checkpoint_last.new")
    fresh.rename(old)
    (one,) = examine_run(run).findings
    assert one.fix.endswith("goes on from checkpoint_previous.old")
    shutil.copytree(old, run / "checkpoint_last")
    fresh.mkdir()
    assert [(one.code, one.where) for one in examine_run(run).findings[1:]] == [
        ("leftovers", str(fresh)),
        ("leftovers", str(old)),
    ]


def test_looking_at_a_run_writes_nothing(tiny_runs: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_runs / "roi", run)
    (run / "metrics.json").unlink()
    examine_run(run)
    assert not (run / ".lock").exists()
    lock = FileLock(run / ".lock")
    assert lock.take()
    written = (run / ".lock").stat().st_mtime_ns
    (one,) = examine_run(run).findings
    assert "is being written by process" in one.what
    assert (run / ".lock").stat().st_mtime_ns == written
    lock.release()
    (run / ".lock").write_text("process 1 on a machine that lost power")
    (one,) = examine_run(run).findings
    assert "is an unfinished run" in one.what
    assert (run / ".lock").read_text() == "process 1 on a machine that lost power"
