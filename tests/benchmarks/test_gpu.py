"""The benchmarks of a GPU, taken through all their parts on the CPU with a network of the smallest kind."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from benchmarks import gpu
from benchmarks.common import Recorded, Result
from benchmarks.compiling import main as compiling
from benchmarks.gpu import Plan, main, rows
from benchmarks.steps import Case, fitting, matrix_limit, step_flops, torchs_own_rounding
from utils.errors import ConfigError

SMALL = Plan(Case("test_vit", 32, 4, 1), batches=(4,), families=(), repeats=2, matrix=64, photos=0, epochs=1, workers=0)


def test_every_row_is_measured(soak: bool, pair_tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not soak:
        pytest.skip("with --soak")
    monkeypatch.setattr(gpu, "make_pairs", lambda _plan, _folder: pair_tree)
    bare, released, waiting = rows(SMALL)
    assert isinstance(bare, Result)
    assert isinstance(released, Result)
    assert isinstance(waiting, Recorded)
    assert [len(times) for times in (bare.ours_seconds, bare.baseline_seconds)] == [2, 2]
    assert (bare.target, released.target, released.limit_target) == (0.97, 5, 0.4)
    assert released.limit is not None
    assert released.limit[1] > 0
    assert released.name == "a training step, two test_vit, 32 px, batch 4"
    assert (released.ours, released.baseline) == ("engine, fp32", "released way, fp32")
    assert waiting.value is not None
    assert 0 <= waiting.value <= 100
    assert waiting.verdict in ("held", "MISSED")


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_one_line_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "rows", lambda _plan: pytest.fail("measured"))
    with pytest.raises(ConfigError, match=r"^these benchmarks need a CUDA device, and this machine has cpu; [^\n]+$"):
        main([])
    with pytest.raises(ConfigError, match="takes cpu or cuda, here cpu; not cuda"):
        compiling(["cuda"])


def test_a_step_that_does_not_fit_is_taken_in_the_fewest_parts() -> None:
    tried = []

    def make(parts: int) -> Callable[[], None]:
        def call() -> None:
            tried.append(parts)
            if parts < 4:
                raise torch.OutOfMemoryError("too much")

        return call

    assert fitting(make, 100)[1] == 4
    assert tried == [1, 2, 4]
    with pytest.raises(torch.OutOfMemoryError):
        fitting(make, 50)  # 25 pairs are no equal halves


def test_the_limit_is_the_time_of_the_networks_products() -> None:
    """A picture of 32 px and patches of 16 px: 4 patches and a class token, 6 blocks of width 64, MLP of 192."""
    tokens, width, hidden, depth = 5, 64, 192, 6
    block = tokens * width * 4 * width + 2 * tokens * tokens * width + 2 * tokens * width * hidden
    embedding = 4 * 3 * 16 * 16 * width
    # The backward pass is twice the forward pass, but nobody asks for the pictures' own gradient.
    expected = 2 * (3 * depth * block + 2 * embedding)
    assert step_flops("test_vit", 32) == pytest.approx(expected, rel=0.01)
    name, seconds = matrix_limit(SMALL.case, torch.float32, 64)
    assert name.startswith("float32 matrix products of 64³")
    assert seconds > 0


def test_the_baseline_leaves_roundings_as_they_were() -> None:
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    with torchs_own_rounding():
        assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == ("highest", True)
    assert (torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32) == before
