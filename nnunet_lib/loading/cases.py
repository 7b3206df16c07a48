"""The preprocessed cases a loader reads: their files, their checks, and their order.

Needs neither TensorFlow nor DALI.
"""

import mmap
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_lib.errors import InputError

Version = tuple[int, int]  # of a file: see `version_of`

# An order this long lets a usual epoch pass before a shard meets the same order again.
SHORTEST_ORDER = 1000
# A process may open 256 files on macOS; on Windows none can be replaced while it is mapped.
FILES_KEPT_OPEN = 64 if os.name == "posix" else 0


@dataclass(frozen=True)
class CaseFiles:
    """One preprocessed case: image (d, h, w, channel) float32, label (d, h, w, 1) uint8."""

    image: Path
    label: Path


def check_cases(cases: Sequence[CaseFiles], crop_size: tuple[int, int, int] = (1, 1, 1)) -> int:
    """Read every .npy header before any work is done; return the number of channels.

    Raises:
        InputError: if there is no case, a file is missing or not what `CaseFiles` says, an
            image and its label differ in shape, or a case is smaller than `crop_size`.
    """
    if not cases:
        raise InputError("There is no case to load; give at least one preprocessed case.")
    channels = {_check_case(case, crop_size) for case in cases}
    if len(channels) > 1:
        raise InputError(
            f"{cases[0].image.parent}: the cases have different numbers of channels "
            f"({sorted(channels)}). Preprocess one dataset into one folder."
        )
    return channels.pop()


def read(path: Path) -> np.ndarray:
    """An array (d, h, w, c) as it lies on disk: only what is cropped from it is ever read.

    Its header is parsed once, which `check_cases` does before any loader's thread needs it: where
    two threads parse at once, Python 3.11 now and then ends one of them with a SystemError (CPython
    issue 106905).
    """
    return _mapped(path, version_of(path))


def version_of(path: Path) -> Version:
    """What changes when a file is written anew, for what is remembered of it."""
    status = os.stat(path)
    return status.st_ino, status.st_mtime_ns


def training_order(number: int, seed: int, epoch: int, shard_id: int, shards: int) -> list[int]:
    """The order in which a shard meets the cases: shuffled passes, one after the other.

    All shards shuffle alike, and each takes every `shards`-th case of a pass: within a pass
    they are disjoint and together cover all `number` cases.

    Raises:
        InputError: if a shard would be empty or is not one of the shards.
    """
    check_shard(number, shard_id, shards)
    random = np.random.default_rng([seed, epoch])
    passes = -(-SHORTEST_ORDER // (number // shards))
    parts = [random.permutation(number)[shard_id::shards] for _ in range(passes)]
    return [int(index) for index in np.concatenate(parts)]


def check_shard(number: int, shard_id: int, shards: int) -> None:
    """Refuse a shard that is not one of the shards, or more shards than cases."""
    if not 0 <= shard_id < shards:
        raise InputError(f"Shard {shard_id} of {shards} does not exist: count from 0.")
    if number < shards:
        raise InputError(
            f"{number} cases cannot be shared by {shards} processes. Start fewer processes."
        )


def pipeline_seed(seed: int, epoch: int, shard_id: int) -> int:
    """One seed for DALI's random operators, different for every epoch and shard."""
    words = np.random.SeedSequence([seed, epoch, shard_id]).generate_state(1)
    return int(words[0]) & 0x7FFFFFFF  # DALI keeps the seed -1 for "none"


def _check_case(case: CaseFiles, crop_size: tuple[int, int, int]) -> int:
    image = _header(case.image, np.float32)
    label = _header(case.label, np.uint8)
    if label != (*image[:3], 1):
        raise InputError(
            f"{case.label}: the label's shape {label} does not fit its image's {image}; "
            "it must be the same with one channel. Preprocess this case again."
        )
    if any(size < crop for size, crop in zip(image, crop_size, strict=False)):
        raise InputError(
            f"{case.image}: the case has {image[:3]} voxels, fewer than the patch "
            f"{crop_size}. Preprocess again in mode 'training', which pads cases to the "
            "patch, or choose a smaller patch."
        )
    return image[3]


def _header(path: Path, dtype: type[np.generic]) -> tuple[int, ...]:
    """The shape of a 4D .npy array of `dtype`; only the header is read."""
    try:
        array = read(path)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file. Preprocess the dataset first.") from None
    except (OSError, ValueError, EOFError) as error:
        raise InputError(f"{path}: is not a readable .npy file ({error}).") from None
    if array.ndim != 4 or array.dtype != dtype or not array.flags.c_contiguous:
        raise InputError(
            f"{path}: holds {array.dtype} of shape {array.shape}, not {dtype.__name__} of shape "
            "(depth, height, width, channels). Preprocess this case again."
        )
    return tuple(array.shape)


@lru_cache(maxsize=FILES_KEPT_OPEN)  # else every patch pays for its pages being mapped anew
def _mapped(path: Path, version: Version) -> np.ndarray:
    """The array in a .npy file, mapped into memory."""
    layout = _layout(path, version)
    with path.open("rb") as stream:  # numpy.memmap would take longer to look at the path
        mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    return np.ndarray(buffer=mapped, **layout)


@cache
def _layout(path: Path, version: Version) -> dict[str, Any]:
    """What a .npy file's header says."""
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    order = "C" if array.flags.c_contiguous else "F"
    return {"dtype": array.dtype, "shape": array.shape, "offset": array.offset, "order": order}
