"""Losses against hand-computed values, finite differences, and independent NumPy code."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import pytest
import tensorflow as tf

from nnunet_lib.distributed import ALONE, Ranks
from nnunet_lib.training import (
    LossSettings,
    cross_entropy,
    deep_supervision_loss,
    deep_supervision_weights,
    focal_loss,
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


def numpy_focal(logits: np.ndarray, gamma: float = 2.0) -> float:
    """With gamma 0, cross-entropy: minus the log of the true class."""
    true = np.take_along_axis(probabilities(logits), LABELS.astype(int), axis=-1)
    return float(np.mean(-((1 - true) ** gamma) * np.log(true)))


def numpy_dice(logits: np.ndarray, include_background: bool = False) -> float:
    shares = []
    for label in range(0 if include_background else 1, 3):
        p, g = probabilities(logits)[..., label], (LABELS[..., 0] == label)
        shares.append(2 * (p * g).sum() / (p.sum() + g.sum()))
    return float(np.mean(shares))


def test_cross_entropy_is_minus_the_log_of_the_true_class() -> None:
    expected = numpy_focal(LOGITS, gamma=0)
    assert cross_entropy(LOGITS, LABELS).numpy() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("include_background", [False, True])
def test_soft_dice_is_the_ratio_of_sums_over_the_batch(include_background: bool) -> None:
    result = soft_dice(LOGITS, LABELS, include_background).numpy()
    assert result == pytest.approx(numpy_dice(LOGITS, include_background), rel=1e-5)


@pytest.mark.parametrize("gamma", [0.5, 2.0, 5.0])
def test_focal_loss_is_that_of_the_paper(gamma: float) -> None:
    result = focal_loss(LOGITS, LABELS, gamma).numpy()
    assert result == pytest.approx(numpy_focal(LOGITS, gamma), rel=1e-5)


def test_focal_loss_by_hand() -> None:
    # True-class probabilities 0.9 and 0.5: (0.01 · 0.10536 + 0.25 · 0.69315) / 2.
    logits = np.log([[[0.9, 0.1], [0.5, 0.5]]]).astype(np.float32)
    labels = np.array([[[0], [1]]])
    assert focal_loss(logits, labels).numpy() == pytest.approx(0.0871703, rel=1e-5)


def test_focal_loss_at_gamma_0_is_cross_entropy_with_its_gradient() -> None:
    logits = tf.concat([LOGITS, 200 * tf.one_hot(LABELS[..., 0], 3)], axis=0)  # sure ones too
    labels = tf.concat([LABELS, LABELS], axis=0)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(logits)
        values = focal_loss(logits, labels, gamma=0.0), cross_entropy(logits, labels)
    assert values[0].numpy() == pytest.approx(values[1].numpy(), rel=1e-6)
    first, second = (tape.gradient(value, logits).numpy() for value in values)
    np.testing.assert_allclose(first, second, atol=1e-9)


def test_focal_loss_lets_easy_voxels_go_and_keeps_hard_ones() -> None:
    easy, hard = (np.array([[[sign * 4.0, 0.0]]], np.float32) for sign in (1, -1))
    labels = np.zeros((1, 1, 1), np.uint8)
    assert focal_loss(easy, labels) < 1e-3 * cross_entropy(easy, labels)
    assert focal_loss(hard, labels) > 0.9 * cross_entropy(hard, labels)


@pytest.mark.parametrize("focal", [False, True])
@pytest.mark.parametrize("include_background", [False, True])
def test_the_loss_is_the_mean_of_its_two_parts(focal: bool, include_background: bool) -> None:
    settings = LossSettings(include_background, focal)
    voxels = numpy_focal(LOGITS, gamma=2.0 if focal else 0.0)
    expected = (voxels + 1 - numpy_dice(LOGITS, include_background)) / 2
    result = segmentation_loss(LOGITS, LABELS, settings).numpy()
    assert result == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_losses_are_computed_in_float32_whatever_arrives(dtype: tf.DType) -> None:
    logits = tf.cast(RANDOM.normal(size=(2, 512, 512, 2)), dtype)  # sums beyond float16's 65504
    labels = tf.ones((2, 512, 512, 1), tf.uint8)
    for focal in (False, True):
        settings = LossSettings(focal=focal)
        value = segmentation_loss(logits, labels, settings)
        assert value.dtype == tf.float32
        expected = segmentation_loss(tf.cast(logits, tf.float32), labels, settings)
        assert value.numpy() == expected.numpy()


def test_no_logit_is_too_large() -> None:
    logits, labels = tf.constant([[[1e4, -1e4], [1e4, -1e4]]]), tf.constant([[[0], [1]]])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        losses = cross_entropy(logits, labels), soft_dice(logits, labels)
    gradients = tape.gradient(losses, logits).numpy()
    assert [float(loss) for loss in losses] == pytest.approx([1e4, 0], abs=1e-3)
    np.testing.assert_allclose(gradients, [[[0, 0], [0.5, -0.5]]], atol=1e-6)


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


@pytest.mark.parametrize(
    ("loss", "reference"),
    [
        (cross_entropy, lambda logits: numpy_focal(logits, gamma=0.0)),
        (focal_loss, numpy_focal),
        (soft_dice, numpy_dice),
        (segmentation_loss, lambda x: (numpy_focal(x, gamma=0.0) + 1 - numpy_dice(x)) / 2),
    ],
)
def test_gradients_agree_with_finite_differences_of_numpys(
    loss: Callable[..., tf.Tensor], reference: Callable[[np.ndarray], float]
) -> None:
    logits = tf.constant(LOGITS)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = loss(logits, LABELS)
    gradient = tape.gradient(value, logits).numpy()
    direction, step = np.random.default_rng(1).normal(size=LOGITS.shape), 1e-6
    ahead, behind = (reference(LOGITS + sign * step * direction) for sign in (1, -1))
    assert (gradient * direction).sum() == pytest.approx((ahead - behind) / (2 * step), rel=1e-4)


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


# A batch that several ranks share -------------------------------------------------------------

STRIDES = [(1, 1), (2, 2)]
IMAGES = RANDOM.normal(size=(4, 8, 8, 2)).astype(np.float32)
# Two thirds foreground in the first half of the batch, a sixteenth in the second.
TRUTH = np.where(np.arange(4)[:, None, None, None] < 2, RANDOM.integers(0, 3, (4, 8, 8, 1)),
                 RANDOM.integers(0, 32, (4, 8, 8, 1)) // 30).astype(np.uint8)  # fmt: skip
WEIGHTS = RANDOM.normal(size=(2, 3)).astype(np.float32)
HALVES = (slice(0, 2), slice(2, 4))


@dataclass(frozen=True)
class OneOfTwo(Ranks):
    """A rank that is told what the other one adds.

    Both ranks' losses depend alike on the total, so the gradients that Horovod sums are equal.
    """

    others: tf.Tensor | None = None
    asked: list[tf.Tensor] = field(default_factory=list)

    def total(self, tensor: tf.Tensor) -> tf.Tensor:
        self.asked.append(tensor)
        if self.others is None:
            return tensor

        @tf.custom_gradient
        def add(own: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
            return own + self.others, lambda gradient: 2 * gradient

        return add(tensor)


def loss_and_gradient(part: slice, settings: LossSettings, ranks: Ranks) -> tuple[float, tf.Tensor]:
    """Of a linear network with a fine and a coarse head, on a part of the batch."""
    weights = tf.constant(WEIGHTS)
    with tf.GradientTape() as tape:
        tape.watch(weights)
        fine = tf.constant(IMAGES[part]) @ weights
        coarse = -tf.constant(IMAGES[part][:, ::2, ::2]) @ weights
        loss = deep_supervision_loss([fine, coarse], TRUTH[part], STRIDES, settings, ranks)
    return float(loss), tape.gradient(loss, weights)


def relative_error(value: tf.Tensor, expected: tf.Tensor) -> float:
    return float(tf.norm(value - expected) / tf.norm(expected))


@pytest.mark.parametrize("settings", [LossSettings(), LossSettings(True, True)])
def test_two_ranks_have_the_loss_and_gradient_of_the_whole_batch(settings: LossSettings) -> None:
    loss, gradient = loss_and_gradient(slice(0, 4), settings, ALONE)
    listeners = OneOfTwo(size=2), OneOfTwo(size=2)
    for half, listener in zip(HALVES, listeners, strict=True):
        loss_and_gradient(half, settings, listener)
    ranks = [OneOfTwo(size=2, others=listener.asked[0]) for listener in reversed(listeners)]
    losses, gradients = zip(
        *(loss_and_gradient(*each) for each in zip(HALVES, [settings] * 2, ranks, strict=True)),
        strict=True,
    )
    assert np.mean(losses) == pytest.approx(loss, rel=1e-6)
    assert relative_error(sum(gradients) / 2, gradient) < 1e-5
    assert [len(rank.asked) for rank in ranks] == [1, 1]  # one exchange for all heads


def test_dice_of_each_rank_alone_gives_another_gradient() -> None:
    _, gradient = loss_and_gradient(slice(0, 4), LossSettings(), ALONE)
    local = [loss_and_gradient(half, LossSettings(), ALONE)[1] for half in HALVES]
    assert relative_error(sum(local) / 2, gradient) > 1e-3
