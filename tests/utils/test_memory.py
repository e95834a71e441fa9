import pytest
import torch

from utils.memory import describe_memory, free_memory, is_out_of_memory, machine_memory, release

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of ..."),
        torch.OutOfMemoryError(),
        RuntimeError("MPS backend out of memory (MPS allocated: 8.00 GB, other allocations: 1 GB, max allowed: 9 GB)."),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be asynchronously reported"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] data. DefaultCPUAllocator: not enough memory: you tried to"
                     " allocate 4 bytes."),
        MemoryError(),
    ],
)  # fmt: skip
def test_errors_that_say_that_memory_ran_out(error: BaseException) -> None:
    assert is_out_of_memory(error)
    wrapped = ValueError("the compiler failed")
    wrapped.__cause__ = error
    assert is_out_of_memory(wrapped)


def test_what_the_cpu_allocator_raises_is_recognised() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(10**15)
    assert is_out_of_memory(caught.value)


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("mat1 and mat2 shapes cannot be multiplied (2x3 and 4x5)"),
        RuntimeError(5),
        RuntimeError(),
        ValueError("CUDA out of memory."),
        KeyboardInterrupt(),
    ],
)
def test_other_errors_are_not(error: BaseException) -> None:
    assert not is_out_of_memory(error)


def test_memory_in_words() -> None:
    memory = machine_memory()
    assert memory is None or memory > 2**28
    assert describe_memory(CPU).startswith("cpu")
    assert free_memory(CPU) is None
    release(CPU)
