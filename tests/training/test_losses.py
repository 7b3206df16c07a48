"""Losses against hand-computed values, finite differences, and independent NumPy code."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from nnunet_lib.training import (
    cross_entropy,
    deep_supervision_loss,
    deep_supervision_weights,
    segmentation_loss,
    soft_dice,
    soft_dice_sums,
    subsample,
)

RANDOM = np.random.default_rng(0)
LOGITS = RANDOM.normal(size=(2, 4, 3, 5, 3)).astype(np.float32)
LABELS = RANDOM.integers(0, 3, (2, 4, 3, 5, 1)).astype(np.uint8)


def probabilities(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits.astype(np.float64))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def test_cross_entropy_is_minus_the_log_of_the_true_class() -> None:
    chosen = np.take_along_axis(probabilities(LOGITS), LABELS.astype(int), axis=-1)
    expected = -np.log(chosen).mean()
    assert cross_entropy(LOGITS, LABELS).numpy() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("include_background", [False, True])
def test_soft_dice_is_the_ratio_of_sums_over_the_batch(include_background: bool) -> None:
    classes = range(0 if include_background else 1, 3)
    shares = []
    for label in classes:
        p, g = probabilities(LOGITS)[..., label], (LABELS[..., 0] == label)
        shares.append(2 * (p * g).sum() / (p.sum() + g.sum()))
    result = soft_dice(LOGITS, LABELS, include_background).numpy()
    assert result == pytest.approx(np.mean(shares), rel=1e-4)


def test_perfect_and_opposite_predictions_score_1_and_0() -> None:
    sure = 50 * np.eye(3, dtype=np.float32)[LABELS[..., 0]]
    wrong = 50 * np.eye(3, dtype=np.float32)[(LABELS[..., 0] + 1) % 3]
    assert soft_dice(sure, LABELS).numpy() == pytest.approx(1, abs=1e-5)
    assert soft_dice(wrong, LABELS).numpy() == pytest.approx(0, abs=1e-5)
    assert segmentation_loss(sure, LABELS).numpy() == pytest.approx(0, abs=1e-5)


def test_a_class_absent_from_both_sides_costs_nothing() -> None:
    labels = np.zeros_like(LABELS)
    sure = 80 * np.eye(3, dtype=np.float32)[labels[..., 0]]
    assert soft_dice(sure, labels).numpy() == pytest.approx(1, abs=1e-3)


def test_dice_sums_of_shards_add_up_and_ratios_do_not() -> None:
    whole = soft_dice_sums(LOGITS, LABELS)
    shards = [soft_dice_sums(LOGITS[i : i + 1], LABELS[i : i + 1]) for i in range(2)]
    for index in range(2):
        added = shards[0][index] + shards[1][index]
        np.testing.assert_allclose(whole[index], added, rtol=1e-5)
    ratios = [soft_dice(LOGITS[i : i + 1], LABELS[i : i + 1]).numpy() for i in range(2)]
    assert abs(np.mean(ratios) - soft_dice(LOGITS, LABELS).numpy()) > 1e-5


@pytest.mark.parametrize("loss", [cross_entropy, soft_dice, segmentation_loss])
def test_gradients_agree_with_finite_differences(loss: object) -> None:
    logits = tf.constant(LOGITS.astype(np.float64))
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = loss(logits, LABELS)
    gradient = tape.gradient(value, logits).numpy()
    direction = RANDOM.normal(size=LOGITS.shape)
    step = 1e-6
    ahead, behind = (loss(logits + sign * step * direction, LABELS) for sign in (1, -1))
    expected = (ahead - behind).numpy() / (2 * step)
    assert (gradient * direction).sum() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("heads", [1, 2, 3, 5])
def test_deep_supervision_weights_halve_and_sum_to_one(heads: int) -> None:
    weights = deep_supervision_weights(heads)
    assert sum(weights) == pytest.approx(1, abs=1e-12)
    assert all(a == pytest.approx(2 * b) for a, b in itertools.pairwise(weights))


def test_deep_supervision_loss_is_the_weighted_sum_of_the_heads() -> None:
    fine = RANDOM.normal(size=(2, 8, 8, 4, 3)).astype(np.float32)
    coarse = RANDOM.normal(size=(2, 4, 4, 4, 3)).astype(np.float32)
    labels = RANDOM.integers(0, 3, (2, 8, 8, 4, 1)).astype(np.uint8)
    strides = [(1, 1, 1), (2, 2, 1)]
    total = deep_supervision_loss([fine, coarse], labels, strides).numpy()
    first = segmentation_loss(fine, labels).numpy()
    second = segmentation_loss(coarse, labels[:, 1::2, 1::2]).numpy()
    assert total == pytest.approx((2 * first + second) / 3, rel=1e-6)


def test_subsampled_labels_keep_a_centred_object_centred() -> None:
    labels = np.zeros((1, 16, 1), np.uint8)
    labels[:, 4:12] = 1
    assert subsample(tf.constant(labels), (4,)).numpy().ravel().tolist() == [0, 1, 1, 0]
