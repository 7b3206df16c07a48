"""Validation scores what prediction would write."""

from pathlib import Path

import numpy as np
import pytest

from nnunet_lib.datasets import Dataset
from nnunet_lib.inference import InferenceSettings
from nnunet_lib.planning import PlannerSettings, plan_dataset
from nnunet_lib.preprocessing import preprocess
from nnunet_lib.training.validation import validate_case

PADDED = PlannerSettings(
    dimensions=3, patch_size=(48, 48, 48), target_spacing=(3, 3, 3), base_filters=4, batch_size=2
)


def everywhere(patches: np.ndarray) -> np.ndarray:
    """A network that sees class 1 in every voxel: (n, *patch, channels) -> (n, *patch, 3)."""
    return np.broadcast_to(np.float32([0, 1, 0]), (*patches.shape[:-1], 3))


def test_padding_is_not_scored(phantom_path: Path, tmp_path: Path) -> None:
    dataset = Dataset.open(phantom_path)
    data = preprocess(dataset, plan_dataset(dataset, PADDED)[1], tmp_path)
    case = data.identifiers[0]
    geometry = data.geometry(case)
    assert np.any(geometry.padding)  # else there is nothing to show
    size = int((np.load(data.label_path(case)) == 1).sum())
    voxels = int(np.prod(geometry.resampled_shape))
    scores = validate_case(everywhere, data, case, InferenceSettings())
    assert scores[1] == pytest.approx(2 * size / (size + voxels))
