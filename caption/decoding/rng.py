"""Counter-based random numbers, so that samples do not depend on the batch.

A number is a pure function of (seed, image id, sample, step, draw): the same on any device, with
any other images in the batch and any number of samples or steps. It is SplitMix64 (Steele, Lea
and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014) at a
counter, in wrapping int64.
"""

import hashlib
from collections.abc import Iterable

import torch
from torch import Tensor

GOLDEN = 0x9E3779B97F4A7C15 - (1 << 64)
STEPS = DRAWS = 1 << 16  # strides of the counter: steps of a sample, draws of a step


def image_keys(seed: int, ids: Iterable[int | str]) -> Tensor:
    """(B,) int64, one random key for each image, from a seed and the image ids."""
    digests = (hashlib.blake2b(_bytes(f"{seed} {id}"), digest_size=8).digest() for id in ids)
    return torch.tensor([int.from_bytes(d, "little", signed=True) for d in digests])


def _bytes(text: str) -> bytes:
    """UTF-8; a file name that is not UTF-8 gives the bytes that it has on the disk."""
    return text.encode("utf-8", "surrogateescape")


def uniform(keys: Tensor, samples: int, step: int, draw: int = 0) -> Tensor:
    """(B, samples) float32 in [0, 1), multiples of 2^-23."""
    samples = torch.arange(samples, device=keys.device)
    counter = (samples * STEPS + step) * DRAWS + draw + 1
    bits = _mix(keys[:, None] + counter * GOLDEN)
    return _shift(bits, 41).float() * 2.0**-23


def gumbel(keys: Tensor, samples: int, step: int) -> Tensor:
    """(B, samples) float32 from Gumbel(0, 1)."""
    return -(-(uniform(keys, samples, step) + 2.0**-24).log()).log()


def _mix(x: Tensor) -> Tensor:
    """The high 31 bits of SplitMix64; its last line, x ^ (x >> 31), changes the others only."""
    x = (x ^ _shift(x, 30)) * (0xBF58476D1CE4E5B9 - (1 << 64))
    return (x ^ _shift(x, 27)) * (0x94D049BB133111EB - (1 << 64))


def _shift(x: Tensor, bits: int) -> Tensor:
    """Logical shift to the right; the shift of int64 copies the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)
