"""Ask the peers anew, with larger inputs and a real scan, and compare."""

import subprocess
from dataclasses import asdict
from pathlib import Path

from benchmarks.parity.ours import FILES, Row, load, rows_of
from benchmarks.parity.page import plan_lines
from benchmarks.parity.problems import scan_problems
from benchmarks.speed.pairs import PEERS
from nnunet_lib.datasets import Dataset, read_label, read_volume
from nnunet_lib.errors import InputError
from nnunet_lib.files import write_json

ANSWERS, RESULTS = Path("build/parity"), Path("benchmarks/parity.json")
SCALE = 4
"""How much larger than the committed ones the inputs are."""


def compare(dataset: Path | None) -> list[Row]:
    """All rows, which parity.json then holds beside the peers' plans and versions.

    Args:
        dataset: a folder in MSD layout, whose first case is preprocessed too.
    """
    scan = scan_of(dataset)
    ask(ANSWERS, SCALE, scan)
    rows = [row for name in FILES for row in rows_of(ANSWERS, name, SCALE, scan)]
    values = {
        "rows": [asdict(row) for row in rows],
        "plans": list(plan_lines(load(ANSWERS, "planning"))),
        "versions": load(ANSWERS, "versions"),
        "scan": None if dataset is None or scan is None else Dataset.open(dataset).name,
    }
    write_json(RESULTS, values)
    return rows


def ask(folder: Path, scale: int, scan: tuple[Path, Path] | None) -> None:
    """Let the peers answer, in their own environment.

    Raises:
        InputError: if they do not; they say why themselves.
    """
    command = [str(PEERS), "-m", "benchmarks.parity.peers", str(folder), "--scale", str(scale)]
    if scan is not None:
        command += ["--image", str(scan[0]), "--label", str(scan[1])]
    try:
        ended = subprocess.run(command, check=False).returncode
    except OSError as error:
        raise InputError(f"{PEERS} cannot be started ({error}).") from None
    if ended:
        raise InputError(f"The peers ended with code {ended} and gave no answers: see above.")


def scan_of(root: Path | None) -> tuple[Path, Path] | None:
    """Image and label of a dataset's first training case, if the plans of the problems fit it."""
    if root is None:
        return None
    case = Dataset.open(root).training[0]
    assert case.label is not None  # training cases have one
    channels = read_volume(case.images).array.shape[-1]
    known = min(problem.labels for _, problem in scan_problems())
    if channels > 1 or read_label(case.label).array.max() >= known:
        print(f"{root}: has several channels or more than {known} labels: its scan is not compared")
        return None
    return case.images[0], case.label
