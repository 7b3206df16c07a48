"""Compare a folder of predicted label maps with a folder of true ones."""

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from nnunet_lib.datasets import read_header, read_label
from nnunet_lib.datasets.nifti import ENDINGS, Header, grid_difference, stem
from nnunet_lib.errors import InputError, require_choice
from nnunet_lib.evaluation.overlap import EmptyAs, dice_of, overlap_of
from nnunet_lib.evaluation.report import CaseScores, ClassScore, EvaluationReport
from nnunet_lib.evaluation.surface import TOLERANCE, require_tolerance, surface_scores
from nnunet_lib.parallel import run_all

PROBABILITIES = "_probabilities"
"""`<case>_probabilities.nii.gz` beside `<case>.nii.gz` holds probabilities, not labels."""

_CUBIC_MILLIMETRES_A_MILLILITRE = 1000
_PERPENDICULAR = 0.01
"""Largest cosine between axes that still count as perpendicular: distances are off by less."""

_Pair = tuple[str, Path, Path]
"""A case, its prediction and its truth."""


def evaluate_folder(
    predictions: Path | str,
    labels: Path | str,
    *,
    cases: Sequence[str] | None = None,
    empty_as: EmptyAs = "undefined",
    tolerance: float | None = TOLERANCE,
    workers: int = 1,
    progress: bool = True,
) -> EvaluationReport:
    """Dice, volumes and surface distances of every predicted label map.

    Files belong together by name. Each prediction needs a label map, and every prediction in the
    folder counts, also one that an earlier `predict` left there. Label maps without a prediction
    are counted in the report, so that one fold's predictions can be compared with the labels of a
    whole dataset. The classes are the values above 0 that occur anywhere; one that is predicted
    but never true counts, with a Dice of 0.

    Volumes are right for any axes. Surface distances take the axes as perpendicular, which those of
    a CT with a tilted gantry are not: the report names such cases.

    Args:
        predictions: folder of `<case>.nii.gz` or `<case>.nii`.
        labels: folder of true label maps, named alike.
        cases: identifiers to evaluate, each of which must be there; all predictions if None.
        empty_as: what Dice is where neither map has the class, see `dice`.
        tolerance: of the surface Dice, in millimetres; None leaves the surfaces out.
        workers: cases to evaluate at once, each in a process of its own.
        progress: whether to show a progress bar.

    Raises:
        InputError: one report of all that is missing, unreadable or on another grid; or if the
            tolerance is no distance, or `empty_as` neither word.

    Example:
        >>> from nnunet_lib.evaluation import evaluate_folder
        >>> report = evaluate_folder("predicted", "labelsTr")
        >>> report.save("scores.json")
        >>> report.mean.dice
    """
    require_choice("empty_as", empty_as, EmptyAs)
    if tolerance is not None:
        require_tolerance(tolerance)
    pairs, left_out = _pairs(Path(predictions), Path(labels), cases)
    _require_same_grids(pairs)
    score = partial(_score, empty_as=empty_as, tolerance=tolerance)
    scores = run_all(score, pairs, workers, "evaluate", progress=progress)
    # A case knows only its own classes; merging gives it those of the others.
    return EvaluationReport.merged([EvaluationReport(tuple(scores), left_out, empty_as, tolerance)])


def predicted_cases(folder: Path) -> list[str]:
    """The identifiers of all label maps in a folder of predictions, in order.

    Raises:
        InputError: if there are none, or a case has two files.
    """
    return sorted(_label_maps(folder))


def _pairs(predictions: Path, labels: Path, cases: Sequence[str] | None) -> tuple[list[_Pair], int]:
    """The files that belong together, and the number of truths without a prediction."""
    predicted, true = _label_maps(predictions), _label_maps(labels)
    wanted = sorted(predicted if cases is None else set(cases))
    faults = [
        f"{predictions}: has no prediction of {case}." for case in wanted if case not in predicted
    ]
    faults += [f"{labels}: has no label map of {case}." for case in wanted if case not in true]
    _refuse(
        faults,
        "Each prediction in the folder needs a label map of the same name. Add what is missing, or "
        "move predictions that do not belong here to another folder",
    )
    pairs = [(case, predicted[case], true[case]) for case in wanted]
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


def _require_same_grids(pairs: Iterable[_Pair]) -> None:
    """All headers are read before any voxels, so that all faults are reported at once."""
    faults = []
    for _, prediction, truth in pairs:
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


def _score(pair: _Pair, empty_as: EmptyAs, tolerance: float | None) -> CaseScores:
    """Compare each class above 0 that either map of a case holds."""
    case, prediction, truth = pair
    predicted, true = read_label(prediction).array, read_label(truth).array
    header = read_header(truth)
    labels = np.union1d(_values(predicted), _values(true)).tolist()
    return CaseScores(
        case,
        {
            label: _score_class(predicted, true, header, label, empty_as, tolerance)
            for label in labels
            if label > 0
        },
        _are_sheared(_own_axes(header)),
    )


def _score_class(
    prediction: np.ndarray,
    truth: np.ndarray,
    header: Header,
    label: int,
    empty_as: EmptyAs,
    tolerance: float | None,
) -> ClassScore:
    overlap = overlap_of(prediction, truth, label)
    voxel_ml = abs(float(np.linalg.det(_own_axes(header)))) / _CUBIC_MILLIMETRES_A_MILLILITRE
    surface = None
    if tolerance is not None:
        surface = surface_scores(prediction, truth, header.spacing, label, tolerance, empty_as)
    return ClassScore(
        dice_of(overlap, empty_as),
        overlap.prediction * voxel_ml,
        overlap.truth * voxel_ml,
        surface,
    )


def _own_axes(header: Header) -> np.ndarray:
    """(3, 3): a step along i, j and k in each column, in millimetres of the scanner.

    An sform to another space, such as a template's, beside a qform stretches and shears voxels as
    it likes. The spacing is then the qform's.
    """
    said = header.placement
    if said.qform is not None and said.sform_code > 1:
        return said.qform[:3, :3]
    return header.affine[:3, :3]


def _are_sheared(axes: np.ndarray) -> bool:
    """Whether two axes (3, 3) do not stand at a right angle."""
    units = axes / np.linalg.norm(axes, axis=0)
    return not np.allclose(units.T @ units, np.eye(3), atol=_PERPENDICULAR)


def _values(labels: np.ndarray) -> np.ndarray:
    """The values that occur. Counting 256 bins is much faster than `numpy.unique`'s sorting.

    Plane by plane, because NumPy counts a copy of eight bytes a voxel.
    """
    counts = [np.bincount(plane.ravel(), minlength=256) for plane in labels]
    return np.flatnonzero(np.sum(counts, axis=0))
