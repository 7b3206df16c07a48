"""Workers of both environments that are alive together and take turns."""

import contextlib
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from statistics import median

from benchmarks.speed.worker import CORES

PEERS = Path(".venv-peers/bin/python")
_LIMITS = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
)


class WorkerError(RuntimeError):
    """A side of a comparison ended before it had answered."""


@dataclass(frozen=True)
class Side:
    """Who does the work: a name for people, and `module:function:arguments`, which prepares it."""

    name: str
    work: str
    peer: bool = False


@dataclass(frozen=True)
class Measured:
    """What one side needed, over all its turns.

    Attributes:
        seconds: one a turn.
        bytes: by how much its process had grown since it was prepared, the largest of its turns.
        note: what the work said of itself in its last turn.
    """

    seconds: tuple[float, ...]
    bytes: int
    note: str = ""

    @property
    def median(self) -> float:
        """The middle of its turns, in seconds."""
        return median(self.seconds)

    @property
    def best(self) -> float:
        """The fastest of its turns, in seconds."""
        return min(self.seconds)

    @property
    def growth(self) -> float:
        """Its process's growth in MiB, at least 1: less is chance, and may have no logarithm."""
        return max(1.0, self.bytes / 2**20)

    @property
    def spread(self) -> float:
        """Half the distance between the quartiles, as a share of the median.

        Of up to three turns the quartiles are the extremes.
        """
        ordered = sorted(self.seconds)
        quarter = len(ordered) // 4
        return (ordered[-1 - quarter] - ordered[quarter]) / 2 / self.median


class Worker:
    """A process in one of the environments; see `benchmarks.speed.worker`."""

    def __init__(self, side: Side, environment: Mapping[str, str] | None = None) -> None:
        self.side = side
        python = str(PEERS) if side.peer else sys.executable
        self.command = [python, "-m", "benchmarks.speed.worker", side.work]
        self.told = dict(environment or {})
        variables = os.environ | dict.fromkeys(_LIMITS, str(CORES)) | self.told
        if side.peer:
            variables.pop("PYTHONPATH", None)
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=variables,
        )
        self.note = ""
        self._answer()

    def turn(self) -> tuple[float, int]:
        """Do the work once: seconds and bytes. What it says of itself is kept."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # of a dead one: then there is no answer
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        answer = self._answer()
        self.note = str(answer["note"])
        return float(answer["seconds"]), int(answer["bytes"])

    def _answer(self) -> dict[str, float | str]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            told = [f"{name}={shlex.quote(value)}" for name, value in self.told.items()]
            raise WorkerError(
                f"{self.side.name} ({self.side.work}) ended with code {self.process.wait()}. "
                f"See why with: {' '.join([*told, shlex.join(self.command)])}"
            )
        return dict(json.loads(line))

    def stop(self) -> None:
        """End the process, whatever it does."""
        self.process.kill()
        self.process.wait()


def take_turns(
    sides: Sequence[Side], turns: int, environment: Mapping[str, str] | None = None
) -> dict[str, Measured]:
    """Let every side do its work `turns` times, one after the other, all of them alive.

    The order is drawn for each turn, the same in every run: so nobody always follows the same one,
    nor finds the processor as that one leaves it.

    Args:
        sides: who does it.
        turns: how often each does.
        environment: variables for all of them.
    """
    workers: list[Worker] = []
    try:
        for side in sides:
            workers.append(Worker(side, environment))
        found: dict[str, list[tuple[float, int]]] = {side.name: [] for side in sides}
        order = Random(0)
        for _ in range(turns):
            for worker in order.sample(workers, len(workers)):
                found[worker.side.name].append(worker.turn())
    finally:
        for worker in workers:
            worker.stop()
    return {
        worker.side.name: Measured(
            tuple(seconds for seconds, _ in found[worker.side.name]),
            max(size for _, size in found[worker.side.name]),
            worker.note,
        )
        for worker in workers
    }
