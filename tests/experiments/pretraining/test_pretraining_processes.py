"""Two processes that pre-train together on the CPU."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch

if TYPE_CHECKING:
    from tests.server import Server

SCRIPT = Path(__file__).with_name("two_pretrainings.py")
PHOTOS, BATCH, STEPS = 14, 4, 3  # an epoch


@pytest.fixture(scope="module")
def seen(server: "Server", photo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("two")
    done = server.run([str(SCRIPT), str(photo_folder), str(folder)], seconds=120)
    errors = "".join(path.read_text() for path in (folder / "logs").iterdir())
    assert done.status == 0, done.err + errors
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def test_both_start_and_end_with_the_same_weights(seen: list[dict[str, Any]]) -> None:
    for when in ("start", "end"):
        one, other = (process[when] for process in seen)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[name], other[name]) for name in one), when
    trained = seen[0]["start"].items()
    assert any(not torch.equal(value, seen[0]["end"][f"online.{name}"]) for name, value in trained)


def test_the_target_follows_alike_and_apart_from_the_online_network(seen: list[dict[str, Any]]) -> None:
    end = seen[0]["end"]
    target = {name: value for name, value in end.items() if name.startswith("target.")}
    assert target
    assert any(not torch.equal(value, end[name.replace("target.", "online.", 1)]) for name, value in target.items())


def test_shares_are_disjoint_and_complete(seen: list[dict[str, Any]]) -> None:
    for epoch in range(2):
        steps = range(epoch * STEPS, (epoch + 1) * STEPS)
        rows = [row for process in seen for step in steps for row in process["index"][step]]
        assert len(rows) == len(set(rows)) == STEPS * BATCH
        assert set(rows) <= set(range(PHOTOS))
        assert all(len(process["index"][step]) == BATCH // 2 for process in seen for step in steps)


def test_views_differ_between_processes_and_epochs(seen: list[dict[str, Any]]) -> None:
    boxes = [record[:, :, :4].reshape(-1, 4) for process in seen for record in process["record"]]
    every = torch.cat(boxes)
    assert len(every.unique(dim=0)) == len(every)  # type: ignore[no-untyped-call]


def test_a_process_without_regions_loses_nothing_and_waits_for_no_one(seen: list[dict[str, Any]]) -> None:
    assert seen[0]["empty_losses"] == []
    assert seen[1]["empty_losses"] == [[0.0, 0.0]]
