import gc
import signal
from typing import TYPE_CHECKING

import pytest
import torch
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from datasets import loaders
from datasets.index import PairIndex
from datasets.loaders import PairLoader, evaluation_loader, resolve_workers, training_loader
from datasets.pairs import PairDataset
from datasets.sampling import StepSampler
from utils.batch import Batch, ViewSpec
from utils.data_sections import AugmentConfig, DataConfig
from utils.errors import ConfigError, DataError, LostWorkerError

if TYPE_CHECKING:
    from tests.datasets.conftest import TreeMaker

NAMES = ("rice", "apple")
AUGMENT = AugmentConfig(min_crop_area=0.4, rotate_degrees=15, color_jitter=0.3, policy="trivialaugment")
SPECS = {
    "roi": ViewSpec(24, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "extra_roi": ViewSpec(32, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0), "bilinear"),
}
# Worker processes are started from a copy of this one, in which other tests may have used threads.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")

Pictures = dict[tuple[str, str, str], dict[str, torch.Tensor]]


@pytest.fixture
def index(tree: "TreeMaker") -> PairIndex:
    tree.add_random(NAMES, [f"p{number}" for number in range(7)], (40, 30))
    return PairIndex.from_tree(tree.root, "train")


def dataset_of(index: PairIndex, *, training: bool = True) -> PairDataset:
    return PairDataset(index, SPECS, DataConfig(augment=AUGMENT), training=training, seed=11)


def sampler_of(index: PairIndex, world_size: int = 1, rank: int = 0, batch_size: int = 4, seed: int = 0) -> StepSampler:
    return StepSampler(index.label, batch_size, 3, seed=seed, world_size=world_size, rank=rank)


def by_key(index: PairIndex, batches: "PairLoader | list[Batch]") -> Pictures:
    """Everything that a model would see of each pair."""
    found: Pictures = {}
    for batch in batches:
        for position, row in enumerate(batch.index.tolist()):
            if row < 0:
                continue
            key = index.key(row)
            assert key not in found
            assert int(batch.label[position]) == index.label[row]
            found[key] = {
                f"{part} {view}": tensors[view][position].clone()
                for part, tensors in (("view", batch.views), ("box", batch.content_box), ("flip", batch.flip))
                for view in SPECS
            }
    return found


def assert_equal(first: Pictures, second: Pictures) -> None:
    assert first.keys() == second.keys()
    for key, parts in first.items():
        for name, tensor in parts.items():
            assert torch.equal(tensor, second[key][name]), (key, name)


def load_epoch(index: PairIndex, epoch: int, *, workers: int = 0, seed: int = 0, batch_size: int = 4) -> Pictures:
    sampler = sampler_of(index, batch_size=batch_size, seed=seed)
    sampler.set_position(epoch)
    return by_key(index, training_loader(dataset_of(index), sampler, workers=workers))


@pytest.mark.parametrize(("workers", "prefetch"), [(2, 2), (1, 5)])
def test_workers_change_nothing_over_several_epochs(index: PairIndex, workers: int, prefetch: int) -> None:
    sampler = sampler_of(index)
    loader = training_loader(dataset_of(index), sampler, workers=workers, prefetch=prefetch)
    seen = []
    for epoch in (0, 1):
        sampler.set_position(epoch)
        seen.append(by_key(index, loader))
        assert_equal(seen[-1], load_epoch(index, epoch))
    assert any(not torch.equal(seen[0][key]["view roi"], seen[1][key]["view roi"]) for key in seen[0])


def test_order_and_batch_size_change_nothing(index: PairIndex) -> None:
    assert_equal(load_epoch(index, 2), load_epoch(index, 2, seed=5, batch_size=9))


@pytest.mark.parametrize("world_size", [2, 3])
def test_the_number_of_processes_changes_nothing(index: PairIndex, world_size: int) -> None:
    together: Pictures = {}
    for rank in range(world_size):
        sampler = sampler_of(index, world_size, rank)
        sampler.set_position(2)
        together |= by_key(index, training_loader(dataset_of(index), sampler))
    assert_equal(together, load_epoch(index, 2))


