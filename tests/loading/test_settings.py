from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nnunet_lib.errors import InputError
from nnunet_lib.loading import AugmentationSettings, LoaderSettings


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"noise_probability": 1.5}, "noise_probability"),
        ({"flip_probability": -0.1}, "flip_probability"),
        ({"contrast_factor": (1.5, 0.65)}, "contrast_factor"),
        ({"noise_standard_deviation": (-0.1, 0.3)}, "noise_standard_deviation"),
        ({"zoom_scale": (0.7, 1.2)}, "zoom_scale"),
        ({"blur_sigma": (0.0, 1.0)}, "blur_sigma"),
        ({"rotation_limit": -1.0}, "rotation_limit"),
        ({"slice_rotation_limit": 190.0}, "slice_rotation_limit"),
        ({"low_resolution_scale": (0.0, 1.0)}, "low_resolution_scale"),
        ({"gamma_exponent": (0.0, 1.5)}, "gamma_exponent"),
    ],
)
def test_augmentations_that_cannot_be_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        AugmentationSettings(**values)


@pytest.mark.parametrize(
    "value",
    [
        [0.7, 1.0], 0.7, None, "ab", ("a", "b"), (0.7,), (0.7, 0.8, 0.9),
        (0.7, float("inf")), (float("nan"), 1.0), (0.7, None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", ["zoom_scale", "noise_standard_deviation", "gamma_exponent"])
def test_what_is_no_pair_of_finite_numbers_is_no_range(name: str, value: Any) -> None:
    with pytest.raises(InputError, match=f"{name} is .*; give"):
        AugmentationSettings(**{name: value})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"enabled": "no"}, "enabled is 'no'; give True or False"),
        ({"noise_probability": "0.5"}, "noise_probability is '0.5'; a probability"),
        ({"flip_probability": None}, "flip_probability is None; a probability"),
        ({"rotation_limit": None}, "rotation_limit is None; give 0 to 180"),
    ],
)
def test_a_word_is_no_truth_value_and_no_number(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        AugmentationSettings(**values)


def test_whole_numbers_and_numpys_are_numbers_too() -> None:
    AugmentationSettings(blur_sigma=(1, 2), gamma_exponent=(np.float32(0.5), np.float64(1)))
    AugmentationSettings(noise_probability=1, blur_probability=np.float32(0.5), rotation_limit=30)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"patch_size": (8, 8)}, "patch_size"),
        ({"patch_size": (8, 8, 0)}, "patch_size"),
        ({"batch_size": 0}, "batch_size"),
        ({"threads": 0}, "threads"),
        ({"seed": -1}, "seed"),
        ({"foreground_oversampling": 2.0}, "foreground_oversampling"),
        ({"dimensions": 2, "patch_size": (8, 8), "batch_size": 5}, "number_of_volumes"),
    ],
)
def test_loaders_that_cannot_be_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        LoaderSettings(**{"batch_size": 4, "patch_size": (8, 8, 8), **values})


def test_an_odd_batch_of_3d_patches_does_not_ask_for_volumes() -> None:
    assert LoaderSettings(batch_size=5, patch_size=(8, 8, 8)).patches_per_volume == 1


@pytest.mark.parametrize(
    ("patch_size", "apart"),
    [((8, 24, 24), False), ((8, 25, 16), True), ((16, 8, 8), False), ((8, 8), True)],
)
def test_slices_stay_apart_in_2d_and_where_the_first_axis_is_coarse(
    patch_size: tuple[int, ...], apart: bool
) -> None:
    settings = LoaderSettings(4, patch_size, dimensions=len(patch_size))
    assert settings.keeps_slices_apart is apart


def test_nvidia_s_list_is_nvidia_s() -> None:
    """DeepLearningExamples, TensorFlow2/Segmentation/nnUNet, data_loading/dali_loader.py."""
    theirs = AugmentationSettings.nvidia()
    probabilities = ("zoom", "noise", "blur", "brightness", "contrast")
    assert {getattr(theirs, f"{name}_probability") for name in probabilities} == {0.15}
    assert theirs.flip_probability == 0.5
    assert (theirs.zoom_scale, theirs.noise_standard_deviation) == ((0.7, 1.0), (0.0, 0.3))
    assert (theirs.blur_sigma, theirs.brightness_factor) == ((0.5, 1.5), (0.7, 1.3))
    assert theirs.contrast_factor == (0.65, 1.5)
    added = ("rotation", "low_resolution", "gamma", "inverted_gamma")
    assert {getattr(theirs, f"{name}_probability") for name in added} == {0.0}


def test_by_default_patches_turn_lose_resolution_and_bend_and_are_not_mirrored() -> None:
    """Without the three a longer training learns its cases by heart: see docs/defaults.md."""
    changed = {
        "flip_probability": 0.0,
        "rotation_probability": 0.3,
        "low_resolution_probability": 0.25,
        "gamma_probability": 0.3,
    }
    ours = AugmentationSettings()
    assert ours == replace(AugmentationSettings.nvidia(), **changed)
    assert ours.enabled
    assert (ours.rotation_limit, ours.slice_rotation_limit) == (30.0, 180.0)
    assert ours.low_resolution_channel_probability == 0.5
    assert (ours.low_resolution_scale, ours.gamma_exponent) == ((0.5, 1.0), (0.7, 1.5))


def test_a_third_of_the_patches_is_aimed() -> None:
    assert LoaderSettings(2, (8, 8, 8)).foreground_oversampling == 0.33


def test_slices_are_kept_apart_where_the_first_axis_alone_is_short() -> None:
    assert LoaderSettings(2, (20, 320, 256)).keeps_slices_apart
    assert not LoaderSettings(2, (96, 192, 48)).keeps_slices_apart
