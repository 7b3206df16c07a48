"""The three optimisers, and where weight decay enters each.

Taught in lesson 06. L2 and decoupled decay are the same thing for plain SGD and differ for Adam:
the L2 term goes through Adam's division by the gradient's size, the decoupled one does not
(Loshchilov and Hutter, arXiv:1711.05101).
"""

from collections.abc import Sequence

import tensorflow as tf

from nnunet_lib.training.settings import TrainingSettings

KERNEL = "kernel"
"""In the names of the weights that decay. Biases and the scales of norms do not."""


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
        return tf.keras.optimizers.Adam(rate, jit_compile=False)
    decay = settings.decay_factor
    optimiser = tf.keras.optimizers.AdamW(rate, weight_decay=decay, jit_compile=False)
    optimiser.exclude_from_weight_decay(var_names=[f"^(?!.*{KERNEL})"])  # a regular expression
    return optimiser


def l2_factor(settings: TrainingSettings) -> float:
    """The factor of the L2 gradient term: 0 for adamw, which decays by itself."""
    return 0.0 if settings.optimiser == "adamw" else settings.decay_factor


def add_weight_decay(
    gradients: Sequence[tf.Tensor], variables: Sequence[tf.Variable], factor: float
) -> list[tf.Tensor]:
    """Add factor · w, the gradient of factor / 2 · |w|², for kernels; others stay as they are.

    This is the classical L2 term, as NVIDIA's, nnU-Net's and PyTorch's `weight_decay` have it. It
    comes after clipping, so that clipping sees the loss's gradient alone.
    """
    if factor == 0:
        return list(gradients)
    return [
        gradient + factor * variable if KERNEL in variable.name else gradient
        for gradient, variable in zip(gradients, variables, strict=True)
    ]
