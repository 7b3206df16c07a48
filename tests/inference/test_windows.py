"""The sliding window against an independent, slow one, and against its own promises."""

import itertools
import tracemalloc

import numpy as np
import pytest

from nnunet_lib.inference import windows as module
from nnunet_lib.inference.windows import (
    blend_weights,
    pad_to_patch,
    sliding_window,
    weight_sums,
    window_starts,
    windows_of,
)

SHAPES = [(24, 32, 24), (8, 12, 8), (5, 7, 3), (9, 31, 5), (13, 12, 8), (1, 40, 11)]
PATCH = (8, 12, 8)


def an_image(shape, channels=3, seed=0):
    return np.random.default_rng(seed).normal(size=(*shape, channels)).astype(np.float32)


def identity(patches):
    return patches


def a_textured_network(patches):
    """Logits that depend on the place in the window, so that blending matters: 3 classes."""
    ramp = np.linspace(-1, 1, patches[0, ..., 0].size).reshape(patches.shape[1:-1])
    first = patches[..., 0]
    return np.stack([first, first * ramp, first + ramp], axis=-1).astype(np.float32)


def reference(network, image, patch, overlap, blend_mode):
    """The textbook's way: one array for the sum, one for the weights, float64, voxel order."""
    weights = blend_weights(patch, blend_mode).astype(np.float64)[..., None]
    total, weight_sum = 0.0, 0.0
    axes = [window_starts(s, p, overlap) for s, p in zip(image.shape, patch, strict=False)]
    for corner in itertools.product(*axes):
        window = tuple(slice(c, c + p) for c, p in zip(corner, patch, strict=True))
        logits = network(image[window][None])[0]
        whole = np.zeros((*image.shape[:-1], logits.shape[-1] + 1))
        whole[window] = np.concatenate([logits * weights, weights], axis=-1)
        total, weight_sum = total + whole[..., :-1], weight_sum + whole[..., -1:]
    return total / weight_sum


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("blend_mode", ["gaussian", "constant"])
@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.75])
def test_an_identity_network_gives_back_the_image(shape, blend_mode, overlap):
    image = an_image(shape)
    logits = sliding_window(identity, image, PATCH, overlap=overlap, blend_mode=blend_mode)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, image, atol=1e-5)


@pytest.mark.parametrize("blend_mode", ["gaussian", "constant"])
@pytest.mark.parametrize("overlap", [0.25, 0.5])
def test_it_equals_the_textbook(blend_mode, overlap):
    image = an_image((13, 30, 17), channels=1)
    expected = reference(a_textured_network, image, PATCH, overlap, blend_mode)
    result = sliding_window(
        a_textured_network, image, PATCH, overlap=overlap, blend_mode=blend_mode
    )
    np.testing.assert_allclose(result, expected, atol=1e-5)


@pytest.mark.parametrize("window_batch_size", [1, 3, 100])
def test_the_window_batch_size_does_not_matter(window_batch_size):
    image = an_image((20, 30, 17), channels=1)
    expected = sliding_window(a_textured_network, image, PATCH, window_batch_size=2)
    result = sliding_window(a_textured_network, image, PATCH, window_batch_size=window_batch_size)
    np.testing.assert_allclose(result, expected, atol=1e-6)


def test_the_order_of_the_windows_does_not_matter(monkeypatch):
    image = an_image((20, 30, 17), channels=1)
    expected = sliding_window(a_textured_network, image, PATCH)
    backwards = windows_of(image.shape[:-1], PATCH)[::-1]
    monkeypatch.setattr(module, "windows_of", lambda *_: backwards)
    np.testing.assert_allclose(
        sliding_window(a_textured_network, image, PATCH), expected, atol=1e-5
    )


def test_a_weight_sum_that_starts_at_one_is_seen(monkeypatch):
    """The planted fault shrinks every logit; the identity test above would fail."""
    image = an_image((20, 30, 17))
    sound = module._sum_along_axis
    monkeypatch.setattr(module, "_sum_along_axis", lambda *args: 1 + sound(*args))
    assert np.abs(sliding_window(identity, image, PATCH) - image).max() > 0.1


def test_a_window_left_out_is_seen(monkeypatch):
    image = an_image((20, 30, 17))
    short = windows_of(image.shape[:-1], PATCH)[:-1]
    monkeypatch.setattr(module, "windows_of", lambda *_: short)
    assert np.abs(sliding_window(identity, image, PATCH) - image).max() > 0.1


