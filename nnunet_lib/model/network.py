"""The network as a plain function: for a training step, and of a trained model for prediction.

Taught in lessons 06 and 08.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from nnunet_lib.model.checkpoint import LAST, assign_arrays, find_checkpoint, load_checkpoint
from nnunet_lib.model.compute import DEFAULT_COMPUTE, ComputeSettings, Precision, is_cpu
from nnunet_lib.model.unet import build_unet
from nnunet_lib.planning import Plan

Forward = Callable[[tf.Tensor], list[tf.Tensor]]
Network = Callable[[np.ndarray], np.ndarray]

FEW_CASES = 9
"""So few cases, if the graph knows their number, pass a network one by one on a CPU: quicker, and
more nodes. Nine is what nnU-Net plans for all 260 cases of Hippocampus."""


def training_forward(model: tf.keras.Model, xla: bool = False) -> Forward:
    """The model in training: patches (batch, *patch, channels) -> logits of each head.

    On a CPU a batch of few cases goes through the model case by case, unless batch norm mixes
    them: what one case leaves of the cores, such as in its small layers, the next one uses.

    With XLA, the pass forward becomes one compiled program, and the pass back, which a gradient
    tape around this function asks for, another. The rest of the step stays outside: neither
    Horovod's operations nor an optimiser's need XLA, and the former cannot be compiled on a
    CPU. Patches of another shape are compiled anew, so keep the batch size fixed.
    """

    def forward(patches: tf.Tensor) -> list[tf.Tensor]:
        return tf.nest.flatten(model(patches, training=True))

    if not xla:
        return forward if _mixes_cases(model) else _CaseByCase(forward)
    signature = [_any_number_of_patches(model)]
    return tf.function(forward, jit_compile=True, input_signature=signature, autograph=False)


def as_network(model: tf.keras.Model, xla: bool = False, batch_size: int = 1) -> Network:
    """The model's finest head as a function: (n, *patch, channels) -> (n, *patch, classes).

    Both are float32. For few patches at a time a graph is traced for each number of them, in which
    they go through the model one by one on a CPU. More are split into few there, and elsewhere one
    graph serves all numbers.

    Args:
        model: from `build_unet`, in any precision.
        xla: compile it. That holds for one shape only, so that patches then go through it
            `batch_size` at a time, and what is missing from the last batch is filled up.
        batch_size: how many patches a call will bring at most.
    """
    finest = tf.keras.Model(model.inputs, model.outputs[0])
    whole = xla or (batch_size > FEW_CASES and not is_cpu())
    signature = [_any_number_of_patches(model)] if whole else None

    def forward(patches: tf.Tensor) -> list[tf.Tensor]:
        return [finest(patches, training=False)]

    compiled = tf.function(  # autograph would read all code for branches on tensors: there are none
        _CaseByCase(forward), input_signature=signature, jit_compile=xla, autograph=False
    )

    def network(patches: np.ndarray) -> np.ndarray:
        return compiled(tf.convert_to_tensor(patches, tf.float32))[0].numpy()

    if xla:
        return _at_most(batch_size, _filled_up_to(batch_size, network))
    return network if whole else _at_most(FEW_CASES, network)


class _CaseByCase:
    """The same for each case of a batch by itself, if there are few and their number is known.

    An object and no function within one: TensorFlow counts the graphs that it traces of one piece
    of code, and would warn of an ensemble that it traces the same function again and again.
    """

    def __init__(self, forward: Forward) -> None:
        self.forward = forward

    def __call__(self, patches: tf.Tensor) -> list[tf.Tensor]:
        """Patches (batch, *patch, channels) -> logits of each head, (batch, *grid, classes)."""
        cases = patches.shape[0]
        if not cases or cases > FEW_CASES or not is_cpu():
            return self.forward(patches)
        heads = zip(*(self.forward(case) for case in tf.split(patches, cases)), strict=True)
        return [tf.concat(head, axis=0) for head in heads]


def _mixes_cases(model: tf.keras.Model) -> bool:
    """Whether what becomes of a case in training depends on the others in its batch."""
    return any(isinstance(layer, tf.keras.layers.BatchNormalization) for layer in model.submodules)


def _any_number_of_patches(model: tf.keras.Model) -> tf.TensorSpec:
    """Patches of which the graph does not know how many there are.

    Instance norm then takes the formula, of which XLA makes fewer kernels.
    """
    return tf.TensorSpec((None, *model.inputs[0].shape[1:]), tf.float32)


def load_network(
    model: Path | str,
    checkpoint: str = LAST,
    compute: ComputeSettings = DEFAULT_COMPUTE,
    batch_size: int = 1,
) -> tuple[Network, Plan]:
    """Load a trained network and its plan, as `load_unet` does, for prediction.

    Args:
        model: a run folder, or a checkpoint file.
        checkpoint: which one of a run folder.
        compute: precision and compilation, whatever they were in training.
        batch_size: see `as_network`.

    Raises:
        InputError: if there is no checkpoint, or it is damaged.
    """
    unet, plan = load_unet(model, checkpoint, compute.precision)
    return as_network(unet, compute.xla, batch_size), plan


def load_unet(
    model: Path | str, checkpoint: str = LAST, precision: Precision = "float32"
) -> tuple[tf.keras.Model, Plan]:
    """Build the network of a run folder or a checkpoint file, with its weights.

    Nothing else is read: neither training data nor a dataset description.

    Raises:
        InputError: if there is no checkpoint, or it is damaged.
    """
    path = find_checkpoint(model, checkpoint)
    saved = load_checkpoint(path)
    unet = build_unet(saved.plan, saved.deep_supervision, precision)
    assign_arrays(unet.variables, saved.weights, source=str(path))
    return unet, saved.plan


def _at_most(size: int, network: Network) -> Network:
    """The network, called with at most `size` patches each time."""

    def split(patches: np.ndarray) -> np.ndarray:
        if len(patches) <= size:
            return network(patches)
        firsts = range(0, len(patches), size)
        return np.concatenate([network(patches[first : first + size]) for first in firsts])

    return split


def _filled_up_to(size: int, network: Network) -> Network:
    """The network, called with exactly `size` patches, of which zeros are what was missing."""

    def filled(patches: np.ndarray) -> np.ndarray:
        missing = np.zeros((size - len(patches), *patches.shape[1:]), patches.dtype)
        return network(np.concatenate([patches, missing]))[: len(patches)]

    return filled
