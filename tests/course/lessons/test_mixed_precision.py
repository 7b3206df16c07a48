"""Lesson 07's claims hold on the library, and fail when it is broken in the way they speak of."""

import numpy as np
import pytest
import tensorflow as tf

from nnunet_lib.course.lessons import mixed_precision as lesson
from nnunet_lib.course.lessons import mixed_precision_figures as figures
from nnunet_lib.model import Blocks
from nnunet_lib.training import precision, step

PLANTED = (False, True, False, False)
FEW_STEPS = 3


@pytest.fixture(scope="module")
def patch():
    """A bright ball in noise."""
    distance = np.linalg.norm(np.indices((20, 18, 20)) - 9.0, axis=0)
    label = (distance < 5).astype(np.uint8)
    return lesson.patch_around(
        label + 0.5 * np.random.default_rng(0).normal(size=label.shape), label
    )


@pytest.fixture(scope="module")
def taught(patch):
    """A float32 network that is rather sure of itself."""
    learner = lesson.new_learner("float32")
    lesson.train(learner, patch, lesson.PREPARATION)
    return learner


@pytest.fixture
def no_scale(monkeypatch):
    """A loss that is not scaled before it is differentiated."""
    for module in (precision, step):
        monkeypatch.setattr(module, "scaled", lambda loss, optimiser: loss)


@pytest.fixture
def not_unscaled(monkeypatch):
    """Gradients of the scaled loss, as they are."""
    monkeypatch.setattr(step, "unscaled", lambda gradients, optimiser: list(gradients))


@pytest.fixture
def no_loss_scaling(monkeypatch):
    """An optimiser that is given back as it came."""
    monkeypatch.setattr(precision, "with_loss_scaling", lambda optimiser, *given: optimiser)


@pytest.fixture
def weights_in_float16(monkeypatch):
    """Layers whose weights have the precision that they compute in."""
    monkeypatch.setattr(Blocks, "policy", property(lambda blocks: blocks.precision))


def gap(taught, patch):
    plain, *scaled = lesson.voxel_gradients(taught.model, patch, (1.0, *lesson.SCALES), copies=64)
    return lesson.worst_gap(plain, scaled, lesson.SCALES)


def test_the_patch_is_scored_and_lies_around_the_foreground(patch):
    assert patch.image.shape == patch.label.shape == (1, 16, 16, 16, 1)
    assert abs(patch.image.mean()) < 1e-5
    assert patch.image.std() == pytest.approx(1, abs=1e-5)
    assert patch.label.sum() == (np.linalg.norm(np.indices((20, 18, 20)) - 9, axis=0) < 5).sum()


def test_a_scan_smaller_than_the_patch_is_filled_up():
    image = np.random.default_rng(0).normal(size=(9, 30, 16))
    label = np.zeros(image.shape, np.uint8)
    label[4, 28, 3] = 2
    made = lesson.patch_around(image, label)
    assert made.image.shape == (1, 16, 16, 16, 1)
    assert made.label.sum() == 1


def test_float16_loses_what_the_rule_says_and_bfloat16_nothing(taught, patch):
    (gradients,) = lesson.voxel_gradients(taught.model, patch, (1.0,))
    share = lesson.zeros_in(gradients, "float16")
    assert 0.05 < share < 1
    assert share == lesson.too_small(gradients)
    assert lesson.zeros_in(gradients, "bfloat16") == 0


def test_the_tie_at_half_the_smallest_number_becomes_zero():
    edge = np.float32([2.0**-25, np.nextafter(np.float32(2.0**-25), np.float32(1)), 0, -(2.0**-26)])
    assert lesson.zeros_in(edge, "float16") == lesson.too_small(edge) == 0.5


def test_more_copies_mean_smaller_gradients_in_proportion(taught, patch):
    one, many = (lesson.voxel_gradients(taught.model, patch, (1.0,), n)[0] for n in (1, 64))
    largest = np.abs(one).max()
    np.testing.assert_allclose(many * 64, one, atol=1e-3 * largest)


def test_zeros_with_a_scale_follow_the_rule(taught, patch):
    assert gap(taught, patch) == 0


def test_the_rule_breaks_if_the_loss_is_not_scaled(taught, patch, no_scale):
    assert gap(taught, patch) > 0.01


def test_tf32_is_float16_s_rounding_with_a_wider_range():
    values = np.random.default_rng(0).normal(size=1000).astype(np.float32)
    tiny = np.float32(2.0**-60)
    by_float16 = values.astype(np.float16).astype(np.float32)
    normal = np.abs(values) > 2.0**-13
    np.testing.assert_array_equal(lesson.rounded_to_tf32(values)[normal], by_float16[normal])
    np.testing.assert_array_equal(
        lesson.rounded_to_tf32(values * tiny), lesson.rounded_to_tf32(values) * tiny
    )


@pytest.mark.parametrize(("name", "mantissa"), [("float16", 10), ("tf32", 10), ("bfloat16", 7)])
def test_rounding_errors_are_those_of_the_mantissa(name, mantissa):
    values = np.random.default_rng(0).uniform(1, 2, 10000).astype(np.float32)
    bound = 2.0 ** -(mantissa + 1)
    assert 0.9 * bound < lesson.rounding_error(values, name) <= bound


def test_gradients_of_float16_are_close_to_float32_s(taught, patch):
    assert lesson.gradient_error(lesson.new_learner("float16"), taught, patch) < 0.2


def test_gradients_that_are_not_unscaled_are_far_off(taught, patch, not_unscaled):
    assert lesson.gradient_error(lesson.new_learner("float16"), taught, patch) > 100