@pytest.mark.parametrize("patch", [(40, 56, 40), (7, 5, 9), (1, 160, 160), (128, 128, 128)])
def test_weights_are_positive_symmetric_and_peak_in_the_middle(patch):
    weights = blend_weights(patch)
    assert weights.dtype == np.float32
    assert weights.min() > 0
    assert weights.max() == 1
    assert weights[tuple(size // 2 for size in patch)] == 1
    np.testing.assert_array_equal(weights, np.flip(weights))
    assert (blend_weights(patch, "constant") == 1).all()
    assert not weights.flags.writeable  # all windows of all cases share them


def test_the_gaussian_has_a_sigma_of_an_eighth_of_the_patch():
    weights = blend_weights((1, 1, 81))[0, 0]
    sigma = 81 / 8
    np.testing.assert_allclose(weights[40 + 20], np.exp(-(20**2) / (2 * sigma**2)), rtol=1e-6)


def test_the_weight_sum_is_the_sum_of_the_weights():
    shape, patch = (20, 30, 17), PATCH
    expected = np.zeros(shape)
    for window in windows_of(shape, patch, 0.6):
        expected[window] += blend_weights(patch)
    z, y, x = weight_sums(shape, patch, 0.6)
    np.testing.assert_allclose(np.einsum("z,y,x->zyx", z, y, x), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("size", "patch", "overlap", "expected"),
    [
        (80, 40, 0.5, (0, 20, 40)),  # a step of half a patch fits exactly
        (81, 40, 0.5, (0, 14, 27, 41)),  # one voxel more needs one window more
        (40, 40, 0.5, (0,)),
        (41, 40, 0.5, (0, 1)),
        (100, 40, 0.0, (0, 30, 60)),
        (80, 40, 0.9, tuple(range(0, 41, 4))),
        (4, 1, 0.5, (0, 1, 2, 3)),  # a slice never overlaps itself
    ],
)
def test_window_starts(size, patch, overlap, expected):
    assert window_starts(size, patch, overlap) == expected


@pytest.mark.parametrize("overlap", [0.0, 0.3, 0.5, 0.9])
def test_windows_cover_flush_and_overlap_enough(overlap):
    for size, patch in itertools.product(range(9, 60, 5), (4, 7, 9)):
        starts = window_starts(size, patch, overlap)
        steps = np.diff(starts)
        assert starts[0] == 0
        assert starts[-1] == size - patch
        assert (steps >= 1).all()
        assert steps.max(initial=0) <= max(1, patch * (1 - overlap)) + 1  # rounding to voxels
        assert steps.max(initial=0) - steps.min(initial=patch) <= 1  # evenly


def test_work_is_proportional_to_windows():
    """Every window is seen once, and the network never sees more voxels than that."""
    image = an_image((24, 36, 24), channels=1)
    seen, done = [], []

    def network(patches):
        seen.append(patches.shape)
        return patches

    sliding_window(network, image, PATCH, window_batch_size=4, progress=done.append)
    windows = len(windows_of(image.shape[:-1], PATCH))
    assert windows == 5 * 5 * 5
    assert sum(shape[0] for shape in seen) == sum(done) == windows
    assert {shape[1:] for shape in seen} == {(*PATCH, 1)}
    assert [shape[0] for shape in seen] == [4] * 31 + [1]  # the remainder as it is


@pytest.mark.parametrize("shape", [(6, 20, 24), (3, 5, 7), (1, 16, 8), (4, 16, 9)])
def test_a_2d_patch_over_a_volume_predicts_each_slice_alone(shape):
    image = an_image(shape)
    shapes = []

    def network(patches):
        shapes.append(patches.shape[1:])
        return a_textured_network(patches)

    logits = sliding_window(network, image, (16, 8), padding_value=0.5)
    assert set(shapes) == {(16, 8, 3)}
    for slice_logits, slice_image in zip(logits, image, strict=True):
        alone = sliding_window(a_textured_network, slice_image, (16, 8), padding_value=0.5)
        np.testing.assert_allclose(slice_logits, alone, atol=1e-6)


def test_a_small_image_is_padded_alike_on_both_sides_with_each_channels_value():
    image = an_image((4, 30, 5), channels=2)
    padded, inside = pad_to_patch(image, PATCH, (-1.0, 7.0))
    assert padded.shape == (8, 30, 8, 2)
    assert inside == (slice(2, 6), slice(0, 30), slice(1, 6))
    np.testing.assert_array_equal(padded[inside], image)
    outside = np.ones(padded.shape[:-1], bool)
    outside[inside] = False
    assert (padded[outside] == [-1.0, 7.0]).all()


def test_a_large_image_is_not_copied():
    image = an_image(PATCH)
    assert pad_to_patch(image, PATCH)[0] is image


def test_the_image_and_what_the_network_returns_are_not_changed():
    image = an_image((12, 12, 12))
    image.flags.writeable = False
    returned = np.ones((2, *PATCH, 2), np.float32)
    sliding_window(lambda patches: returned[: len(patches)], image, PATCH)
    assert (returned == 1).all()


def test_a_network_cannot_change_the_image_through_a_patch():
    def careless(patches):
        patches *= 2
        return patches

    image = an_image((12, 12, 12))
    before = image.copy()
    with pytest.raises(ValueError, match="read-only"):
        sliding_window(careless, image, PATCH, window_batch_size=1)
    np.testing.assert_array_equal(image, before)


def test_what_is_out_of_range_is_refused():
    image = an_image((8, 12, 8))
    with pytest.raises(ValueError, match="overlap"):
        sliding_window(identity, image, PATCH, overlap=1.0)
    with pytest.raises(ValueError, match="blend_mode"):
        sliding_window(identity, image, PATCH, blend_mode="triangle")
    with pytest.raises(ValueError, match="patch_size"):
        sliding_window(identity, image, (8,))
    with pytest.raises(ValueError, match="window_batch_size"):
        sliding_window(identity, image, PATCH, window_batch_size=0)
    with pytest.raises(ValueError, match="pad the image"):
        window_starts(3, 4)
    with pytest.raises(ValueError, match="same grid"):
        sliding_window(lambda patches: patches[:, ::2], image, PATCH)


def test_memory_is_one_accumulator_and_a_few_windows():
    image = an_image((64, 64, 64), channels=1)
    logits = np.ones((2, 16, 16, 16, 4), np.float32)
    sliding_window(lambda patches: logits[: len(patches)], image[:20, :20, :20], (16, 16, 16))
    tracemalloc.start()
    result = sliding_window(lambda patches: logits[: len(patches)], image, (16, 16, 16))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.15 * result.nbytes
