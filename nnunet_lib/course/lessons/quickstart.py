"""What lesson 00 claims, as numbers. Each function is 0 (or names a thing) when all is well.

Files are read with nibabel and compared with NumPy here, not with the library's own readers
and scores: a claim that asked the code it doubts would prove nothing.
"""

import glob
import itertools
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from nibabel.nifti1 import Nifti1Image

from nnunet_lib.datasets import Case
from nnunet_lib.evaluation import EvaluationReport
from nnunet_lib.inference import InferenceSettings, predict_logits
from nnunet_lib.loading import Fold
from nnunet_lib.planning import Plan

# What a length in a NIfTI header is worth in millimetres; all else counts as millimetres.
_MILLIMETRES = {1: 1000.0, 3: 0.001}  # metres, microns
_UNIT_OF_LENGTH = 7  # bits of xyzt_units; the others say the unit of time


def grid_difference(first: Path, second: Path) -> float:
    """How far the corner voxels of two NIfTI files lie apart at most; infinite if shapes differ.

    In units of the first file's smallest spacing. The corners tell whether a grid is shifted,
    turned or stretched: no other voxel lies further apart.
    """
    one, two = Nifti1Image.from_filename(first), Nifti1Image.from_filename(second)
    if one.shape[:3] != two.shape[:3]:
        return math.inf
    affines = [image.affine * _in_millimetres(image.header) for image in (one, two)]
    corners = np.array([*itertools.product(*((0, size - 1) for size in one.shape[:3]), (1,))])
    apart = np.linalg.norm((corners @ (affines[0] - affines[1]).T)[:, :3], axis=1)  # (8,) mm
    return float(apart.max() / np.linalg.norm(affines[0][:3, :3], axis=0).min())


def _in_millimetres(header: Any) -> float:
    """The millimetres in one unit of a NIfTI header's lengths."""
    return _MILLIMETRES.get(int(header["xyzt_units"]) & _UNIT_OF_LENGTH, 1.0)


def worst_label_grid(cases: Iterable[Case]) -> float:
    """`grid_difference` between image and label, the worst of all labelled cases."""
    return max(grid_difference(case.images[0], case.label) for case in cases if case.label)


def distance_from_median_spacing(plan: Plan, cases: Iterable[Case]) -> float:
    """How far a 3D plan's target spacing is from the median of the files' own (mm).

    Left out is an axis more than 3 times coarser than both others: along it nnU-Net takes a lower
    percentile if slices are few. NIfTI headers hold spacings as (x, y, z).
    """
    headers: list[Any] = [Nifti1Image.from_filename(case.images[0]).header for case in cases]
    spacings = np.array(
        [header["pixdim"][3:0:-1].astype(float) * _in_millimetres(header) for header in headers]
    )  # (case, z y x)
    median = np.median(spacings, axis=0)[list(plan.axis_order)]  # plan order: the coarsest first
    first = int(median[0] > 3 * median[1:].max())
    return float(np.abs(median - plan.target_spacing)[first:].max())


def misplaced_cases(folds: Sequence[Fold], identifiers: Sequence[str]) -> int:
    """Cases that are not validated exactly once, or are trained on by the fold they validate."""
    validated = [case for fold in folds for case in fold.validation]
    wrong = {case for case in identifiers if validated.count(case) != 1}
    wrong |= set(validated) - set(identifiers)
    for fold in folds:
        wrong |= set(fold.validation) & set(fold.training)
        wrong |= set(identifiers) - set(fold.validation) - set(fold.training)
    return len(wrong)


def source_of(batches: Any) -> str:
    """The library that the batches come from, such as "nvidia.dali" or "tensorflow.python".

    TensorFlow may cut another library's batches to size; whose they were says what it cuts.
    """
    while (source := getattr(batches, "_input_dataset", None)) is not None:
        batches = source
    return ".".join(type(batches).__module__.split(".")[:2])


def uneven_weights(weights: Sequence[float]) -> float:
    """How far weights are from halving at each step and summing to one."""
    halves = [later / earlier - 0.5 for earlier, later in itertools.pairwise(weights)]
    return max(abs(sum(weights) - 1), *map(abs, halves), 0.0)


def changed_decisions(plan: Plan, saved: Plan) -> int:
    """How many entries differ between a plan and the one that came back from a file."""
    one, two = plan.to_json(), saved.to_json()
    return sum(one[name] != two[name] for name in one.keys() | two.keys())


def identity_error(plan: Plan, settings: InferenceSettings, seed: int = 0) -> float:
    """The largest change that prediction makes to an image when the network changes nothing.

    Tried on random images that are larger than the patch, equal to it, and smaller.
    """
    patch = np.array((7, *plan.patch_size) if plan.dimensions == 2 else plan.patch_size)
    generator = np.random.default_rng(seed)
    worst = 0.0
    for shape in (patch + 5, patch, patch - 3):
        image = generator.normal(size=(*shape, 2)).astype(np.float32)  # (a, b, c, channel)
        result = predict_logits(lambda patches: patches, image, plan, settings, 0.0)
        worst = max(worst, float(np.abs(result - image).max()))
    return worst


def dice_disagreement(report: EvaluationReport, predictions: Path, labels: Path) -> float:
    """The largest difference between reported Dice and 2 |P ∩ T| / (|P| + |T|) counted anew."""
    worst = 0.0
    for name, label, reported, _, _ in report.rows():
        predicted, true = (_voxels(folder, name) == label for folder in (predictions, labels))
        size = int(predicted.sum()) + int(true.sum())
        if (reported is None) != (size == 0):
            return math.inf
        if reported is not None:
            counted = 2 * int((predicted & true).sum()) / size
            worst = max(worst, abs(reported - counted))
    return worst


def _voxels(folder: Path, case: str) -> np.ndarray:
    """The voxels of a case's NIfTI file, compressed or not, as nibabel reads them."""
    path = next(path for path in folder.glob(f"{glob.escape(case)}.nii*"))
    return np.asarray(Nifti1Image.from_filename(path).dataobj)
