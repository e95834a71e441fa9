import errno
import hashlib
import json
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

from utils.checkpoints import (
    adopt,
    copy_checkpoint,
    find_checkpoint,
    load_into,
    load_state,
    load_weights,
    save_checkpoint,
    save_weights,
)
from utils.errors import DataError, RunError
from utils.files import write_atomic, write_text

if TYPE_CHECKING:
    from tests.server import Server


def save(run: Path, weights: dict[str, torch.Tensor] | None = None, *, step: int = 1, **more: Any) -> None:  # noqa: ANN401
    save_checkpoint(run, weights or {}, None, {"step": step}, {"step": step}, **more)


def found_step(run: Path) -> int:
    folder = find_checkpoint(run).folder
    assert folder is not None
    step: int = load_state(folder)["step"]
    return step


def names(run: Path) -> list[str]:
    return sorted(path.name for path in run.iterdir())


def test_checkpoint_round_trip(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    state = {"step": 4, "rows": [{"loss": 0.5}], "tensor": torch.arange(3)}
    save_checkpoint(tmp_path, model.state_dict(), None, state, {"step": 4})
    found = find_checkpoint(tmp_path)
    assert found.folder == tmp_path / "checkpoint_last"
    assert not found.damaged
    loaded = load_state(found.folder)
    assert loaded["step"] == 4
    assert torch.equal(loaded["tensor"], torch.arange(3))
    other = nn.Linear(3, 2)
    load_into(other, load_weights(found.folder / "model.safetensors"), found.folder)
    assert torch.equal(other.weight, model.weight)


def test_every_file_stands_in_the_manifest_with_its_sha256(tmp_path: Path) -> None:
    (tmp_path / "best").write_bytes(b"best weights")
    save(tmp_path, {"a": torch.ones(3)}, step=7, best=tmp_path / "best")
    folder = tmp_path / "checkpoint_last"
    manifest = json.loads((folder / "checkpoint.json").read_text())
    assert manifest["step"] == 7
    written = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "checkpoint.json"}
    assert set(written) == {"model.safetensors", "state.pt", "best.safetensors"}
    for name, data in written.items():
        assert manifest["files"][name] == {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def test_the_checkpoint_before_stays(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        save(tmp_path, step=step)
    assert names(tmp_path) == ["checkpoint_last", "checkpoint_previous"]
    assert found_step(tmp_path) == 3
    shutil.rmtree(tmp_path / "checkpoint_last")
    assert found_step(tmp_path) == 2


@pytest.mark.parametrize("killed_at", range(8))
def test_a_kill_at_any_rename_leaves_a_whole_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed_at: int
) -> None:
    for step in (1, 2):
        save(tmp_path, step=step)
    calls = 0

    def maybe_killed(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401  # passed on as they are
            nonlocal calls
            calls += 1
            if calls > killed_at:
                raise Killed
            return original(*arguments, **options)

        return call

    with monkeypatch.context() as patch:
        for where, name in ((Path, "rename"), (Path, "replace"), (Path, "unlink"), (shutil, "rmtree")):
            patch.setattr(where, name, maybe_killed(getattr(where, name)))
        with suppress(Killed):
            save(tmp_path, step=3)
    assert calls > killed_at, "the kill was too late"
    assert found_step(tmp_path) in (2, 3)
    adopt(find_checkpoint(tmp_path), tmp_path)
    assert found_step(tmp_path) == load_state(tmp_path / "checkpoint_last")["step"]
    save(tmp_path, step=4)
    assert found_step(tmp_path) == 4
    assert names(tmp_path) == ["checkpoint_last", "checkpoint_previous"]


class Killed(BaseException):
    """Stands for the end of the process: nobody catches it to tidy up."""


def test_unfinished_checkpoint_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "checkpoint_last.new").mkdir()
    (tmp_path / "checkpoint_last.new" / "state.pt").write_bytes(b"half")
    found = find_checkpoint(tmp_path)
    assert found.folder is None
    assert not found.damaged


def damaged(run: Path, file: str, spoil: Callable[[bytes], bytes]) -> str:
    for step in (1, 2):
        save(run, {"a": torch.arange(50.0)}, step=step)
    path = run / "checkpoint_last" / file
    path.write_bytes(spoil(path.read_bytes()))
    found = find_checkpoint(run)
    assert found.folder == run / "checkpoint_previous"
    assert list(found.damaged) == [run / "checkpoint_last"]
    return found.damaged[run / "checkpoint_last"]


def test_damage_is_told_and_the_one_before_is_taken(tmp_path: Path) -> None:
    cut = damaged(tmp_path / "cut", "model.safetensors", lambda data: data[:-10])
    assert re.fullmatch(r"model\.safetensors has 2\d\d of 2\d\d bytes", cut)
    flipped = damaged(tmp_path / "flipped", "state.pt", lambda data: data[:100] + bytes([data[100] ^ 1]) + data[101:])
    assert flipped == "state.pt is not what was written"
    assert damaged(tmp_path / "json", "checkpoint.json", lambda data: data[:-20]) == "checkpoint.json is damaged"
    assert damaged(tmp_path / "list", "checkpoint.json", lambda _: b"[]") == "checkpoint.json is damaged"


def test_what_is_damaged_does_not_push_out_what_is_whole(tmp_path: Path) -> None:
    damaged(tmp_path, "state.pt", lambda data: data[:-1])
    adopt(find_checkpoint(tmp_path), tmp_path)
    assert names(tmp_path) == ["checkpoint_last"]
    assert found_step(tmp_path) == 1
    save(tmp_path, step=3)
    assert found_step(tmp_path) == 3


def test_a_kept_checkpoint_is_the_last_resort(tmp_path: Path) -> None:
    save(tmp_path, step=1)
    copy_checkpoint(tmp_path / "checkpoint_last", tmp_path / "checkpoint_epoch_0001")
    for step in (2, 3):
        save(tmp_path, step=step)
    for name in ("checkpoint_last", "checkpoint_previous"):
        (tmp_path / name / "state.pt").write_bytes(b"")
    found = find_checkpoint(tmp_path)
    assert found.folder == tmp_path / "checkpoint_epoch_0001"
    adopt(found, tmp_path)
    assert names(tmp_path) == ["checkpoint_epoch_0001", "checkpoint_last"]
    assert found_step(tmp_path) == 1


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
    save(tmp_path, {"a": torch.ones(2)})
    with pytest.raises(RunError, match=r"1 weights are not finite \(a\)"):
        save(tmp_path, {"a": torch.tensor([1.0, float("nan")])}, step=2)
    assert found_step(tmp_path) == 1
    assert names(tmp_path) == ["checkpoint_last"]


SAVE_ON_A_FULL_DISK = """
import resource, signal, sys, torch
from pathlib import Path
from utils.checkpoints import save_checkpoint
folder = Path(sys.argv[1])
save_checkpoint(folder, {"a": torch.ones(2)}, None, {"step": 1}, {"step": 1})
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
try:
    save_checkpoint(folder, {"a": torch.ones(9999)}, None, {"step": 2}, {"step": 2})
except OSError as error:
    print(error.errno)
"""


def test_a_full_disk_leaves_the_old_checkpoint_alone(server: "Server", tmp_path: Path) -> None:
    """A limit on file sizes stands in for the disk; the child process reports what it met."""
    script, run = tmp_path / "script.py", tmp_path / "run"
    run.mkdir()
    script.write_text(SAVE_ON_A_FULL_DISK)
    done = server.run([str(script), str(run)])
    assert (done.status, done.err) == (0, "")
    assert done.out.split() == [str(errno.EFBIG)]
    assert found_step(run) == 1
    assert names(run) == ["checkpoint_last"]


def test_weights_on_disk_are_readable_by_others(tmp_path: Path) -> None:
    from safetensors import safe_open

    save_weights({"a": torch.ones(2)}, tmp_path / "w.safetensors")
    with safe_open(tmp_path / "w.safetensors", framework="np") as file:
        assert file.get_tensor("a").tolist() == [1.0, 1.0]