def test_gradients_of_a_loss_that_is_not_scaled_are_far_off(taught, patch, no_scale):
    assert lesson.gradient_error(lesson.new_learner("float16"), taught, patch) > 0.9


def test_in_a_large_patch_the_scale_decides(taught, patch):
    learner = lesson.new_learner("float16")
    without, scaled = (
        lesson.gradient_error(lesson.as_in_a_large_patch(learner, scale), taught, patch)
        for scale in (1.0, precision.INITIAL_SCALE)
    )
    assert without > 3 * scaled


def dynamic():
    """A float16 learner whose scale grows soon."""
    return lesson.new_learner("float16", growth_steps=lesson.GROWTH_STEPS)


def test_an_overflow_is_skipped_and_the_scale_recovers(patch):
    records = lesson.overflow_record(dynamic(), patch, PLANTED)
    assert lesson.scales_of(records) == "1, 0.5, 0.5, 1"
    assert lesson.change_in(records, planted=True) == 0
    assert lesson.change_in(records, planted=False) > 1e-6


def test_without_loss_scaling_an_overflow_ruins_the_weights(patch, no_loss_scaling):
    records = lesson.overflow_record(dynamic(), patch, PLANTED)
    assert lesson.scales_of(records) == "1, 1, 1, 1"
    assert not lesson.change_in(records, planted=True) <= 0  # NaN keeps no bound


def test_updates_arrive_in_master_weights():
    assert lesson.smallest_arrival(lesson.new_learner("float16").model) >= 0.99


def test_updates_are_lost_in_weights_of_float16(weights_in_float16):
    model = lesson.new_learner("float16").model
    assert {layer.variable_dtype for layer in model.layers if "Conv" in type(layer).__name__} == {
        "float16"
    }
    assert lesson.smallest_arrival(model) < 0.1


def test_the_rule_finds_the_weights_that_are_stuck():
    weights = lesson.kernels_of(lesson.new_learner("float16").model)
    stuck = lesson.stuck_in_float16(weights)
    assert 0.5 < stuck.mean() < 1
    np.testing.assert_array_equal(stuck, lesson.stuck_by_rule(weights))


def test_the_policy_keeps_weights_norms_and_logits_in_float32():
    rows = lesson.precisions(lesson.new_learner("float16").model)
    assert ("Conv3D", "float32", "float16") in rows
    assert ("InstanceNormalization", "float32", "float32") in rows
    assert ("Activation", "–", "float32") in rows


def test_every_convolution_computes_in_float16():
    assert lesson.convolutions_not_in(lesson.new_learner("float16").model, "float16") == 0


def test_a_network_that_stays_in_float32_is_noticed(monkeypatch):
    monkeypatch.setattr(Blocks, "policy", property(lambda blocks: "float32"))
    model = lesson.new_learner("float16").model
    # Two on the way in, two at the bottom, one up, two on the way out and the head.
    assert lesson.convolutions_not_in(model, "float16") == 2 + 2 + 1 + 2 + 1


def trained(name, patch):
    return lesson.train(lesson.new_learner(name), patch, FEW_STEPS)


@pytest.mark.slow
def test_losses_agree(patch):
    difference = lesson.largest_difference(trained("float32", patch), trained("float16", patch))
    assert difference <= 1e-2


@pytest.mark.slow
def test_losses_of_unscaled_and_scaled_training_do_not_agree_without_the_scale(patch, no_scale):
    whole, half = trained("float32", patch), trained("float16", patch)
    assert lesson.largest_difference(whole, half) > 1e-2


def test_a_nan_in_a_loss_is_no_agreement():
    assert np.isnan(lesson.largest_difference([1.0, 2.0], [1.0, np.nan]))


def test_published_gains_are_those_that_the_text_tells():
    gains = {gpu: [e.gain for e in figures.PUBLISHED if e.gpu == gpu] for gpu in ("A100", "V100")}
    assert [round(min(each), 1) for each in gains.values()] == [2.3, 5.2]
    assert [round(max(each), 1) for each in gains.values()] == [2.6, 5.8]


def test_figures_can_be_drawn(taught, patch):
    gradients = lesson.voxel_gradients(taught.model, patch, (1.0,), copies=1)[0]
    assert len(figures.gradients_figure(gradients, gradients / 512, 2.0**15).axes) == 3
    assert figures.scales_figure([1, 0.5], [False, True]).axes
    assert figures.losses_figure([1, 0.5], [1, 0.6]).axes
    assert figures.published_figure().axes


def test_every_size_of_a_gradient_lies_in_a_zone_with_a_name():
    panel = figures.gradients_figure(np.ones(1), np.ones(1), 1.0).axes[0]
    names = [text.get_text() for text in panel.get_legend().get_texts()]
    assert names == ["becomes 0", "fewer digits", "full precision", "becomes ∞"]
    zones = {patch.get_label(): patch.get_extents() for patch in panel.patches}
    edges = [panel.transData.inverted().transform(zones[name]) for name in names]
    starts, ends = ([edge[corner][0] for edge in edges] for corner in (0, 1))
    np.testing.assert_allclose(starts[1:], ends[:-1])
    assert starts[0] <= panel.get_xlim()[0]
    assert ends[-1] >= panel.get_xlim()[1] - 1e-9


def test_float32_has_no_scale():
    assert lesson.new_learner("float32").scale == 1
    assert lesson.new_learner("float16").scale == precision.INITIAL_SCALE
    assert tf.keras.mixed_precision.global_policy().name == "float32"
