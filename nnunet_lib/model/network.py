"""A trained network as a plain function from NumPy patches to NumPy logits."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from nnunet_lib.model.checkpoint import LAST, assign_arrays, find_checkpoint, load_checkpoint
from nnunet_lib.model.unet import build_unet
from nnunet_lib.planning import Plan

Network = Callable[[np.ndarray], np.ndarray]


def as_network(model: tf.keras.Model) -> Network:
    """The model's finest head as a function: (n, *patch, channels) -> (n, *patch, classes).

    Both are float32. The graph is traced once, whatever the number of patches.
    """
    finest = tf.keras.Model(model.inputs, model.outputs[0])
    specification = tf.TensorSpec(model.inputs[0].shape, tf.float32)

    @tf.function(input_signature=[specification])
    def forward(patches: tf.Tensor) -> tf.Tensor:
        return finest(patches, training=False)

    return lambda patches: forward(tf.convert_to_tensor(patches, tf.float32)).numpy()


def load_network(model: Path, checkpoint: str = LAST) -> tuple[Network, Plan]:
    """Load a trained network and its plan from a run folder or a checkpoint file.

    Nothing else is read: neither training data nor a dataset description.

    Raises:
        InputError: if there is no checkpoint, or it is damaged.
    """
    path = find_checkpoint(model, checkpoint)
    saved = load_checkpoint(path)
    unet = build_unet(saved.plan, saved.deep_supervision)
    assign_arrays(unet.variables, saved.weights, source=str(path))
    return as_network(unet), saved.plan
