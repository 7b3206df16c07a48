"""Batches from either loader: DALI, or its twin for machines without. Taught in lesson 03.

Nothing falls back silently: who asks for DALI and has none gets an InputError that says what
to do. TensorFlow and DALI are imported when a dataset is made, not before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from nnunet_lib.errors import require_choice
from nnunet_lib.loading.cases import CaseFiles, check_cases, check_shard
from nnunet_lib.loading.settings import LoaderSettings

if TYPE_CHECKING:
    import tensorflow as tf

Loader = Literal["dali", "tf"]


def training_batches(
    cases: Sequence[CaseFiles],
    settings: LoaderSettings,
    epoch: int = 0,
    shard_id: int = 0,
    number_of_shards: int = 1,
    loader: Loader = "dali",
) -> tf.data.Dataset:
    """Augmented training batches, without end.

    Stop with `take` on a CPU, or with `itertools.islice` anywhere: on a GPU DALI's has no `take`.

    The same loader, seed, epoch and shard give the same bytes. Build one dataset an epoch, which
    costs well under a second: then a run that is resumed in an epoch meets the batches that it
    would have met, once it has passed over the ones it had. Shards (one a process) see disjoint
    cases within a pass.

    Args:
        cases: from preprocessing in mode "training".
        settings: see `LoaderSettings`.
        epoch: together with the settings' seed decides what is drawn.
        shard_id: this process's part of the cases, from 0.
        number_of_shards: parts that the cases are split into.
        loader: "dali", or "tf" for the tf.data twin.

    Returns:
        Image (batch, *patch, channels) float32 and label (batch, *patch, 1) uint8. In 2D the
        patches are slices, and batch_size / number_of_volumes slices in a row come from one
        volume.

    Raises:
        InputError: for unfit files, a case smaller than the patch, more shards than cases, or
            a machine without DALI where that was asked for.
    """
    make = _module(loader).training_batches
    return make(cases, settings, epoch, shard_id, number_of_shards)


def check_training(
    cases: Sequence[CaseFiles],
    settings: LoaderSettings,
    shard_id: int = 0,
    number_of_shards: int = 1,
    loader: Loader = "dali",
) -> None:
    """Refuse what `training_batches` would refuse, while nothing has been made or replaced yet.

    Raises:
        InputError: as for `training_batches`.
    """
    module = _module(loader)
    check_cases(cases, settings.crop_size)
    check_shard(len(cases), shard_id, number_of_shards)
    if loader == "dali":
        module.load_pipelines()


def benchmark_batches(
    cases: Sequence[CaseFiles], settings: LoaderSettings, loader: Loader = "dali"
) -> tf.data.Dataset:
    """Training batches at the least cost: the first corner of the first case, unchanged.

    For measuring a network's speed rather than the loader's. Without end, shapes as from
    `training_batches`.
    """
    return _module(loader).benchmark_batches(cases, settings)


def _module(loader: Loader) -> Any:
    """The module whose functions make the datasets."""
    require_choice("loader", loader, Loader)
    from nnunet_lib.loading import dali, twin  # here: SciPy takes time that --help has not

    return dali if loader == "dali" else twin
