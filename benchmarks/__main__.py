"""Compare results, speed and memory with other libraries, and write RESULTS.md.

python -m benchmarks                      all rows, as `make bench` does
python -m benchmarks --rows forward step  these alone; the others keep their last figures

Figures of other machines stay beside this one's.
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
from benchmarks.speed.pairs import PEERS, WorkerError, take_turns
from benchmarks.speed.report import FIGURE, as_json, draw, drops, from_json, page
from benchmarks.speed.rows import ON_A_SCAN, Row, with_scans
from benchmarks.speed.rows import ROWS as NETWORK_ROWS
from benchmarks.speed.scan import find_dataset, open_real, write_scan
from nnunet_lib.errors import InputError
from nnunet_lib.files import read_json, replacing, write_json, write_text

ROWS = (*DATA_ROWS, *NETWORK_ROWS)
ROW_NAMES = tuple(row.name for row in with_scans(ROWS))
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
    """Do what the command line asks for."""
    try:
        compare(_options())
    except InputError as error:
        raise SystemExit(str(error)) from None
    except KeyboardInterrupt:
        raise SystemExit("Stopped. The rows that were measured are kept.") from None


def compare(chosen: argparse.Namespace) -> None:
    """Measure, write, and fail where a figure dropped or a row could not be measured."""
    if not PEERS.exists():
        raise SystemExit(f"{PEERS} is not there. 'make bench' makes it.")
    versions = _versions()
    _tables()  # what is in no order is told now, not after the first row
    dataset = chosen.dataset or find_dataset(Path("data"))
    scan = None if dataset is None else open_real(dataset).name
    rows = _rows(chosen.rows, dataset)
    last = _last_figures(machine(), rows, scan)
    found = parity.compare(dataset) if PARITY in chosen.rows else []
    figures, failed = _measure_all(rows, last, chosen.turns, scan, versions)
    worse = [f"{PARITY}: {row.quantity} is {row.worst:.3g}." for row in found if not row.held]
    worse += [*failed, *drops(rows, figures, last)]
    if worse:
        raise SystemExit("Worse than the last committed run or than a bound:\n" + "\n".join(worse))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = [PARITY, *ROW_NAMES]
    parser.add_argument("--rows", nargs="+", choices=names, default=names)
    parser.add_argument(
        "--turns", type=_number, help="how often each side works; a row's own number if not"
    )
    parser.add_argument(
        "--dataset", type=Path, help="in MSD layout, for the real scan; one in data/ if not given"
    )
    return parser.parse_args()


def _number(text: str) -> int:
    """A number of turns."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: must be a whole number of at least 1")
    return int(text)


def _rows(names: Sequence[str], dataset: Path | None) -> tuple[Row, ...]:
    """The rows of these names, on a real scan too where there is one."""
    rows = tuple(
        row for row in with_scans(ROWS) if {row.name, row.name.removesuffix(ON_A_SCAN)} & {*names}
    )
    scanned = tuple(row for row in rows if row.name.endswith(ON_A_SCAN))
    if dataset is None:
        alone = [row.name for row in scanned if row.name.removesuffix(ON_A_SCAN) not in names]
        if alone:
            raise InputError(f"{', '.join(alone)}: needs a dataset of real scans. Give --dataset.")
        print("There is no dataset of real scans in data/, so that nothing is measured on one.")
        return tuple(row for row in rows if row not in scanned)
    if scanned:
        write_scan(dataset, SCAN)
    return rows


def _measure_all(
    rows: Sequence[Row],
    last: Mapping[str, Mapping[str, float]],
    turns: int | None,
    scan: str | None,
    versions: Mapping[str, str],
) -> tuple[dict[str, dict[str, float]], list[str]]:
    """The figures of these rows, which are written after each; and which rows failed."""
    figures, failed = {}, []
    try:
        for row in rows:
            try:
                measured = _measure(row, turns or row.turns, last.get(row.name, {}))
            except WorkerError as error:
                failed.append(f"{row.name}: {error}")
                continue
            figures[row.name] = measured["figures"]
            real = {"dataset": scan} if row.name.endswith(ON_A_SCAN) else {}
            _keep(row.name, {**measured, **real, "versions": versions})
    finally:  # whoever stops it finds the page of what was measured until then
        write_page(_tables())
    return figures, failed


def _keep(name: str, measured: Mapping[str, Any]) -> None:
    """Write a row into this machine's table; other rows and other machines keep theirs."""
    tables = _tables()
    rows = tables.get(machine(), {"rows": {}})["rows"]
    tables[machine()] = {"rows": {**rows, name: measured}}
    write_json(RESULTS, tables)


def _tables() -> dict[str, Any]:
    """What was measured so far: rows, by machine."""
    return read_json(RESULTS) if RESULTS.exists() else {}


