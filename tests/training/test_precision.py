"""The loss scale moves as it should, survives a checkpoint, and float16 learns as float32 does."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from nnunet_lib.model import (
    Checkpoint,
    ComputeSettings,
    Precision,
    assign_arrays,
    build_unet,
    load_checkpoint,
    save_checkpoint,
    variable_arrays,
)
from nnunet_lib.planning import Normalisation, Plan
from nnunet_lib.training import TrainingSettings
from nnunet_lib.training.precision import (
    INITIAL_SCALE,
    optimiser_variables,
    scaled,
    unscaled,
    with_loss_scaling,
)
from nnunet_lib.training.step import make_step

FLOAT16 = ComputeSettings("float16")
CLIP = 1.0
PLAN = Plan(
    dataset="made up",
    dimensions=3,
    channels=("MRI",),
    labels=("background", "ball"),
    axis_order=(0, 1, 2),
    target_spacing=(1.0, 1.0, 1.0),
    normalisation=(Normalisation("z_score"),),
    patch_size=(16, 16, 16),
    batch_size=1,
    strides=((1, 1, 1), (2, 2, 2)),
    kernels=((3, 3, 3),) * 2,
    filters=(4, 8),
)


def made(growth_steps: int = 3) -> tuple[tf.keras.optimizers.Optimizer, tf.Variable]:
    """A scaled SGD of rate 1, and the one weight that it moves."""
    optimiser = with_loss_scaling(tf.keras.optimizers.SGD(1.0), FLOAT16, growth_steps)
    weight = tf.Variable([0.0], name="kernel")
    optimiser.build([weight])
    return optimiser, weight


def gradient_of(
    optimiser: tf.keras.optimizers.Optimizer, weight: tf.Variable, slope: float
) -> tf.Tensor:
    """The gradient of slope * weight, after it has passed through float16."""
    with tf.GradientTape() as tape:
        rounded = tf.cast(tf.cast(weight, tf.float16), tf.float32)
        objective = scaled(slope * tf.reduce_sum(rounded), optimiser)
    return unscaled([tape.gradient(objective, weight)], optimiser)[0]


def step(optimiser: tf.keras.optimizers.Optimizer, weight: tf.Variable, slope: float) -> None:
    """One step as training takes it: the clipped gradient is applied."""
    gradients, _ = tf.clip_by_global_norm([gradient_of(optimiser, weight, slope)], CLIP)
    optimiser.apply_gradients([(gradients[0], weight)])


def scale(optimiser: tf.keras.optimizers.Optimizer) -> float:
    return float(optimiser.loss_scale)


def test_the_scale_doubles_after_enough_good_steps() -> None:
    optimiser, weight = made(growth_steps=3)
    scales = []
    for _ in range(6):
        step(optimiser, weight, 2**-4)
        scales.append(scale(optimiser) / INITIAL_SCALE)
    assert scales == [1, 1, 2, 2, 2, 4]


def test_unless_told_otherwise_the_scale_stays_for_many_steps() -> None:
    """Each doubling too far costs a step."""
    optimiser = with_loss_scaling(tf.keras.optimizers.SGD(1.0), FLOAT16)
    weight = tf.Variable([0.0], name="kernel")
    optimiser.build([weight])
    optimiser.dynamic_counter.assign(1000)
    step(optimiser, weight, 2**-4)
    assert scale(optimiser) == INITIAL_SCALE
    optimiser.dynamic_counter.assign(1999)
    step(optimiser, weight, 2**-4)
    assert scale(optimiser) == 2 * INITIAL_SCALE


def test_an_overflow_halves_the_scale_and_skips_the_step() -> None:
    optimiser, weight = made(growth_steps=3)
    step(optimiser, weight, 2**-4)
    before = weight.numpy()
    step(optimiser, weight, 4.0)  # 4 * 2^15 is more than float16 holds
    assert scale(optimiser) == INITIAL_SCALE / 2
    np.testing.assert_array_equal(weight.numpy(), before)
    assert int(optimiser.dynamic_counter) == 0
    assert int(optimiser.iterations) == 2  # Keras counts skipped steps too


def test_a_gradient_too_small_for_float16_arrives_because_of_the_scale() -> None:
    optimiser, weight = made()
    np.testing.assert_array_equal(gradient_of(optimiser.inner_optimizer, weight, 2**-26), [0.0])
    np.testing.assert_array_equal(gradient_of(optimiser, weight, 2**-26), [2**-26])


def test_clipping_sees_the_unscaled_gradient() -> None:
    optimiser, weight = made()
    step(optimiser, weight, 0.5)  # below CLIP, though 0.5 * 2^15 is far above
    np.testing.assert_allclose(weight.numpy(), [-0.5])
    step(optimiser, weight, 1.5)
    np.testing.assert_allclose(weight.numpy(), [-0.5 - CLIP])


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_other_precisions_need_no_scale(precision: Precision) -> None:
    optimiser = tf.keras.optimizers.SGD(1.0)
    assert with_loss_scaling(optimiser, ComputeSettings(precision)) is optimiser
    loss, gradients = tf.constant(3.0), [tf.constant([1.0])]
    assert scaled(loss, optimiser) is loss
    assert unscaled(gradients, optimiser) == gradients
    assert optimiser_variables(optimiser) == list(optimiser.variables)


def test_the_scale_and_its_counter_survive_a_checkpoint(tmp_path: Path) -> None:
    optimiser, weight = made(growth_steps=3)
    for slope in (4.0, 2**-4, 2**-4):  # halved once, then two good steps
        step(optimiser, weight, slope)
    arrays = variable_arrays(optimiser_variables(optimiser))
    save_checkpoint(tmp_path / "state.npz", Checkpoint(PLAN, True, {}, arrays))

    resumed, other_weight = made(growth_steps=3)
    saved = load_checkpoint(tmp_path / "state.npz").optimiser
    assign_arrays(optimiser_variables(resumed), saved, source="state.npz")
    assert scale(resumed) == INITIAL_SCALE / 2
    assert int(resumed.iterations) == 3
    step(resumed, other_weight, 2**-4)  # the third good step
    assert scale(resumed) == INITIAL_SCALE


def ball() -> tuple[tf.Tensor, tf.Tensor]:
    """A bright ball in noise: image (1, 16, 16, 16, 1) and its label."""
    distance = np.linalg.norm(np.indices((16, 16, 16)) - 7.5, axis=0)
    label = (distance < 5).astype(np.uint8)[None, ..., None]
    noise = np.random.default_rng(0).normal(size=label.shape)
    return tf.constant((label + 0.5 * noise).astype(np.float32)), tf.constant(label)


def losses(precision: Precision, steps: int) -> tuple[list[float], tf.keras.Model]:
    """The losses of a network's first steps, from the same weights in each precision."""
    tf.keras.utils.set_random_seed(0)
    compute = ComputeSettings(precision)
    model = build_unet(PLAN, precision=precision)
    optimiser = with_loss_scaling(tf.keras.optimizers.Adam(1e-2), compute)
    training_step = make_step(model, optimiser, PLAN, TrainingSettings(compute=compute))
    image, label = ball()
    return [float(training_step(image, label)) for _ in range(steps)], model


@pytest.mark.slow
def test_float16_learns_as_float32_does_and_keeps_float32_weights() -> None:
    whole, _ = losses("float32", steps=10)
    half, model = losses("float16", steps=10)
    assert whole[-1] < 0.9 * whole[0]
    np.testing.assert_allclose(half, whole, atol=1e-2)
    assert half != whole
    assert {variable.dtype for variable in model.variables} == {tf.float32}
