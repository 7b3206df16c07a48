"""One training step: loss, gradients averaged over ranks and clipped, update.

Taught in lessons 05, 06, 07 and 09.
"""

from collections.abc import Callable

import tensorflow as tf

from nnunet_lib.distributed import ALONE, Ranks
from nnunet_lib.model import head_strides, training_forward
from nnunet_lib.planning import Plan
from nnunet_lib.training.losses import deep_supervision_loss
from nnunet_lib.training.optimisers import add_weight_decay, l2_factor
from nnunet_lib.training.precision import scaled, unscaled
from nnunet_lib.training.settings import TrainingSettings

Step = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
Gradients = Callable[[tf.Tensor, tf.Tensor], tuple[tf.Tensor, list[tf.Tensor]]]


def make_gradients(
    model: tf.keras.Model,
    optimiser: tf.keras.optimizers.Optimizer,
    plan: Plan,
    settings: TrainingSettings,
    ranks: Ranks = ALONE,
) -> Gradients:
    """The loss and its gradients: (image, label) -> (a scalar, one tensor a trainable variable).

    Both are those of all ranks' batches together, as if one process had seen them all; but not with
    batch norm, whose statistics are each rank's own. With float16 the loss is scaled before it is
    differentiated, and the gradients are scaled back.
    """
    strides = head_strides(plan, len(model.outputs))
    network = training_forward(model, settings.compute.xla)
    variables = model.trainable_variables

    def gradients_of(image: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            logits = network(image)  # one (batch, *grid, classes) a head
            loss = deep_supervision_loss(logits, label, strides, settings.loss, ranks)
            objective = scaled(loss, optimiser)
        gradients = ranks.gradient_tape(tape).gradient(objective, variables)
        return ranks.total(loss) / ranks.size, unscaled(gradients, optimiser)

    return gradients_of


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
    the whole, but for batch norm (see `make_gradients`).
    """
    gradients_of = make_gradients(model, optimiser, plan, settings, ranks)
    variables = model.trainable_variables
    optimiser.build(variables)

    @tf.function(reduce_retracing=True, autograph=False)  # no branch here depends on a tensor
    def step(image: tf.Tensor, label: tf.Tensor) -> tf.Tensor:
        loss, gradients = gradients_of(image, label)
        gradients, _ = tf.clip_by_global_norm(gradients, settings.gradient_clip)
        gradients = add_weight_decay(gradients, variables, l2_factor(settings))
        optimiser.apply_gradients(zip(gradients, variables, strict=True))
        return loss

    return step
