"""A tiny preprocessed dataset: enough for the loop to run, not to learn from."""

from pathlib import Path

import pytest

from nnunet_lib.datasets import Dataset
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
