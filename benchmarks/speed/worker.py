"""One side of a pair: a process that does its work each time it is told to.

    python -m benchmarks.speed.worker benchmarks.speed.ours:forward

It runs in either environment and imports, besides the work, only what both have. On its output
stand lines of JSON: one when it is ready (the work was done once, so that nothing is measured
twice that happens once), then one for each line that it reads: the seconds that the work took, and
by how many bytes the process grew at its largest.
"""

import contextlib
import importlib
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Work = Callable[[], Any]


def main() -> None:
    """Prepare the work that the command line names, and do it once for each line read."""
    answers, sys.stdout = sys.stdout, sys.stderr  # what libraries print must not mix with answers
    module, name = sys.argv[1].split(":")
    work: Work = getattr(importlib.import_module(module), name)()
    note = work()
    print(json.dumps({"note": note if isinstance(note, str) else ""}), file=answers, flush=True)
    for _ in sys.stdin:
        print(json.dumps(measure(work)), file=answers, flush=True)


def measure(work: Work) -> dict[str, float]:
    """Seconds, and the growth of resident memory while the work was done, in bytes."""
    forget_peak()
    before, began = resident("VmRSS"), time.perf_counter()
    kept = work()
    seconds = time.perf_counter() - began
    del kept
    return {"seconds": seconds, "bytes": resident("VmHWM") - before}


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
    main()
