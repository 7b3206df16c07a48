"""A 3D convolution with the values and gradients of Keras's layer, quicker in a graph on a CPU.

It multiplies less (`model.toom_cook`) where channels and voxels are many, and works slice by slice
where a kernel has one slice alone. oneDNN, which computes the rest, has no kernel for the gradient
of a padded 3D convolution's weights in AVX2, but has one in 2D: there the weights of layers with
fewer channels learn by the former way too.
"""

from collections.abc import Callable
from math import prod
from typing import Any

import tensorflow as tf

from nnunet_lib.model import toom_cook
from nnunet_lib.model.compute import has_avx512, is_cpu

FEWEST_VOXELS = 1000
"""With fewer, reading the sums of the kernel takes longer than the products that they save."""
FEWEST_CHANNELS = 32
"""With fewer, in or out, adding up takes as long as the products that it saves."""
FEWEST_WITHOUT_AVX512 = 8
"""With fewer, weights' gradients are left to oneDNN on processors without AVX-512 too."""

_SAME: dict[str, Any] = {"strides": [1] * 5, "padding": "SAME"}


@tf.keras.utils.register_keras_serializable("nnunet_lib")
class Conv3D(tf.keras.layers.Conv3D):
    """Keras's layer, which takes another way to the same values where that is quicker."""

    def convolution_op(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """Convolve (batch, *spatial, channels), without the bias: Keras calls this."""
        plain = set(self.strides + self.dilation_rate) == {1} and self.groups == 1
        usual = (self.padding, self.data_format, inputs.shape.rank) == ("same", "channels_last", 5)
        if plain and usual and _is_known_and_on_cpu(inputs):
            if kernel.shape[0] == 1:
                return _slice_by_slice(inputs, kernel)
            if kernel.shape[0] == toom_cook.DEPTH and _pays(inputs, kernel):
                return convolve(inputs, kernel)
        return super().convolution_op(inputs, kernel)


@tf.custom_gradient
def convolve(inputs: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Callable[..., Any]]:
    """A padded convolution by fewer products: all of it, or the weights' gradient alone.

    Args:
        inputs: (batch, z, y, x, channels in), of known size.
        kernel: (3, y, x, channels in, channels out).

    Returns:
        (batch, z, y, x, channels out), and what gives both gradients from that of these.
    """
    all_of_it = min(kernel.shape[-2:]) >= FEWEST_CHANNELS

    def gradients(of_outputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        if all_of_it:
            of_inputs = toom_cook.inputs_gradient(of_outputs, kernel)
        else:
            of_inputs = tf.raw_ops.Conv3DBackpropInputV2(
                input_sizes=inputs.shape, filter=kernel, out_backprop=of_outputs, **_SAME
            )
        return of_inputs, toom_cook.weights_gradient(inputs, of_outputs, tuple(kernel.shape))

    if all_of_it:
        return toom_cook.outputs(inputs, kernel), gradients
    return tf.nn.conv3d(inputs, kernel, **_SAME), gradients


def _slice_by_slice(inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """A convolution with a kernel of one slice, (1, y, x, channels in, channels out)."""
    slices = tf.reshape(inputs, (-1, *inputs.shape[2:]))  # (batch * z, y, x, channels)
    convolved = tf.nn.conv2d(slices, tf.squeeze(kernel, axis=0), 1, "SAME")
    return tf.reshape(convolved, (*inputs.shape[:-1], kernel.shape[-1]))


def _is_known_and_on_cpu(inputs: tf.Tensor) -> bool:
    """Whether it is float32, of a size that depends on nothing, and part of a graph on a CPU.

    Without a graph around them, functions traced for each shape would cost more than they save.
    """
    known = inputs.dtype == tf.float32 and inputs.shape.is_fully_defined()
    return known and is_cpu() and not tf.executing_eagerly()


def _pays(inputs: tf.Tensor, kernel: tf.Tensor) -> bool:
    """Whether slices, voxels and channels are enough."""
    fewest = FEWEST_CHANNELS if has_avx512() else FEWEST_WITHOUT_AVX512
    enough = inputs.shape[1] >= toom_cook.DEPTH and prod(inputs.shape[1:4]) >= FEWEST_VOXELS
    return enough and min(kernel.shape[-2:]) >= fewest
