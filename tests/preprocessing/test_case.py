"""One case through crop, normalise, resample and pad."""

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from nnunet_lib.datasets import LabelMap, Volume
from nnunet_lib.errors import InputError
from nnunet_lib.planning import Normalisation, Plan
from nnunet_lib.preprocessing import (
    normalise,
    padding_to,
    preprocess_case,
    resample_image,
    resample_labels,
)

MakePlan = Callable[..., Plan]
MakeVolume = Callable[..., tuple[Volume, LabelMap]]
CT = Normalisation("ct", lower=60.0, upper=140.0, mean=100.0, standard_deviation=20.0)


def test_crops_to_what_is_not_zero(make_plan: MakePlan, make_volume: MakeVolume) -> None:
    volume, label = make_volume(shape=(12, 20, 18), margin=3)
    case = preprocess_case(volume, make_plan(), label)
    assert case.geometry.box == ((3, 15), (3, 23), (3, 21))
    assert case.geometry.original_shape == (18, 26, 24)
    assert case.image.shape == (12, 20, 18, 1)
    assert case.label is not None
    np.testing.assert_array_equal(case.label, label.array[3:-3, 3:-3, 3:-3])


def test_normalises_what_cropping_leaves(make_plan: MakePlan, make_volume: MakeVolume) -> None:
    image = preprocess_case(make_volume(margin=3)[0], make_plan()).image
    assert image.mean() == pytest.approx(0, abs=1e-5)
    assert image.std() == pytest.approx(1, abs=1e-5)


def test_normalises_before_it_resamples(make_plan: MakePlan, make_volume: MakeVolume) -> None:
    volume, _ = make_volume(spacing=(3.0, 1.5, 0.8))
    plan = make_plan()
    case = preprocess_case(volume, plan)
    assert case.geometry.resampled_shape == case.image.shape[:3] == (18, 30, 14)
    everywhere = np.ones(volume.array.shape[:3], bool)
    normalised, _ = normalise(volume.array[..., 0], everywhere, plan.normalisation[0])
    expected = resample_image(
        normalised[..., None], (18, 30, 14), volume.spacing, plan.target_spacing
    )
    np.testing.assert_allclose(case.image, expected, atol=1e-6)
    assert case.image.dtype == np.float32
    assert case.image.flags.c_contiguous


@pytest.mark.parametrize("axis_order", list(itertools.permutations(range(3))))
def test_puts_axes_in_plan_order(
    make_plan: MakePlan, make_volume: MakeVolume, axis_order: tuple[int, ...]
) -> None:
    volume, label = make_volume(spacing=(2.0, 1.0, 1.5))
    volume = replace(volume, affine=np.arange(16.0).reshape(4, 4))
    target = tuple(volume.spacing[axis] for axis in axis_order)
    case = preprocess_case(volume, make_plan(axis_order=axis_order, target_spacing=target), label)
    assert case.label is not None
    np.testing.assert_array_equal(case.label, label.array.transpose(axis_order))
    assert case.geometry.cropped_shape == case.image.shape[:3]
    assert case.geometry.cropped_spacing == target
    # What leads back to the scan stays in the scan's order.
    assert case.geometry.original_shape == label.array.shape
    assert case.geometry.spacing == volume.spacing
    np.testing.assert_array_equal(case.geometry.affine, volume.affine)


@pytest.mark.parametrize(
    "spacing",
    [
        (1.0, 4.0, 1.5),  # thick along y, the last in plan order
        (1.0, 1.2, 1.0),  # only the plan's are thick
    ],
)
def test_thick_slices_are_looked_for_in_plan_order(
    make_plan: MakePlan, make_volume: MakeVolume, spacing: tuple[float, float, float]
) -> None:
    volume, label = make_volume(spacing=spacing)
    order, target = (2, 0, 1), (4.0, 1.2, 1.1)
    plan = make_plan(axis_order=order, target_spacing=target, normalisation=(CT,))
    case = preprocess_case(volume, plan, label)
    place = case.geometry.resampled_shape, tuple(spacing[axis] for axis in order), target
    image, _ = normalise(volume.array, volume.array > 0, CT)
    expected = resample_image(image.transpose(*order, 3), *place)
    np.testing.assert_allclose(case.image, expected, atol=1e-6)
    expected = resample_labels(label.array.transpose(order), *place)
    np.testing.assert_array_equal(case.label, expected)


