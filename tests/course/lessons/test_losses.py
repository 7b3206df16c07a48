"""Lesson 05's claims fail when the library is broken in the way that they speak of."""

from dataclasses import replace

import numpy as np
import pytest
import tensorflow as tf

from nnunet_lib.course.lessons import losses, losses_figures
from nnunet_lib.evaluation import surface
from nnunet_lib.model import unet
from nnunet_lib.training import cross_entropy, deep_supervision_weights, soft_dice
from nnunet_lib.training import losses as library

LABELS = ("background", "one", "two")


@pytest.fixture(scope="module")
def scan():
    """A bright bar of two halves in noise: image and label (z, y, x)."""
    label = np.zeros((24, 28, 20), np.uint8)
    label[8:14, 9:15, 6:11], label[8:14, 15:20, 6:11] = 1, 2
    return label + np.random.default_rng(0).normal(0.0, 0.3, label.shape), label


@pytest.fixture
def flat(scan):
    plan = losses.flat_plan(LABELS)
    return losses.Supervised(plan, *losses.structure_patch(*scan, plan))


# Gradients -------------------------------------------------------------------------------------


def test_both_gradients_are_those_of_finite_differences():
    assert losses.gradient_error(cross_entropy, losses.numpy_cross_entropy, 3) < 1e-5
    assert losses.gradient_error(soft_dice, losses.numpy_soft_dice, 3) < 1e-5


def test_classes_that_are_absent_have_the_right_gradient_too():
    assert losses.gradient_error(soft_dice, losses.numpy_soft_dice, 100) < 1e-5  # of 24 voxels


def test_a_smoothing_that_is_not_the_lesson_s_is_noticed(monkeypatch):
    monkeypatch.setattr(library, "DICE_SMOOTHING", 1e-3)
    assert losses.gradient_error(soft_dice, losses.numpy_soft_dice, 100) > 1e-5


def test_a_loss_that_adds_up_voxels_in_place_of_a_mean_is_noticed():
    def added(logits, labels):
        return 24 * cross_entropy(logits, labels)

    assert losses.gradient_error(added, losses.numpy_cross_entropy, 3) > 1


def test_a_dice_with_background_is_noticed():
    def with_background(logits, labels):
        return soft_dice(logits, labels, include_background=True)

    assert losses.gradient_error(with_background, losses.numpy_soft_dice, 3) > 0.1


def test_a_dice_whose_size_has_no_gradient_is_noticed(monkeypatch):
    real = library.soft_dice_sums

    def constant_size(*arguments):
        overlap, size = tf.unstack(real(*arguments))
        return tf.stack([overlap, tf.stop_gradient(size)])

    monkeypatch.setattr(library, "soft_dice_sums", constant_size)
    assert losses.gradient_error(soft_dice, losses.numpy_soft_dice, 3) > 0.1


# Doubt -----------------------------------------------------------------------------------------


def test_the_world_is_what_the_lesson_says():
    marks, labels = losses.marked_voxels()
    assert marks.mean() == pytest.approx(0.03)
    assert labels[0, marks == 1].mean() == pytest.approx(1 / 3)
    assert labels[0, marks == 0].sum() == 0


def test_cross_entropy_is_honest_and_dice_is_decided():
    honest = losses.converged(losses.LOSSES["cross-entropy"])
    assert (honest.marked, honest.dice) == (pytest.approx(1 / 3, abs=0.01), 0)
    decided = losses.converged(losses.LOSSES["1 - soft Dice"])
    assert (decided.marked, decided.dice) == (pytest.approx(1, abs=0.01), pytest.approx(0.5))


def test_cross_entropy_that_weighs_foreground_is_noticed(monkeypatch):
    real = library._surprise

    def weighted(log_probabilities, truth):
        return real(log_probabilities, truth) * (6 - 5 * truth[0])

    monkeypatch.setattr(library, "_surprise", weighted)
    belief = losses.converged(cross_entropy)
    assert abs(belief.marked - 1 / 3) > 0.1
    assert belief.dice > 0


def test_dice_of_each_voxel_by_itself_is_noticed(monkeypatch):
    def by_voxel(logits, labels, include_background=False):
        p = tf.nn.softmax(logits)[..., 1]  # (batch, voxel)
        g = tf.cast(labels[..., 0], tf.float32)
        return tf.reduce_mean((2 * p * g + 1) / (p + g + 1))

    monkeypatch.setattr(losses, "soft_dice", by_voxel)
    assert losses.converged(losses.LOSSES["1 - soft Dice"]).marked < 0.9


# Deep supervision ------------------------------------------------------------------------------


@pytest.mark.parametrize("heads", [1, 2, 3, 5])
def test_the_weights_halve_and_sum_to_one(heads):
    assert losses.uneven_weights(deep_supervision_weights(heads)) < 1e-12


