"""How far a run has come, so that it can go on: what a checkpoint holds beside the variables.

Taught in lesson 06. A checkpoint's file is written whole or not at all, and what changes while a
run goes on is in it: so a run that is killed at any moment loses at most the steps since its last
checkpoint. Beside it lie what was decided at the start (plan, fold, settings) and the log.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from nnunet_lib.errors import InputError
from nnunet_lib.files import as_tuples, read_json
from nnunet_lib.model import LAST, Checkpoint, assign_arrays, load_checkpoint
from nnunet_lib.planning import Plan
from nnunet_lib.training.settings import TrainingSettings

SETTINGS = "settings.json"

MAY_CHANGE = (
    "epochs",
    "time_limit",
    "checkpoint_interval",
    "validation_interval",
    "inference",
    "resume",
    "overwrite",
)
"""Settings that a resumed run may have otherwise; with others it would be another run."""


@dataclass(frozen=True)
class RunState:
    """Where a run stands.

    Attributes:
        epoch: epochs that are complete, their validation included.
        step: training steps since the start of the run.
        seconds: wall time that the run has used.
        losses: of the steps taken in the epoch that is under way; their number says which
            batch comes next.
        best_dice: the best validation Dice so far, which the best checkpoint has.
        processes: how many processes trained together.
        validation_cases: how many cases each validation predicts, None until a start has decided.
            It stays, so that later scores compare with the best one.
    """

    epoch: int = 0
    step: int = 0
    seconds: float = 0.0
    losses: tuple[float, ...] = ()
    best_dice: float | None = None
    processes: int = 1
    validation_cases: int | None = None

    def to_json(self) -> dict[str, Any]:
        """The state as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any], source: str) -> "RunState":
        """Read `to_json`'s value; `source` names it in errors."""
        names = {field.name for field in fields(cls)}
        try:
            return cls(**{name: as_tuples(value[name]) for name in names})
        except KeyError as error:
            raise InputError(
                f"{source}: lacks {error}, so the run cannot go on. It was written by another "
                "version; train again in another folder."
            ) from None


def load_last(run: Path, plan: Plan, settings: TrainingSettings) -> Checkpoint | None:
    """The checkpoint that a resumed run goes on from, or None where there is none yet.

    Raises:
        InputError: if the run had another plan or other settings, or the checkpoint is damaged.
    """
    path = run / LAST
    if not path.exists():
        return None
    checkpoint = load_checkpoint(path)
    _require_same_plan(path, checkpoint.plan, plan)
    _require_same_settings(run / SETTINGS, settings)
    return checkpoint


def restore(
    checkpoint: Checkpoint, model_variables: Any, optimiser_variables: Any, source: Path
) -> RunState:
    """Give a model and its optimiser what they had, and return where the run stood."""
    assign_arrays(model_variables, checkpoint.weights, source=str(source))
    assign_arrays(optimiser_variables, checkpoint.optimiser, source=str(source))
    return RunState.from_json(checkpoint.progress, source=str(source))


def _require_same_plan(path: Path, before: Plan, now: Plan) -> None:
    """Refuse to go on with another network, or on data that was prepared otherwise."""
    names = [field.name for field in fields(Plan)]
    differing = [
        name.replace("_", " ") for name in names if getattr(before, name) != getattr(now, name)
    ]
    if differing:
        raise InputError(
            f"{path}: follows another plan than the data or the options given now: they differ in "
            f"{', '.join(differing)}. Resume with the data and the options of the first start, or "
            "name another folder."
        )


def _require_same_settings(path: Path, settings: TrainingSettings) -> None:
    """Refuse to go on under settings that would make it another run."""
    before, now = read_json(path), json.loads(json.dumps(asdict(settings)))
    if not isinstance(before, dict):
        raise InputError(f"{path}: is damaged. Train in another folder.")
    differing = [
        f"{name.replace('_', ' ')} was {before.get(name)} and is now {now[name]}"
        for name in now
        if name not in MAY_CHANGE and before.get(name) != now[name]
    ]
    if differing:
        raise InputError(
            f"{path}: the run has other settings: {'; '.join(differing)}. Resume with those of "
            "the first start, or train in another folder."
        )
