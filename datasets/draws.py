"""Random draws that depend on (seed, epoch, key) alone.

No generator is carried from one pair to the next, so the number of workers, the number of processes, the order of the
pairs and an interruption change nothing. A *purpose* ("flip", "geometry", "colour", ...) separates the streams of one
pair: a new kind of augmentation leaves the other draws as they were.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np


def key_hash(seed: int, epoch: int, purpose: str, key: str = "") -> int:
    """Return 64 bits (0..2^64-1) that are the same on every machine and in every Python process (BLAKE2b).

    ``key`` is "split/class/stem" for a draw that belongs to a pair, empty for one that belongs to a whole epoch.
    """
    text = f"{seed}\n{epoch}\n{purpose}\n{key}"
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8"), digest_size=8).digest(), "little")


def uniform(seed: int, epoch: int, purpose: str, key: str) -> float:
    """Return one number in [0, 1), the cheapest draw: the upper 53 bits of the hash."""
    return (key_hash(seed, epoch, purpose, key) >> 11) * 2.0**-53


def generator(seed: int, epoch: int, purpose: str, key: str = "") -> np.random.Generator:
    """Return a fresh NumPy generator for one pair (or, with an empty key, one epoch)."""
    return np.random.Generator(np.random.Philox(key=key_hash(seed, epoch, purpose, key)))


@contextmanager
def torch_seeded(seed: int, epoch: int, purpose: str, key: str) -> Iterator[None]:
    """Seed torch's CPU generator for one pair and put its old state back afterwards.

    torchvision's transforms draw from that generator and take no other. The model's own randomness is not touched,
    and no other device's generator is (``torch.manual_seed`` would seed those too).
    """
    import torch  # here, so that preprocessing and the index can use this file without loading torch

    state = torch.get_rng_state()
    torch.default_generator.manual_seed(key_hash(seed, epoch, purpose, key))
    try:
        yield
    finally:
        torch.set_rng_state(state)
