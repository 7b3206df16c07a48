"""The process that runs and judges answers, apart from the notebook and its kernel.

No accident in a notebook can touch the verdict. An answer that sets out to can: it runs in a fork
of this process, which knows the right results.

`Checker` starts it and talks to it in lines of JSON. It reads the checks once, and forks for every
answer, so that many can be checked in little time. Its own code never runs a learner's.
"""

import json
import operator
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, NoReturn

import numpy as np

from nnunet_lib.course.exercises.exercise import (
    Exercise,
    find_exercise,
    load_exercises,
)
from nnunet_lib.course.exercises.judging import Verdict, judge
from nnunet_lib.course.exercises.sandbox import run_apart
from nnunet_lib.course.sources import python_path
from nnunet_lib.errors import InputError

_SECONDS_TO_END = 5.0


class Checker:
    """Checks answers to the exercises of one lesson's folder, while its `with` block lasts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __enter__(self) -> "Checker":
        self._errors: IO[str] = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")
        self._process = self._start()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind:  # an interrupted cell: the worker ends what it runs
            self._process.terminate()
        try:
            self._process.communicate(timeout=_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
        self._errors.close()

    def check(self, identifier: str, source: str, seed: int) -> Verdict:
        """What a source gives, on inputs drawn from a seed.

        Raises:
            InputError: if there is no such exercise, the seed is negative, or the checks
                themselves do not work.
        """
        try:
            seed = operator.index(seed)  # NumPy's whole numbers, too
        except TypeError:
            raise InputError(f"seed {seed!r}: must be a whole number.") from None
        if seed < 0:
            raise InputError(f"seed {seed}: must be at least 0.")
        job = {"exercise": identifier, "source": source, "seed": seed}
        reply = self._ask(json.dumps(job))
        if "refused" in reply:
            raise InputError(reply["refused"])
        return Verdict.from_json(reply)

    def _ask(self, line: str) -> Any:
        if self._process.poll() is not None:  # without fork each answer ends it
            self._process = self._start()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            self._process.stdin.write(line + "\n")
            self._process.stdin.flush()
            return json.loads(self._process.stdout.readline())
        except (BrokenPipeError, json.JSONDecodeError):
            raise InputError(f"{self.folder}: the checker ended: {self._last_words()}") from None

    def _last_words(self) -> str:
        self._process.kill()
        self._process.wait()
        self._errors.seek(0)
        lines = self._errors.read().strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def _start(self) -> subprocess.Popen[str]:
        return subprocess.Popen(
            # -P: a random.py beside the notebook does not take the place of Python's own
            [sys.executable, "-P", "-m", __name__, str(self.folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
            env=_environment(),
            start_new_session=True,  # an interrupted cell does not leave half an answer
        )


def _environment() -> dict[str, str]:
    """This process's own, with this very library, and without a GPU or threads for linear algebra.

    A fork takes no threads along.
    """
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    return {
        **os.environ,
        **one,
        "PYTHONPATH": python_path(),
        "CUDA_VISIBLE_DEVICES": "-1",
        "MPLBACKEND": "agg",
    }


def serve(folder: Path) -> None:
    """Answer lines of JSON on standard input, until it ends."""
    signal.signal(signal.SIGTERM, _leave)
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what checks print is no reply
    exercises = load_exercises(folder)
    for line in sys.stdin:
        replies.write(json.dumps(_answer(exercises, json.loads(line))) + "\n")
        replies.flush()
        if not hasattr(os, "fork"):
            return


def _leave(*_: object) -> NoReturn:
    raise SystemExit(1)  # through `run_apart`, which ends what it has started


def _answer(exercises: Mapping[str, Exercise], job: Mapping[str, Any]) -> dict[str, Any]:
    try:
        exercise = find_exercise(exercises, job["exercise"])
        return answer(job["exercise"], exercise, job["source"], job["seed"]).to_json()
    except InputError as error:
        return {"refused": str(error)}
    except Exception as error:  # a fault of the checks themselves; the next answer is served
        return {"refused": f"The checks of {job['exercise']} do not work: {error!r}"}


def answer(identifier: str, exercise: Exercise, source: str, seed: int) -> Verdict:
    """Draw inputs, run a source apart, and judge what came of it."""
    if exercise.tensorflow:
        import tensorflow  # noqa: F401 - once here, so that no fork has to
    calls = exercise.draw(np.random.default_rng(seed))
    return judge(identifier, exercise, source, calls, run_apart(exercise, source, calls))


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
