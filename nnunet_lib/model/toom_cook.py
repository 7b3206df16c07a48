"""3D convolutions by fewer multiplications (Toom-Cook, also called Winograd's).

A kernel of 3 slices makes 4 slices from 6. Each of the 4 adds up 3 convolutions in 2D, of a slice
with a slice of the kernel: 12 in all. Six are enough. Read the slices as coefficients of a
polynomial. A convolution along z multiplies two of them. A polynomial of n coefficients is known by
its values at n points, and a product's value is the product of the values. So

    outputs = to_outputs [ (of_kernel kernel) * (of_inputs inputs) ]

where * stands for 6 convolutions in 2D, one a point, and the three small matrices add up slices.
Adding up costs passes through memory, and a sum of the inputs serves as many products as there are
channels out. So it pays where channels are many. Rounding errors grow, to
five times those of a direct sum for the most slices at once.

Sources: Toom (1963) and Cook (1966) for long numbers; Winograd (1980) for filters; Lavin and Gray
(arXiv:1509.09308) for networks. The gradients follow by transposing the matrices.

Axes: a batch is (batch, z, y, x, channels), one case is (z, y, x, channels), all of known size and
float32. A kernel is (3, y, x, channels in, channels out), and outputs are padded ("same").
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import tensorflow as tf

DEPTH = 3
"""Slices of a kernel."""
POINTS = (0.0, 1.0, -1.0, 2.0, -0.5, -2.0, 0.5)
"""Where polynomials are evaluated, beside infinity: small numbers far apart, which round least."""
TILES = range(2, len(POINTS))
"""So many slices may be made at once: as many as the points are enough for."""
BLOCK_BYTES = 2**22
"""Sums of so many bytes, or of one tile, are made and used while they are in the caches."""

_SAME = {"strides": [1, 1, 1, 1], "padding": "SAME"}
_traced_once = tf.function(autograph=False)
"""For each shape: a network has many layers of one."""


@dataclass(frozen=True)
class Sums:
    """The matrices for `tile` slices out, `tile` + 2 slices in, and as many products.

    Attributes:
        of_inputs: (products, slices in).
        of_kernel: (products, 3).
        to_outputs: (tile, products).
    """

    of_inputs: np.ndarray
    of_kernel: np.ndarray
    to_outputs: np.ndarray


@cache
def sums(tile: int) -> Sums:
    """The matrices for so many slices at once.

    A product of polynomials of 3 and `tile` coefficients has products = tile + 2: evaluate both,
    multiply, and solve for the coefficients. Filtering is that product's transpose, with outputs in
    the place of the second polynomial.
    """
    products = _products(tile)
    of_inputs = np.linalg.inv(_evaluation(products, products)).T
    return Sums(of_inputs, _evaluation(products, DEPTH), _evaluation(products, tile).T)


def _products(tile: int) -> int:
    """How many products make so many slices: as many as slices go in."""
    return tile + DEPTH - 1


def _evaluation(points: int, coefficients: int) -> np.ndarray:
    """Of coefficients, lowest first, the values at so many points, of which infinity is the last.

    Returns:
        (points, coefficients).
    """
    finite = np.vander(POINTS[: points - 1], coefficients, increasing=True)
    return np.vstack([finite, np.eye(coefficients)[-1]])


def best_tile(slices: int) -> int:
    """How many slices to make at once, so that products are fewest: the last tile may be cut."""
    return min(TILES, key=lambda tile: -(-slices // tile) * _products(tile))


@_traced_once
def outputs(inputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """Convolve: (batch, z, y, x, channels in) -> (batch, z, y, x, channels out)."""
    parts = _of_kernel(kernel, sums(best_tile(inputs.shape[1])).of_kernel)

    def convolution(slices: tf.Tensor, part: tf.Tensor) -> tf.Tensor:
        return tf.nn.conv2d(slices, part, 1, "SAME")

    return _case_by_case(lambda case: _filter(case, parts, convolution), inputs)


@_traced_once
def inputs_gradient(of_outputs: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """The gradient of the inputs, of their shape, from that of the outputs.

    Along z it is the same filter with the kernel's slices in turned order, and in a slice
    TensorFlow's gradient of its convolution.
    """
    parts = _of_kernel(kernel, sums(best_tile(of_outputs.shape[1])).of_kernel[:, ::-1])

    def convolution(slices: tf.Tensor, part: tf.Tensor) -> tf.Tensor:
        return tf.raw_ops.Conv2DBackpropInput(
            input_sizes=(*slices.shape[:3], part.shape[2]),
            filter=part,
            out_backprop=slices,
            **_SAME,
        )

    return _case_by_case(lambda case: _filter(case, parts, convolution), of_outputs)


@_traced_once
def weights_gradient(inputs: tf.Tensor, of_outputs: tf.Tensor, size: tuple[int, ...]) -> tf.Tensor:
    """The gradient of a kernel of this size, (3, y, x, channels in, channels out)."""

    def of_case(case: tf.Tensor, of_its_outputs: tf.Tensor) -> tf.Tensor:
        with tf.control_dependencies([of_its_outputs]):  # else the pass forward would make the
            return _weights_gradient(case, of_its_outputs, size)  # sums, and keep them till then

    return tf.reduce_sum(_case_by_case(of_case, inputs, of_outputs), axis=0)


def _filter(
    case: tf.Tensor, parts: list[tf.Tensor], convolution: Callable[[tf.Tensor, tf.Tensor], Any]
) -> tf.Tensor:
    """The outputs of one case, for the kernel's sums and what convolves a slice with one."""
    tile = best_tile(case.shape[0])
    made = []
    for block in _blocks(case.shape, tile):
        pairs = zip(_input_sums(case, block, tile), parts, strict=True)
        products = [convolution(slices, part) for slices, part in pairs]  # (tiles, y, x, c) each
        made.append(_add_up(_to_outputs(block, tile), tf.concat(products, axis=0)))
    return tf.concat(made, axis=0)


