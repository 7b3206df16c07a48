"""Convolutions by fewer products against NumPy's and TensorFlow's own."""

import numpy as np
import pytest
import tensorflow as tf

from nnunet_lib.model import toom_cook
from nnunet_lib.model.toom_cook import BLOCK_BYTES, DEPTH, TILES, best_tile, sums

OPTIONS = {"strides": [1] * 5, "padding": "SAME"}


def normal(*shape: int) -> tf.Tensor:
    return tf.constant(np.random.default_rng(sum(shape)).normal(size=shape), tf.float32)


@pytest.mark.parametrize("tile", TILES)
def test_the_matrices_filter(tile: int) -> None:
    generator = np.random.default_rng(tile)
    slices, kernel = generator.normal(size=tile + 2), generator.normal(size=DEPTH)
    matrices = sums(tile)
    products = (matrices.of_kernel @ kernel) * (matrices.of_inputs @ slices)
    expected = np.correlate(slices, kernel, mode="valid")
    np.testing.assert_allclose(matrices.to_outputs @ products, expected, rtol=0, atol=1e-12)


def test_a_case_takes_half_the_products_or_little_more() -> None:
    for slices in range(4, 200):
        tile = best_tile(slices)
        products = -(-slices // tile) * len(sums(tile).of_kernel)
        assert products <= 0.6 * DEPTH * slices


def by_few_products(inputs: tf.Tensor, kernel: tf.Tensor, of_outputs: tf.Tensor) -> list:
    found = [
        toom_cook.outputs(inputs, kernel),
        toom_cook.inputs_gradient(of_outputs, kernel),
        toom_cook.weights_gradient(inputs, of_outputs, tuple(kernel.shape)),
    ]
    return [one.numpy() for one in found]


def tensorflow_s(inputs: tf.Tensor, kernel: tf.Tensor, of_outputs: tf.Tensor) -> list:
    """TensorFlow's own in float64: outputs, and both gradients of their sum weighed so."""
    image, weights, of_image = (tf.cast(one, tf.float64) for one in (inputs, kernel, of_outputs))
    with tf.GradientTape() as tape:
        tape.watch([image, weights])
        outputs = tf.nn.conv3d(image, weights, **OPTIONS)
    gradients = tape.gradient(outputs, [image, weights], output_gradients=of_image)
    return [one.numpy() for one in (outputs, *gradients)]


def assert_close(found: list[np.ndarray], expected: list[np.ndarray], share: float) -> None:
    """All within this share of the largest of each."""
    for one, other in zip(found, expected, strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, rtol=0, atol=share * np.abs(other).max())


@pytest.mark.parametrize("slices", [1, 2, 3, 4, 5, 7, 11, 12, 20, 31])
def test_outputs_and_gradients_are_tensorflow_s(slices: int) -> None:
    inputs, kernel = normal(1, slices, 5, 4, 6), normal(3, 3, 3, 6, 7)
    of_outputs = normal(1, slices, 5, 4, 7)
    found = by_few_products(inputs, kernel, of_outputs)
    assert_close(found, tensorflow_s(inputs, kernel, of_outputs), 5e-6)


@pytest.mark.parametrize("size", [(3, 1, 1), (3, 1, 3), (3, 2, 4)])
def test_kernels_of_any_width_and_height(size: tuple[int, int, int]) -> None:
    inputs, kernel, of_outputs = normal(1, 9, 6, 5, 3), normal(*size, 3, 2), normal(1, 9, 6, 5, 2)
    found = by_few_products(inputs, kernel, of_outputs)
    assert_close(found, tensorflow_s(inputs, kernel, of_outputs), 5e-6)


@pytest.mark.parametrize("cases", [2, 3])
def test_cases_of_a_batch_stay_apart(cases: int) -> None:
    inputs, kernel = normal(cases, 8, 5, 4, 6), normal(3, 3, 3, 6, 7)
    of_outputs = normal(cases, 8, 5, 4, 7)
    found = by_few_products(inputs, kernel, of_outputs)
    assert_close(found, tensorflow_s(inputs, kernel, of_outputs), 5e-6)


@pytest.mark.parametrize("block_bytes", [1, 5000, 10**9], ids=["a tile", "some", "whole"])
def test_blocks_make_no_difference(block_bytes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toom_cook, "BLOCK_BYTES", block_bytes)
    for name in ("outputs", "inputs_gradient", "weights_gradient"):  # a trace would keep its blocks
        monkeypatch.setattr(toom_cook, name, getattr(toom_cook, name).python_function)
    inputs, kernel, of_outputs = (
        normal(1, 23, 5, 4, 6),
        normal(3, 3, 3, 6, 7),
        normal(1, 23, 5, 4, 7),
    )
    found = by_few_products(inputs, kernel, of_outputs)
    assert_close(found, tensorflow_s(inputs, kernel, of_outputs), 5e-6)


@pytest.mark.parametrize("shape", [(1, 9, 9, 9), (40, 56, 40, 32), (100, 512, 512, 32)])
def test_blocks_hold_each_slice_once_and_fit(shape: tuple[int, ...]) -> None:
    tile = best_tile(shape[0])
    blocks = toom_cook._blocks(shape, tile)
    assert [index for block in blocks for index in block] == list(range(shape[0]))
    assert all(block.start % tile == 0 for block in blocks)
    tile_bytes = 4 * np.prod(shape[1:]) * (tile + 2)
    assert all(
        -(-len(block) // tile) * tile_bytes <= max(tile_bytes, BLOCK_BYTES) for block in blocks
    )


def test_rounding_stays_small_with_many_channels() -> None:
    inputs, kernel = normal(1, 10, 6, 6, 256), normal(3, 3, 3, 256, 32)
    of_outputs = normal(1, 10, 6, 6, 32)
    found = by_few_products(inputs, kernel, of_outputs)
    assert_close(found, tensorflow_s(inputs, kernel, of_outputs), 2e-5)


def test_xla_compiles_the_same() -> None:
    inputs, kernel, of_outputs = normal(2, 8, 5, 4, 6), normal(3, 3, 3, 6, 7), normal(2, 8, 5, 4, 7)

    @tf.function(jit_compile=True)
    def compiled() -> list[tf.Tensor]:
        return [
            toom_cook.outputs(inputs, kernel),
            toom_cook.inputs_gradient(of_outputs, kernel),
            toom_cook.weights_gradient(inputs, of_outputs, tuple(kernel.shape)),
        ]

    found = [one.numpy() for one in compiled()]
    assert_close(found, tensorflow_s(inputs, kernel, of_outputs), 5e-6)
