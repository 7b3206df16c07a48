"""Small folders of label maps."""

import numpy as np
import pytest

from nnunet_lib.datasets import write_label


@pytest.fixture(scope="session")
def five_cases(tmp_path_factory):
    """Predictions of five cases, and the labels of six. Class 3 occurs in one, and class 4 only
    in a prediction.
    """
    root, random = tmp_path_factory.mktemp("five"), np.random.default_rng(0)
    affine = np.diag([0.7, 1.0, 2.5, 1.0])
    for number in range(6):
        truth = random.integers(0, 3, (4, 6, 5)).astype(np.uint8)
        prediction = np.where(random.random(truth.shape) < 0.8, truth, 0)
        if number == 1:
            truth[0], prediction[0] = 3, 3
        if number == 3:
            prediction[0, 0, 0] = 4
        write_label(root / "labels" / f"case{number}.nii.gz", truth, affine)
        if number < 5:
            write_label(root / "predictions" / f"case{number}.nii.gz", prediction, affine)
    return root / "predictions", root / "labels"
