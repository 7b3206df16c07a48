"""Cross-validation folds: which cases train and which validate.

Taught in lesson 06. Needs neither TensorFlow nor DALI.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_lib.errors import InputError
from nnunet_lib.files import read_json, write_json

_FORM = 'Write each fold as {"train": ["case_1", ...], "val": ["case_2", ...]}.'


@dataclass(frozen=True)
class Fold:
    """One split of the cases; both parts hold sorted case identifiers."""

    training: tuple[str, ...]
    validation: tuple[str, ...]


def split_folds(
    identifiers: Iterable[str],
    number_of_folds: int = 5,
    seed: int = 0,
    patient_of: Callable[[str], str] = str,
) -> tuple[Fold, ...]:
    """Split cases into folds whose validation parts are disjoint and cover every case.

    The identifiers are sorted before the seeded shuffle, so that the order in which a file
    system lists them does not matter. Sizes of the validation parts differ by one patient at
    most.

    Args:
        identifiers: the cases.
        number_of_folds: parts to split them into.
        seed: of the shuffle.
        patient_of: says whose a case is. Cases of one patient stay on one side of each fold;
            unless it is given, each case counts as somebody else's.

    Raises:
        InputError: for fewer than two folds, fewer patients than folds, or a repeated identifier.
    """
    names = sorted(identifiers)
    patients = sorted({patient_of(name) for name in names})
    _check(names, patients, number_of_folds)
    shuffled = np.random.default_rng(seed).permutation(patients)
    parts = [frozenset(part.tolist()) for part in np.array_split(shuffled, number_of_folds)]
    return tuple(
        Fold(
            training=tuple(name for name in names if patient_of(name) not in part),
            validation=tuple(name for name in names if patient_of(name) in part),
        )
        for part in parts
    )


def save_folds(folds: Sequence[Fold], path: Path | str) -> None:
    """Write folds in nnU-Net's format, such as to `PreprocessedDataset.splits_path`."""
    value = [{"train": list(fold.training), "val": list(fold.validation)} for fold in folds]
    write_json(Path(path), value)


def load_folds(path: Path | str, identifiers: Iterable[str]) -> tuple[Fold, ...]:
    """Read folds that somebody has chosen.

    Args:
        path: a file as `save_folds` and nnU-Net write it.
        identifiers: the cases that there are. A fold may leave some out.

    Raises:
        InputError: if the file is something else, names a case that is not there, or has a fold
            with a case twice, or with nothing to learn from or to validate on.
    """
    path, names = Path(path), frozenset(identifiers)
    value = read_json(path)
    if not isinstance(value, list) or not value:
        raise InputError(f"{path}: must be a list of folds, and one or more. {_FORM}")
    return tuple(_read_fold(f"{path}, fold {i}", fold, names) for i, fold in enumerate(value))


def _read_fold(where: str, value: Any, names: frozenset[str]) -> Fold:
    parts: dict[str, Any] = value if isinstance(value, dict) else {}
    training, validation = parts.get("train", []), parts.get("val", [])
    if not all(isinstance(part, list) and part for part in (training, validation)):
        raise InputError(f"{where}: needs a case or more in each part. {_FORM}")
    for case in training + validation:
        if not isinstance(case, str):
            raise InputError(f"{where}: {case!r} is no name of a case. {_FORM}")
        if case not in names:
            raise InputError(f"{where}: there is no preprocessed case {case}. Correct its name.")
    (often, times), *_ = Counter(training + validation).most_common(1)
    if times > 1:
        raise InputError(f"{where}: names case {often} more than once. Name it once.")
    return Fold(tuple(sorted(training)), tuple(sorted(validation)))


def _check(names: list[str], patients: list[str], number_of_folds: int) -> None:
    if number_of_folds < 2:
        raise InputError(f"{number_of_folds} folds were asked for; ask for 2 or more.")
    if len(set(names)) < len(names):
        repeated = next(a for a, b in itertools.pairwise(names) if a == b)
        raise InputError(f"Case {repeated} is listed more than once; list each case once.")
    if len(names) < 2:
        raise InputError(
            f"There is {len(names) or 'no'} case, and training needs 2 or more: some to learn "
            "from, some to validate on. Add cases."
        )
    if len(names) < number_of_folds:
        raise InputError(
            f"There are {len(names)} cases for {number_of_folds} folds, and each fold needs one "
            "to validate on. Add cases or ask for fewer folds."
        )
    if len(patients) < number_of_folds:
        raise InputError(
            f"Patients in these {len(names)} cases, by patient_of: {len(patients)}. Each of "
            f"{number_of_folds} folds needs one to validate on. Correct patient_of, add cases or "
            "ask for fewer folds."
        )
