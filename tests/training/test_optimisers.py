"""Optimisers against steps computed with NumPy from the papers' formulas."""

from collections.abc import Callable

import numpy as np
import pytest
import tensorflow as tf

from nnunet_lib.model import build_unet
from nnunet_lib.training import TrainingSettings, make_optimiser
from nnunet_lib.training.optimisers import add_weight_decay, l2_factor

RATE, DECAY, MOMENTUM = 0.1, 0.05, 0.9
TOLERANCE = 5e-6  # Keras takes 1 - 0.999^t in float32, which leaves 1e-5 of a step of 0.1
START = np.array([1.0, -2.0, 0.5])
GRADIENTS = (np.array([0.3, -1.2, 2.0]), np.array([-0.7, -0.4, 1.0]), np.array([0.2, 0.9, -3.0]))

Update = Callable[[np.ndarray, np.ndarray, int], np.ndarray]


def adam(decay: float) -> Update:
    """What is subtracted at step t, from 1; Kingma and Ba's algorithm 1."""
    mean, square = np.zeros(3), np.zeros(3)

    def update(weights: np.ndarray, gradient: np.ndarray, step: int) -> np.ndarray:
        nonlocal mean, square
        gradient = gradient + decay * weights
        mean = 0.9 * mean + 0.1 * gradient
        square = 0.999 * square + 0.001 * gradient**2
        return RATE * (mean / (1 - 0.9**step)) / np.sqrt(square / (1 - 0.999**step))

    return update


def adamw(decay: float) -> Update:
    """Loshchilov and Hutter's algorithm 2: the decay passes the moments by."""
    plain = adam(0.0)
    return lambda weights, gradient, step: plain(weights, gradient, step) + RATE * decay * weights


def sgd(decay: float) -> Update:
    """Nesterov momentum as PyTorch's documentation has it, the rate outside the momentum."""
    velocity = np.zeros(3)

    def update(weights: np.ndarray, gradient: np.ndarray, step: int) -> np.ndarray:
        nonlocal velocity
        gradient = gradient + decay * weights
        velocity = MOMENTUM * velocity + gradient
        return RATE * (gradient + MOMENTUM * velocity)

    return update


def settings(optimiser: str, decay: float | None = DECAY) -> TrainingSettings:
    return TrainingSettings(
        optimiser=optimiser, learning_rate=RATE, weight_decay=decay, momentum=MOMENTUM
    )


def steps(of: TrainingSettings, name: str) -> np.ndarray:
    """Three steps as training takes them, on one variable of that name; the weights after each."""
    variable = tf.Variable(START, dtype=tf.float32, name=name)
    optimiser, weights = make_optimiser(of), []
    for gradient in GRADIENTS:
        gradients = add_weight_decay([tf.constant(gradient, tf.float32)], [variable], l2_factor(of))
        optimiser.apply_gradients(zip(gradients, [variable], strict=True))
        weights.append(variable.numpy())
    return np.stack(weights)


@pytest.mark.parametrize("reference", [adam, adamw, sgd])
@pytest.mark.parametrize(("name", "decay"), [("convolution/kernel", DECAY), ("norm/gamma", 0.0)])
def test_three_steps_are_those_of_the_paper(
    reference: Callable[[float], Update], name: str, decay: float
) -> None:
    update, weights, expected = reference(decay), START, []
    for step, gradient in enumerate(GRADIENTS, start=1):
        weights = weights - update(weights, gradient, step)
        expected.append(weights)
    result = steps(settings(reference.__name__), name)
    np.testing.assert_allclose(result, np.stack(expected), rtol=0, atol=TOLERANCE)


def test_the_two_kinds_of_decay_differ() -> None:
    first, second = (steps(settings(name), "kernel") for name in ("adam", "adamw"))
    assert np.abs(first - second).max() > 1e-3


def test_of_a_network_adamw_shrinks_the_kernels_alone() -> None:
    from tests.training.test_step import PLAN

    model = build_unet(PLAN)
    variables = model.trainable_variables
    for variable in variables:
        variable.assign(tf.ones_like(variable))
    optimiser = make_optimiser(settings("adamw"))
    optimiser.apply_gradients([(tf.zeros_like(variable), variable) for variable in variables])
    kernels = [layer.kernel for layer in model.layers if hasattr(layer, "kernel")]
    shrunk = [v.numpy().max() == pytest.approx(1 - RATE * DECAY) for v in variables]
    assert sum(shrunk) == len(kernels) >= 10
    assert all(v.numpy().max() == 1 for v, s in zip(variables, shrunk, strict=True) if not s)


@pytest.mark.parametrize("name", ["adam", "adamw", "sgd"])
def test_no_update_is_compiled_unasked(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Keras compiles only where it sees a GPU; here it is made to see one.
    devices = "tensorflow.compat.v2.config.list_physical_devices"
    monkeypatch.setattr(devices, lambda *kind: ["one"])
    assert tf.keras.optimizers.Adam().jit_compile
    assert not make_optimiser(settings(name)).jit_compile


@pytest.mark.parametrize(
    ("name", "rate", "l2", "decoupled"),
    [("adam", 2e-3, 1e-4, None), ("adamw", 2e-3, 0.0, 1e-2), ("sgd", 1e-2, 3e-5, None)],
)
def test_each_optimiser_has_its_own_defaults(
    name: str, rate: float, l2: float, decoupled: float | None
) -> None:
    own = TrainingSettings(optimiser=name)
    optimiser = make_optimiser(own)
    assert optimiser.learning_rate.numpy() == pytest.approx(rate)
    assert l2_factor(own) == l2
    assert optimiser.weight_decay == decoupled


def test_what_is_set_goes_before_the_optimisers_own() -> None:
    given = TrainingSettings(optimiser="sgd", learning_rate=0.5, weight_decay=0.0, momentum=0.3)
    optimiser = make_optimiser(given)
    assert optimiser.learning_rate.numpy() == 0.5
    assert optimiser.momentum == 0.3
    assert optimiser.nesterov
    assert l2_factor(given) == 0
