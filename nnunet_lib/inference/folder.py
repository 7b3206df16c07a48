"""Files in, files out: what `python -m nnunet_lib predict` does."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from tqdm.auto import tqdm

from nnunet_lib.datasets import (
    Case,
    Volume,
    find_images,
    read_header,
    read_volume,
    write_label,
    write_probabilities,
)
from nnunet_lib.datasets.nifti import ENDINGS
from nnunet_lib.errors import InputError
from nnunet_lib.evaluation import PROBABILITIES
from nnunet_lib.files import read_json
from nnunet_lib.inference.prediction import NO_FLIPS, predict_volume
from nnunet_lib.inference.settings import DEFAULTS, InferenceSettings
from nnunet_lib.inference.windows import Network
from nnunet_lib.planning import Plan

FOLD = "fold.json"
"""In a run folder: the cases that the run was trained and validated on."""
ENDING = ".nii.gz"
Subset = Literal["all", "validation"]


@dataclass(frozen=True)
class _Task:
    """One case and the label map to write for it."""

    case: Case
    labels: Path

    @property
    def probabilities(self) -> Path:
        name = self.labels.name
        ending = next(ending for ending in ENDINGS if name.endswith(ending))
        return self.labels.with_name(name.removesuffix(ending) + PROBABILITIES + ending)


def predict(
    model: Path,
    input: Path,
    output: Path,
    settings: InferenceSettings = DEFAULTS,
    *,
    checkpoint: Literal["last", "best"] = "last",
    subset: Subset = "all",
) -> list[Path]:
    """Segment an image file, or each image in a folder, with a trained model.

    Args:
        model: a run folder, or a checkpoint file. Nothing else of the training is read.
        input: an image file, or a folder of them: `<case>.nii.gz`, or `<case>_0000.nii.gz`,
            `<case>_0001.nii.gz`, ... with one file a channel.
        output: for one image, a file to write if it ends in .nii.gz or .nii. Else a folder,
            which gets `<case>.nii.gz` for each image.
        settings: overlap, blending, flips, and whether to save probabilities.
        checkpoint: which state of the run to use.
        subset: of a folder, all images or only the cases that the run validated on.

    Returns:
        The label maps that were written.

    Raises:
        InputError: if the model, an image or the output's name is not usable.
    """
    # Here and not above, because this one imports TensorFlow.
    from nnunet_lib.model import load_network

    network, plan = load_network(model, f"checkpoint_{checkpoint}.npz")
    cases = find_images(input, len(plan.channels))
    if subset == "validation":
        cases = _validation_cases(model, cases)
    return predict_files(network, plan, cases, output, settings, one_file=input.is_file())


def predict_files(
    network: Network,
    plan: Plan,
    cases: Sequence[Case],
    output: Path,
    settings: InferenceSettings = DEFAULTS,
    *,
    one_file: bool = False,
) -> list[Path]:
    """Segment cases and write their label maps, on the affine of each image.

    All headers are checked before the first case is predicted. A case whose voxels turn out to
    be unusable does not stop the others; the error at the end names all of them.

    Args:
        network: patches (n, *patch, channels) to logits (n, *patch, classes).
        plan: the plan that the network was trained with.
        cases: the images; their labels are not read.
        output: a folder, which gets `<case>.nii.gz`; or with `one_file` a file.
        settings: overlap, blending, flips, and whether to save probabilities.
        one_file: whether `output` may name the file of the one case.

    Returns:
        The label maps that were written.

    Raises:
        InputError: if an image is not usable or would be overwritten.
    """
    tasks = _tasks(cases, output, one_file)
    _require_readable(tasks, plan)
    if settings.tta and not plan.mirrored:
        tqdm.write(NO_FLIPS)
    faults = []
    for task in tqdm(tasks, "predict", unit="case"):
        try:
            _predict_one(network, plan, task, settings)
        except InputError as error:
            faults.append(str(error))
    _refuse(faults, "The other images were segmented")
    return [task.labels for task in tasks]


def _tasks(cases: Sequence[Case], output: Path, one_file: bool) -> list[_Task]:
    """What to write for each case; an input is never written to."""
    is_file = output.name.endswith(ENDINGS)
    if is_file and not one_file:
        raise InputError(f"{output}: is a file's name, but the input is a folder. Name a folder.")
    if not is_file and output.is_file():
        raise InputError(f"{output}: is a file. Name a folder, or a file ending in .nii.gz.")
    tasks = [
        _Task(case, output if is_file else output / (case.identifier + ENDING)) for case in cases
    ]
    images = {image.resolve() for case in cases for image in case.images}
    written = {path.resolve() for task in tasks for path in (task.labels, task.probabilities)}
    if images & written:
        raise InputError(f"{output}: holds the images, which would be lost. Name another folder.")
    return tasks


def _require_readable(tasks: Sequence[_Task], plan: Plan) -> None:
    """Check the headers of all images, which takes no time, before hours of work."""
    faults = []
    for task in tasks:
        try:
            channels = sum(read_header(path).channels for path in task.case.images)
            if channels != len(plan.channels):
                names = ", ".join(plan.channels)
                faults.append(
                    f"{task.case.images[0]}: has {channels} channels, but the model was trained "
                    f"with {len(plan.channels)} ({names})."
                )
        except InputError as error:
            faults.append(str(error))
    _refuse(faults, "Mend or remove these images; nothing was predicted")


def _predict_one(network: Network, plan: Plan, task: _Task, settings: InferenceSettings) -> None:
    """Read, predict, write."""
    volume = _read_finite(task.case)
    prediction = predict_volume(network, volume, plan, settings, task.case.identifier)
    if prediction.probabilities is not None:
        write_probabilities(task.probabilities, prediction.probabilities, volume.affine)
    write_label(task.labels, prediction.labels, volume.affine)  # last: it says that all is done


def _read_finite(case: Case) -> Volume:
    """The scan; one with NaN or infinite voxels would silently give an empty segmentation."""
    volume = read_volume(case.images)
    if not np.isfinite(volume.array).all():
        raise InputError(
            f"{case.images[0]}: has voxels that are NaN or infinite. "
            "Replace them, for instance by the background's value."
        )
    return volume


def _validation_cases(model: Path, cases: Sequence[Case]) -> tuple[Case, ...]:
    """Those of the cases that the run did not train on but validated on."""
    run = model.parent if model.is_file() else model
    wanted = set(read_json(run / FOLD)["validation"])
    missing = wanted - {case.identifier for case in cases}
    if missing:
        raise InputError(
            f"{run / FOLD}: these cases are not among the images: {', '.join(sorted(missing))}. "
            "Name the folder of images that the run was trained on as input."
        )
    return tuple(case for case in cases if case.identifier in wanted)


def _refuse(faults: Sequence[str], remedy: str) -> None:
    if faults:
        lines = "\n".join(f"  - {fault}" for fault in faults)
        raise InputError(f"These images cannot be segmented:\n{lines}\n{remedy}.")
