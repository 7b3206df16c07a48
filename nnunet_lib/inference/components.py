"""Keep the largest connected component, where cross-validation says that it helps. Lesson 11.

An organ is mostly one piece, and what a network finds far from it mostly wrong. Not always: so
the rule is tried on cases that the network did not train on, and kept if the mean Dice rises
and no class's falls (Isensee et al. 2021, "postprocessing").

Two voxels are connected if they share a face, an edge or a corner: 26 neighbours in 3D.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy import ndimage

from nnunet_lib.errors import InputError
from nnunet_lib.evaluation import class_means, dice
from nnunet_lib.evaluation.statistics import CaseDice
from nnunet_lib.files import read_json, write_json

POSTPROCESSING = "postprocessing.json"
"""In a run folder: what cross-validation decided. Without the file, nothing is done."""


@dataclass(frozen=True)
class Postprocessing:
    """Of what to keep only the largest connected component, in this order.

    Attributes:
        foreground: of all classes above 0, taken as one.
        classes: of each of these classes, by value.
    """

    foreground: bool = False
    classes: tuple[int, ...] = ()

    def apply(self, labels: np.ndarray) -> np.ndarray:
        """The label map (z, y, x) with all but the largest components set to 0, as a copy."""
        result = labels.copy()
        if self.foreground:
            result[~largest_component(labels > 0)] = 0
        for label in self.classes:
            mask = result == label
            result[mask & ~largest_component(mask)] = 0
        return result

    def describe(self, labels: Sequence[str]) -> str:
        """What it does, in words; `labels` are the names of the classes, background first."""
        parts = ["all foreground"] if self.foreground else []
        parts += [labels[label] for label in self.classes]
        return f"only the largest component of {', then of '.join(parts)} is kept"

    def save(self, run: Path) -> None:
        """Write it into a run folder, as JSON."""
        write_json(run / POSTPROCESSING, asdict(self))

    @classmethod
    def load(cls, run: Path | str) -> "Postprocessing":
        """Read what a run folder holds; nothing to do if it holds none.

        Raises:
            InputError: if the file is damaged.
        """
        path = Path(run) / POSTPROCESSING
        if not path.exists():
            return cls()
        value = read_json(path)
        match value:
            case {"foreground": bool(foreground), "classes": list(classes)} if all(
                type(label) is int and label > 0 for label in classes
            ):
                return cls(foreground, tuple(classes))
        raise InputError(
            f"{path}: is not what a cross-validation writes. Remove it, or repeat that."
        )


NOTHING = Postprocessing()


def largest_component(mask: np.ndarray) -> np.ndarray:
    """The largest connected component of a mask (z, y, x), as a mask; the first on a tie."""
    components, number = ndimage.label(mask, np.ones((3,) * mask.ndim))  # int32, (z, y, x)
    if number < 2:
        return mask
    sizes = np.bincount(components.ravel())[1:]  # without the background
    largest: np.ndarray = components == 1 + sizes.argmax()
    return largest


class Trial(NamedTuple):
    """Dice of one case, by class, for every decision that could be taken.

    Classes do not touch each other's voxels, so that trying all of them at once says what each
    alone would do.
    """

    plain: CaseDice
    foreground: CaseDice
    classes: CaseDice
    both: CaseDice

    def after(self, decision: Postprocessing) -> CaseDice:
        """Dice of the case under one decision."""
        without, kept = self.plain, self.classes
        if decision.foreground:
            without, kept = self.foreground, self.both
        return {c: kept[c] if c in decision.classes else without[c] for c in without}


def try_postprocessing(prediction: np.ndarray, truth: np.ndarray, classes: Sequence[int]) -> Trial:
    """Score one case with and without its largest components.

    Args:
        prediction: label map (z, y, x).
        truth: label map on the same grid.
        classes: the foreground classes, by value.
    """

    def score(foreground: bool, kept: tuple[int, ...]) -> CaseDice:
        labels = Postprocessing(foreground, kept).apply(prediction)
        return {label: dice(labels, truth, label) for label in classes}

    every = tuple(classes)
    return Trial(score(False, ()), score(True, ()), score(False, every), score(True, every))


def decide_postprocessing(trials: Iterable[Trial]) -> Postprocessing:
    """What to keep: first for all foreground, then, with that settled, for each class.

    Args:
        trials: one a case; cases that the network did not train on.

    Returns:
        Each part that lets the mean over classes of the mean over cases rise, and no class fall.
    """
    trials = list(trials)
    foreground = _helps(
        class_means([trial.plain for trial in trials]),
        class_means([trial.foreground for trial in trials]),
    )
    so_far = Postprocessing(foreground)
    before = class_means([trial.after(so_far) for trial in trials])
    with_all = Postprocessing(foreground, tuple(before))
    after = class_means([trial.after(with_all) for trial in trials])
    classes = (label for label in before if _helps(before, {**before, label: after[label]}))
    return Postprocessing(foreground, tuple(classes))


def _helps(before: CaseDice, after: CaseDice) -> bool:
    """Whether the mean over classes rises and no class falls.

    A class that is left in neither map of any case has no Dice, and does not count as fallen.
    """
    pairs = [(before[label], after[label]) for label in before]
    falls = any(old is not None and new is not None and new < old for old, new in pairs)
    return not falls and _mean(after) > _mean(before)


def _mean(means: CaseDice) -> float:
    defined = [value for value in means.values() if value is not None]
    return float(np.mean(defined)) if defined else 0.0
