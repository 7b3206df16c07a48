"""Compare a folder of predicted label maps with a folder of true ones."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from nnunet_lib.datasets import read_header, read_label
from nnunet_lib.datasets.nifti import ENDINGS, grid_difference, stem
from nnunet_lib.errors import InputError
from nnunet_lib.evaluation.overlap import EmptyAs, Overlap, dice_of, overlap_of
from nnunet_lib.evaluation.report import CaseScores, ClassScore, EvaluationReport

PROBABILITIES = "_probabilities"
"""`<case>_probabilities.nii.gz` beside `<case>.nii.gz` holds probabilities, not labels."""

_NOTHING = Overlap(0, 0, 0)
_CUBIC_MILLIMETRES_A_MILLILITRE = 1000


@dataclass(frozen=True)
class _Counts:
    """Voxels of each class that one case has, and how large a voxel is."""

    case: str
    overlaps: Mapping[int, Overlap]
    voxel_ml: float


def evaluate_folder(
    predictions: Path,
    labels: Path,
    *,
    cases: Sequence[str] | None = None,
    empty_as: EmptyAs = "undefined",
    progress: bool = True,
) -> EvaluationReport:
    """Dice and volumes of every predicted label map.

    Files belong together by name. Each prediction needs a label map; label maps without a
    prediction are counted in the report, so that one fold's predictions can be compared with
    the labels of a whole dataset. The classes are the values above 0 that occur anywhere; one
    that is predicted but never true counts, with a Dice of 0.

    Args:
        predictions: folder of `<case>.nii.gz` or `<case>.nii`.
        labels: folder of true label maps, named alike.
        cases: identifiers to evaluate, each of which must be there; all predictions if None.
        empty_as: what Dice is where neither map has the class, see `dice`.
        progress: whether to show a progress bar.

    Raises:
        InputError: one report of all that is missing, unreadable or on another grid.
    """
    pairs, left_out = _pairs(predictions, labels, cases)
    _require_same_grids(pairs.values())
    shown = tqdm(pairs.items(), "evaluate", unit="case", disable=not progress)
    counts = [_count(case, *files) for case, files in shown]
    classes = sorted({label for item in counts for label in item.overlaps})
    scores = tuple(_scores(item, classes, empty_as) for item in counts)
    return EvaluationReport(scores, left_out)


def _pairs(
    predictions: Path, labels: Path, cases: Sequence[str] | None
) -> tuple[dict[str, tuple[Path, Path]], int]:
    """(prediction, truth) by case, and the number of truths without a prediction."""
    predicted, true = _label_maps(predictions), _label_maps(labels)
    wanted = sorted(predicted if cases is None else set(cases))
    faults = [
        f"{predictions}: has no prediction of {case}." for case in wanted if case not in predicted
    ]
    faults += [f"{labels}: has no label map of {case}." for case in wanted if case not in true]
    _refuse(faults, "Predict the missing cases, or name the folder that holds them")
    pairs = {case: (predicted[case], true[case]) for case in wanted}
    return pairs, len(true.keys() - predicted.keys())


def _label_maps(folder: Path) -> dict[str, Path]:
    """The label maps in a folder by case; hidden files and probabilities are passed over."""
    if not folder.is_dir():
        raise InputError(f"{folder}: is not a folder. Name a folder of label maps.")
    files = sorted(
        path
        for path in folder.iterdir()
        if path.name.endswith(ENDINGS)
        and not path.name.startswith(".")
        and not stem(path).endswith(PROBABILITIES)
    )
    by_case = {stem(path): path for path in files}
    if not files:
        raise InputError(f"{folder}: holds no .nii or .nii.gz label map. Name another folder.")
    if len(by_case) < len(files):
        raise InputError(f"{folder}: has a case as .nii and as .nii.gz. Keep one of them.")
    return by_case


def _require_same_grids(pairs: Iterable[tuple[Path, Path]]) -> None:
    """All headers are read before any voxels, so that all faults are reported at once."""
    faults = []
    for prediction, truth in pairs:
        try:
            difference = grid_difference(read_header(prediction), read_header(truth))
            if difference:
                faults.append(f"{prediction}: is not on the grid of {truth}: {difference}.")
        except InputError as error:
            faults.append(str(error))
    _refuse(faults, "Predictions and label maps must be readable, and on one grid")


def _refuse(faults: Sequence[str], remedy: str) -> None:
    if faults:
        lines = "\n".join(f"  - {fault}" for fault in faults)
        raise InputError(f"The predictions cannot be evaluated:\n{lines}\n{remedy}.")


def _count(case: str, prediction: Path, truth: Path) -> _Counts:
    """Count the voxels of each class above 0 that either map holds."""
    predicted, true = read_label(prediction), read_label(truth)
    labels = np.union1d(_values(predicted.array), _values(true.array)).tolist()
    overlaps = {
        label: overlap_of(predicted.array, true.array, label) for label in labels if label > 0
    }
    voxel_ml = math.prod(true.spacing) / _CUBIC_MILLIMETRES_A_MILLILITRE
    return _Counts(case, overlaps, voxel_ml)


def _values(labels: np.ndarray) -> np.ndarray:
    """The values that occur. Counting 256 bins is much faster than `numpy.unique`'s sorting."""
    return np.flatnonzero(np.bincount(labels.ravel(), minlength=256))


def _scores(counts: _Counts, classes: Sequence[int], empty_as: EmptyAs) -> CaseScores:
    """Scores of all classes, also of those that only other cases have."""
    return CaseScores(
        counts.case,
        {
            label: ClassScore(
                dice_of(overlap, empty_as),
                overlap.prediction * counts.voxel_ml,
                overlap.truth * counts.voxel_ml,
            )
            for label in classes
            for overlap in [counts.overlaps.get(label, _NOTHING)]
        },
    )
