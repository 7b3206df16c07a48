"""One side of a pair: a process that does its work each time it is told to.

    python -m benchmarks.speed.worker benchmarks.speed.ours:forward
    python -m benchmarks.speed.worker benchmarks.speed.growing:volume:96

The words after the function's name are its arguments. A worker runs in either environment and
imports, besides the work, only what both have. On its output
stand lines of JSON: one when it is ready (the work was done once, so that nothing is measured
twice that happens once), then one for each line that it reads: the seconds that the work took, and
by how many bytes the process had grown at its largest since it was prepared.
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


@dataclass(frozen=True)
class Reported:
    """What work returns that measures itself, because it happens in other processes."""

    seconds: float
    bytes: int


def main() -> None:
    """Prepare the work that the command line names, and do it once for each line read."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries and their processes print must not mix with the answers
    module, name, *arguments = sys.argv[1].split(":")
    work: Work = getattr(importlib.import_module(module), name)(*arguments)
    prepared = resident("VmRSS")
    print(json.dumps({"note": note_of(work())}), file=answers, flush=True)
    for _ in sys.stdin:
        print(json.dumps(measure(work, prepared)), file=answers, flush=True)


def note_of(result: Any) -> str:
    """What the work says of itself, if it says anything."""
    return result if isinstance(result, str) else ""


def measure(work: Work, prepared: int) -> dict[str, float]:
    """Seconds, and how far resident memory then was above what it was before the first turn.

    Not above what it was before this turn: libraries keep what they are given for the next one.
    """
    forget_peak()
    began = time.perf_counter()
    kept = work()
    seconds = time.perf_counter() - began
    if isinstance(kept, Reported):
        return asdict(kept)
    del kept
    return {"seconds": seconds, "bytes": resident("VmHWM") - prepared}


def forget_peak() -> None:
    """Let Linux count the peak of resident memory from now on; where it may not, it stays."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def resident(field: str) -> int:
    """Resident memory now (VmRSS) or at its largest (VmHWM), in bytes; 0 where /proc is not."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(field)), 0)


if __name__ == "__main__":
    # As the module that the work imports too: a `Reported` of another one would not be known.
    importlib.import_module("benchmarks.speed.worker").main()
