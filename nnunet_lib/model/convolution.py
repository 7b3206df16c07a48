"""A 3D convolution whose weights learn quickly on processors without AVX-512 too.

Its values and gradients are those of Keras's layer. oneDNN, which computes them, has no kernel for
the gradient of a padded 3D convolution's weights in AVX2. It writes, for each slice of a case, a
matrix of all voxels that the kernel covers ("im2col"), and multiplies that. With many channels the
matrix outgrows the processor's caches. So here it is made for a few input channels at a time: each
weight belongs to one input channel, and the gradients of all of them only need to be put together.
"""

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import tensorflow as tf

from nnunet_lib.model.compute import has_avx512

MATRIX_BYTES = 2**21
"""What the matrix of a slice may need. On an AMD EPYC without AVX-512, whose cores have 512 KiB of
their own, a step with 32 filters took 0.90 of its time with no bound, and with 4 MiB 0.93 (24 steps
in turn); one with 16 filters took 1.0."""
FEWEST_CHANNELS = 8
"""So many go together even if their matrix is larger: fewer only add copies."""


@tf.keras.utils.register_keras_serializable("nnunet_lib")
class Conv3D(tf.keras.layers.Conv3D):
    """Keras's layer, with a gradient of its weights in parts where that is quicker."""

    def convolution_op(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """Convolve (batch, *spatial, channels), without the bias: Keras calls this."""
        plain = set(self.strides + self.dilation_rate) == {1} and self.groups == 1
        if plain and self.padding == "same" and _by_matrices(inputs):
            return in_parts(channels_at_once(self.kernel_size, inputs.shape[1:]))(inputs, kernel)
        return super().convolution_op(inputs, kernel)


def channels_at_once(kernel: Sequence[int], shape: Sequence[int]) -> int:
    """How many input channels keep the matrix of a slice within `MATRIX_BYTES`.

    Args:
        kernel: its size an axis.
        shape: (z, y, x, channels) of the input.

    Returns:
        The largest divisor of the channels that does, but at least `FEWEST_CHANNELS`.
    """
    *_, rows, columns, channels = shape
    most = max(FEWEST_CHANNELS, MATRIX_BYTES // (4 * prod(kernel) * rows * columns))
    divisors = [number for number in range(1, channels + 1) if channels % number == 0]
    return max(number for number in divisors if number <= most)


def in_parts(channels: int) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """A padded convolution, (inputs, kernel) -> outputs, that learns so many channels at a time.

    All are (batch, z, y, x, channels); the kernel is (z, y, x, channels in, channels out).
    """
    options: dict[str, Any] = {"strides": [1] * 5, "padding": "SAME"}

    @tf.custom_gradient
    def convolve(inputs: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Callable[..., Any]]:
        def gradients(outputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            of_inputs = tf.raw_ops.Conv3DBackpropInputV2(
                input_sizes=tf.shape(inputs), filter=kernel, out_backprop=outputs, **options
            )
            size = (*kernel.shape[:3], channels, kernel.shape[4])
            of_parts = [
                tf.raw_ops.Conv3DBackpropFilterV2(
                    input=part, filter_sizes=size, out_backprop=outputs, **options
                )
                for part in tf.split(inputs, inputs.shape[-1] // channels, axis=-1)
            ]
            return of_inputs, tf.concat(of_parts, axis=3)  # joined along the channels in

        return tf.nn.conv3d(inputs, kernel, **options), gradients

    return convolve


def _by_matrices(inputs: tf.Tensor) -> bool:
    """Whether oneDNN multiplies matrices for the gradient: float32, on a CPU without AVX-512.

    And whether their size is known, which depends on that of the patch.
    """
    on_cpu = not tf.config.get_visible_devices("GPU")
    known = inputs.dtype == tf.float32 and None not in inputs.shape[1:]
    return on_cpu and known and not has_avx512()
