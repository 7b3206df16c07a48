"""Loss scaling: how float16 keeps gradients that are too small for it.

Taught in lesson 07. Micikevicius et al., arXiv:1710.03740. Gradients up to 2^-25 round to zero
in float16. The loss is therefore multiplied by a large scale, all gradients grow with it, and
float32 divides them by it again. The scale doubles after many steps without overflow; a step
whose gradients overflow is skipped, and the scale halves.

These functions treat an optimiser without loss scaling as one whose scale is one, so that a
training step reads the same in every precision.
"""

from collections.abc import Sequence

import tensorflow as tf

from nnunet_lib.model import ComputeSettings

INITIAL_SCALE = 2.0**15
GROWTH_STEPS = 2000
"""Steps without overflow after which the scale doubles."""


def with_loss_scaling(
    optimiser: tf.keras.optimizers.Optimizer,
    compute: ComputeSettings,
    growth_steps: int = GROWTH_STEPS,
) -> tf.keras.optimizers.Optimizer:
    """The optimiser with a dynamic loss scale for float16; itself in any other precision.

    bfloat16 has float32's range of exponents and needs no scale.
    """
    if compute.precision != "float16":
        return optimiser
    return tf.keras.mixed_precision.LossScaleOptimizer(
        optimiser, initial_scale=INITIAL_SCALE, dynamic_growth_steps=growth_steps
    )


def scaled(loss: tf.Tensor, optimiser: tf.keras.optimizers.Optimizer) -> tf.Tensor:
    """What to differentiate: the loss times the scale."""
    return optimiser.get_scaled_loss(loss) if _scales(optimiser) else loss


def unscaled(
    gradients: Sequence[tf.Tensor], optimiser: tf.keras.optimizers.Optimizer
) -> list[tf.Tensor]:
    """The loss's own gradients, from those of the scaled loss: to clip and to apply.

    An overflow stays NaN or infinite, after clipping too, and `apply_gradients` then skips the
    step: variables stay, `iterations` goes on.
    """
    return optimiser.get_unscaled_gradients(gradients) if _scales(optimiser) else list(gradients)


def optimiser_variables(optimiser: tf.keras.optimizers.Optimizer) -> list[tf.Variable]:
    """Everything that a resumed run needs: the loss scale and its counter of steps too."""
    variables = list(optimiser.variables)
    if _scales(optimiser):  # whose own list lacks them; Keras gives the scale as a tensor only
        variables += [optimiser._loss_scale.current_loss_scale, optimiser.dynamic_counter]
    return variables


def _scales(optimiser: tf.keras.optimizers.Optimizer) -> bool:
    return isinstance(optimiser, tf.keras.mixed_precision.LossScaleOptimizer)
