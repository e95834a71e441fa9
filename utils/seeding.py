"""Model randomness that depends on the place in the run alone."""

import hashlib

import torch


def seed_everything(*place: int | str) -> None:
    """Seed torch's global generators from a place such as ``(seed, "weights")``."""
    torch.manual_seed(stable_seed(*place))


def stable_seed(*place: int | str) -> int:
    """Return a 63-bit number that depends on the given values alone, on every machine and in every process."""
    text = "/".join(str(part) for part in place)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1
