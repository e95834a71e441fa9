import errno
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from utils.checkpoints import find_checkpoint, load_into, load_state, load_weights, save_checkpoint, save_weights
from utils.errors import DataError, RunError
from utils.files import write_atomic, write_text

ROOT = Path(__file__).parents[2]


def test_checkpoint_round_trip(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    folder = tmp_path / "checkpoint_last"
    state = {"step": 4, "rows": [{"loss": 0.5}], "tensor": torch.arange(3)}
    save_checkpoint(folder, model.state_dict(), None, state)
    assert find_checkpoint(folder) == folder
    loaded = load_state(folder)
    assert loaded["step"] == 4
    assert torch.equal(loaded["tensor"], torch.arange(3))
    other = nn.Linear(3, 2)
    load_into(other, load_weights(folder / "model.safetensors"), folder)
    assert torch.equal(other.weight, model.weight)


def test_a_kill_between_the_renames_leaves_one_whole_checkpoint(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint_last"
    save_checkpoint(folder, {}, None, {"step": 1})
    folder.rename(tmp_path / "checkpoint_last.old")
    found = find_checkpoint(folder)
    assert found is not None
    assert load_state(found)["step"] == 1
    save_checkpoint(folder, {}, None, {"step": 2})
    assert load_state(find_checkpoint(folder) or tmp_path)["step"] == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint_last"]


def test_unfinished_checkpoint_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "checkpoint_last.new").mkdir()
    assert find_checkpoint(tmp_path / "checkpoint_last") is None


def test_misfit_lists_what_differs(tmp_path: Path) -> None:
    weights = {"weight": torch.zeros(2, 4), "extra": torch.zeros(1)}
    with pytest.raises(DataError, match=r"1 missing \(bias\); 1 unexpected \(extra\); 1 of another shape \(weight"):
        load_into(nn.Linear(3, 2), weights, tmp_path)


@pytest.mark.parametrize("content", [b"", b"not a tensor file", b"\x10\x00\x00\x00\x00\x00\x00\x00{}"])
def test_damaged_files_are_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    (tmp_path / "state.pt").write_bytes(content)
    with pytest.raises(DataError, match=r"model\.safetensors is damaged"):
        load_weights(tmp_path / "model.safetensors")
    with pytest.raises(DataError, match=r"state\.pt is damaged"):
        load_state(tmp_path)


def test_state_with_code_is_refused(tmp_path: Path) -> None:
    torch.save({"path": tmp_path}, tmp_path / "state.pt")
    with pytest.raises(DataError, match="damaged"):
        load_state(tmp_path)


def test_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    write_text(path, "old")

    def fail(temporary: Path) -> None:
        temporary.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_atomic(path, fail)
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["metrics.json"]


def test_weights_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint_last"
    save_checkpoint(folder, {"a": torch.ones(2)}, None, {"step": 1})
    with pytest.raises(RunError, match=r"1 weights are not finite \(a\)"):
        save_checkpoint(folder, {"a": torch.tensor([1.0, float("nan")])}, None, {"step": 2})
    assert load_state(folder)["step"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint_last"]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit on file sizes")
def test_a_full_disk_leaves_the_old_checkpoint_alone(tmp_path: Path) -> None:
    """A limit on file sizes stands in for the disk; the child process reports what it met."""
    code = (
        "import resource, signal, sys, torch\n"
        "from pathlib import Path\n"
        "from utils.checkpoints import save_checkpoint\n"
        "folder = Path(sys.argv[1])\n"
        "save_checkpoint(folder, {'a': torch.ones(2)}, None, {'step': 1})\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "try:\n"
        "    save_checkpoint(folder, {'a': torch.ones(9999)}, None, {'step': 2})\n"
        "except OSError as error:\n"
        "    print(error.errno)\n"
    )
    folder = tmp_path / "checkpoint_last"
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == [str(errno.EFBIG)]
    assert load_state(folder)["step"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint_last"]


def test_weights_on_disk_are_readable_by_others(tmp_path: Path) -> None:
    from safetensors import safe_open

    save_weights({"a": torch.ones(2)}, tmp_path / "w.safetensors")
    with safe_open(tmp_path / "w.safetensors", framework="np") as file:
        assert file.get_tensor("a").tolist() == [1.0, 1.0]
