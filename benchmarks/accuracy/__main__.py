"""Mean Dice after so many minutes of training: this library and nnU-Net on fold 0, in turn.

    make bench-accuracy DATASET=folder MINUTES="2 5 15"
    python -m benchmarks.accuracy --dataset folder --systems nnunet_lib --folds 0 1 2 3 4

Every run has the processor for itself, and the same validation cases, scored by the same program
on the scans' own grid. Each finished run is added to accuracy.json at once, so that a long
comparison can be made in parts; page and figure are written from that file.
"""

import argparse
import hashlib
import json
import math
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.accuracy.page import FOLDS, RESULTS, SHOWN_FOLD, Run, add_run, write_page
from benchmarks.machine import machine
from benchmarks.speed.pairs import PEERS
from nnunet_lib.datasets import Dataset
from nnunet_lib.errors import InputError
from nnunet_lib.evaluation import evaluate_folder
from nnunet_lib.files import read_json, write_json
from nnunet_lib.loading.folds import split_folds
from nnunet_lib.planning import Plan

WORK = Path("build/accuracy")
OURS = "nnunet_lib"
PEER_NAME = "Dataset004_Compared"
"""What nnU-Net calls the dataset, whatever its own name: that may be no name of a folder."""
PEER_BATCHES: dict[str, int | None] = {"nnunetv2": None, "nnunetv2, batch 2": 2}
"""nnU-Net at its plan's batch, and at the batch that a small machine can afford."""


def main() -> None:
    """Do what the command line asks for."""
    chosen = _options()
    try:
        comparison = Comparison(chosen.dataset)
        for minutes, fold, system in product(chosen.minutes, chosen.folds, chosen.systems):
            add_run(comparison.run(system, minutes, fold), RESULTS)
            write_page(RESULTS)
    except InputError as error:
        raise SystemExit(str(error)) from None
    except KeyboardInterrupt:
        raise SystemExit("Stopped. The runs that were finished are kept.") from None


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.accuracy", description=__doc__)
    parser.add_argument("--dataset", type=Path, required=True, help="a folder in MSD layout")
    parser.add_argument("--minutes", type=_minutes, nargs="+", default=[15.0])
    systems = (OURS, *PEER_BATCHES)
    parser.add_argument("--systems", nargs="+", choices=systems, default=systems)
    parser.add_argument("--folds", type=int, nargs="+", choices=range(FOLDS), default=[SHOWN_FOLD])
    chosen = parser.parse_args()
    if set(chosen.folds) != {SHOWN_FOLD} and set(chosen.systems) != {OURS}:
        parser.error(f"folds other than {SHOWN_FOLD} are for --systems {OURS} alone.")
    return chosen


def _minutes(text: str) -> float:
    """A time to train for."""
    try:
        minutes = float(text)
    except ValueError:
        minutes = math.nan
    if not 0 < minutes < math.inf:
        raise argparse.ArgumentTypeError(f"{text}: must be a number of minutes above 0")
    return minutes


