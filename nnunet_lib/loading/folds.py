"""Cross-validation folds: which cases train and which validate.

Taught in lesson 06. Needs neither TensorFlow nor DALI.
"""

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from nnunet_lib.errors import InputError


@dataclass(frozen=True)
class Fold:
    """One split of the cases; both parts hold sorted case identifiers."""

    training: tuple[str, ...]
    validation: tuple[str, ...]


def split_folds(
    identifiers: Iterable[str], number_of_folds: int = 5, seed: int = 0
) -> tuple[Fold, ...]:
    """Split cases into folds whose validation parts are disjoint and cover every case.

    The identifiers are sorted before the seeded shuffle, so that the order in which a file
    system lists them does not matter. Sizes of the validation parts differ by one at most.

    Raises:
        InputError: for fewer than two folds, fewer cases than folds, or a repeated identifier.
    """
    names = sorted(identifiers)
    _check(names, number_of_folds)
    shuffled = np.random.default_rng(seed).permutation(names)
    parts = np.array_split(shuffled, number_of_folds)
    return tuple(_fold(names, frozenset(part.tolist())) for part in parts)


def _fold(names: list[str], held_out: frozenset[str]) -> Fold:
    return Fold(
        training=tuple(name for name in names if name not in held_out),
        validation=tuple(name for name in names if name in held_out),
    )


def _check(names: list[str], number_of_folds: int) -> None:
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