def test_a_2d_plan_leaves_the_slice_axis_alone(
    make_plan: MakePlan, make_volume: MakeVolume
) -> None:
    volume, label = make_volume(shape=(5, 20, 10), spacing=(3.7, 2.0, 2.0))
    case = preprocess_case(volume, make_plan(dimensions=2), label, pad=True)
    assert case.geometry.resampled_shape == (5, 40, 20)
    assert case.geometry.resampled_spacing == (3.7, 1.0, 1.0)
    assert case.image.shape == (5, 40, 20, 1)


class TestPadding:
    def test_reaches_the_patch_evenly(self, make_plan: MakePlan, make_volume: MakeVolume) -> None:
        volume, label = make_volume(shape=(5, 11, 16))
        case = preprocess_case(volume, make_plan(), label, pad=True)
        assert case.geometry.padding == ((1, 2), (2, 3), (0, 0))
        assert case.geometry.shape == case.image.shape[:3] == (8, 16, 16)
        assert case.label is not None
        assert case.label.shape == (8, 16, 16)

    def test_leaves_larger_cases_alone(self, make_plan: MakePlan, make_volume: MakeVolume) -> None:
        volume, label = make_volume(shape=(20, 7, 30))
        case = preprocess_case(volume, make_plan(), label, pad=True)
        assert case.image.shape[:3] == (20, 16, 30)
        plain = preprocess_case(volume, make_plan(), label)
        np.testing.assert_array_equal(case.geometry.unpad(case.image), plain.image)

    def test_is_left_out_unless_asked_for(
        self, make_plan: MakePlan, make_volume: MakeVolume
    ) -> None:
        case = preprocess_case(make_volume(shape=(5, 5, 5))[0], make_plan())
        assert case.image.shape[:3] == (5, 5, 5)
        assert case.geometry.padding == ((0, 0),) * 3

    def test_puts_air_round_ct_and_its_own_zero_round_each_mri_channel(
        self, make_plan: MakePlan, make_volume: MakeVolume
    ) -> None:
        volume, label = make_volume(shape=(5, 11, 16), channels=3)
        schemes = (CT, Normalisation("z_score"), Normalisation("z_score", inside_mask=True))
        plan = make_plan(channels=("CT", "T1", "T2"), normalisation=schemes)
        case = preprocess_case(volume, plan, label, pad=True)
        zero = -volume.array[..., 1].mean() / volume.array[..., 1].std()
        expected = (-2.0, pytest.approx(zero, rel=1e-5), 0.0)
        assert case.geometry.padding_value == expected
        np.testing.assert_allclose(case.image[0, 0, 0], case.geometry.padding_value, rtol=1e-6)
        assert case.label is not None
        assert case.label[0].max() == 0

    @pytest.mark.parametrize("size", range(1, 12))
    def test_is_never_negative(self, size: int) -> None:
        ((before, after),) = padding_to((size,), (7,))
        assert min(before, after) >= 0
        assert size + before + after == max(size, 7)
        assert after - before in (0, 1)


def test_an_image_of_zeros_goes_through(make_plan: MakePlan) -> None:
    volume = Volume(np.zeros((6, 7, 8, 1), np.float32), np.eye(4), (2.0, 1.0, 1.0))
    case = preprocess_case(volume, make_plan(), pad=True)
    assert case.image.shape == (8, 16, 16, 1)
    assert not case.image.any()


def test_the_mask_bounds_the_statistics(make_plan: MakePlan, make_volume: MakeVolume) -> None:
    volume, _ = make_volume()
    array = volume.array.copy()
    array[3:, :, :5] = 0  # the corner that stays keeps the box as it was
    plan = make_plan(normalisation=(Normalisation("z_score", inside_mask=True),))
    case = preprocess_case(Volume(array, volume.affine, volume.spacing), plan)
    assert case.image.shape == volume.array.shape
    assert not case.image[3:, :, :5].any()
    assert case.image[array != 0].mean() == pytest.approx(0, abs=1e-5)


def test_a_hole_belongs_to_the_mask(make_plan: MakePlan, make_volume: MakeVolume) -> None:
    volume, _ = make_volume()
    hole = np.s_[5:7, 8:12, 8:12]
    volume.array[hole] = 0
    plan = make_plan(normalisation=(Normalisation("z_score", inside_mask=True),))
    assert (preprocess_case(volume, plan).image[hole] < -3).all()


