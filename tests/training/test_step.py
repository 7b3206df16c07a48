"""Steps on a tiny network: their size, clipping, and a network that can be overfitted."""

import numpy as np
import pytest
import tensorflow as tf

from nnunet_lib.model import ComputeSettings, build_unet, head_strides, training_forward
from nnunet_lib.model.network import Forward
from nnunet_lib.planning import Normalisation, Plan
from nnunet_lib.training import LossSettings, TrainingSettings, deep_supervision_loss
from nnunet_lib.training.step import make_step

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
    strides=((1, 1, 1), (2, 2, 2), (2, 2, 2)),
    kernels=((3, 3, 3),) * 3,
    filters=(4, 8, 16),
)


def ball() -> tuple[tf.Tensor, tf.Tensor]:
    """A bright ball in noise: image (1, 16, 16, 16, 1) and its label."""
    distance = np.linalg.norm(np.indices((16, 16, 16)) - 7.5, axis=0)
    label = (distance < 5).astype(np.uint8)[None, ..., None]
    noise = np.random.default_rng(0).normal(size=label.shape)
    return tf.constant((label + 0.5 * noise).astype(np.float32)), tf.constant(label)


def test_adams_first_step_is_the_learning_rate_against_the_gradients_sign() -> None:
    tf.keras.utils.set_random_seed(0)
    model = build_unet(PLAN)
    before = [variable.numpy() for variable in model.trainable_variables]
    optimiser = tf.keras.optimizers.Adam(1e-3)
    make_step(model, optimiser, PLAN, TrainingSettings())(*ball())
    moved = np.concatenate(
        [
            (variable.numpy() - old).ravel()
            for variable, old in zip(model.trainable_variables, before, strict=True)
        ]
    )
    # m / (1 - b1) = g and v / (1 - b2) = g^2, so the step is lr * g / (|g| + epsilon).
    assert np.abs(moved).max() <= 1e-3 * 1.001
    assert np.median(np.abs(moved)) == pytest.approx(1e-3, rel=0.01)


def test_clipping_bounds_the_gradient_that_the_optimiser_sees() -> None:
    model = build_unet(PLAN)
    optimiser = tf.keras.optimizers.SGD(1.0)
    before = [variable.numpy() for variable in model.trainable_variables]
    settings = TrainingSettings(gradient_clip=1e-3, weight_decay=0.0)
    make_step(model, optimiser, PLAN, settings)(*ball())
    squares = [
        np.sum((variable.numpy() - old).astype(np.float64) ** 2)
        for variable, old in zip(model.trainable_variables, before, strict=True)
    ]
    assert np.sqrt(sum(squares)) == pytest.approx(1e-3, rel=1e-2)


def test_the_l2_term_pulls_kernels_towards_zero_after_clipping() -> None:
    moved = []
    for decay in (0.0, 0.1):
        tf.keras.utils.set_random_seed(0)
        model = build_unet(PLAN)
        kernels = [layer.kernel.numpy() for layer in model.layers if hasattr(layer, "kernel")]
        settings = TrainingSettings(gradient_clip=1e-6, weight_decay=decay)
        make_step(model, tf.keras.optimizers.SGD(1.0), PLAN, settings)(*ball())
        after = [layer.kernel.numpy() for layer in model.layers if hasattr(layer, "kernel")]
        moved.append([new - old for new, old in zip(after, kernels, strict=True)])
    for without, with_decay, kernel in zip(*moved, kernels, strict=True):
        np.testing.assert_allclose(with_decay - without, -0.1 * kernel, atol=3e-6)


@pytest.mark.parametrize("loss", [LossSettings(focal=True), LossSettings(include_background=True)])
def test_a_step_minimises_the_loss_that_the_settings_name(loss: LossSettings) -> None:
    model = build_unet(PLAN)
    image, label = ball()
    expected = deep_supervision_loss(
        model(image), label, head_strides(PLAN, len(model.outputs)), loss
    )
    step = make_step(model, tf.keras.optimizers.SGD(0.0), PLAN, TrainingSettings(loss=loss))
    value = float(step(image, label))
    assert value == pytest.approx(float(expected), rel=1e-4)
    plain = make_step(model, tf.keras.optimizers.SGD(0.0), PLAN, TrainingSettings())
    assert value != pytest.approx(float(plain(image, label)), rel=1e-2)


@pytest.mark.parametrize("xla", [False, True])
def test_the_network_is_compiled_if_the_settings_say_so(
    xla: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def spy(model: tf.keras.Model, xla: bool = False) -> Forward:
        asked.append(xla)
        return training_forward(model)

    monkeypatch.setattr("nnunet_lib.training.step.training_forward", spy)
    settings = TrainingSettings(compute=ComputeSettings(xla=xla))
    make_step(build_unet(PLAN), tf.keras.optimizers.SGD(0.0), PLAN, settings)
    assert asked == [xla]


@pytest.mark.slow
def test_one_batch_can_be_overfitted() -> None:
    tf.keras.utils.set_random_seed(0)
    model = build_unet(PLAN)
    step = make_step(model, tf.keras.optimizers.Adam(5e-3), PLAN, TrainingSettings())
    image, label = ball()
    losses = [float(step(image, label)) for _ in range(80)]
    assert losses[-1] < 0.1 < losses[0]
    predicted = np.argmax(model(image)[0], axis=-1)[..., None] == 1
    truth = label.numpy() == 1
    assert 2 * (predicted & truth).sum() / (predicted.sum() + truth.sum()) > 0.95
