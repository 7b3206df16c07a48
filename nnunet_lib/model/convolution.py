"""A 3D convolution whose weights learn quickly on processors without AVX-512 too.

Its values and gradients are those of Keras's layer. oneDNN, which computes them, has no kernel for
the gradient of a padded 3D convolution's weights in AVX2. It writes, for each slice of a case, a
matrix of all voxels that the kernel covers ("im2col"), 27 times as large as the slice where the
kernel is 3x3x3, and multiplies that.

No copy is needed. Pad inputs and outputs to one grid, and read each as a matrix with a row a voxel.
What the weights at one place of the kernel see of the inputs lies as many rows further on for every
voxel. So their gradient is the product of two matrices that are in memory already, and there are 27
such products.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import product
from math import prod
from typing import Any

import tensorflow as tf

from nnunet_lib.model.compute import has_avx512

SLAB_BYTES = 2**22
"""Rows of so many bytes are used 27 times while the processor's caches hold them."""
FEWEST_VOXELS = 5000
"""Grids of fewer grow by too large a share where they are padded."""
FEWEST_CHANNELS = 8
"""A matrix of fewer columns costs more to read than to multiply."""


@tf.keras.utils.register_keras_serializable("nnunet_lib")
class Conv3D(tf.keras.layers.Conv3D):
    """Keras's layer, with a gradient of its weights by matrices where that is quicker."""

    def convolution_op(self, inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        """Convolve (batch, *spatial, channels), without the bias: Keras calls this."""
        plain = set(self.strides + self.dilation_rate) == {1} and self.groups == 1
        if plain and self.padding == "same" and _matrices_are_quicker(inputs):
            return convolve(inputs, kernel)
        return super().convolution_op(inputs, kernel)


@tf.custom_gradient
def convolve(inputs: tf.Tensor, kernel: tf.Tensor) -> tuple[tf.Tensor, Callable[..., Any]]:
    """A padded convolution whose weights' gradient is `weights_gradient`.

    Args:
        inputs: (batch, z, y, x, channels in).
        kernel: (z, y, x, channels in, channels out).

    Returns:
        (batch, z, y, x, channels out), and what gives both gradients from that of these.
    """
    options: dict[str, Any] = {"strides": [1] * 5, "padding": "SAME"}

    def gradients(of_outputs: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        of_inputs = tf.raw_ops.Conv3DBackpropInputV2(
            input_sizes=tf.shape(inputs), filter=kernel, out_backprop=of_outputs, **options
        )
        return of_inputs, weights_gradient(inputs, of_outputs, tuple(kernel.shape[:3]))

    return tf.nn.conv3d(inputs, kernel, **options), gradients


@tf.function(autograph=False)  # traced once for each shape: a network has many layers of one
def weights_gradient(
    inputs: tf.Tensor, of_outputs: tf.Tensor, kernel_size: tuple[int, int, int]
) -> tf.Tensor:
    """The gradient of a padded convolution's weights.

    At place k of the kernel it is the sum over voxels v of inputs[v + k] of_outputs[v]^T, with
    zeros beyond the inputs' margins.

    Args:
        inputs: (batch, z, y, x, channels in), of known size.
        of_outputs: the gradient of the outputs, (batch, z, y, x, channels out).
        kernel_size: the kernel's size an axis.

    Returns:
        (*kernel_size, channels in, channels out).
    """
    padded = _pad(inputs, [((size - 1) // 2, size // 2) for size in kernel_size])
    rows = _rows(padded)  # (voxels, channels in)
    of_rows = _rows(_pad(of_outputs, [(0, size - 1) for size in kernel_size]))  # (voxels, out)
    shifts = _shifts(kernel_size, padded.shape[1:4])
    count = rows.shape[0] - shifts[-1]  # the outputs beyond are padding
    products = tf.zeros((len(shifts), inputs.shape[-1], of_outputs.shape[-1]))
    for start, stop in _slabs(count, 4 * (inputs.shape[-1] + of_outputs.shape[-1])):
        slab, size = of_rows[start:stop], tf.constant([stop - start, rows.shape[1]])
        seen = [tf.slice(rows, [start + shift, 0], size) for shift in shifts]
        products += tf.stack([tf.matmul(part, slab, transpose_a=True) for part in seen])
    return tf.reshape(products, (*kernel_size, *products.shape[1:]))


def _pad(tensor: tf.Tensor, margins: Sequence[tuple[int, int]]) -> tf.Tensor:
    return tf.pad(tensor, [(0, 0), *margins, (0, 0)])


def _rows(tensor: tf.Tensor) -> tf.Tensor:
    """(batch, z, y, x, channels) -> (voxels, channels)."""
    return tf.reshape(tensor, (-1, tensor.shape[-1]))


def _shifts(kernel_size: Sequence[int], grid: Sequence[int]) -> list[int]:
    """By how many rows of a (z, y, x) grid each place of the kernel lies beyond the first."""
    _, rows, columns = grid
    return [(z * rows + y) * columns + x for z, y, x in product(*map(range, kernel_size))]


def _slabs(rows: int, row_bytes: int) -> Iterator[tuple[int, int]]:
    """Starts and stops of so many rows, in the fewest slabs of like size within `SLAB_BYTES`."""
    number = -(-rows * row_bytes // SLAB_BYTES)
    bounds = [rows * index // number // 16 * 16 for index in range(number)]  # as memory is aligned
    return zip(bounds, [*bounds[1:], rows], strict=True)


def _matrices_are_quicker(inputs: tf.Tensor) -> bool:
    """Whether oneDNN would write out matrices (in float32, without AVX-512), and large ones.

    Their size must be known, which depends on that of the patch.
    """
    if inputs.dtype != tf.float32 or None in inputs.shape or has_avx512():
        return False
    *grid, channels = inputs.shape
    large = prod(grid) >= FEWEST_VOXELS and channels >= FEWEST_CHANNELS
    return large and not tf.config.get_visible_devices("GPU")
