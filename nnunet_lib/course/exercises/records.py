"""What has been solved: one JSON file an exercise, in the folder where lessons keep things."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

from nnunet_lib.course.exercises.exercise import lesson_folders
from nnunet_lib.course.exercises.notebooks import facts_of
from nnunet_lib.course.keeping import work_folder
from nnunet_lib.errors import InputError
from nnunet_lib.files import read_json, write_json

HEADS = ("exercise", "task", "kind", "minutes", "state")
_FORMAT = 1


@dataclass(frozen=True)
class Record:
    """How far one exercise is.

    Attributes:
        tries: how often it was checked.
        solved: whether a check has held; it stays so.
        solution_seen: whether the solution was shown before that.
    """

    tries: int = 0
    solved: bool = False
    solution_seen: bool = False

    def describe(self) -> str:
        """In words."""
        state = "solved" if self.solved else "not yet"
        times = "once" if self.tries == 1 else f"{self.tries} times"
        seen = ", solution seen" * self.solution_seen
        return f"{state}, checked {times}{seen}" if self.tries else "–"


def load_record(exercise: str) -> Record:
    """The record of one exercise; an empty one if there is none, or none that can be read."""
    try:
        value = read_json(_path(exercise))
        record = Record(**value["record"])
    except (InputError, TypeError, KeyError):
        return Record()
    known = [type(given) for given in asdict(record).values()] == [int, bool, bool]
    return record if value["format"] == _FORMAT and known else Record()


def note_check(exercise: str, solved: bool) -> None:
    """Count a check."""
    record = load_record(exercise)
    _save(exercise, replace(record, tries=record.tries + 1, solved=record.solved or solved))


def note_solution_seen(exercise: str) -> None:
    """Note that the solution was shown, unless the exercise is solved."""
    record = load_record(exercise)
    if not record.solved:
        _save(exercise, replace(record, solution_seen=True))


def progress_rows() -> list[tuple[str, ...]]:
    """One row an exercise, under `HEADS`."""
    return [
        (
            fact.exercise,
            fact.title,
            fact.kind,
            str(fact.minutes),
            load_record(fact.exercise).describe(),
        )
        for folder in lesson_folders()
        for fact in facts_of(folder)
    ]


def progress_summary() -> str:
    """How many are solved."""
    names = [fact.exercise for folder in lesson_folders() for fact in facts_of(folder)]
    solved = sum(load_record(name).solved for name in names)
    return f"{solved} of {len(names)} exercises solved."


def _save(exercise: str, record: Record) -> None:
    write_json(_path(exercise), {"format": _FORMAT, "record": asdict(record)})


def _path(exercise: str) -> Path:
    return work_folder() / "exercises" / f"{exercise}.json"