def test_an_epoch_that_was_interrupted_goes_on_with_the_same_batches(index: PairIndex) -> None:
    sampler = sampler_of(index)
    loader = training_loader(dataset_of(index), sampler, workers=2)
    sampler.set_position(1)
    whole = [batch.index.tolist() for batch in loader]
    for number, _ in enumerate(loader):  # left in mid-epoch, then used again
        if number == 1:
            break
    sampler.set_position(1, 2)
    skipped = sum(sampler.micro_batches_in_step(step) for step in range(2))
    assert [batch.index.tolist() for batch in loader] == whole[skipped:]


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("world_size", [1, 3])
def test_evaluation_sees_every_pair_once_and_in_order(index: PairIndex, workers: int, world_size: int) -> None:
    together: Pictures = {}
    for rank in range(world_size):
        loader = evaluation_loader(
            dataset_of(index, training=False), batch_size=4, workers=workers, world_size=world_size, rank=rank
        )
        batches = list(loader)
        assert [row for batch in batches for row in batch.index.tolist()] == list(range(rank, 14, world_size))
        assert not any(batch.flip["roi"].any() for batch in batches)
        together |= by_key(index, batches)
    assert len(together) == 14


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_file_stops_the_run_with_one_line(index: PairIndex, workers: int) -> None:
    path = index.paths(5)[1]
    path.write_bytes(path.read_bytes()[:100])
    loader = training_loader(dataset_of(index), sampler_of(index), workers=workers)
    with pytest.raises(DataError) as caught:
        list(loader)
    assert str(caught.value).startswith(f"{path} cannot be decoded (")
    assert len(str(caught.value).splitlines()) == 1


def test_a_worker_that_died_between_epochs_is_told_in_one_line(
    index: PairIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Seconds after which torch looks whether all workers live, and for which it waits for those left stuck.
    monkeypatch.setattr(_MultiProcessingDataLoaderIter._try_get_data, "__defaults__", (0.2,))
    monkeypatch.setattr(torch.utils.data._utils, "MP_STATUS_CHECK_INTERVAL", 0.1)
    loader = training_loader(dataset_of(index), sampler_of(index), workers=2)
    list(loader)
    before = signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # its report may come at any time, also after the next order
    worker = loader._iterator._workers[0]  # type: ignore[union-attr]  # torch keeps them there
    worker.kill()
    worker.join()
    with pytest.raises(LostWorkerError, match=rf"process id {worker.pid} .*data\.workers 0") as caught:
        list(loader)
    signal.signal(signal.SIGCHLD, before)
    assert len(str(caught.value).splitlines()) == 1
    del loader, caught
    gc.collect()  # while the wait is short


def test_the_loader_leaves_the_models_random_state_alone(index: PairIndex) -> None:
    before = torch.get_rng_state()
    list(training_loader(dataset_of(index), sampler_of(index)))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_batches_for_a_gpu_are_page_locked_and_errors_still_arrive(index: PairIndex) -> None:
    loader = training_loader(dataset_of(index), sampler_of(index), workers=2, device_type="cuda")
    assert all(batch.views["roi"].is_pinned() for batch in loader)
    index.paths(5)[1].unlink()
    with pytest.raises(DataError, match="cannot be read"):
        list(loader)


@pytest.mark.parametrize(
    ("setting", "pairs", "processes", "expected"),
    [("auto", 5000, 1, 6), ("auto", 5000, 4, 1), ("auto", 5000, 20, 1), ("auto", 255, 1, 0), ("auto", None, 2, 3)],
)
def test_automatic_workers(
    monkeypatch: pytest.MonkeyPatch, setting: str, pairs: int | None, processes: int, expected: int
) -> None:
    monkeypatch.setattr(loaders, "available_cores", lambda: 6)
    assert resolve_workers(setting, pairs, processes) == expected  # type: ignore[arg-type]  # 'auto'


def test_automatic_workers_stop_at_eight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loaders, "available_cores", lambda: 64)
    assert resolve_workers("auto", 10**6) == 8
    assert resolve_workers(64, 10) == 64


def test_more_workers_than_cores_are_refused_with_both_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loaders, "available_cores", lambda: 6)
    assert resolve_workers(6) == 6
    with pytest.raises(ConfigError, match=r"data\.workers is 7, but this machine offers 6 cores"):
        resolve_workers(7)
    with pytest.raises(ConfigError, match=r"is 4 for each of 2 processes, but .* 6 cores; allowed: 'auto', or 0 to 3"):
        resolve_workers(4, processes=2)
    with pytest.raises(ConfigError, match=r"data\.workers is -1; allowed: 'auto', or 0 to 6"):
        resolve_workers(-1)