def _measure(row: Row, turns: int, last: Mapping[str, float]) -> dict[str, Any]:
    print(f"{row.name}: {row.title} ...", flush=True)
    environment = {REAL_SCAN: str(SCAN)} if row.name.endswith(ON_A_SCAN) else None
    value = as_json(row, take_turns(row.sides, turns, environment), today(), last)
    for text, figure in value["figures"].items():
        print(f"  {text}: {figure:.3g}", flush=True)
    return value


def _last_figures(
    this_machine: str, rows: Sequence[Row], scan: str | None
) -> dict[str, dict[str, float]]:
    """What the last committed run on this machine found of these rows; a word why not, if not."""
    last = committed()
    if last is None:
        print(f"Git has no committed {RESULTS}: there is no last run to compare with.")
    elif this_machine not in last:
        print(f"All committed runs were on other machines ({'; '.join(last)}).")
    else:
        there = _comparable(last[this_machine]["rows"])
        known = {row.name: there[row.name] for row in rows if row.name in there}
        return _of_the_same_scan(known, scan)
    return {}


def _of_the_same_scan(rows: Mapping[str, Any], scan: str | None) -> dict[str, dict[str, float]]:
    """The figures of the rows but for those about a scan of another dataset, which are named."""
    found = {}
    for name, row in rows.items():
        if (before := row.get("dataset", scan)) == scan:
            found[name] = row["figures"]
        else:
            print(f"{name} is not compared: this scan is of {scan}, the last one was of {before}.")
    return found


def _comparable(records: Mapping[str, Any]) -> dict[str, Any]:
    """A machine's records but for those from before their row measured what it does now."""
    since = {row.name: row.measures_since for row in with_scans(ROWS)}
    return {
        name: record for name, record in records.items() if record["date"] >= since.get(name, "")
    }


def write_page(tables: Mapping[str, Any]) -> None:
    """RESULTS.md and its figure; the last comparison of results stands below."""
    rows_of = {name: _comparable(table["rows"]) for name, table in tables.items()}
    runs = [from_json(name, _about(name, rows), rows) for name, rows in rows_of.items() if rows]
    rows = with_scans(ROWS)
    if growing := [row for row in rows if row.growth and any(row.name in r.rows for r in runs)]:
        with replacing(PAGE.with_name(FIGURE)) as temporary:
            draw(growing, runs).savefig(temporary, format="png", dpi=100)
    right = [section(read_json(parity.RESULTS))] if parity.RESULTS.exists() else []
    write_text(PAGE, "\n".join([page(rows, runs), *right]))


def committed() -> dict[str, Any] | None:
    """The last committed run of each machine, None if there was none."""
    command = ["git", "show", f"HEAD:./{RESULTS.as_posix()}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return dict(json.loads(done.stdout))


def _versions() -> dict[str, str]:
    """Whose versions are compared.

    Raises:
        InputError: if the peers' environment does not tell its own.
    """
    program = (
        "import importlib.metadata, sys; print(*map(importlib.metadata.version, sys.argv[1:]))"
    )
    command = [str(PEERS), "-c", program, *VERSIONS]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        raise InputError(
            f"{PEERS} does not tell its packages' versions ({said.strip().splitlines()[-1]}). "
            f"Remove {PEERS.parents[1]}; 'make bench' makes it anew."
        ) from None
    tensorflow = importlib.metadata.version("tensorflow")
    python = sys.version.split()[0]
    ours = {"Python": python, "nnunet_lib": nnunet_lib.__version__, "tensorflow": tensorflow}
    return ours | dict(zip(VERSIONS, done.stdout.split(), strict=True))


def _about(name_of_machine: str, rows: Mapping[str, Any]) -> str:
    """The machine, the versions, and when; rows of other days or versions; whose the scans are."""
    newest = max(rows.values(), key=lambda row: row["date"])
    others: dict[str, list[str]] = {}
    for name, row in rows.items():
        changed = {
            package: version
            for package, version in row["versions"].items()
            if newest["versions"].get(package) != version
        }
        if changed or row["date"] != newest["date"]:
            day = f"on {row['date']}"
            when = f"{day} with {_in_words(changed)}" if changed else day
            others.setdefault(when, []).append(name)
    earlier = [f"{', '.join(names)} {when}" for when, names in sorted(others.items())]
    scans = sorted({row["dataset"] for row in rows.values() if "dataset" in row})
    real = [f"real scans of {', '.join(scans)}"] if scans else []
    about = [name_of_machine, _in_words(newest["versions"]), newest["date"], *earlier, *real]
    return "; ".join(about) + "."


def _in_words(versions: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {version}" for name, version in versions.items())


def today() -> str:
    """The date."""
    return time.strftime("%Y-%m-%d")


if __name__ == "__main__":
    main()
