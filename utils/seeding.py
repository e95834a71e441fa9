"""Model randomness that depends on the place in the run alone."""

import hashlib
import random
from typing import Any

import numpy as np
import torch


def seed_everything(*place: int | str) -> None:
    """Seed torch's global generators from a place such as ``(seed, "weights")``."""
    torch.manual_seed(stable_seed(*place))


def stable_seed(*place: int | str) -> int:
    """Return a 63-bit number that depends on the given values alone, on every machine and in every process."""
    text = "/".join(str(part) for part in place)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def random_states() -> dict[str, Any]:
    """Return the states of Python's, numpy's and torch's global generators, on every GPU too, as plain values.

    No number of a run depends on them: what is drawn comes from ``stable_seed``. A continued run restores them for
    whatever else may draw.
    """
    kind, key, position, has_gauss, gauss = np.random.get_state(legacy=True)  # noqa: NPY002  # the global one
    return {
        "python": random.getstate(),
        "numpy": [kind, torch.from_numpy(np.asarray(key).astype(np.int64)), position, has_gauss, gauss],
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def restore_random_states(states: dict[str, Any]) -> None:
    """Put the global generators into states that ``random_states`` returned."""
    version, words, gauss = states["python"]
    random.setstate((version, tuple(words), gauss))
    kind, key, *rest = states["numpy"]
    np.random.set_state((kind, key.numpy().astype(np.uint32), *rest))  # noqa: NPY002  # the global one
    torch.set_rng_state(states["torch"])
    if torch.cuda.is_available() and len(states["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(states["cuda"])
