"""Batches by tf.data, for machines without DALI: the same arguments, shapes and distributions.

Taught in lesson 03. The bytes differ from DALI's, because the two draw their random numbers
differently; tests compare what is drawn. TensorFlow is imported when a dataset is made.
"""

from __future__ import annotations

import atexit
import math
import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from nnunet_lib.loading.cases import CaseFiles, check_cases, training_order
from nnunet_lib.loading.patches import Pair, benchmark_patch, training_patch
from nnunet_lib.loading.settings import LoaderSettings
from nnunet_lib.parallel import ONE_THREAD

if TYPE_CHECKING:
    import tensorflow as tf

ALIGNMENT = 64
"""Bytes; see `stack`."""
AHEAD = 2
"""Batches that lie ready, so that a thread need not wait until the next is asked for."""
QUIET = 0.1
"""Seconds without a call after which no other is on its way."""
LONGEST_WAIT = 10.0
"""Seconds to wait for that, in case another thread goes on asking for batches."""


class _Calls:
    """Counts the calls that TensorFlow's threads make into Python; enter it in each of them.

    One that the end of Python meets half-way never returns. TensorFlow waits for it when an
    iterator that a script has kept is taken down, so that the process would never end.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running = self._begun = 0

    def __enter__(self) -> None:
        with self._lock:
            self._running, self._begun = self._running + 1, self._begun + 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._running -= 1

    def wait_for_the_last(self) -> None:
        """Return when all that iterators make ahead of time is made."""
        deadline, begun = time.monotonic() + LONGEST_WAIT, 0
        while (self._running or self._begun != begun) and time.monotonic() < deadline:
            begun = self._begun
            time.sleep(QUIET)


_CALLS = _Calls()
atexit.register(_CALLS.wait_for_the_last)


def training_batches(
    cases: Sequence[CaseFiles],
    settings: LoaderSettings,
    epoch: int,
    shard_id: int,
    number_of_shards: int,
) -> tf.data.Dataset:
    """As `nnunet_lib.loading.training_batches`.

    Each patch has a generator of its own, seeded by seed, epoch, shard and the patch's number:
    so no patch depends on which thread drew the one before.
    """
    channels = check_cases(cases, settings.crop_size)
    order = training_order(len(cases), settings.seed, epoch, shard_id, number_of_shards)
    drawn = [cases[index] for index in order for _ in range(settings.patches_per_volume)]

    def draw(number: int) -> Pair:
        seed = [settings.seed, epoch, shard_id, number]
        random = np.random.Generator(np.random.SFC64(seed))  # draws noise quicker than the default
        return training_patch(drawn[number % len(drawn)], settings, random)

    return _endless(draw, settings, channels)


def benchmark_batches(cases: Sequence[CaseFiles], settings: LoaderSettings) -> tf.data.Dataset:
    """As `nnunet_lib.loading.benchmark_batches`."""
    channels = check_cases(cases[:1], settings.crop_size)
    return _endless(lambda number: benchmark_patch(cases[0], settings), settings, channels)


def stack(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Arrays of one shape and type as one, with an axis in front, that TensorFlow need not copy.

    It takes NumPy's memory as it is only where that begins at a multiple of 64 bytes: n arrays of
    `shape` become (n, *shape), of their type.
    """
    shape, dtype = (len(arrays), *arrays[0].shape), arrays[0].dtype
    memory = np.empty(math.prod(shape) * dtype.itemsize + ALIGNMENT, np.uint8)
    first = -memory.ctypes.data % ALIGNMENT
    batch = memory[first : first + memory.size - ALIGNMENT].view(dtype).reshape(shape)
    return np.stack(arrays, out=batch)


def _endless(
    draw: Callable[[int], Pair], settings: LoaderSettings, channels: int
) -> tf.data.Dataset:
    """Batches of patch 0, 1, 2 and so on, on the CPU, in order and ahead of time."""
    import tensorflow as tf

    def draw_batch(numbers: np.ndarray) -> Pair:
        with _CALLS, ONE_THREAD:
            images, labels = zip(*map(draw, numbers.tolist()), strict=True)
            return stack(images), stack(labels)

    def as_tensors(numbers: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image, label = tf.numpy_function(draw_batch, [numbers], (tf.float32, tf.uint8))
        shape = (settings.batch_size, *settings.patch_size)
        return tf.ensure_shape(image, (*shape, channels)), tf.ensure_shape(label, (*shape, 1))

    batches = tf.data.Dataset.counter().batch(settings.batch_size, drop_remainder=True)
    threads = settings.threads
    return batches.map(as_tensors, num_parallel_calls=threads, deterministic=True).prefetch(AHEAD)