class Comparison:
    """One dataset, prepared once for each system."""

    def __init__(self, root: Path) -> None:
        self.dataset = Dataset.open(root)
        names = [case.identifier for case in self.dataset.training]
        self.work = WORK / _key_of(root, names)
        self.folds = split_folds(names, FOLDS)

    def run(self, system: str, minutes: float, fold: int) -> Run:
        """Train one system for so many minutes, and score the fold's validation cases."""
        print(f"{system}, fold {fold}: {minutes:g} minutes ...", flush=True)
        if system == OURS:
            steps, batch_size, predicted = self._ours(minutes, fold)
        else:
            steps, batch_size, predicted = self._peer(minutes, PEER_BATCHES[system])
        scores = evaluate_folder(predicted, self.dataset.root / "labelsTr", tolerance=None).mean
        if scores.dice is None or scores.cases != len(self.folds[fold].validation):
            raise SystemExit(f"{predicted}: {scores.cases} cases have a score.")
        run = Run(
            system=system,
            minutes=minutes,
            steps=steps,
            batch_size=batch_size,
            dice=scores.dice,
            interval=scores.confidence_interval or (scores.dice, scores.dice),
            cases=scores.cases,
            date=time.strftime("%Y-%m-%d"),
            machine=machine(),
            dataset=self.dataset.name,
            fold=fold,
        )
        print(run.sentence(), flush=True)
        return run

    def _ours(self, minutes: float, fold: int) -> tuple[int, int, Path]:
        """The commands of the README, with the defaults."""
        prepared, run = self.work / "prepared", self.work / f"run_{minutes:g}_{fold}"
        plan, data = self.work / "plan.json", ["--data", str(self.dataset.root)]
        _library("plan", *data, "--output", str(plan))
        _library("preprocess", *data, "--plan", str(plan), "--results", str(prepared))
        limit = ("--time-limit", str(minutes), "--fold", str(fold), "--overwrite")
        _library("train", "--data", str(prepared), "--results", str(run), *limit)
        predicted = _empty(self.work / f"predicted_{minutes:g}_{fold}")
        scans = ("--input", str(self.dataset.root / "imagesTr"), "--subset", "validation")
        _library("predict", "--model", str(run), *scans, "--output", str(predicted))
        lines = (run / "metrics.jsonl").read_text().splitlines()
        return _last_step(lines), Plan.load(run / "plan.json").batch_size, predicted

    def _peer(self, minutes: float, batch_size: int | None) -> tuple[int, int, Path]:
        """nnU-Net's own training; see `benchmarks.accuracy.peer`."""
        if not (self.work / "nnunet/prepared.json").exists():
            self._prepare_peer()
        results = self.work / f"nnunet/results_{minutes:g}_{batch_size or 'plan'}"
        batch = () if batch_size is None else ("--batch-size", str(batch_size))
        self._call_peer(results, "train", str(minutes), *batch)
        found = next(results.glob(f"*/*/fold_{SHOWN_FOLD}/steps.json"))
        steps = read_json(found)
        predicted = _empty(self.work / f"predicted_peer_{minutes:g}_{batch_size or 'plan'}")
        for name in self.folds[SHOWN_FOLD].validation:
            file = f"{name}{self.dataset.file_ending}"
            (predicted / file).symlink_to((found.parent / "validation" / file).resolve())
        return steps["steps"], steps["batch_size"], predicted

    def _prepare_peer(self) -> None:
        """The dataset in nnU-Net's layout, its plans, and our fold."""
        self._link_scans(self.work / "nnunet/raw" / PEER_NAME)
        self._call_peer(self.work / "nnunet/results", "prepare")
        fold = self.folds[SHOWN_FOLD]
        split = {"train": list(fold.training), "val": list(fold.validation)}
        write_json(self.work / "nnunet/preprocessed" / PEER_NAME / "splits_final.json", [split])
        write_json(self.work / "nnunet/prepared.json", True)

    def _link_scans(self, raw: Path) -> None:
        """Links to the scans and labels under nnU-Net's names, and its description of them."""
        for part in ("imagesTr", "labelsTr"):
            (raw / part).mkdir(parents=True, exist_ok=True)
        ending = self.dataset.file_ending
        for case in self.dataset.training:
            for channel, image in enumerate(case.images):
                _link(raw / "imagesTr" / f"{case.identifier}_{channel:04d}{ending}", image)
            if case.label is not None:
                _link(raw / "labelsTr" / f"{case.identifier}{ending}", case.label)
        write_json(raw / "dataset.json", self._description())

    def _description(self) -> dict[str, Any]:
        """The dataset in the words of nnU-Net's dataset.json."""
        labels = {name: value for value, name in enumerate(self.dataset.labels)}
        return {
            "channel_names": {str(i): name for i, name in enumerate(self.dataset.channels)},
            "labels": {"background": 0} | {n: v for n, v in labels.items() if v},
            "numTraining": len(self.dataset.training),
            "file_ending": self.dataset.file_ending,
        }

    def _call_peer(self, results: Path, *arguments: str) -> None:
        if not PEERS.exists():
            raise SystemExit(f"{PEERS} is not there. 'make bench-accuracy' makes it.")
        here = (self.work / "nnunet").resolve()
        folders = {
            "nnUNet_raw": str(here / "raw"),
            "nnUNet_preprocessed": str(here / "preprocessed"),
            "nnUNet_results": str(results.resolve()),
        }
        command = [str(PEERS), "-m", "benchmarks.accuracy.peer", *arguments]
        environment = os.environ | folders
        environment.pop("PYTHONPATH", None)
        _run(command, environment)


def _key_of(root: Path, names: Sequence[str]) -> str:
    """A folder's name that other datasets do not have, nor this one with other cases."""
    known = json.dumps([str(root.resolve()), *names])
    return hashlib.sha256(known.encode()).hexdigest()[:12]


def _library(*arguments: str) -> None:
    _run([sys.executable, "-m", "nnunet_lib", *arguments])


def _run(command: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
    """Run a command, which says itself why it fails, if it does."""
    try:
        code = subprocess.run(command, check=False, env=environment).returncode
    except OSError as error:
        raise InputError(f"{command[0]} cannot be started ({error}).") from None
    if code:
        raise InputError(f"This ended with code {code}, see above: {shlex.join(command)}")


def _last_step(lines: Sequence[str]) -> int:
    return int(json.loads(lines[-1])["step"])


def _empty(folder: Path) -> Path:
    """An empty folder in that place."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _link(place: Path, source: Path) -> None:
    if not place.exists():
        place.symlink_to(source.resolve())


if __name__ == "__main__":
    main()
