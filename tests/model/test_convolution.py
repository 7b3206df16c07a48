"""The convolution against Keras's own, which needs one kernel for its weights' gradient."""

import platform
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from nnunet_lib.model import build_unet, compute, convolution
from nnunet_lib.model.convolution import Conv3D, channels_at_once, in_parts
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
PART_OF_GRADIENT = "Conv3DBackpropFilterV2"


@pytest.fixture
def no_avx512(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a processor without AVX-512, and a matrix of 8 channels at most."""
    monkeypatch.setattr(convolution, "has_avx512", lambda: False)
    monkeypatch.setattr(convolution, "MATRIX_BYTES", 0)


def normal(*shape: int) -> tf.Tensor:
    return tf.constant(np.random.default_rng(sum(shape)).normal(size=shape), tf.float32)


def results(convolve, image: tf.Tensor, kernel: tf.Tensor) -> list[np.ndarray]:
    """The output, and the gradients of a sum that weighs each of its values differently."""
    with tf.GradientTape() as tape:
        tape.watch([image, kernel])
        output = convolve(image, kernel)
        weighted = tf.reduce_sum(output * normal(*output.shape))
    return [output.numpy(), *(g.numpy() for g in tape.gradient(weighted, [image, kernel]))]


@pytest.mark.parametrize("channels", [1, 4, 8, 24])
@pytest.mark.parametrize("kernel_size", [(3, 3, 3), (1, 3, 3), (3, 1, 1)])
def test_parts_give_what_one_convolution_gives(
    channels: int, kernel_size: tuple[int, int, int]
) -> None:
    image, kernel = normal(2, 6, 7, 9, 24), normal(*kernel_size, 24, 5)
    whole = results(lambda i, k: tf.nn.conv3d(i, k, [1] * 5, "SAME"), image, kernel)
    for found, expected in zip(results(in_parts(channels), image, kernel), whole, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


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
    def test_the_weights_learn_in_parts(self) -> None:
        layer = Conv3D(5, 3, padding="same")
        assert kernels_of_gradient(layer, normal(1, 6, 6, 6, 24)) == [PART_OF_GRADIENT] * 3

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
    def test_what_has_kernels_of_its_own_is_left_whole(self, options: dict) -> None:
        layer = Conv3D(5, 3, **options)
        assert kernels_of_gradient(layer, normal(1, 8, 8, 8, 24)).count(PART_OF_GRADIENT) == 1

    def test_a_unet_learns_the_same(self, monkeypatch: pytest.MonkeyPatch) -> None:
        found = unet_gradients(PLAN)
        monkeypatch.setattr(convolution, "has_avx512", lambda: True)
        for parts, whole in zip(found, unet_gradients(PLAN), strict=True):
            np.testing.assert_allclose(parts, whole, rtol=1e-3, atol=1e-4 * np.abs(whole).max())


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
    monkeypatch.setattr(convolution, "MATRIX_BYTES", 0)
    layer = Conv3D(5, 3, padding="same")
    assert kernels_of_gradient(layer, normal(1, 6, 6, 6, 24)) == [PART_OF_GRADIENT]


@pytest.mark.parametrize("channels", [1, 3, 16, 48, 320])
@pytest.mark.parametrize("edge", [4, 40, 400])
def test_as_many_channels_as_fit(edge: int, channels: int) -> None:
    together = channels_at_once((3, 3, 3), (edge, edge, edge, channels))
    assert channels % together == 0

    def fits(number: int) -> bool:
        return number <= 8 or 27 * 4 * edge**2 * number <= 2**21

    larger = [n for n in range(together + 1, channels + 1) if channels % n == 0]
    assert fits(together)
    assert not any(fits(number) for number in larger)


@pytest.mark.skipif(
    not CPUINFO.exists() or platform.machine() != "x86_64",
    reason="the processor's flags are read from Linux on x86-64",
)
def test_the_processor_says_the_same() -> None:
    assert compute.has_avx512() == ("avx512f" in CPUINFO.read_text().split())
