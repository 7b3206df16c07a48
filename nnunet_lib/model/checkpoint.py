"""Checkpoints: one .npz file with weights, optimiser state, progress and the plan.

Taught in lesson 06. NumPy's .npz is a zip of plain .npy arrays: no pickled objects, so opening
a stranger's checkpoint runs none of their code.
"""

import json
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from nnunet_lib.errors import InputError
from nnunet_lib.files import replacing
from nnunet_lib.planning import Plan

LAST = "checkpoint_last.npz"
BEST = "checkpoint_best.npz"

CHECKPOINT_FORMAT = 2  # raise it when the same weights would give other logits

_ABOUT = "about"
_WEIGHTS = "weights/"
_OPTIMISER = "optimiser/"

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Checkpoint:
    """Everything that training needs to go on, and prediction to start.

    Attributes:
        plan: the plan that the network was built from.
        deep_supervision: whether the weights include the auxiliary heads.
        weights: array of each model variable, by name.
        optimiser: array of each optimiser variable, by name; empty if not wanted.
        progress: plain JSON values, such as the step and the best score so far.
    """

    plan: Plan
    deep_supervision: bool
    weights: Arrays
    optimiser: Arrays = field(default_factory=dict)
    progress: Mapping[str, Any] = field(default_factory=dict)


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint as one .npz file: whole, or not at all."""
    about = {
        "format": CHECKPOINT_FORMAT,
        "plan": checkpoint.plan.to_json(),
        "deep_supervision": checkpoint.deep_supervision,
        "progress": dict(checkpoint.progress),
    }
    arrays = {_ABOUT: np.frombuffer(json.dumps(about).encode(), np.uint8)}
    arrays |= {_WEIGHTS + name: array for name, array in checkpoint.weights.items()}
    arrays |= {_OPTIMISER + name: array for name, array in checkpoint.optimiser.items()}
    with replacing(path) as temporary:
        np.savez(temporary, **arrays)


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        InputError: if the file is missing, damaged, or not a checkpoint of this version.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        about = json.loads(arrays[_ABOUT].tobytes())
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such checkpoint. Train a model first.") from None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, TypeError) as error:
        raise InputError(f"{path}: is damaged or not a checkpoint ({error}).") from None
    if about.get("format") != CHECKPOINT_FORMAT:
        raise InputError(
            f"{path}: written by another version, whose networks compute something else. Train "
            "again, or predict with that version."
        )
    return Checkpoint(
        plan=Plan.from_json(about["plan"], source=str(path)),
        deep_supervision=about["deep_supervision"],
        weights=_under(_WEIGHTS, arrays),
        optimiser=_under(_OPTIMISER, arrays),
        progress=about["progress"],
    )


def find_checkpoint(model: Path | str, name: str = LAST) -> Path:
    """The checkpoint file that `model` means: itself, or the one of that name in a run folder.

    Raises:
        InputError: if there is none.
    """
    model = Path(model)
    if model.is_file():
        if name != LAST and model.name != name:
            raise InputError(f"{model}: is one checkpoint, and another was asked for: {name}.")
        return model
    path = model / name
    if not path.is_file():
        within = ", ".join(sorted(str(found.parent) for found in model.glob(f"*/{name}")))
        remedy = f"one of the runs in it: {within}" if within else "a run folder of `train`"
        raise InputError(f"{model}: holds no {name}. Name {remedy}.")
    return path


def variable_arrays(variables: Iterable[tf.Variable]) -> dict[str, np.ndarray]:
    """Each variable's value by its name.

    Raises:
        ValueError: if two variables share a name, since one would overwrite the other.
    """
    variables = list(variables)
    arrays = {variable.name: variable.numpy() for variable in variables}
    if len(arrays) != len(variables):
        raise ValueError("Two variables share a name; give their layers names of their own.")
    return arrays


def assign_arrays(variables: Iterable[tf.Variable], arrays: Arrays, source: str) -> None:
    """Give each variable the array of its name.

    Raises:
        InputError: if one is missing or has another shape.
    """
    for variable in variables:
        array = arrays.get(variable.name)
        if array is None or array.shape != tuple(variable.shape):
            raise InputError(
                f"{source}: does not fit this network at {variable.name}. "
                "It was written by another version or for another plan."
            )
        variable.assign(array)


def _under(prefix: str, arrays: Arrays) -> dict[str, np.ndarray]:
    """The arrays whose names start with `prefix`, without it."""
    return {k.removeprefix(prefix): v for k, v in arrays.items() if k.startswith(prefix)}
