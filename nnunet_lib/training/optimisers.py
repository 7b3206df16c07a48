"""The three optimisers, and where weight decay enters each.

Taught in lesson 06. L2 and decoupled decay are the same thing for plain SGD and differ for Adam:
the L2 term goes through Adam's division by the gradient's size, the decoupled one does not
(Loshchilov and Hutter, arXiv:1711.05101).
"""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from nnunet_lib.training.settings import TrainingSettings

KERNEL = "kernel"
"""In the names of the weights that decay. Biases and the scales of norms do not."""


class _InOneKernel:
    """Adam's update of a weight by the kernel that TensorFlow has for it.

    Keras writes the same formula as a dozen operations, each of which goes through memory anew.
    """

    def update_step(self: Any, gradient: tf.Tensor, variable: tf.Variable) -> None:
        """Kingma and Ba's formula just before their section 2.1, as in Keras."""
        index = self._index_dict[self._var_key(variable)]
        steps = tf.cast(self.iterations + 1, variable.dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[index].handle,
            v=self._velocities[index].handle,
            beta1_power=self.beta_1**steps,
            beta2_power=self.beta_2**steps,
            lr=tf.cast(self.learning_rate, variable.dtype),
            beta1=self.beta_1,
            beta2=self.beta_2,
            epsilon=self.epsilon,
            grad=gradient,
        )


class _Adam(_InOneKernel, tf.keras.optimizers.Adam):
    """Keras's Adam, quicker."""


class _AdamW(_InOneKernel, tf.keras.optimizers.AdamW):
    """Keras's AdamW, quicker."""


def make_optimiser(settings: TrainingSettings) -> tf.keras.optimizers.Optimizer:
    """The optimiser that the settings name, at the base learning rate.

    adam: Kingma and Ba, arXiv:1412.6980; NVIDIA trains with it, at 3e-4 and an L2 factor of 1e-4.
    adamw: the same with decoupled decay, w <- w - rate · decay · w, before the step.
    sgd: with Nesterov momentum; nnU-Net trains with it, at 0.01, momentum 0.99 and an L2 factor
        of 3e-5. Keras keeps the rate inside the momentum, m <- momentum · m - rate · g, where
        PyTorch multiplies by it afterwards: the two are equal as long as the rate is.

    Keras would compile the update with XLA on a GPU, whatever `--xla` says; here it does not.
    """
    rate = settings.base_learning_rate
    if settings.optimiser == "sgd":
        return tf.keras.optimizers.SGD(rate, settings.momentum, nesterov=True, jit_compile=False)
    if settings.optimiser == "adam":
        return _Adam(rate, jit_compile=False)
    decay = settings.decay_factor
    optimiser = _AdamW(rate, weight_decay=decay, jit_compile=False)
    optimiser.exclude_from_weight_decay(var_names=[f"^(?!.*{KERNEL})"])  # a regular expression
    return optimiser


def l2_factor(settings: TrainingSettings) -> float:
    """The factor of the L2 gradient term: 0 for adamw, which decays by itself."""
    return 0.0 if settings.optimiser == "adamw" else settings.decay_factor


def add_weight_decay(
    gradients: Sequence[tf.Tensor], variables: Sequence[tf.Variable], factor: float
) -> list[tf.Tensor]:
    """Add factor · w, the gradient of factor / 2 · |w|², for kernels; others stay as they are.

    This is the classical L2 term, in the form of NVIDIA's, nnU-Net's and PyTorch's `weight_decay`,
    which take more variables than kernels. It comes after clipping, so that clipping sees the
    loss's gradient alone.
    """
    if factor == 0:
        return list(gradients)
    return [
        gradient + factor * variable if KERNEL in variable.name else gradient
        for gradient, variable in zip(gradients, variables, strict=True)
    ]
