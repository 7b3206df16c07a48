"""One side of a pair: a process that does its work each time it is told to.

    python -m benchmarks.speed.worker benchmarks.speed.ours:forward
    python -m benchmarks.speed.worker benchmarks.speed.growing:volume:96

The words after the function's name are its arguments. A worker runs in either environment and
imports, besides the work, only what both have. On its output
stand lines of JSON: an empty one when it is ready (the work was done once, so that nothing is
measured that happens once), then one for each line that it reads: the seconds that the work took,
by how many bytes the process had grown at its largest since it was prepared, and what the work says
of itself.

Short work is done once more before it is measured: else it pays for the caches of the side that
went before, and who that is decides its time. How much memory a process has, Linux tells.
"""

import contextlib
import importlib
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

Work = Callable[[], Any]

CORES = 2
SHORT = 0.1
"""Seconds up to which work is done once before it is measured."""


@dataclass(frozen=True)
class Reported:
    """What work returns that measures itself, because it happens in other processes."""

    seconds: float
    bytes: int
    note: str = ""


@dataclass(frozen=True)
class After:
    """Work before which something else is done each time, which is not measured."""

    first: Work
    work: Work

    def __call__(self) -> Any:
        """Both."""
        self.first()
        return self.work()


def main() -> None:
    """Prepare the work that the command line names, and do it once for each line read."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries and their processes print must not mix with the answers
    stay_on_cores()
    module, name, *arguments = sys.argv[1].split(":")
    work: Work = getattr(importlib.import_module(module), name)(*arguments)
    prepared = resident("VmRSS")
    work()
    print(json.dumps({}), file=answers, flush=True)
    for _ in sys.stdin:
        print(json.dumps(measure(work, prepared)), file=answers, flush=True)


def stay_on_cores() -> None:
    """Keep this process to two cores, where Linux lets it: not all libraries can be told."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])


def note_of(result: Any) -> str:
    """What the work says of itself, if it says anything."""
    return result if isinstance(result, str) else ""


def measure(work: Work, prepared: int) -> dict[str, float | str]:
    """Seconds, and how far resident memory then was above what it was before the first turn.

    Not above what it was before this turn: libraries keep what they are given for the next one.
    """
    forget_peak()
    seconds, kept = timed(work)
    if seconds < SHORT:
        del kept  # or there would be two of it
        seconds, kept = timed(work)
    if isinstance(kept, Reported):
        return asdict(kept)
    note = note_of(kept)
    del kept
    return {"seconds": seconds, "bytes": resident("VmHWM") - prepared, "note": note}


def timed(work: Work) -> tuple[float, Any]:
    """Seconds that the work took, and what it returned."""
    if isinstance(work, After):
        work.first()
        work = work.work
    began = time.perf_counter()
    kept = work()
    return time.perf_counter() - began, kept


def forget_peak() -> None:
    """Let Linux count the peak of resident memory from now on; where it may not, it stays."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def resident(field: str) -> int:
    """Resident memory now (VmRSS) or at its largest (VmHWM), in bytes, as Linux tells it."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


if __name__ == "__main__":
    # As the module that the work imports too: a `Reported` of another one would not be known.
    importlib.import_module("benchmarks.speed.worker").main()
