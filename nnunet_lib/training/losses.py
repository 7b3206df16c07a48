"""Cross-entropy, soft Dice, and their mean over the heads of deep supervision.

Taught in lesson 05. Logits are (batch, *spatial, classes); labels (batch, *spatial, 1),
integers.
"""

from collections.abc import Sequence

import tensorflow as tf

DICE_SMOOTHING = 1e-5


def cross_entropy(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Mean cross-entropy over all voxels, every class included: a scalar."""
    labels = tf.cast(labels[..., 0], tf.int32)  # (batch, *spatial)
    return tf.reduce_mean(
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)
    )


def soft_dice_sums(
    logits: tf.Tensor, labels: tf.Tensor, include_background: bool = False
) -> tuple[tf.Tensor, tf.Tensor]:
    """The two sums that the Dice ratio is made of, a class, over the whole batch.

    Returns:
        2 Σ p g and Σ p + Σ g, each of shape (classes,), without the background unless wanted.
        Sums of several shards of a batch add up to the sums of the batch; ratios do not.
    """
    first = 0 if include_background else 1
    probabilities = tf.nn.softmax(logits)[..., first:]  # (batch, *spatial, classes)
    truth = tf.one_hot(labels[..., 0], logits.shape[-1], dtype=logits.dtype)[..., first:]
    axes = list(range(len(logits.shape) - 1))  # batch and space
    overlap = 2 * tf.reduce_sum(probabilities * truth, axes)
    return overlap, tf.reduce_sum(probabilities, axes) + tf.reduce_sum(truth, axes)


def soft_dice(logits: tf.Tensor, labels: tf.Tensor, include_background: bool = False) -> tf.Tensor:
    """Soft Dice of the batch, mean over classes: a scalar between 0 and 1.

    D = (2 Σ p g + s) / (Σ p + Σ g + s), with s so small that it only decides what a class
    absent from both sides scores: 1. (Drozdzal et al., arXiv:1608.04117; batch reduction as
    in nnU-Net.)
    """
    overlap, size = soft_dice_sums(logits, labels, include_background)
    return tf.reduce_mean((overlap + DICE_SMOOTHING) / (size + DICE_SMOOTHING))


def segmentation_loss(
    logits: tf.Tensor, labels: tf.Tensor, include_background: bool = False
) -> tf.Tensor:
    """(cross-entropy + 1 - soft Dice) / 2 for one head: a scalar."""
    dice_loss = 1 - soft_dice(logits, labels, include_background)
    return (cross_entropy(logits, labels) + dice_loss) / 2


def deep_supervision_weights(heads: int) -> tuple[float, ...]:
    """Weights 1, 1/2, 1/4, ... divided by their sum, so that they add up to one."""
    weights = [0.5**index for index in range(heads)]
    return tuple(weight / sum(weights) for weight in weights)


def subsample(labels: tf.Tensor, strides: Sequence[int]) -> tf.Tensor:
    """The label at the middle of each block of `strides` voxels: the grid of a coarser head."""
    middles = [slice(None), *(slice(step // 2, None, step) for step in strides)]
    return labels[tuple(middles)]


def deep_supervision_loss(
    logits: Sequence[tf.Tensor],
    labels: tf.Tensor,
    strides: Sequence[Sequence[int]],
    include_background: bool = False,
) -> tf.Tensor:
    """The weighted sum of the heads' losses, each against labels on its own grid: a scalar.

    Args:
        logits: one tensor a head, finest first.
        labels: (batch, *patch, 1).
        strides: voxels of the patch that one voxel of each head spans, an axis.
        include_background: whether the background counts as a class in Dice.
    """
    losses = [
        segmentation_loss(head, subsample(labels, step), include_background)
        for head, step in zip(logits, strides, strict=True)
    ]
    weights = deep_supervision_weights(len(losses))
    return tf.add_n([weight * loss for weight, loss in zip(weights, losses, strict=True)])
