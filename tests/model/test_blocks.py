"""The blocks against Keras's own layers, hand-made statistics, and each other's precision."""

import numpy as np
import pytest
import tensorflow as tf

from nnunet_lib.model import Blocks, InstanceNormalization, number_of_groups
from nnunet_lib.model.blocks import MAXIMUM_GROUPS
from nnunet_lib.planning import Norm

FEATURES = np.random.default_rng(0).normal(5, 3, (2, 6, 4, 4, 8)).astype(np.float32)


def block(blocks: Blocks, filters: int = 8) -> tf.keras.Model:
    """One convolution block on patches of 6 x 4 x 4."""
    inputs = tf.keras.Input(FEATURES.shape[1:])
    outputs = blocks.convolution(inputs, filters, (3, 3, 3), (1, 1, 1), "block")
    return tf.keras.Model(inputs, outputs)


def normalised(norm: Norm, training: bool = True) -> tuple[np.ndarray, tf.keras.Model]:
    """What the norm alone makes of the features."""
    model = block(Blocks(norm))
    return model.get_layer("block_norm")(FEATURES, training=training).numpy(), model


def test_instance_norm_gives_each_case_and_channel_mean_0_and_variance_1() -> None:
    inputs = FEATURES.copy()
    inputs[1] *= 100  # a case of another intensity scale
    outputs = InstanceNormalization()(inputs).numpy()
    np.testing.assert_allclose(outputs.mean(axis=(1, 2, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(outputs.std(axis=(1, 2, 3)), 1, atol=1e-3)


def test_instance_norm_of_a_case_does_not_depend_on_its_batch() -> None:
    layer = InstanceNormalization()
    batch = np.random.default_rng(0).normal(size=(3, 8, 8, 2)).astype(np.float32)
    alone = [layer(batch[i : i + 1]).numpy()[0] for i in range(3)]
    np.testing.assert_allclose(layer(batch).numpy(), alone, atol=1e-5)


def test_instance_norm_does_the_same_to_one_case_and_to_many() -> None:
    layer = InstanceNormalization()
    generator = np.random.default_rng(0)
    many, upstream = generator.normal(5, 3, (2, 3, 6, 5, 4, 8)).astype(np.float32)
    layer.build(many.shape)
    layer.set_weights(generator.normal(1, 0.3, (2, 8)))

    def answer(cases: np.ndarray, upstream: np.ndarray) -> list[np.ndarray]:
        inputs = tf.constant(cases)
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            outputs = layer(inputs)
        sources = [inputs, layer.gamma, layer.beta]
        return [outputs.numpy(), *(g.numpy() for g in tape.gradient(outputs, sources, upstream))]

    alone = [answer(many[i : i + 1], upstream[i : i + 1]) for i in range(3)]
    outputs, gradients, *sums = zip(*alone, strict=True)
    y, dx, *together = answer(many, upstream)
    np.testing.assert_allclose(np.concatenate(outputs), y, atol=1e-5)
    np.testing.assert_allclose(np.concatenate(gradients), dx, atol=1e-5)
    np.testing.assert_allclose(np.sum(sums, axis=1), together, atol=1e-3)


def test_instance_norm_is_group_norm_with_a_channel_a_group() -> None:
    groups = tf.keras.layers.GroupNormalization(FEATURES.shape[-1], epsilon=1e-5)
    np.testing.assert_allclose(InstanceNormalization()(FEATURES), groups(FEATURES), atol=1e-5)


def test_batch_norm_normalises_over_the_batch_and_keeps_moving_statistics() -> None:
    outputs, model = normalised("batch")
    np.testing.assert_allclose(outputs.mean(axis=(0, 1, 2, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(outputs.std(axis=(0, 1, 2, 3)), 1, atol=1e-3)
    moving = {v.name: v.numpy() for v in model.variables if "moving" in v.name}
    expected = 0.1 * FEATURES.mean(axis=(0, 1, 2, 3))  # a tenth of the way from 0
    np.testing.assert_allclose(moving["block_norm/moving_mean:0"], expected, rtol=1e-4)
    assert len(moving) == 2


def test_group_norm_normalises_each_group_of_a_case() -> None:
    outputs, _ = normalised("group")
    groups = number_of_groups(FEATURES.shape[-1])
    grouped = outputs.reshape(2, -1, groups, FEATURES.shape[-1] // groups)
    np.testing.assert_allclose(grouped.mean(axis=(1, 3)), 0, atol=1e-4)
    np.testing.assert_allclose(grouped.std(axis=(1, 3)), 1, atol=1e-3)


@pytest.mark.parametrize("channels", [1, 7, 12, 20, 30, 32, 320, 11])
def test_groups_divide_the_channels_and_no_larger_number_does(channels: int) -> None:
    groups = number_of_groups(channels)
    assert channels % groups == 0
    assert all(channels % more for more in range(groups + 1, MAXIMUM_GROUPS + 1))


@pytest.mark.parametrize("norm", ["instance", "batch", "group", "none"])
def test_a_convolution_has_a_bias_only_where_no_norm_takes_it_away(norm: Norm) -> None:
    model = block(Blocks(norm))
    names = {variable.name.split("/")[1] for variable in model.trainable_variables}
    assert names == {"kernel:0"} | ({"bias:0"} if norm == "none" else {"gamma:0", "beta:0"})


@pytest.mark.parametrize(("layer", "voxels"), [("block_convolution", 27), ("up", 8)])
def test_fresh_kernels_have_the_deviation_of_he(layer: str, voxels: int) -> None:
    coarse = block(Blocks())
    model = tf.keras.Model(coarse.input, Blocks().up(coarse.output, 8, (2, 2, 2), "up"))
    kernel = model.get_layer(layer).kernel.numpy()
    assert kernel.std() == pytest.approx(np.sqrt(2 / (voxels * 8)), rel=0.15)


@pytest.mark.parametrize("slope", [0.0, 0.01, 0.3])
def test_negative_features_are_multiplied_by_the_slope(slope: float) -> None:
    activation = block(Blocks(negative_slope=slope)).get_layer("block_activation")
    np.testing.assert_allclose(activation(tf.constant([-2.0, 3.0])), [-2 * slope, 3.0])


@pytest.mark.parametrize("norm", ["instance", "batch", "group"])
def test_half_precision_norms_survive_features_whose_square_does_not(norm: Norm) -> None:
    """Features of some 1000, whose variance float16 cannot hold."""
    model = block(Blocks(norm, precision="float16"))
    features = (FEATURES * 300).astype(np.float16)
    assert features.astype(np.float32).var() > np.finfo(np.float16).max
    outputs = model.get_layer("block_norm")(features, training=True)
    assert outputs.dtype == tf.float32
    np.testing.assert_allclose(outputs.numpy().std(), 1, atol=1e-2)


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_mixed_precision_rounds_what_flows_and_keeps_what_is_learned(precision: str) -> None:
    model = block(Blocks("instance", precision=precision))
    assert {variable.dtype for variable in model.variables} == {tf.float32}
    for layer in ("block_convolution", "block_activation"):
        assert model.get_layer(layer).compute_dtype == precision
    assert model.output.dtype == precision
    assert tf.keras.mixed_precision.global_policy().name == "float32"
