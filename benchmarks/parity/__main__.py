"""Ask the peers anew, compare, and write PARITY.md.

make bench-parity DATASET=folder            with one scan of it among the cases
python -m benchmarks.parity --references    make the small answers that the tests use anew
"""

import argparse
import subprocess
from dataclasses import asdict
from pathlib import Path

from benchmarks.parity.ours import FILES, REFERENCES, Row, load, rows_of
from benchmarks.parity.page import page
from nnunet_lib.datasets import Dataset
from nnunet_lib.files import replacing, write_json

PEERS = Path(".venv-peers/bin/python")
ANSWERS = Path("build/parity")
RESULTS, PAGE = Path("benchmarks/parity.json"), Path("benchmarks/PARITY.md")
SCALE = 4
"""How much larger than the committed ones the inputs of a live comparison are."""


def main() -> None:
    """Compare, write the page, and fail where a bound is not held."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.parity", description=__doc__)
    parser.add_argument("--dataset", type=Path, help="a folder in MSD layout")
    parser.add_argument("--references", action="store_true", help="write the tests' answers")
    chosen = parser.parse_args()
    if chosen.references:
        ask(REFERENCES, 1, None)
        return
    missed = [row.quantity for row in compare(scan_of(chosen.dataset)) if not row.held]
    if missed:
        raise SystemExit("Not held: " + "; ".join(missed))


def compare(scan: tuple[Path, Path] | None) -> list[Row]:
    """Ask the peers anew; all rows, which parity.json and PARITY.md then hold."""
    ask(ANSWERS, SCALE, scan)
    rows = [row for name in FILES for row in rows_of(ANSWERS, name, SCALE, scan)]
    write_json(RESULTS, [asdict(row) | {"held": row.held} for row in rows])
    text = page(rows, load(ANSWERS, "planning"), load(ANSWERS, "versions"))
    with replacing(PAGE) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return rows


def ask(folder: Path, scale: int, scan: tuple[Path, Path] | None) -> None:
    """Let the peers answer, in their own environment."""
    command = [str(PEERS), "-m", "benchmarks.parity.peers", str(folder), "--scale", str(scale)]
    if scan is not None:
        command += ["--image", str(scan[0]), "--label", str(scan[1])]
    subprocess.run(command, check=True)


def scan_of(root: Path | None) -> tuple[Path, Path] | None:
    """Image and label of a dataset's first training case that is one file."""
    if root is None:
        return None
    case = Dataset.open(root).training[0]
    return None if case.label is None else (case.images[0], case.label)


if __name__ == "__main__":
    main()