class TestWhatIsNoScan:
    @pytest.mark.parametrize("scheme", [CT, Normalisation("z_score")])
    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    def test_a_voxel_that_is_no_number(
        self, make_plan: MakePlan, make_volume: MakeVolume, scheme: Normalisation, value: float
    ) -> None:
        volume, _ = make_volume()
        volume.array[3, 2, 1, 0] = value
        with pytest.raises(InputError, match="the image has voxels that are NaN or infinite"):
            preprocess_case(volume, make_plan(normalisation=(scheme,)))

    @pytest.mark.parametrize(
        "spacing",
        [(0.0, 1.0, 1.0), (2.0, -1.0, 1.0), (2.0, 1.0, np.nan), (np.inf, 1.0, 1.0), (1.0, 1.0), ()],
    )
    def test_an_impossible_spacing(
        self, make_plan: MakePlan, make_volume: MakeVolume, spacing: Any
    ) -> None:
        volume, _ = make_volume()
        with pytest.raises(InputError, match=r"spacing \(.*three numbers above 0"):
            preprocess_case(replace(volume, spacing=spacing), make_plan())

    @pytest.mark.parametrize("shape", [(0, 5, 6, 1), (4, 5, 0, 1), (4, 5, 6), (2, 4, 5, 6, 1)])
    def test_an_array_without_voxels_or_of_other_axes(
        self, make_plan: MakePlan, shape: tuple[int, ...]
    ) -> None:
        volume = Volume(np.ones(shape, np.float32), np.eye(4), (1.0, 1.0, 1.0))
        with pytest.raises(InputError, match=r"has shape \(.*Give an array \(z, y, x, channel\)"):
            preprocess_case(volume, make_plan())


class TestWhatDoesNotFit:
    def test_number_of_channels(self, make_plan: MakePlan, make_volume: MakeVolume) -> None:
        with pytest.raises(InputError, match="2 channels"):
            preprocess_case(make_volume(channels=2)[0], make_plan())

    def test_shape_of_the_label(self, make_plan: MakePlan, make_volume: MakeVolume) -> None:
        volume, _ = make_volume()
        _, label = make_volume(shape=(12, 20, 19))
        with pytest.raises(InputError, match="shape"):
            preprocess_case(volume, make_plan(), label)

    def test_label_that_the_plan_does_not_know(
        self, make_plan: MakePlan, make_volume: MakeVolume
    ) -> None:
        volume, label = make_volume()
        label.array[0, 0, 0] = 3
        with pytest.raises(InputError, match="value 3"):
            preprocess_case(volume, make_plan(), label)


def test_a_label_is_padded_with_background(make_plan: MakePlan, make_volume: MakeVolume) -> None:
    volume, label = make_volume((4, 10, 10))
    label.array[:] = 1
    case = preprocess_case(volume, make_plan(), label, pad=True)
    assert case.label is not None
    inside = case.geometry.unpad(case.label)
    assert (inside == 1).all()
    assert np.count_nonzero(case.label) == inside.size < case.label.size


def test_cropped_and_masked_is_what_is_zero_in_every_channel(
    make_plan: MakePlan, make_volume: MakeVolume
) -> None:
    volume, _ = make_volume(channels=2)
    volume.array[:2, ..., 0] = 0
    volume.array[-2:, ..., 1] = 0
    schemes = (Normalisation("z_score", inside_mask=True),) * 2
    case = preprocess_case(volume, make_plan(channels=("T1", "T2"), normalisation=schemes))
    assert case.image.shape == volume.array.shape
    assert case.image[:2, ..., 0].max() < -1
    assert case.image[-2:, ..., 1].max() < -1


def test_one_channel_of_several_may_be_normalised_inside_the_mask(
    make_plan: MakePlan, make_volume: MakeVolume
) -> None:
    volume, _ = make_volume(channels=2)
    volume.array[:2, :, :10] = 0
    volume.array[0, 0, 0] = volume.array[-1, -1, -1] = 1  # nothing is cropped
    schemes = (CT, Normalisation("z_score", inside_mask=True))
    image = preprocess_case(volume, make_plan(channels=("CT", "MRI"), normalisation=schemes)).image
    assert image[1, 5, 5, 1] == 0
    assert image[..., 1][volume.array[..., 1] != 0].mean() == pytest.approx(0, abs=1e-3)
