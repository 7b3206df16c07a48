"""Two processes train as one would on both their batches; planted faults are seen.

All that two real processes are needed for runs in one launch of them, since a launch takes long.
"""

import sys
from dataclasses import dataclass
from typing import Any
from unittest import mock

import cloudpickle
import numpy as np
import pytest

from nnunet_lib import distributed
from nnunet_lib.distributed import ALONE, Ranks
from nnunet_lib.planning import Normalisation, Plan
from nnunet_lib.training import TrainingSettings

# Horovod's processes cannot import this file: they get its functions as they are.
cloudpickle.register_pickle_by_value(sys.modules[__name__])

pytestmark = pytest.mark.slow

PATCH = (8, 8, 8)
BATCH = 4
STEPS = 5
PLAN = Plan(
    dataset="made up",
    dimensions=3,
    channels=("MRI",),
    labels=("background", "one", "two"),
    axis_order=(0, 1, 2),
    target_spacing=(1.0, 1.0, 1.0),
    normalisation=(Normalisation("z_score"),),
    patch_size=PATCH,
    batch_size=BATCH,
    strides=((1, 1, 1), (2, 2, 2), (2, 2, 2)),
    kernels=((3, 3, 3),) * 3,
    filters=(4, 8, 8),
)
# Plain gradient descent: Adam would not tell a sum of gradients from their mean.
SETTINGS = TrainingSettings(
    optimiser="sgd", momentum=0.0, learning_rate=0.05, weight_decay=0.0, gradient_clip=1e6
)


@dataclass(frozen=True)
class Outcome:
    """What one process found: the loss, its gradients, the weights before and after five steps."""

    loss: float
    gradients: list[np.ndarray]
    before: list[np.ndarray]
    after: list[np.ndarray]

    @property
    def moved(self) -> list[np.ndarray]:
        return [after - before for after, before in zip(self.after, self.before, strict=True)]


def whole_batch() -> tuple[np.ndarray, np.ndarray]:
    """A batch whose first half is nearly all foreground, and whose second half has hardly any."""
    random = np.random.default_rng(0)
    image = random.normal(size=(BATCH, *PATCH, 1)).astype(np.float32)
    label = np.zeros((BATCH, *PATCH, 1), np.uint8)
    label[:2, 1:, 1:6] = 1
    label[:2, 1:, 6:] = 2
    label[2:, 3, 3, 3:5] = 1
    return image, label


def values(tensors: Any) -> list[np.ndarray]:
    return [tensor.numpy() for tensor in tensors]


def experiment(ranks: Ranks, weights_seed: int = 0, broadcast: bool = True) -> Outcome:
    """Gradients of this rank's share of the batch, and five steps with it."""
    import tensorflow as tf

    from nnunet_lib.model import build_unet
    from nnunet_lib.training.optimisers import make_optimiser
    from nnunet_lib.training.step import make_gradients, make_step

    image, label = whole_batch()
    share = BATCH // ranks.size
    own = slice(ranks.rank * share, (ranks.rank + 1) * share)
    tf.keras.utils.set_random_seed(weights_seed)
    model, optimiser = build_unet(PLAN), make_optimiser(SETTINGS)
    if broadcast:
        ranks.broadcast(model.variables)
    before = values(model.trainable_variables)
    gradients_of = tf.function(make_gradients(model, optimiser, PLAN, SETTINGS, ranks))
    loss, gradients = gradients_of(image[own], label[own])
    step = make_step(model, optimiser, PLAN, SETTINGS, ranks)
    for _ in range(STEPS):
        step(image[own], label[own])
    return Outcome(float(loss), values(gradients), before, values(model.trainable_variables))


def summing_tape(ranks: Ranks, tape: Any) -> Any:
    import horovod.tensorflow as horovod

    return horovod.DistributedGradientTape(tape, op=horovod.Sum)


def with_fault(name: str) -> Any:
    """Break the library in one way."""
    if name == "sum for mean":
        return mock.patch.object(Ranks, "gradient_tape", summing_tape)
    if name == "no averaging":
        return mock.patch.object(Ranks, "gradient_tape", lambda self, tape: tape)
    return mock.patch.object(Ranks, "total", lambda self, tensor: tensor)  # local Dice


FAULTS = ("sum for mean", "no averaging", "local Dice")


def in_each_process() -> dict[str, Outcome]:
    """What each of the two processes does, right and wrong."""
    ranks = distributed.join()
    outcomes = {
        "right": experiment(ranks),
        "other seeds": experiment(ranks, weights_seed=ranks.rank),
        "no broadcast": experiment(ranks, weights_seed=ranks.rank, broadcast=False),
    }
    for name in FAULTS:
        with with_fault(name):
            outcomes[name] = experiment(ranks)
    return outcomes


@pytest.fixture(scope="module")
def ranks_outcomes() -> list[dict[str, Outcome]]:
    return distributed.launch(in_each_process, processes=2)


@pytest.fixture(scope="module")
def alone() -> Outcome:
    return experiment(ALONE)


def flat(arrays: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([array.ravel() for array in arrays]).astype(np.float64)


def relative_error(values: list[np.ndarray], reference: list[np.ndarray]) -> float:
    """The distance of two lists of arrays, as a share of the reference's length."""
    return float(np.linalg.norm(flat(values) - flat(reference)) / np.linalg.norm(flat(reference)))


def test_averaged_gradients_are_those_of_the_whole_batch(
    ranks_outcomes: list[dict[str, Outcome]], alone: Outcome
) -> None:
    for outcomes in ranks_outcomes:
        assert relative_error(outcomes["right"].gradients, alone.gradients) < 1e-5
        assert outcomes["right"].loss == pytest.approx(alone.loss, rel=1e-6)


def test_five_steps_end_where_one_process_ends(
    ranks_outcomes: list[dict[str, Outcome]], alone: Outcome
) -> None:
    for outcomes in ranks_outcomes:
        assert relative_error(outcomes["right"].moved, alone.moved) < 1e-3


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_seen(
    ranks_outcomes: list[dict[str, Outcome]], alone: Outcome, fault: str
) -> None:
    assert relative_error(ranks_outcomes[0][fault].gradients, alone.gradients) > 1e-2
    assert relative_error(ranks_outcomes[0][fault].moved, alone.moved) > 1e-2


def test_weights_are_rank_0s_on_every_rank_and_stay_equal(
    ranks_outcomes: list[dict[str, Outcome]],
) -> None:
    first, second = (outcomes["other seeds"] for outcomes in ranks_outcomes)
    for one, two in zip(first.before + first.after, second.before + second.after, strict=True):
        np.testing.assert_array_equal(one, two)


def test_without_the_broadcast_they_would_differ(
    ranks_outcomes: list[dict[str, Outcome]],
) -> None:
    first, second = (outcomes["no broadcast"] for outcomes in ranks_outcomes)
    assert relative_error(second.after, first.after) > 0.1
