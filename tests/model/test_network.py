"""A trained network as a function of patches, in any precision."""

import numpy as np
import tensorflow as tf

from nnunet_lib.model import as_network, build_unet
from nnunet_lib.planning import Normalisation, Plan

PLAN = Plan(
    dataset="made up",
    dimensions=3,
    channels=("MRI",),
    labels=("background", "one", "two"),
    axis_order=(0, 1, 2),
    target_spacing=(1.0, 1.0, 1.0),
    normalisation=(Normalisation("z_score"),),
    patch_size=(8, 8, 8),
    batch_size=2,
    strides=((1, 1, 1), (2, 2, 2), (2, 2, 2)),
    kernels=((3, 3, 3),) * 3,
    filters=(4, 8, 8),
)


def patches(number: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(number, 8, 8, 8, 1)).astype(np.float32)


def test_as_network_takes_any_number_of_patches_and_gives_the_finest_head() -> None:
    model = build_unet(PLAN)
    network = as_network(model)
    expected = model(tf.constant(patches(3)), training=False)[0].numpy()
    np.testing.assert_allclose(network(patches(3)), expected, atol=1e-5)
    np.testing.assert_allclose(network(patches(3)[:1]), expected[:1], atol=1e-5)
