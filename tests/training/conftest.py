"""A tiny preprocessed dataset: enough for the loop to run, not to learn from."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf

from nnunet_lib.datasets import Dataset
from nnunet_lib.distributed import Ranks
from nnunet_lib.planning import PlannerSettings, plan_dataset
from nnunet_lib.preprocessing import PreprocessedDataset, preprocess


def preprocessed(phantom: Path, folder: Path, settings: PlannerSettings) -> PreprocessedDataset:
    dataset = Dataset.open(phantom)
    _, plan = plan_dataset(dataset, settings)
    return preprocess(dataset, plan, folder, mode="training", workers=1)


@pytest.fixture(scope="session")
def tiny_3d(phantom_path: Path, tmp_path_factory: pytest.TempPathFactory) -> PreprocessedDataset:
    """Phantom cases at 3 mm, with a network of 4 base filters on patches of 16 voxels."""
    settings = PlannerSettings(
        dimensions=3,
        patch_size=(16, 16, 16),
        target_spacing=(3, 3, 3),
        base_filters=4,
        batch_size=2,
    )
    return preprocessed(phantom_path, tmp_path_factory.mktemp("tiny_3d"), settings)


@pytest.fixture(scope="session")
def tiny_2d(phantom_path: Path, tmp_path_factory: pytest.TempPathFactory) -> PreprocessedDataset:
    """The same in slices, four to a batch."""
    settings = PlannerSettings(
        dimensions=2, patch_size=(16, 16), target_spacing=(3, 3), base_filters=4, batch_size=4
    )
    return preprocessed(phantom_path, tmp_path_factory.mktemp("tiny_2d"), settings)


class Twins(Ranks):
    """Two processes that do the same, of which this is one."""

    def share(self, items: Sequence[Any]) -> Sequence[Any]:
        return items

    def total(self, tensor: tf.Tensor) -> tf.Tensor:
        return 2 * tensor

    def gather(self, value: Any) -> list[Any]:
        return [value, value]

    def agree_number(self, value: float) -> float:
        return value

    def gradient_tape(self, tape: tf.GradientTape) -> tf.GradientTape:
        return tape

    def broadcast(self, variables: Sequence[tf.Variable]) -> None:
        """Both were given the same seed."""


@pytest.fixture
def twins() -> Ranks:
    """The first of two processes that do the same."""
    return Twins(size=2)
