"""What several processes must agree on; threads stand for them."""

import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
import timm
import torch

from utils import processes
from utils.errors import ConfigError
from utils.processes import convert_sync_batchnorm, refuse_disagreement, refuse_several

CONFIG: dict[str, dict[str, Any]] = {"train": {"seed": 0, "epochs": 3}, "data": {"root": "/a", "exclude": ["x"]}}


def accelerator(count: int, device: str = "cpu") -> Any:  # noqa: ANN401  # as much of one as is asked for
    return SimpleNamespace(num_processes=count, device=torch.device(device))


def meet(monkeypatch: pytest.MonkeyPatch, *facts: dict[str, Any], may_differ: tuple[str, ...] = ()) -> list[str]:
    """Return what each process is told; empty where it may go on."""
    barrier, mine, place = threading.Barrier(len(facts)), threading.local(), dict[int, list[Any]]()

    def gather(objects: list[Any]) -> list[Any]:
        place[mine.rank] = objects
        barrier.wait(5)
        gathered = [thing for rank in sorted(place) for thing in place[rank]]
        barrier.wait(5)
        return gathered

    def one(rank: int) -> str:
        mine.rank = rank
        try:
            refuse_disagreement(accelerator(len(facts)), facts[rank], may_differ=may_differ)
        except ConfigError as error:
            return str(error) if error.in_every_process else "not told that all raise it"
        return ""

    monkeypatch.setattr(processes, "gather_object", gather)
    monkeypatch.setattr("socket.gethostname", lambda: f"host{mine.rank}")
    with ThreadPoolExecutor(len(facts)) as pool:
        return list(pool.map(one, range(len(facts))))


def changed(**sections: dict[str, Any]) -> dict[str, Any]:
    return {name: value | sections.get(name, {}) for name, value in CONFIG.items()}


def test_processes_that_agree_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    facts: dict[str, Any] = {"configuration": CONFIG, "set of pairs": "abc"}
    assert meet(monkeypatch, facts, dict(facts), dict(facts)) == ["", "", ""]
    refuse_disagreement(accelerator(1), facts)


def test_keys_that_differ_are_named_in_every_process(monkeypatch: pytest.MonkeyPatch) -> None:
    other = changed(train={"seed": 1}, data={"exclude": []})
    said = meet(monkeypatch, {"c": CONFIG}, {"c": CONFIG}, {"c": other})
    assert len(set(said)) == 1
    assert "the processes of this run disagree; start all of them with the same command" in said[0]
    assert "train.seed is 0 in process 0 (host0) and 1 in process 2 (host2)" in said[0]
    assert "data.exclude is ['x'] in process 0 (host0) and [] in process 2 (host2)" in said[0]
    assert "epochs" not in said[0]


def test_other_data_is_told_from_another_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = [{"configuration": CONFIG, "set of pairs": digest} for digest in ("abc", "abd", "abd")]
    said = meet(monkeypatch, *facts)
    assert said[0].endswith("data: process 1 (host1) (and 1 more) differs from process 0 (host0) in the set of pairs")


def test_some_keys_may_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    facts = {"c": CONFIG}, {"c": changed(data={"root": "/b"})}
    assert meet(monkeypatch, *facts, may_differ=("data.root",)) == ["", ""]
    assert "data.root is /a in process 0 (host0) and /b in process 1 (host1)" in meet(monkeypatch, *facts)[1]


def test_many_differences_are_cut_short(monkeypatch: pytest.MonkeyPatch) -> None:
    said = meet(monkeypatch, *({"c": {f"key{n}": value for n in range(11)}} for value in "ab"))
    assert "8. key7 is a" in said[0]
    assert said[0].endswith("9. and 3 more")


def test_a_program_for_one_process_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    refuse_several("explain.py")
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(ConfigError, match=r"explain\.py runs in one process, but 4 were started; start it without"):
        refuse_several("explain.py")


def test_synchronised_batchnorm_keeps_the_state_dict() -> None:
    """EfficientNet's layers are BatchNorm with an activation inside, ResNet's are plain."""
    for name in ("test_efficientnet", "test_resnet"):
        model = timm.create_model(name, num_classes=3)
        before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
        layers = sum(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules())
        weights = list(model.parameters())
        converted = convert_sync_batchnorm(model, accelerator(2, "cuda"))
        after = converted.state_dict()
        assert list(after) == list(before)
        assert all(torch.equal(after[key], before[key]) for key in before)
        assert all(one is other for one, other in zip(converted.parameters(), weights, strict=True))
        assert sum(isinstance(module, torch.nn.SyncBatchNorm) for module in converted.modules()) == layers > 0


def test_synchronised_batchnorm_needs_several_gpus() -> None:
    model = torch.nn.Sequential(torch.nn.BatchNorm2d(3))
    with pytest.raises(ConfigError, match=r"train\.sync_batchnorm needs GPUs, but this run computes on the cpu; leave"):
        convert_sync_batchnorm(model, accelerator(2))
    assert type(next(convert_sync_batchnorm(model, accelerator(1, "cuda")).children())) is torch.nn.BatchNorm2d
