"""Several trained networks that answer together. Taught in lesson 11.

nnU-Net's rule (Isensee et al. 2021): the folds of one configuration are averaged as logits, and
configurations that see the case differently, such as 2D and 3D, as probabilities.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from nnunet_lib.errors import InputError, require_choice
from nnunet_lib.files import read_json
from nnunet_lib.inference.components import POSTPROCESSING, Postprocessing
from nnunet_lib.inference.windows import Network
from nnunet_lib.model.compute import DEFAULT_COMPUTE, ComputeSettings
from nnunet_lib.planning import Plan
from nnunet_lib.preprocessing import preprocessing_key

State = Literal["last", "best"]
"""Of a run: where it stopped, or where it scored best on its validation fold."""

FOLD = "fold.json"
"""In a run folder: the cases that the run was trained and validated on."""
CROSS_VALIDATION = "cross_validation.json"
"""In the folder of a finished cross-validation: its scores, and the folders of its folds."""


@dataclass(frozen=True)
class Member:
    """One trained network.

    Attributes:
        network: patches (n, *patch, channels) to logits (n, *patch, classes).
        plan: the plan that the network was trained with.
        source: what it was loaded from: a run folder, or a checkpoint file.
        skipped: cases that it is not asked about, because it has trained on them.
    """

    network: Network
    plan: Plan
    source: Path = Path()
    skipped: frozenset[str] = frozenset()

    @property
    def run(self) -> Path:
        """Its run folder."""
        return self.source.parent if self.source.is_file() else self.source

    def without_training_cases(self) -> "Member":
        """The member that is asked only about cases which it has not trained on."""
        return replace(self, skipped=self.cases("training"))

    def cases(self, part: Literal["training", "validation"]) -> frozenset[str]:
        """The cases that its run trained or validated on."""
        return frozenset(_read_part(self.run / FOLD, part))


def load_members(
    models: Sequence[Path | str],
    checkpoint: State = "last",
    compute: ComputeSettings = DEFAULT_COMPUTE,
    batch_size: int = 1,
) -> tuple[Member, ...]:
    """Load the networks of all runs; the folder of a cross-validation stands for its folds.

    Args:
        models: run folders, checkpoint files, or folders that `cross_validate` has written.
        checkpoint: which state of the runs to use.
        compute: precision and compilation of all of them.
        batch_size: how many windows a call brings.

    Raises:
        InputError: if there is none, one cannot be loaded, they differ in channels or labels, or
            there is no such state.
    """
    require_any(models)
    # Here and not above, because this one imports TensorFlow.
    from nnunet_lib.model import load_network

    require_choice("checkpoint", checkpoint, State)
    name = f"checkpoint_{checkpoint}.npz"
    runs = [run for model in models for run in runs_of(model)]
    members = tuple(Member(*load_network(run, name, compute, batch_size), run) for run in runs)
    for other in members[1:]:
        _require_same("channels", members[0], other)
        _require_same("labels", members[0], other)
    return members


def require_any(models: Sequence[Any]) -> None:
    """Refuse an ensemble of nobody.

    Raises:
        InputError: if there is none.
    """
    if not models:
        raise InputError("There is no model to predict with; give at least one.")


def by_preprocessing(members: Iterable[Member]) -> tuple[tuple[Member, ...], ...]:
    """The members in groups that see a case on one grid with one normalisation."""
    groups: dict[str, list[Member]] = {}
    for member in members:
        groups.setdefault(preprocessing_key(member.plan), []).append(member)
    return tuple(map(tuple, groups.values()))


def common_postprocessing(members: Iterable[Member]) -> Postprocessing:
    """What the cross-validations of all runs agree upon."""
    stored = [_stored_postprocessing(member) for member in members]
    agreed = set.intersection(*(set(item.classes) for item in stored))
    return Postprocessing(all(item.foreground for item in stored), tuple(sorted(agreed)))


def mean_of(arrays: Iterator[np.ndarray]) -> np.ndarray:
    """The mean of arrays of one shape, which are used up: two of them are held at a time.

    m_k = m_(k-1) + (x_k - m_(k-1)) / k. So the mean of equal arrays is exactly each of them.
    """
    mean = next(arrays)
    for count, array in enumerate(arrays, start=2):
        array -= mean
        array /= count
        mean += array
    return mean


def runs_of(model: Path | str) -> list[Path]:
    """The folds of a cross-validation, or the model alone.

    Raises:
        InputError: if the folder holds runs, but no finished cross-validation.
    """
    model = Path(model)
    if (model / CROSS_VALIDATION).is_file():
        folds = _read_part(model / CROSS_VALIDATION, "folds")
        return [model / f"fold_{number}" for number in range(len(folds))]
    runs = sorted(path.parent.name for path in model.glob(f"*/{FOLD}"))
    if runs and not (model / FOLD).is_file():
        raise InputError(
            f"{model}: holds the runs {', '.join(runs)}, but no finished cross-validation. "
            "Finish it with `train --fold all --resume`, or name the runs to use."
        )
    return [model]


def _read_part(path: Path, name: str) -> list[Any]:
    """One list of a JSON file that training has written."""
    value = read_json(path)
    if not isinstance(value, dict) or not isinstance(value.get(name), list):
        raise InputError(f"{path}: has no list of {name}. Put back what `train` wrote there.")
    part: list[Any] = value[name]
    return part


def _stored_postprocessing(member: Member) -> Postprocessing:
    stored = Postprocessing.load(member.run)
    if not set(stored.classes) <= set(range(1, len(member.plan.labels))):
        raise InputError(
            f"{member.run / POSTPROCESSING}: names classes that the model does not have. "
            "Remove it, or repeat the cross-validation."
        )
    return stored


def _require_same(what: str, one: Member, other: Member) -> None:
    names = [getattr(member.plan, what) for member in (one, other)]
    if names[0] != names[1]:
        raise InputError(
            f"{one.source} and {other.source}: differ in {what} ({', '.join(names[0])}; "
            f"{', '.join(names[1])}). Only runs on the same kind of data can be averaged."
        )
