"""Normalisation: invariances, air, and images without contrast."""

import numpy as np
import pytest

from nnunet_lib.planning import Normalisation
from nnunet_lib.preprocessing import normalise

CT = Normalisation("ct", lower=-40.0, upper=180.0, mean=100.0, standard_deviation=40.0)
Z_SCORE = Normalisation("z_score")
INSIDE = Normalisation("z_score", inside_mask=True)


def scan(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A channel (z, y, x) and a mask that holds about half of it."""
    generator = np.random.default_rng(seed)
    channel = generator.normal(300, 50, (9, 10, 11)).astype(np.float32)
    mask = np.zeros(channel.shape, bool)
    mask[:, 2:8, 2:9] = True
    return channel, mask


@pytest.mark.parametrize("scheme", [Z_SCORE, INSIDE])
def test_z_score_has_mean_0_and_deviation_1(scheme: Normalisation) -> None:
    channel, mask = scan()
    result, _ = normalise(channel, mask, scheme)
    assert result.dtype == np.float32
    inside = result[mask] if scheme.inside_mask else result
    assert inside.mean() == pytest.approx(0, abs=1e-5)
    assert inside.std() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("scheme", [Z_SCORE, INSIDE])
@pytest.mark.parametrize(("scale", "shift"), [(0.01, 0.0), (7.0, -500.0), (1000.0, 3000.0)])
def test_z_score_does_not_see_positive_scale_and_shift(
    scheme: Normalisation, scale: float, shift: float
) -> None:
    channel, mask = scan()
    expected, _ = normalise(channel, mask, scheme)
    result, _ = normalise(scale * channel + shift, mask, scheme)
    np.testing.assert_allclose(result, expected, atol=1e-4)


def test_z_score_sees_the_sign() -> None:
    channel, mask = scan()
    expected, _ = normalise(channel, mask, Z_SCORE)
    result, _ = normalise(-channel, mask, Z_SCORE)
    np.testing.assert_allclose(result, -expected, atol=1e-5)


def test_outside_of_the_mask_becomes_0_and_is_not_counted() -> None:
    channel, mask = scan()
    result, nothing = normalise(np.where(mask, channel, 1e6), mask, INSIDE)
    assert nothing == 0
    assert not result[~mask].any()
    np.testing.assert_allclose(result[mask], normalise(channel, mask, INSIDE)[0][mask])


def test_without_a_mask_nothing_is_what_raw_zero_becomes() -> None:
    channel, mask = scan()
    channel[0, 0, 0] = 0
    result, nothing = normalise(channel, mask, Z_SCORE)
    assert result[0, 0, 0] == pytest.approx(nothing, rel=1e-6)
    assert nothing < -3


def test_ct_clips_shifts_and_scales() -> None:
    channel = np.array([-1000.0, -40.0, 100.0, 180.0, 3000.0], np.float32).reshape(1, 1, 5)
    result, _ = normalise(channel, channel > 0, CT)
    np.testing.assert_allclose(result.ravel(), [-3.5, -3.5, 0.0, 2.0, 2.0])


def test_nothing_in_ct_is_air_and_not_the_mean() -> None:
    air = np.full((1, 1, 1), -1000.0, np.float32)
    result, nothing = normalise(air, air > 0, CT)
    assert nothing == result.item() == pytest.approx(-3.5)


@pytest.mark.parametrize("scheme", [Z_SCORE, INSIDE])
@pytest.mark.parametrize("value", [0.0, 0.1, 1e6])
def test_an_image_without_contrast_becomes_0(scheme: Normalisation, value: float) -> None:
    channel = np.full((7, 9, 11), value, np.float32)
    result, nothing = normalise(channel, np.ones(channel.shape, bool), scheme)
    assert not result.any()
    assert nothing == 0


def test_large_offsets_do_not_cost_precision() -> None:
    channel, mask = scan()
    shifted = channel.astype(np.float64) + 2.0**20
    assert normalise(shifted, mask, Z_SCORE)[0].std() == pytest.approx(1, abs=1e-5)


def test_the_input_is_left_alone() -> None:
    channel, mask = scan()
    before = channel.copy()
    for scheme in (CT, Z_SCORE, INSIDE):
        normalise(channel, mask, scheme)
    np.testing.assert_array_equal(channel, before)
