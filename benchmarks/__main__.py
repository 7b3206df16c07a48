"""Compare results, speed and memory with other libraries, and write RESULTS.md.

python -m benchmarks                      all rows, as `make bench` does
python -m benchmarks --rows forward step  these alone; the others keep their last figures
"""

import argparse
import importlib.metadata
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nnunet_lib  # first: it switches TensorFlow's fast kernels on, before anyone imports it
from benchmarks.machine import machine
from benchmarks.parity import live as parity
from benchmarks.parity.page import section
from benchmarks.speed.data_rows import DATA_ROWS
from benchmarks.speed.inputs import REAL_SCAN
from benchmarks.speed.pairs import PEERS, take_turns
from benchmarks.speed.report import FIGURE, as_json, draw, drops, from_json, page
from benchmarks.speed.rows import ROWS as NETWORK_ROWS
from benchmarks.speed.rows import Row, with_scans
from benchmarks.speed.scan import find_dataset, write_scan
from nnunet_lib.files import read_json, replacing, write_json

ROWS = (*DATA_ROWS, *NETWORK_ROWS)
HERE = Path("benchmarks")
RESULTS, PAGE = HERE / "results.json", HERE / "RESULTS.md"
SCAN = Path("build/benchmarks/scan")
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
    chosen = _options()
    if not PEERS.exists():
        raise SystemExit(f"{PEERS} is not there. 'make bench' makes it.")
    dataset = chosen.dataset or find_dataset(Path("data"))
    found = parity.compare(dataset) if PARITY in chosen.rows else []
    rows = _rows(chosen.rows, dataset)
    measured = {row.name: _measure(row, chosen.turns or row.turns) for row in rows}
    values = _merged(measured)
    write_json(RESULTS, values)
    last = committed()
    write_page(values, {} if last is None else _figures(last))
    worse = [f"{PARITY}: {row.quantity} is {row.worst:.3g}." for row in found if not row.held]
    if last is not None and last["machine"] == values["machine"]:
        worse += drops(rows, _figures(values), _figures(last))
    if worse:
        raise SystemExit("Worse than the last committed run or than a bound:\n" + "\n".join(worse))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = [PARITY, *(row.name for row in ROWS)]
    parser.add_argument("--rows", nargs="+", choices=names, default=names)
    parser.add_argument("--turns", type=int, help="how often each side works; a row's own if not")
    parser.add_argument(
        "--dataset", type=Path, help="in MSD layout, for the real scan; one in data/ if not given"
    )
    return parser.parse_args()


def _rows(names: Sequence[str], dataset: Path | None) -> tuple[Row, ...]:
    """The rows of these names, on a real scan too where there is one."""
    rows = tuple(row for row in ROWS if row.name in names)
    if dataset is None:
        print("There is no dataset in data/, so that nothing is measured on a real scan.")
        return rows
    write_scan(dataset, SCAN)
    return with_scans(rows)


def _measure(row: Row, turns: int) -> dict[str, Any]:
    print(f"{row.name}: {row.title} ...", flush=True)
    environment = {REAL_SCAN: str(SCAN)} if row.name.endswith("-scan") else None
    value = as_json(row, take_turns(row.sides, turns, environment))
    for text, figure in value["figures"].items():
        print(f"  {text}: {figure:.3g}", flush=True)
    return value


def _merged(measured: Mapping[str, Any]) -> dict[str, Any]:
    """With what an earlier run on this machine measured in other rows."""
    about: dict[str, Any] = {
        "machine": machine(),
        "date": time.strftime("%Y-%m-%d"),
        "versions": _versions(),
    }
    old: dict[str, Any] = read_json(RESULTS) if RESULTS.exists() else {"rows": {}, "machine": ""}
    kept: dict[str, Any] = old["rows"] if old["machine"] == about["machine"] else {}
    return {**about, "rows": {**kept, **measured}}


def write_page(values: Mapping[str, Any], last: Mapping[str, Mapping[str, float]]) -> None:
    """RESULTS.md and its figure; the last comparison of results stands below."""
    rows = with_scans(ROWS)
    growing = [row for row in rows if row.growth and row.name in values["rows"]]
    if growing:
        results = {row.name: from_json(values["rows"][row.name]) for row in growing}
        with replacing(HERE / FIGURE) as temporary:
            draw(growing, results).savefig(temporary, format="png", dpi=100)
    right = [section(read_json(parity.RESULTS))] if parity.RESULTS.exists() else []
    with replacing(PAGE) as temporary:
        text = "\n".join([page(rows, values, last, _about(values)), *right])
        temporary.write_text(text, encoding="utf-8")


def committed() -> dict[str, Any] | None:
    """The last committed run, None if there was none."""
    command = ["git", "show", f"HEAD:{RESULTS.as_posix()}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return json.loads(done.stdout) if done.returncode == 0 else None


def _figures(values: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    return {name: row["figures"] for name, row in values["rows"].items()}


def _versions() -> dict[str, str]:
    program = (
        "import importlib.metadata, sys; print(*map(importlib.metadata.version, sys.argv[1:]))"
    )
    done = subprocess.run(
        [str(PEERS), "-c", program, *VERSIONS], capture_output=True, text=True, check=True
    )
    tensorflow = importlib.metadata.version("tensorflow")
    ours = {"nnunet_lib": nnunet_lib.__version__, "tensorflow": tensorflow}
    return ours | dict(zip(VERSIONS, done.stdout.split(), strict=True))


def _about(values: Mapping[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in values["versions"].items())
    return f"{values['machine']}; Python {sys.version.split()[0]}; {versions}; {values['date']}."


if __name__ == "__main__":
    main()
