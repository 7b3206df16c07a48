"""What training does unless told otherwise, and settings that cannot be meant."""

from nnunet_lib.loading import AugmentationSettings, LoaderSettings
from nnunet_lib.training import TrainingSettings


def test_augmentation_has_the_same_defaults_wherever_it_is_set() -> None:
    """So that naming one probability changes that one alone."""
    assert AugmentationSettings() == TrainingSettings().augmentation
    assert AugmentationSettings() == LoaderSettings(2, (8, 8, 8)).augmentation
