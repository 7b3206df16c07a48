"""One training step: loss, gradients averaged over ranks and clipped, update.

Taught in lessons 05 and 06.
"""

from collections.abc import Callable

import tensorflow as tf

from nnunet_lib.distributed import ALONE, Ranks
from nnunet_lib.model import head_strides
from nnunet_lib.planning import Plan
from nnunet_lib.training.losses import deep_supervision_loss
from nnunet_lib.training.optimisers import add_weight_decay, l2_factor
from nnunet_lib.training.settings import TrainingSettings

Step = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]


def make_step(
    model: tf.keras.Model,
    optimiser: tf.keras.optimizers.Optimizer,
    plan: Plan,
    settings: TrainingSettings,
    ranks: Ranks = ALONE,
) -> Step:
    """One training step as a compiled graph: (image, label) -> loss, a scalar.

    The image is (batch, *patch, channels) float32, the label (batch, *patch, 1) uint8. With
    several ranks each gives its own part of the batch; loss, gradients and update are those of
    the whole.
    """
    strides = head_strides(plan, len(model.outputs))
    variables = model.trainable_variables
    optimiser.build(variables)

    @tf.function(reduce_retracing=True)
    def step(image: tf.Tensor, label: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = model(image, training=True)
            logits = logits if isinstance(logits, list) else [logits]
            loss = deep_supervision_loss(logits, label, strides, settings.loss, ranks)
        gradients = ranks.gradient_tape(tape).gradient(loss, variables)
        gradients, _ = tf.clip_by_global_norm(gradients, settings.gradient_clip)
        gradients = add_weight_decay(gradients, variables, l2_factor(settings))
        optimiser.apply_gradients(zip(gradients, variables, strict=True))
        return ranks.total(loss) / ranks.size

    return step
