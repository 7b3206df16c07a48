"""The convolution against Keras's own: the same values, by fewer products where that pays."""

import itertools
import platform
from collections import Counter
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
    kernels=((1, 3, 3), (3, 3, 3)),
    filters=(16, 32),
)
CPUINFO = Path("/proc/cpuinfo")
DIRECT = Counter(Conv3D=1, Conv3DBackpropInputV2=1, Conv3DBackpropFilterV2=1)
ENOUGH = (1, 12, 10, 10, 32)


@pytest.fixture(params=[True, False], ids=["AVX-512", "no AVX-512"])
def avx512(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    monkeypatch.setattr(convolution, "has_avx512", lambda: request.param)
    return request.param


def normal(*shape: int) -> tf.Tensor:
    return tf.constant(np.random.default_rng(sum(shape)).normal(size=shape), tf.float32)


def results(convolve, image: tf.Tensor, kernel: tf.Tensor) -> list[np.ndarray]:
    """The output, and the gradients of a sum that weighs each of its values differently."""
    with tf.GradientTape() as tape:
        tape.watch([image, kernel])
        output = convolve(image, kernel)
        weighted = tf.reduce_sum(output * normal(*output.shape))
    return [output.numpy(), *(g.numpy() for g in tape.gradient(weighted, [image, kernel]))]


@pytest.mark.parametrize("fewest", [1, 32], ids=["all of it", "the weights' gradient"])
def test_gradients_are_those_of_tensorflow_s_convolution(
    fewest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(convolution, "FEWEST_CHANNELS", fewest)
    image, kernel = normal(2, 6, 7, 9, 24), normal(3, 3, 3, 24, 5)
    expected = results(lambda i, k: tf.nn.conv3d(i, k, [1] * 5, "SAME"), image, kernel)
    for found, one in zip(results(convolve, image, kernel), expected, strict=True):
        np.testing.assert_allclose(found, one, rtol=0, atol=1e-5 * np.abs(one).max())


def operations(layer: tf.keras.layers.Layer, image: tf.Tensor) -> Counter[str]:
    """Which 3D convolutions the layer and both its gradients take."""
    layer(image)

    @tf.function
    def gradients() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(image)
            loss = tf.reduce_sum(layer(image))
        return tape.gradient(loss, [image, layer.kernel])

    definition = gradients.get_concrete_function().graph.as_graph_def()
    bodies = (definition, *definition.library.function)  # functions within it too
    nodes = itertools.chain.from_iterable(
        body.node if body is definition else body.node_def for body in bodies
    )
    return Counter(node.op for node in nodes if node.op.startswith("Conv3D"))


class TestWhatTakesTheOtherWay:
    def test_many_channels_and_voxels_do_whatever_the_processor(self, avx512: bool) -> None:
        assert operations(Conv3D(32, 3, padding="same"), normal(*ENOUGH)) == Counter()

    def test_few_channels_do_in_the_weights_gradient_alone_without_avx512(
        self, avx512: bool
    ) -> None:
        without = Counter(Conv3D=1, Conv3DBackpropInputV2=1)
        few = operations(Conv3D(8, 3, padding="same"), normal(*ENOUGH))
        assert few == (DIRECT if avx512 else without)

    def test_kernels_of_one_slice_are_2d(self, avx512: bool) -> None:
        layer = Conv3D(3, (1, 3, 3), padding="same")
        image = normal(2, 5, 7, 6, 4)
        assert operations(layer, image) == Counter()
        expected = tf.nn.conv3d(image, layer.kernel, [1] * 5, "SAME")
        np.testing.assert_allclose(tf.function(layer)(image), expected, rtol=0, atol=1e-5)


@pytest.mark.usefixtures("avx512")
class TestWhatDoesNot:
    @pytest.mark.parametrize(
        "shape",
        [(1, 9, 10, 10, 32), (1, 12, 10, 10, 7), (1, 2, 30, 30, 32)],
        ids=["voxels", "channels", "slices"],
    )
    def test_small_layers(self, shape: tuple[int, ...]) -> None:
        assert operations(Conv3D(32, 3, padding="same"), normal(*shape)) == DIRECT

    @pytest.mark.parametrize(
        "options",
        [
            {"strides": 2, "padding": "valid"},
            {"padding": "valid"},
            {"padding": "same", "dilation_rate": 2},
            {"padding": "same", "dtype": "mixed_float16"},
            {"padding": "same", "kernel_size": (2, 3, 3)},
            {"padding": "same", "kernel_size": (1, 3, 3), "strides": (1, 2, 2)},
        ],
        ids=["strided", "unpadded", "dilated", "float16", "two slices", "strided slices"],
    )
    def test_other_convolutions(self, options: dict) -> None:
        layer = Conv3D(32, **{"kernel_size": 3, **options})
        assert operations(layer, normal(*ENOUGH)) == DIRECT

    def test_grouped_channels(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(convolution, "convolve", None)  # which would take channels for missing
        layer = tf.function(Conv3D(64, 3, padding="same", groups=2))
        assert layer(normal(1, 12, 10, 10, 64)).shape == (1, 12, 10, 10, 64)

    def test_a_batch_of_unknown_size(self) -> None:
        graph = tf.function(Conv3D(32, 3, padding="same")).get_concrete_function(
            tf.TensorSpec((None, *ENOUGH[1:]))
        )
        assert "Conv3D" in [one.type for one in graph.graph.get_operations()]

    def test_a_batch_of_batches(self) -> None:
        layer, image = Conv3D(32, 3, padding="same"), normal(3, *ENOUGH)
        expected = [layer(batch) for batch in image]
        np.testing.assert_allclose(tf.function(layer)(image), expected, rtol=0, atol=1e-5)

    def test_anything_outside_of_a_graph(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(convolution, "convolve", None)
        assert Conv3D(32, 3, padding="same")(normal(*ENOUGH)).shape == ENOUGH

    def test_anything_where_a_gpu_computes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: [kind])
        assert operations(Conv3D(32, 3, padding="same"), normal(*ENOUGH)) == DIRECT


def test_a_unet_learns_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = unet_gradients(PLAN)
    monkeypatch.setattr(convolution, "FEWEST_CHANNELS", 1)
    monkeypatch.setattr(convolution, "FEWEST_VOXELS", 1)
    for own, keras in zip(unet_gradients(PLAN), expected, strict=True):
        np.testing.assert_allclose(own, keras, rtol=1e-3, atol=1e-4 * np.abs(keras).max())


def unet_gradients(plan: Plan) -> list[np.ndarray]:
    tf.keras.utils.set_random_seed(0)
    model = build_unet(plan)

    @tf.function
    def gradients() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            finest = model(normal(1, *plan.patch_size, len(plan.channels)))[0]
            loss = tf.reduce_sum(finest * normal(*finest.shape))
        return tape.gradient(loss, model.trainable_variables)

    return [gradient.numpy() for gradient in gradients() if gradient is not None]


@pytest.mark.skipif(
    not CPUINFO.exists() or platform.machine() != "x86_64",
    reason="the processor's flags are read from Linux on x86-64",
)
def test_the_processor_says_the_same() -> None:
    assert compute.has_avx512() == ("avx512f" in CPUINFO.read_text().split())


def test_a_processor_in_which_numpy_finds_nothing_has_no_avx512(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(np, "show_config", lambda mode: {"SIMD Extensions": {"baseline": ["SSE"]}})
    assert not compute.has_avx512.__wrapped__()