def test_weights_that_sum_to_less_are_noticed():
    assert losses.uneven_weights([1 / 1.875, 0.5 / 1.875, 0.25 / 1.875]) > 0.01
    assert losses.uneven_weights([1, 0.5, 0.25]) > 0.1


def test_a_patch_lies_around_the_structures(scan):
    for plan in (losses.flat_plan(LABELS), losses.supervised_plan(LABELS)):
        image, label = losses.structure_patch(*scan, plan)
        assert image.shape == label.shape == (1, *plan.patch_size, 1)
        assert set(np.unique(label)) == {0, 1, 2}


def test_the_total_is_the_weighted_sum_and_nothing_goes_up(flat):
    assert losses.weighted_sum_error(flat) < 1e-6
    assert losses.sent_to_finer_levels(flat) == 0
    assert len(flat.finer_than(2)) == 2 * (2 + 4 + 2)  # transposed, two convolutions, head


def test_weights_of_nvidia_s_sum_are_noticed(flat, monkeypatch):
    monkeypatch.setattr(
        library, "deep_supervision_weights", lambda heads: (1 / 1.875, 0.5 / 1.875, 0.25 / 1.875)
    )
    assert losses.weighted_sum_error(flat) > 0.05


def test_labels_taken_from_the_corner_of_each_block_are_noticed(flat, monkeypatch):
    def corner(labels, strides):
        return labels[(slice(None), *(slice(None, None, step) for step in strides))]

    monkeypatch.setattr(library, "subsample", corner)
    assert losses.weighted_sum_error(flat) > 1e-3


def test_a_head_that_reads_a_finer_level_is_noticed(flat, monkeypatch):
    real = unet._decode

    def leaking(*arguments):
        finest, *others = real(*arguments)
        return [finest, *(level + 1e-3 * tf.reduce_mean(finest) for level in others)]

    monkeypatch.setattr(unet, "_decode", leaking)
    leaky = losses.Supervised(flat.plan, flat.image, flat.label)
    assert losses.sent_to_finer_levels(leaky) > 0


@pytest.mark.slow
def test_heads_double_the_deepest_gradient_and_a_finest_head_alone_does_not(scan, monkeypatch):
    plan = losses.supervised_plan(LABELS)
    learner = losses.Supervised(plan, *losses.structure_patch(*scan, plan))
    assert losses.median_gain(learner) >= 2
    monkeypatch.setattr(library, "deep_supervision_weights", lambda heads: (1.0, 0.0))
    assert losses.median_gain(learner, seeds=(0, 1)) == pytest.approx(1, rel=1e-3)


def test_norms_are_taken_level_by_level(flat):
    ones = [np.ones(variable.shape) for variable in flat.model.trainable_variables]
    sizes = [v.shape.num_elements() for v in flat.model.trainable_variables if "up_2_" in v.name]
    assert flat.decoder_norm(ones, 2) == pytest.approx(sum(sizes) ** 0.5)
    alone, total = losses.decoder_norms(flat)
    assert len(alone) == len(total) == 3


# Metrics ---------------------------------------------------------------------------------------

PAIRS = losses.hand_made_pairs()


def test_scores_are_those_by_hand():
    assert losses.dice_error(PAIRS) < 1e-12
    assert losses.hd95_error(PAIRS) < 1e-9
    assert losses.surface_dice_error(PAIRS) < 1e-12


def test_the_jaccard_index_in_place_of_dice_is_noticed(monkeypatch):
    def jaccard(prediction, truth):
        return ((prediction & truth) > 0).sum() / ((prediction | truth) > 0).sum()

    monkeypatch.setattr(losses, "dice", jaccard)
    assert losses.dice_error(PAIRS) > 0.05


def test_distances_in_voxels_are_noticed():
    assert losses.hd95_error([replace(PAIRS[0], spacing=(1.0, 1.0, 1.0))]) == pytest.approx(2)


def test_whole_masks_in_place_of_surfaces_are_noticed(monkeypatch):
    monkeypatch.setattr(surface, "surface_of", lambda mask: mask)
    assert losses.surface_dice_error(PAIRS) > 0.01
    assert losses.hd95_error(PAIRS) > 0.1


def test_a_percentile_of_both_directions_together_is_noticed(monkeypatch):
    real = surface._distances

    def pooled(start, goal, spacing):
        return np.concatenate([real(start, goal, spacing), real(goal, start, spacing)])

    monkeypatch.setattr(surface, "_distances", pooled)
    assert losses.hd95_error(PAIRS) > 0.1


# Pictures --------------------------------------------------------------------------------------


def test_pictures_have_a_panel_for_each_loss_and_pair():
    probabilities = np.linspace(0.1, 0.9, 9)
    curves = losses.losses_by_probability(probabilities)
    figure = losses_figures.loss_figure(probabilities, curves)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles[0] == "cross-entropy: least at p = 0.30"
    assert titles[1] == "1 - soft Dice: least at p = 0.90"
    assert len(losses_figures.pairs_figure(PAIRS).axes) == len(PAIRS)
