"""A network as a function of patches: in any precision, compiled or not.

Run as a script, it calls the function that its argument names: a test counts in a process of
its own what XLA compiles.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from nnunet_lib.model import (
    Checkpoint,
    ComputeSettings,
    Precision,
    as_network,
    build_unet,
    load_network,
    save_checkpoint,
    training_forward,
    variable_arrays,
)
from nnunet_lib.model import network as network_module
from nnunet_lib.model.network import FEW_CASES, _CaseByCase
from nnunet_lib.planning import Norm, Normalisation, Plan

PLAN = Plan(
    dataset="made up",
    dimensions=2,
    channels=("MRI",),
    labels=("background", "one", "two"),
    axis_order=(0, 1, 2),
    target_spacing=(1.0, 1.0),
    normalisation=(Normalisation("z_score"),),
    patch_size=(8, 8),
    batch_size=2,
    strides=((1, 1), (2, 2), (2, 2)),
    kernels=((3, 3),) * 3,
    filters=(4, 8, 8),
)
SIZE = PLAN.batch_size


def patches(number: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(number, 8, 8, 1)).astype(np.float32)


def saved(path: Path, plan: Plan = PLAN, precision: Precision = "float32") -> tf.keras.Model:
    """A new network, whose weights are in a checkpoint there."""
    model = build_unet(plan, precision=precision)
    save_checkpoint(path, Checkpoint(plan, True, variable_arrays(model.variables)))
    return model


@pytest.mark.parametrize("xla", [False, True])
def test_as_network_takes_any_number_of_patches_and_gives_the_finest_head(xla: bool) -> None:
    model = build_unet(PLAN)
    network = as_network(model, xla, SIZE)
    expected = model(tf.constant(patches(5)), training=False)[0].numpy()
    for number in (1, 2, 5):
        np.testing.assert_allclose(network(patches(5)[:number]), expected[:number], atol=1e-4)


@pytest.mark.parametrize("trained", ["float32", "float16"])
@pytest.mark.parametrize("used", ["float32", "float16"])
def test_weights_of_one_precision_serve_another(
    trained: Precision, used: Precision, tmp_path: Path
) -> None:
    model = saved(tmp_path / "trained.npz", precision=trained)
    network, _ = load_network(tmp_path / "trained.npz", compute=ComputeSettings(used))
    logits = network(patches(2))
    assert logits.dtype == np.float32
    expected = as_network(model)(patches(2))
    np.testing.assert_allclose(logits, expected, atol=0 if trained == used else 3e-2)
    assert (logits == expected).all() == (trained == used)


@pytest.mark.parametrize("norm", ["batch", "group", "none"])
def test_a_trained_network_of_any_norm_predicts_alike_after_loading(
    norm: Norm, tmp_path: Path
) -> None:
    plan = replace(PLAN, norm=norm, negative_slope=0.2)
    model = build_unet(plan)
    training_forward(model)(tf.constant(patches(2)))  # batch norm's statistics move
    save_checkpoint(tmp_path / "a.npz", Checkpoint(plan, True, variable_arrays(model.variables)))
    network, loaded = load_network(tmp_path / "a.npz")
    assert loaded == plan
    expected = model(tf.constant(patches(2)), training=False)[0]
    np.testing.assert_allclose(network(patches(2)), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("number", "gpus", "calls"),
    [(2, [], 2), (FEW_CASES, [], FEW_CASES), (FEW_CASES + 1, [], 1), (2, ["a GPU"], 1)],
)
def test_few_cases_go_one_by_one_on_a_cpu(
    number: int, gpus: list[str], calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: gpus)
    seen = []
    network = _CaseByCase(lambda cases: seen.append(len(cases)) or [cases])
    np.testing.assert_array_equal(network(tf.constant(patches(number)))[0], patches(number))
    assert seen == [number // calls] * calls


@pytest.mark.parametrize(("gpus", "traced"), [([], [2, 1]), (["a GPU"], [None])])
def test_many_patches_are_split_into_few_on_a_cpu(
    gpus: list[str], traced: list[int | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an unknown number no layer could choose the quicker way."""
    model = build_unet(PLAN)
    expected = model(tf.constant(patches(5)), training=False)[0].numpy()
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: gpus)
    monkeypatch.setattr(network_module, "FEW_CASES", 2)
    seen, forward = [], _CaseByCase.__call__

    def noting(self: _CaseByCase, cases: tf.Tensor) -> list[tf.Tensor]:
        seen.append(cases.shape[0])
        return forward(self, cases)

    monkeypatch.setattr(_CaseByCase, "__call__", noting)
    logits = as_network(model, batch_size=5)(patches(5))
    np.testing.assert_allclose(logits, expected, atol=1e-4)
    assert seen == traced


