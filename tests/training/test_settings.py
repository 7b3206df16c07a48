"""What training does unless told otherwise, and settings that cannot be meant."""

from typing import Any

import numpy as np
import pytest

from nnunet_lib.errors import InputError
from nnunet_lib.loading import AugmentationSettings, LoaderSettings
from nnunet_lib.model import ComputeSettings
from nnunet_lib.training import TrainingSettings


def test_augmentation_has_the_same_defaults_wherever_it_is_set() -> None:
    """So that naming one probability changes that one alone."""
    assert AugmentationSettings() == TrainingSettings().augmentation
    assert AugmentationSettings() == LoaderSettings(2, (8, 8, 8)).augmentation


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ({"norm": "layer"}, "norm layer: must be one of instance, batch, group, none"),
        ({"loader": "torch"}, "loader torch: must be one of dali, tf"),
        ({"base_filters": 7.5}, "base filters 7.5: must be a whole number"),
        ({"batch_size": 2.5}, "batch size 2.5: must be a whole number"),
        ({"batch_size": True}, "batch size True: must be a whole number"),
        ({"epochs": 1.5}, "epochs 1.5: must be a whole number"),
        ({"epochs": "3"}, "epochs '3': must be a whole number"),
        ({"steps_per_epoch": None}, "steps per epoch None: must be a whole number"),
        ({"seed": 1.5}, "seed 1.5: must be a whole number"),
        ({"time_limit": "5"}, "time limit '5': must be a number"),
        ({"augmentation": False}, r"augmentation False: .*AugmentationSettings\.none\(\)"),
        ({"inference": "tta"}, "inference 'tta': must be InferenceSettings"),
        ({"overwrite": "no"}, "overwrite 'no': must be True or False"),
        ({"deep_supervision": 1}, "deep supervision 1: must be True or False"),
        ({"gradient_clip": 1e-46}, "gradient clip 1e-46: must be from 1e-30 to 1e.30"),
        ({"time_limit": np.float32("inf")}, "time limit inf: must be above 0 minutes and finite"),
    ],
)
def test_settings_of_another_kind_are_refused_by_their_name(
    setting: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        TrainingSettings(**setting)


def test_a_precision_that_there_is_not_is_refused() -> None:
    with pytest.raises(InputError, match="precision fp16: must be one of float32, float16"):
        ComputeSettings("fp16")  # type: ignore[arg-type]  # what is tested
