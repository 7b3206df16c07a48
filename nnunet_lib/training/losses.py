"""Cross-entropy or focal loss, soft Dice, and their mean over the heads of deep supervision.

Taught in lesson 05. Logits are (batch, *spatial, classes), of any precision; losses are computed
in float32. Labels are (batch, *spatial, 1), integers.
"""

from collections.abc import Sequence

import tensorflow as tf

from nnunet_lib.distributed import ALONE, Ranks
from nnunet_lib.training.settings import LossSettings

DICE_SMOOTHING = 1e-5
SMALLEST = 1e-7
"""The least that a probability counts as, about the spacing of float32 below 1."""
FOCAL_GAMMA = 2.0
"""Lin et al. found 2 to work best (arXiv:1708.02002, section 5.1)."""


def cross_entropy(logits: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
    """Mean cross-entropy over all voxels, every class included: a scalar."""
    return tf.reduce_mean(_surprise(*_class_rows(logits, labels)))


def focal_loss(logits: tf.Tensor, labels: tf.Tensor, gamma: float = FOCAL_GAMMA) -> tf.Tensor:
    """Mean over all voxels of -(1 - p)^γ log p, p being the true class's probability: a scalar.

    A voxel that is right already counts for little, and hard ones are left to learn from; γ = 0
    is cross-entropy. Lin et al., arXiv:1708.02002, equation 4, with a softmax over classes.
    """
    return _mean_of_hard(_surprise(*_class_rows(logits, labels)), gamma)


def soft_dice_sums(
    logits: tf.Tensor, labels: tf.Tensor, include_background: bool = False
) -> tf.Tensor:
    """The two sums that the Dice ratio is made of, a class, over the whole batch.

    Returns:
        2 Σ p g and Σ p + Σ g, of shape (2, classes), without the background unless wanted.
        Sums of several shards of a batch add up to the sums of the batch; ratios do not.
    """
    return _dice_sums(*_class_rows(logits, labels), include_background)


def dice_of_sums(sums: tf.Tensor) -> tf.Tensor:
    """Soft Dice, mean over classes: (..., 2, classes) -> (...).

    D = (2 Σ p g + s) / (Σ p + Σ g + s), with s so small that it only decides what a class
    absent from both sides scores: 1.
    """
    overlap, size = tf.unstack(sums, axis=-2)
    return tf.reduce_mean((overlap + DICE_SMOOTHING) / (size + DICE_SMOOTHING), axis=-1)


def soft_dice(logits: tf.Tensor, labels: tf.Tensor, include_background: bool = False) -> tf.Tensor:
    """Soft Dice of the batch, mean over classes: a scalar between 0 and 1.

    Drozdzal et al., arXiv:1608.04117; over the whole batch as NVIDIA has it. nnU-Net takes it so
    in 2D and where there is a cascade.
    """
    return dice_of_sums(soft_dice_sums(logits, labels, include_background))


def segmentation_loss(
    logits: tf.Tensor, labels: tf.Tensor, settings: LossSettings | None = None
) -> tf.Tensor:
    """(cross-entropy or focal loss + 1 - soft Dice) / 2 for one head: a scalar."""
    whole = (1,) * (len(logits.shape) - 2)
    return deep_supervision_loss([logits], labels, [whole], settings)


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
    settings: LossSettings | None = None,
    ranks: Ranks = ALONE,
) -> tf.Tensor:
    """The weighted sum of the heads' losses, each against labels on its own grid: a scalar.

    Dice is that of all ranks' batches together: their sums are added before the ratio, so that
    its gradient does not depend on how a batch is shared out. Cross-entropy is this rank's own;
    its mean over ranks is that of the whole batch, as all have equally many voxels.

    Args:
        logits: one tensor a head, finest first.
        labels: (batch, *patch, 1).
        strides: voxels of the patch that one voxel of each head spans, an axis.
        settings: which loss, of which classes; the defaults if not given.
        ranks: the processes that each have a part of the batch.
    """
    settings = settings or LossSettings()
    voxel_loss = _mean_of_hard if settings.focal else tf.reduce_mean
    grids = [subsample(labels, step) for step in strides]
    heads = [_class_rows(*head) for head in zip(logits, grids, strict=True)]
    voxels = tf.stack([voxel_loss(_surprise(*head)) for head in heads])  # (heads,)
    sums = tf.stack([_dice_sums(*head, settings.include_background) for head in heads])
    dice = dice_of_sums(ranks.total(sums))  # (heads, 2, classes) -> (heads,)
    weights = tf.constant(deep_supervision_weights(len(heads)))  # (heads,)
    return tf.reduce_sum(weights * (voxels + 1 - dice) / 2)


def _class_rows(logits: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Log-probabilities and truth, each with a row a class: both (classes, voxels).

    Everything after it goes along rows: TensorFlow's own softmax and cross-entropy, which take a
    voxel's few classes at a time, need about three times as long for three classes.
    """
    classes = logits.shape[-1]
    rows = tf.transpose(tf.reshape(tf.cast(logits, tf.float32), (-1, classes)))
    rows -= tf.stop_gradient(tf.reduce_max(rows, axis=0))  # so that no exponential overflows
    log_probabilities = rows - tf.math.log(tf.reduce_sum(tf.exp(rows), axis=0))
    truth = tf.one_hot(tf.reshape(labels, (-1,)), classes, axis=0)
    return log_probabilities, truth


def _surprise(log_probabilities: tf.Tensor, truth: tf.Tensor) -> tf.Tensor:
    """-log of the true class's probability: (classes, voxels) each -> (voxels,)."""
    return -tf.reduce_sum(log_probabilities * truth, axis=0)


def _mean_of_hard(surprise: tf.Tensor, gamma: float = FOCAL_GAMMA) -> tf.Tensor:
    """The focal loss of voxels with these -log p, (voxels,): a scalar."""
    wrong = -tf.math.expm1(-surprise)  # 1 - p, exact where p is close to 1
    # Above zero, where a power below 1 has no finite gradient.
    return tf.reduce_mean(tf.maximum(wrong, SMALLEST) ** gamma * surprise)


def _dice_sums(
    log_probabilities: tf.Tensor, truth: tf.Tensor, include_background: bool
) -> tf.Tensor:
    """As `soft_dice_sums`, of (classes, voxels) each: (2, classes)."""
    probabilities = tf.exp(log_probabilities)
    overlap = 2 * tf.reduce_sum(probabilities * truth, axis=1)
    size = tf.reduce_sum(probabilities, axis=1) + tf.reduce_sum(truth, axis=1)
    return tf.stack([overlap, size])[:, 0 if include_background else 1 :]
