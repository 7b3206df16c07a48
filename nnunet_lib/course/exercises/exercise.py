"""What an exercise is, and where those of a lesson are.

`exercises/NN_name/checks.py` says in `EXERCISES` what is checked, by id such as "01.millilitres".
"""

import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_lib.course.keeping import checkout
from nnunet_lib.errors import InputError

Inputs = Mapping[str, Any]
GIBIBYTE = 2**30


@dataclass(frozen=True)
class Property:
    """Something that must hold of every result.

    Attributes:
        name: what holds, as the learner reads it, such as "the weights sum to 1".
        holds: takes the result, then the inputs by name.
        hint: for a learner whose result does not have it.
    """

    name: str
    holds: Callable[..., bool]
    hint: str


@dataclass(frozen=True)
class Mistake:
    """A plausible wrong answer, recognised by what it gives.

    Attributes:
        name: the mistake in a few words; the learner does not see it.
        hint: what to think about, for whoever made it.
        gives: what the mistake makes of the inputs (by name); None if it only raises.
        raises: the exception's name by which the mistake is known, if it raises.
        saying: a part of that exception's message, where other mistakes raise the same.
    """

    name: str
    hint: str
    gives: Callable[..., Any] | None = None
    raises: str = ""
    saying: str = ""


@dataclass(frozen=True)
class Exercise:
    """What is checked of one function that the learner writes.

    Attributes:
        function: its name.
        draw: makes the inputs of several calls from a generator, in the order of the function's
            parameters: data, or functions. Anew for each check, so constants cannot pass.
        reference: takes the inputs by name; independent of the solution, and without TensorFlow.
        hint: the second hint, which `hint` shows.
        properties: what else must hold of every result.
        mistakes: those that are recognised, each with its hint.
        probe: calls the learner's function where one call is not enough: takes it, then the
            inputs by name, and gives what is compared with the reference.
        relative, absolute: how far numbers may lie from the reference's.
        tensorflow: whether the answer needs it.
        seconds: the most that all calls may take together.
        memory: the most bytes that they may need on top of what the process has.
    """

    function: str
    draw: Callable[[np.random.Generator], Sequence[Inputs]]
    reference: Callable[..., Any]
    hint: str
    properties: tuple[Property, ...] = ()
    mistakes: tuple[Mistake, ...] = ()
    probe: Callable[..., Any] | None = None
    relative: float = 1e-4
    absolute: float = 1e-6
    tensorflow: bool = False
    seconds: float = 10.0
    memory: int = GIBIBYTE


def exercises_folder() -> Path:
    """The checkout's `exercises/`.

    Raises:
        InputError: if the library was not imported from a checkout.
    """
    place = checkout()
    if place is None or not (place / "exercises").is_dir():
        raise InputError("The exercises come with a checkout of the course, and this is none.")
    return place / "exercises"


def lesson_folders() -> tuple[Path, ...]:
    """One folder a lesson that has exercises, in the order of the lessons."""
    return tuple(sorted(path.parent for path in exercises_folder().glob("[0-9][0-9]_*/checks.py")))


def folder_of(identifier: str) -> Path:
    """The lesson's folder that an exercise belongs to.

    Raises:
        InputError: if there is no such lesson.
    """
    for folder in lesson_folders():
        if folder.name[:2] == str(identifier)[:2]:  # check(1) is a slip, too
            return folder
    raise InputError(f"There is no exercise {identifier!r}: ids look like 01.millilitres.")


def load_exercises(folder: Path) -> Mapping[str, Exercise]:
    """The exercises in a folder's checks.py, by id."""
    path = folder / "checks.py"
    name = f"exercises_{folder.name}_checks"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise InputError(f"{path}: there are no checks here.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # a dataclass in it looks its module up there
    spec.loader.exec_module(module)
    found: Mapping[str, Exercise] = module.EXERCISES
    return found


def find_exercise(exercises: Mapping[str, Exercise], identifier: str) -> Exercise:
    """One exercise of a lesson.

    Raises:
        InputError: if there is none of this id, naming those that there are.
    """
    if identifier not in exercises:
        raise InputError(
            f"There is no exercise {identifier!r}. This lesson has {', '.join(exercises)}."
        )
    return exercises[identifier]
