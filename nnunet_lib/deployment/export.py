"""A trained network as a TensorFlow SavedModel, which runs without this library.

Taught in lesson 11. The weights are the checkpoint's, in float32; of a network with deep
supervision only the finest head is kept. docs/export.md shows how to use the result.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import tensorflow as tf

from nnunet_lib import __version__
from nnunet_lib.errors import InputError
from nnunet_lib.files import filling, is_free, replacing, require_writable_folder, write_json
from nnunet_lib.inference.components import NOTHING, Postprocessing
from nnunet_lib.inference.settings import DEFAULTS
from nnunet_lib.inference.windows import SIGMA
from nnunet_lib.model import find_checkpoint, load_unet
from nnunet_lib.planning import Normalisation, Plan
from nnunet_lib.preprocessing.normalisation import normalise
from nnunet_lib.preprocessing.resampling import ANISOTROPY, CUBIC, LINEAR

EXPORT_FORMAT = 1
METADATA = "metadata.json"
_MARK = "saved_model.pb"  # what every SavedModel folder holds


def export(
    model: Path | str,
    output: Path | str,
    checkpoint: Literal["last", "best"] = "last",
    overwrite: bool = False,
) -> Path:
    """Write the network of a run as a SavedModel folder: whole, or not at all.

    Signatures, all of float32: `patch` (*patch, channels) -> logits (*patch, classes); `batch`,
    which is `serving_default` too, (n, *patch, channels) -> logits (n, *patch, classes) for any
    n. What preprocessing needs is `assets/metadata.json`, see `describe`.

    Args:
        model: a run folder or a checkpoint file.
        output: the folder to write.
        checkpoint: which state of the run.
        overwrite: replace an export that is there already.

    Raises:
        InputError: if there is no such checkpoint, or `output` holds something or cannot be
            written.
    """
    model, output = Path(model), Path(output)
    _require_free(output, overwrite)
    name = f"checkpoint_{checkpoint}.npz"
    unet, plan = load_unet(model, name)
    postprocessing = Postprocessing.load(find_checkpoint(model, name).parent)
    with _replacing_folder(output) as folder:
        metadata = folder.parent / METADATA
        write_json(metadata, describe(plan, postprocessing))
        module = _Exported(unet, plan, metadata)
        signatures = {"serving_default": module.batch, "batch": module.batch, "patch": module.patch}
        try:
            tf.saved_model.save(module, str(folder), signatures)
        except tf.errors.OpError as error:  # a full disk
            raise InputError(f"{output}: cannot be written ({error.message}).") from None
    return output


class _Exported(tf.Module):
    """What is saved: two functions, the variables that they read, and the metadata."""

    def __init__(self, unet: tf.keras.Model, plan: Plan, metadata: Path) -> None:
        super().__init__()
        finest = tf.keras.Model(unet.inputs, unet.outputs[0])
        shape = (*plan.patch_size, len(plan.channels))

        many = [tf.TensorSpec((None, *shape), tf.float32, "patches")]
        one = [tf.TensorSpec(shape, tf.float32, "patch")]

        @tf.function(input_signature=many, autograph=False)
        def batch(patches: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"logits": finest(patches, training=False)}  # (n, *patch, classes)

        @tf.function(input_signature=one, autograph=False)
        def patch(patch: tf.Tensor) -> dict[str, tf.Tensor]:
            return {"logits": finest(patch[None], training=False)[0]}  # (*patch, classes)

        self.batch, self.patch = batch, patch
        # The variables rather than the Keras model, whose layers are classes of this library.
        self.weights = list(finest.variables)
        self.metadata = tf.saved_model.Asset(str(metadata))


def describe(plan: Plan, postprocessing: Postprocessing = NOTHING) -> dict[str, Any]:
    """All that stands between a scan and the network, as plain JSON values.

    `plan` is `Plan.to_json`'s value, `postprocessing` what a cross-validation decided. Sizes are in
    plan order, see CONTRIBUTING.md, "Axes". `padding_value` has one entry a channel: None is a raw
    zero after the case's own normalisation. docs/export.md says what each entry means.
    """
    return {
        "format": EXPORT_FORMAT,
        "made_by": f"nnunet_lib {__version__}",
        "plan": plan.to_json(),
        "preprocessing": {
            "spatial_axes": "zyx",
            "crop_to": "nonzero",
            "image_interpolation_order": CUBIC,
            "logits_interpolation_order": LINEAR,
            "separate_axis_above_anisotropy": ANISOTROPY,
            "padding": "centred",
            "padding_value": [_padding_value(scheme) for scheme in plan.normalisation],
        },
        "inference": {
            "overlap": DEFAULTS.overlap,
            "blend_mode": DEFAULTS.blend_mode,
            "gaussian_sigma": SIGMA,
            "may_average_over_flips": plan.mirrored,
        },
        "postprocessing": {
            "largest_component_of_foreground": postprocessing.foreground,
            "largest_component_of_classes": list(postprocessing.classes),
        },
    }


def _padding_value(scheme: Normalisation) -> float | None:
    """What padding puts into a channel; None where it depends on the case."""
    if scheme.scheme == "z_score" and not scheme.inside_mask:
        return None
    nothing = np.zeros((1, 1, 1))
    return normalise(nothing, nothing > 0, scheme)[1]


def _require_free(output: Path, overwrite: bool) -> None:
    """Refuse to write over anything but, if that is wanted, an earlier export."""
    if is_free(output):
        require_writable_folder(output)
        return
    if not (output / _MARK).is_file():
        raise InputError(f"{output}: is there and is no exported model. Name another folder.")
    if not overwrite:
        raise InputError(
            f"{output}: holds an exported model. Name another folder, or add --overwrite."
        )
    require_writable_folder(output.parent, output)  # where the new one is written


@contextmanager
def _replacing_folder(path: Path) -> Iterator[Path]:
    """`files.replacing` for a folder: what is there steps aside at the last moment."""
    if is_free(path):
        with filling(path, last=_MARK) as temporary:
            yield temporary
        return
    with replacing(path) as temporary:
        yield temporary
        os.replace(path, temporary.parent / "replaced")
