"""The convolution against Keras's own, which has a kernel for its weights' gradient."""

import platform
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from nnunet_lib.model import build_unet, compute, convolution
from nnunet_lib.model.convolution import Conv3D, convolve
from nnunet_lib.planning import Normalisation, Plan

PLAN = Plan(
    dataset="made up",
    dimensions=3,
    channels=("MRI",),
    labels=("background", "one", "two"),
    axis_order=(0, 1, 2),
    target_spacing=(1.0, 1.0, 1.0),
    normalisation=(Normalisation("z_score"),),
    patch_size=(8, 8, 12),
    batch_size=2,
    strides=((1, 1, 1), (2, 2, 2)),
    kernels=((3, 3, 3), (3, 3, 3)),
    filters=(16, 32),
)
CPUINFO = Path("/proc/cpuinfo")
KERNEL_OF_GRADIENT = "Conv3DBackpropFilterV2"


@pytest.fixture
def no_avx512(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a processor without AVX-512, and with small patches as with large ones."""
    monkeypatch.setattr(convolution, "has_avx512", lambda: False)
    monkeypatch.setattr(convolution, "FEWEST_VOXELS", 100)


def normal(*shape: int) -> tf.Tensor:
    return tf.constant(np.random.default_rng(sum(shape)).normal(size=shape), tf.float32)


def results(convolve, image: tf.Tensor, kernel: tf.Tensor) -> list[np.ndarray]:
    """The output, and the gradients of a sum that weighs each of its values differently."""
    with tf.GradientTape() as tape:
        tape.watch([image, kernel])
        output = convolve(image, kernel)
        weighted = tf.reduce_sum(output * normal(*output.shape))
    return [output.numpy(), *(g.numpy() for g in tape.gradient(weighted, [image, kernel]))]


@pytest.mark.parametrize("slab_bytes", [2**12, 2**30], ids=["slabs", "whole"])
@pytest.mark.parametrize("kernel_size", [(3, 3, 3), (1, 3, 3), (3, 1, 1), (2, 5, 4)])
def test_gradients_are_those_of_tensorflow_s_convolution(
    kernel_size: tuple[int, int, int], slab_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convolution, "SLAB_BYTES", slab_bytes)
    image, kernel = normal(2, 6, 7, 9, 24), normal(*kernel_size, 24, 5)
    expected = results(lambda i, k: tf.nn.conv3d(i, k, [1] * 5, "SAME"), image, kernel)
    for found, one in zip(results(convolve, image, kernel), expected, strict=True):
        np.testing.assert_allclose(found, one, rtol=1e-4, atol=1e-5 * np.abs(one).max())


def test_xla_compiles_the_same() -> None:
    image, kernel = normal(1, 6, 7, 9, 24), normal(3, 3, 3, 24, 5)

    @tf.function(jit_compile=True)
    def compiled(image: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
        return tf.gradients(convolve(image, kernel), kernel)[0]

    expected = tf.raw_ops.Conv3DBackpropFilterV2(
        input=image,
        filter_sizes=kernel.shape,
        out_backprop=tf.ones((1, 6, 7, 9, 5)),
        strides=[1] * 5,
        padding="SAME",
    )
    np.testing.assert_allclose(compiled(image, kernel), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("rows", [1, 15, 1000, 123_456])
@pytest.mark.parametrize("row_bytes", [64, 200, 4096])
def test_slabs_hold_each_row_once_and_fit(rows: int, row_bytes: int) -> None:
    slabs = list(convolution._slabs(rows, row_bytes))
    assert [row for slab in slabs for row in range(*slab)] == list(range(rows))
    assert all(start * row_bytes % 64 == 0 for start, _ in slabs)
    assert all((stop - start - 16) * row_bytes <= 2**22 for start, stop in slabs)


def kernels_of_gradient(layer: tf.keras.layers.Layer, image: tf.Tensor) -> list[str]:
    """Which operations compute the gradient of the layer's weights."""
    layer(image)

    @tf.function
    def gradient() -> tf.Tensor:
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(layer(image))
        return tape.gradient(loss, layer.kernel)

    operations = gradient.get_concrete_function().graph.get_operations()
    return [operation.type for operation in operations if "BackpropFilter" in operation.type]


@pytest.mark.usefixtures("no_avx512")
class TestWithoutAVX512:
    def test_the_weights_learn_by_matrices(self) -> None:
        layer = Conv3D(5, 3, padding="same")
        assert kernels_of_gradient(layer, normal(1, 6, 6, 6, 24)) == []

    @pytest.mark.parametrize(
        "shape", [(1, 4, 4, 4, 24), (1, 6, 6, 6, 4)], ids=["voxels", "columns"]
    )
    def test_small_matrices_are_left_to_the_kernel(self, shape: tuple[int, ...]) -> None:
        layer = Conv3D(5, 3, padding="same")
        assert kernels_of_gradient(layer, normal(*shape)) == [KERNEL_OF_GRADIENT]

    @pytest.mark.parametrize(
        "options",
        [
            {"strides": 2, "padding": "valid"},
            {"padding": "valid"},
            {"padding": "same", "dilation_rate": 2},
            {"padding": "same", "dtype": "mixed_float16"},
        ],
        ids=["strided", "unpadded", "dilated", "float16"],
    )
    def test_all_else_is_left_to_the_kernel(self, options: dict) -> None:
        layer = Conv3D(5, 3, **options)
        assert kernels_of_gradient(layer, normal(1, 8, 8, 8, 24)).count(KERNEL_OF_GRADIENT) == 1

    def test_a_batch_of_unknown_size_is_left_to_the_kernel(self) -> None:
        layer = Conv3D(5, 3, padding="same")
        assert layer(tf.keras.Input((6, 6, 6, 24))).shape[1:] == (6, 6, 6, 5)

    def test_a_unet_learns_the_same(self, monkeypatch: pytest.MonkeyPatch) -> None:
        found = unet_gradients(PLAN)
        monkeypatch.setattr(convolution, "has_avx512", lambda: True)
        for own, keras in zip(found, unet_gradients(PLAN), strict=True):
            np.testing.assert_allclose(own, keras, rtol=1e-3, atol=1e-4 * np.abs(keras).max())


def unet_gradients(plan: Plan) -> list[np.ndarray]:
    tf.keras.utils.set_random_seed(0)
    model = build_unet(plan)
    with tf.GradientTape() as tape:
        finest = model(normal(1, *plan.patch_size, len(plan.channels)))[0]
        loss = tf.reduce_sum(finest * normal(*finest.shape))
    gradients = tape.gradient(loss, model.trainable_variables)
    return [gradient.numpy() for gradient in gradients if gradient is not None]


def test_a_processor_with_avx512_has_a_kernel_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convolution, "has_avx512", lambda: True)
    monkeypatch.setattr(convolution, "FEWEST_VOXELS", 100)
    layer = Conv3D(5, 3, padding="same")
    assert kernels_of_gradient(layer, normal(1, 6, 6, 6, 24)) == [KERNEL_OF_GRADIENT]


@pytest.mark.skipif(
    not CPUINFO.exists() or platform.machine() != "x86_64",
    reason="the processor's flags are read from Linux on x86-64",
)
def test_the_processor_says_the_same() -> None:
    assert compute.has_avx512() == ("avx512f" in CPUINFO.read_text().split())
