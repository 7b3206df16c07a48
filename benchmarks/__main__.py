"""Compare results, speed and memory with other libraries, and write RESULTS.md.

python -m benchmarks                      all rows, as `make bench` does
python -m benchmarks --rows forward step  these alone; the others keep their last figures
python -m benchmarks --rows parity        only whether results are the same
"""

import argparse
import importlib.metadata
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.parity import live as parity
from benchmarks.parity.live import compare
from benchmarks.parity.page import section
from benchmarks.speed.data_rows import DATA_ROWS
from benchmarks.speed.pairs import PEERS, take_turns
from benchmarks.speed.report import as_json, drops, machine, page
from benchmarks.speed.rows import ROWS as NETWORK_ROWS
from nnunet_lib.files import read_json, replacing, write_json

ROWS = (*DATA_ROWS, *NETWORK_ROWS)
RESULTS, PAGE = Path("benchmarks/results.json"), Path("benchmarks/RESULTS.md")
PARITY = "parity"
VERSIONS = (
    "nnunetv2",
    "monai",
    "torch",
    "dynamic-network-architectures",
    "batchgeneratorsv2",
    "medpy",
)


def main() -> None:
    """Measure, write, and fail where a figure dropped."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = [PARITY, *(row.name for row in ROWS)]
    parser.add_argument("--rows", nargs="+", choices=names, default=names)
    parser.add_argument("--turns", type=int, help="how often each side works; a row's own if not")
    parser.add_argument("--dataset", type=Path, help="a folder in MSD layout, for real scans")
    chosen = parser.parse_args()
    if not PEERS.exists():
        raise SystemExit(f"{PEERS} is not there. 'make bench' makes it.")
    found = compare(chosen.dataset) if PARITY in chosen.rows else []
    values = read_json(RESULTS) if RESULTS.exists() else {"rows": {}}
    for row in ROWS:
        if row.name in chosen.rows:
            print(f"{row.name}: {row.title} ...", flush=True)
            turns = chosen.turns or row.turns
            values["rows"][row.name] = as_json(row, take_turns(row.sides, turns))
            for text, value in values["rows"][row.name]["figures"].items():
                print(f"  {text}: {value:.3g}", flush=True)
    values |= {"machine": machine(), "date": time.strftime("%Y-%m-%d"), "versions": _versions()}
    write_json(RESULTS, values)
    last = committed()
    _write_page(page(ROWS, values, last, _about(values)))
    measured = {name: values["rows"][name]["figures"] for name in chosen.rows if name != PARITY}
    worse = list(drops(measured, last))
    worse += [f"{PARITY}: {row.quantity} is {row.worst:.3g}." for row in found if not row.held]
    if worse:
        raise SystemExit("Worse than the last committed run or than a bound:\n" + "\n".join(worse))


def _write_page(fast: str) -> None:
    """What was measured, and below it the last comparison of results."""
    right = [section(read_json(parity.RESULTS))] if parity.RESULTS.exists() else []
    with replacing(PAGE) as temporary:
        temporary.write_text("\n".join([fast, *right]), encoding="utf-8")


def committed() -> dict[str, dict[str, float]]:
    """The figures of the last committed run, none if there was none."""
    command = ["git", "show", f"HEAD:{RESULTS.as_posix()}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    rows = json.loads(done.stdout)["rows"] if done.returncode == 0 else {}
    return {name: row["figures"] for name, row in rows.items()}


def _versions() -> dict[str, str]:
    program = (
        "import importlib.metadata, sys; print(*map(importlib.metadata.version, sys.argv[1:]))"
    )
    done = subprocess.run(
        [str(PEERS), "-c", program, *VERSIONS], capture_output=True, text=True, check=True
    )
    ours = {"tensorflow": importlib.metadata.version("tensorflow")}
    return ours | dict(zip(VERSIONS, done.stdout.split(), strict=True))


def _about(values: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in values["versions"].items())
    return f"{values['machine']}; Python {sys.version.split()[0]}; {versions}; {values['date']}."


if __name__ == "__main__":
    main()