def _weights_gradient(case: tf.Tensor, of_outputs: tf.Tensor, size: tuple[int, ...]) -> tf.Tensor:
    """The same as `weights_gradient` from one case."""
    tile = best_tile(case.shape[0])
    of_parts: list[Any] = [0.0] * _products(tile)
    for block in _blocks(case.shape, tile):
        of_products = _add_up(_to_outputs(block, tile).T, of_outputs[block.start : block.stop])
        pairs = zip(
            _input_sums(case, block, tile), tf.split(of_products, len(of_parts)), strict=True
        )
        for index, (slices, of_product) in enumerate(pairs):
            of_parts[index] += tf.raw_ops.Conv2DBackpropFilter(
                input=slices, filter_sizes=size[1:], out_backprop=of_product, **_SAME
            )
    return _add_up(sums(tile).of_kernel.T, tf.stack(of_parts))


def _of_kernel(kernel: tf.Tensor, matrix: np.ndarray) -> list[tf.Tensor]:
    """The kernel's sums, (y, x, channels in, channels out) each."""
    return tf.unstack(_add_up(matrix, kernel))


def _input_sums(case: tf.Tensor, block: range, tile: int) -> list[tf.Tensor]:
    """For each point the sum of each tile's slices: (tiles, y, x, channels).

    Slices beyond the margins are zeros, and have no column in the matrix.
    """
    tiles, products = -(-len(block) // tile), _products(tile)
    matrix = np.zeros((products, tiles, tiles * tile + DEPTH - 1))
    for index in range(tiles):
        matrix[:, index, index * tile : index * tile + products] = sums(tile).of_inputs
    before = block.start - 1  # the slice of the matrix's first column
    first, last = max(before, 0), min(block.stop + 1, case.shape[0])
    seen = matrix[:, :, first - before : last - before].reshape(products * tiles, -1)
    return tf.split(_add_up(seen, case[first:last]), products)


def _to_outputs(block: range, tile: int) -> np.ndarray:
    """What makes a block's slices from its products, all tiles of a point side by side.

    Returns:
        (slices, points * tiles).
    """
    tiles = -(-len(block) // tile)
    matrix = np.einsum("sp,tu->tspu", sums(tile).to_outputs, np.eye(tiles))
    return matrix.reshape(tiles * tile, -1)[: len(block)]


def _add_up(matrix: np.ndarray, slices: tf.Tensor) -> tf.Tensor:
    """Sums of slices, weighed by the matrix's rows: (columns, ...) -> (rows, ...)."""
    rows = tf.reshape(slices, (matrix.shape[1], -1))
    added = tf.matmul(tf.constant(matrix, tf.float32), rows)
    return tf.reshape(added, (matrix.shape[0], *slices.shape[1:]))


def _blocks(shape: tuple[int, ...], tile: int) -> list[range]:
    """The slices of a case (z, y, x, channels), in parts of whole tiles that fit `BLOCK_BYTES`."""
    slices, *rest = shape
    tiles, tile_bytes = -(-slices // tile), 4 * int(np.prod(rest)) * _products(tile)
    number = -(-tiles // max(1, BLOCK_BYTES // tile_bytes))
    bounds = [tiles * index // number * tile for index in range(number)]
    return [range(*pair) for pair in zip(bounds, [*bounds[1:], slices], strict=True)]


def _case_by_case(function: Callable[..., tf.Tensor], *batches: tf.Tensor) -> tf.Tensor:
    """What a function makes of each case, as a batch."""
    if batches[0].shape[0] == 1:
        return function(*(tf.squeeze(batch, axis=0) for batch in batches))[tf.newaxis]
    return tf.map_fn(lambda cases: function(*cases), batches, fn_output_signature=tf.float32)
