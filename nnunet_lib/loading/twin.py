"""Batches by tf.data, for machines without DALI: the same arguments, shapes and distributions.

Taught in lesson 03. The bytes differ from DALI's, because the two draw their random numbers
differently; tests compare what is drawn. TensorFlow is imported when a dataset is made.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from nnunet_lib.loading.cases import CaseFiles, check_cases, check_shard, read, training_order
from nnunet_lib.loading.patches import Pair, benchmark_patch, training_patch
from nnunet_lib.loading.settings import LoaderSettings

if TYPE_CHECKING:
    import tensorflow as tf

Shape = tuple[int | None, ...]


def training_batches(
    cases: Sequence[CaseFiles],
    settings: LoaderSettings,
    epoch: int = 0,
    shard_id: int = 0,
    number_of_shards: int = 1,
) -> tf.data.Dataset:
    """As `nnunet_lib.loading.training_batches`.

    Each patch has a generator of its own, seeded by seed, epoch, shard and the patch's number:
    so no patch depends on which thread drew the one before.
    """
    channels = check_cases(cases, settings.crop_size)
    order = training_order(len(cases), settings.seed, epoch, shard_id, number_of_shards)
    drawn = [cases[index] for index in order for _ in range(settings.patches_per_volume)]

    def draw(number: int) -> Pair:
        random = np.random.default_rng([settings.seed, epoch, shard_id, number])
        return training_patch(drawn[number % len(drawn)], settings, random)

    return _endless(draw, settings, channels)


def evaluation_batches(
    cases: Sequence[CaseFiles],
    shard_id: int = 0,
    number_of_shards: int = 1,
    threads: int = 1,
) -> tf.data.Dataset:
    """As `nnunet_lib.loading.evaluation_batches`."""
    import tensorflow as tf

    channels = check_cases(cases)
    check_shard(len(cases), shard_id, number_of_shards)
    shard = cases[shard_id::number_of_shards]

    def load(number: int) -> Pair:
        case = shard[number]
        image, label = (np.array(read(path)) for path in (case.image, case.label))
        return image, label

    numbers = tf.data.Dataset.range(len(shard))
    return _batches(numbers, load, threads, 1, (None, None, None), channels)


def benchmark_batches(cases: Sequence[CaseFiles], settings: LoaderSettings) -> tf.data.Dataset:
    """As `nnunet_lib.loading.benchmark_batches`."""
    channels = check_cases(cases[:1], settings.crop_size)
    return _endless(lambda number: benchmark_patch(cases[0], settings), settings, channels)


def _endless(
    draw: Callable[[int], Pair], settings: LoaderSettings, channels: int
) -> tf.data.Dataset:
    """Batches of patch 0, 1, 2 and so on."""
    import tensorflow as tf

    numbers = tf.data.Dataset.counter()
    size, threads = settings.patch_size, settings.threads
    return _batches(numbers, draw, threads, settings.batch_size, size, channels)


def _batches(
    numbers: tf.data.Dataset,
    make: Callable[[int], Pair],
    threads: int,
    batch_size: int,
    size: Shape,
    channels: int,
) -> tf.data.Dataset:
    """What `make` gives for each number, on the CPU, in order and ahead of time."""
    import tensorflow as tf

    def make_one(number: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image, label = tf.numpy_function(make, [number], (tf.float32, tf.uint8))
        return tf.ensure_shape(image, (*size, channels)), tf.ensure_shape(label, (*size, 1))

    patches = numbers.map(make_one, num_parallel_calls=threads, deterministic=True)
    return patches.batch(batch_size, drop_remainder=True).prefetch(1)