def test_tensorflow_does_not_take_an_ensemble_s_networks_for_one_that_is_traced_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    small = {name: getattr(PLAN, name)[:2] for name in ("filters", "strides", "kernels")}
    tf.get_logger().addHandler(caplog.handler)
    try:
        for _ in range(6):
            as_network(build_unet(replace(PLAN, **small)))(patches(1))
    finally:
        tf.get_logger().removeHandler(caplog.handler)
    assert caplog.messages == []


def test_batch_norm_predicts_by_its_moving_statistics_in_any_batch() -> None:
    model = build_unet(replace(PLAN, norm="batch"))
    untrained = model(tf.constant(patches(2)), training=False)[0].numpy()
    training_forward(model)(tf.constant(patches(2)))
    expected = model(tf.constant(patches(2)), training=False)[0].numpy()
    assert np.abs(expected - untrained).max() > 1e-3
    network = as_network(model)
    for number in (1, 2):
        np.testing.assert_allclose(network(patches(2)[:number]), expected[:number], atol=1e-5)


def gradients(model: tf.keras.Model, xla: bool) -> tuple[tf.Tensor, list[tf.Tensor]]:
    """The loss, mean squares of all logits, and its gradients."""
    forward = training_forward(model, xla)

    @tf.function
    def differentiate(images: tf.Tensor) -> tuple[tf.Tensor, list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            loss = tf.add_n([tf.reduce_mean(head**2) for head in forward(images)])
        return loss, tape.gradient(loss, model.trainable_variables)

    return differentiate(tf.constant(patches(SIZE)))


@pytest.mark.parametrize("norm", ["instance", "batch"])
def test_xla_changes_neither_loss_nor_gradients_nor_moving_statistics(norm: Norm) -> None:
    model = build_unet(replace(PLAN, norm=norm))
    start = model.get_weights()
    results, moved = [], []
    for xla in (False, True):
        model.set_weights(start)
        results.append(gradients(model, xla))
        moved.append(model.get_weights())
    (plain_loss, plain), (compiled_loss, compiled) = results
    np.testing.assert_allclose(compiled_loss, plain_loss, rtol=1e-5)
    for one, other in zip(compiled, plain, strict=True):
        assert tf.norm(one - other) <= 1e-4 * tf.norm(other) + 1e-6
    for one, other in zip(*moved, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def train_and_predict() -> None:
    """Three steps and a prediction whose last batch is short."""
    model = build_unet(PLAN)
    forward, optimiser = training_forward(model, xla=True), tf.keras.optimizers.Adam()
    optimiser.build(model.trainable_variables)

    @tf.function
    def step(images: tf.Tensor) -> None:
        with tf.GradientTape() as tape:
            loss = tf.add_n([tf.reduce_mean(head**2) for head in forward(images)])
        found = tape.gradient(loss, model.trainable_variables)
        optimiser.apply_gradients(zip(found, model.trainable_variables, strict=True))

    for _ in range(3):
        step(tf.constant(patches(SIZE)))
    network = as_network(model, xla=True, batch_size=SIZE)
    for number in (SIZE, SIZE, SIZE - 1):
        network(patches(number))


def predict_without_filling_up() -> None:
    """The planted fault: the short last batch is a shape of its own."""
    model = build_unet(PLAN)
    network = tf.function(lambda images: model(images)[0], jit_compile=True, reduce_retracing=True)
    for number in (SIZE, SIZE, SIZE - 1):
        network(tf.constant(patches(number)))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("work", "modules"),
    [(train_and_predict, 3), (predict_without_filling_up, 2)],  # forward, back, predict; twice
)
def test_each_program_is_compiled_once(
    work: Callable[[], None], modules: int, tmp_path: Path
) -> None:
    environment = os.environ | {"XLA_FLAGS": f"--xla_dump_to={tmp_path}"}
    subprocess.run([sys.executable, __file__, work.__name__], env=environment, check=True)
    assert len(list(tmp_path.glob("*.before_optimizations.txt"))) == modules


if __name__ == "__main__":
    globals()[sys.argv[1]]()
