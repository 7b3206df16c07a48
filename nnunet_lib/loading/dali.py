"""Batches for TensorFlow from DALI pipelines. Taught in lesson 03.

DALI is used on every machine: on the first GPU where TensorFlow sees one, else on the CPU.
The GPU's graph is the CPU's with the crops copied over; it has not been run on a GPU yet.
A machine without DALI gets an InputError that names the other loader, `twin.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from nnunet_lib.errors import InputError
from nnunet_lib.loading.cases import (
    CaseFiles,
    check_cases,
    pipeline_seed,
    training_order,
)
from nnunet_lib.loading.settings import LoaderSettings

if TYPE_CHECKING:
    import tensorflow as tf

_VOXELS_AT_ONCE = 2**23
"""Of the patches that are drawn together: each of DALI's operators holds as many in memory."""
_PATCHES_AT_ONCE = 16
"""More patches drawn together would save no more time."""


def training_batches(
    cases: Sequence[CaseFiles],
    settings: LoaderSettings,
    epoch: int,
    shard_id: int,
    number_of_shards: int,
) -> tf.data.Dataset:
    """As `nnunet_lib.loading.training_batches`: a DALIDataset."""
    channels = check_cases(cases, settings.crop_size)
    order = training_order(len(cases), settings.seed, epoch, shard_id, number_of_shards)
    drawn = [cases[index] for index in order for _ in range(settings.patches_per_volume)]
    gpu = _first_gpu()
    pipeline = load_pipelines().training_graph(
        *_names(drawn),
        settings,
        channels,
        gpu is not None,
        batch_size=settings.batch_size if gpu is not None else patches_at_once(settings),
        num_threads=settings.threads,
        device_id=gpu,
        seed=pipeline_seed(settings.seed, epoch, shard_id),
    )
    return _dataset(pipeline, settings.batch_size, settings.patch_size, channels)


def benchmark_batches(cases: Sequence[CaseFiles], settings: LoaderSettings) -> tf.data.Dataset:
    """As `nnunet_lib.loading.benchmark_batches`: a DALIDataset."""
    channels = check_cases(cases[:1], settings.crop_size)
    gpu = _first_gpu()
    pipeline = load_pipelines().benchmark_graph(
        *_names(cases[:1]),
        settings,
        gpu is not None,
        batch_size=settings.batch_size,
        num_threads=settings.threads,
        device_id=gpu,
    )
    return _dataset(pipeline, settings.batch_size, settings.patch_size, channels)


def patches_at_once(settings: LoaderSettings) -> int:
    """Patches that a CPU draws together: whole batches, more than one if patches are small.

    Each choice parts a batch in two, and the parts of a small batch are too few to keep all
    threads busy. A GPU's batches stay there, where TensorFlow does not cut them.
    """
    patches = min(_PATCHES_AT_ONCE, _VOXELS_AT_ONCE // prod(settings.patch_size))
    return settings.batch_size * max(1, patches // settings.batch_size)


def _names(cases: Sequence[CaseFiles]) -> tuple[list[str], list[str]]:
    """File names of images and labels, made outside DALI's graph, which would slow this down."""
    return [str(case.image) for case in cases], [str(case.label) for case in cases]


def _dataset(
    pipeline: Any, batch_size: int, size: tuple[int, ...], channels: int
) -> tf.data.Dataset:
    """A pipeline as a dataset, on the device where its batches lie."""
    import nvidia.dali.plugin.tf as dali_tf
    import tensorflow as tf

    with tf.device("/cpu:0" if pipeline.device_id is None else "/gpu:0"):
        drawn = pipeline.max_batch_size
        dataset = dali_tf.DALIDataset(
            pipeline=pipeline,
            batch_size=drawn,
            output_shapes=((drawn, *size, channels), (drawn, *size, 1)),
            output_dtypes=(tf.float32, tf.uint8),
            num_threads=pipeline.num_threads,
            device_id=pipeline.device_id,
        )
        return dataset if drawn == batch_size else dataset.rebatch(batch_size, drop_remainder=True)


def _first_gpu() -> int | None:
    """The number that CUDA gives the first GPU TensorFlow may use, or None without one.

    DALI counts all GPUs of the machine, TensorFlow only those made visible to it.
    """
    import tensorflow as tf

    gpus = tf.config.get_visible_devices("GPU")  # named "/physical_device:GPU:0"
    return int(gpus[0].name.rsplit(":", 1)[1]) if gpus else None


def load_pipelines() -> Any:
    """The module of DALI graphs, or a word on how to get DALI."""
    try:
        import nvidia.dali.plugin.tf  # noqa: F401  (only whether it is there)

        from nnunet_lib.loading import pipelines
    except ImportError as error:
        raise InputError(
            f"NVIDIA DALI or its TensorFlow plugin cannot be imported ({error}). They install "
            "on Linux x86-64 only: run 'make' there. Elsewhere train with --loader tf (in Python: "
            "loader='tf'), which needs TensorFlow alone."
        ) from None
    return pipelines
