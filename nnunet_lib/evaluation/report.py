"""What an evaluation found: for programs (JSON), spreadsheets (CSV) and people (a table)."""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from nnunet_lib.errors import InputError
from nnunet_lib.evaluation.statistics import CaseDice, Summary, summarise, summarise_class
from nnunet_lib.files import replacing, write_json

_COLUMNS = ("case", "class", "dice", "prediction_ml", "truth_ml")


@dataclass(frozen=True)
class ClassScore:
    """One class in one case.

    Attributes:
        dice: None where neither the prediction nor the truth has the class.
        prediction_ml: its volume in the prediction, in millilitres.
        truth_ml: its volume in the truth, in millilitres.
    """

    dice: float | None
    prediction_ml: float
    truth_ml: float


@dataclass(frozen=True)
class CaseScores:
    """All classes of one case, by class value."""

    case: str
    classes: Mapping[int, ClassScore]

    @property
    def dice(self) -> CaseDice:
        """Dice by class value."""
        return {label: score.dice for label, score in self.classes.items()}


@dataclass(frozen=True)
class EvaluationReport:
    """Scores of a folder of predictions.

    Attributes:
        cases: every case with every class, ordered by case.
        labels_without_prediction: how many label maps had no prediction and were left out.
    """

    cases: tuple[CaseScores, ...]
    labels_without_prediction: int = 0

    @cached_property
    def mean(self) -> Summary:
        """Mean over classes of the mean over cases."""
        return summarise([case.dice for case in self.cases])

    @cached_property
    def classes(self) -> Mapping[int, Summary]:
        """Mean over cases, by class value."""
        labels = self.cases[0].classes if self.cases else ()
        return {
            label: summarise_class([case.dice for case in self.cases], label) for label in labels
        }

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON values; null stands for a Dice that is undefined."""
        return {
            "mean": _summary_json(self.mean),
            "classes": {str(label): _summary_json(item) for label, item in self.classes.items()},
            "cases": [_case_json(case) for case in self.cases],
        }

    def rows(self) -> Iterator[tuple[str, int, float | None, float, float]]:
        """(case, class, dice, millilitres predicted, millilitres true), one a case and class."""
        for case in self.cases:
            for label, score in case.classes.items():
                yield case.case, label, score.dice, score.prediction_ml, score.truth_ml

    def save(self, path: Path) -> None:
        """Write the JSON file `path`, and beside it a CSV file with one row a case and class.

        Raises:
            InputError: if `path` does not end in .json.
        """
        if path.suffix != ".json":
            raise InputError(f"{path}: is no name for a JSON file. Name it <something>.json.")
        write_json(path, self.to_json())
        with (
            replacing(path.with_suffix(".csv")) as temporary,
            temporary.open("w", encoding="utf-8", newline="") as file,
        ):
            writer = csv.writer(file)
            writer.writerow(_COLUMNS)
            writer.writerows(self.rows())  # None becomes an empty cell

    def describe(self) -> str:
        """A table: Dice a class with its 95% confidence interval, and the mean."""
        lines = [f"{'class':>6}  {'cases':>5}  {'Dice':>6}  95% interval"]
        summaries = {str(label): item for label, item in self.classes.items()}
        for name, item in {**summaries, "mean": self.mean}.items():
            lines.append(f"{name:>6}  {item.cases:>5}  {_number(item.dice)}  {_interval(item)}")
        if self.labels_without_prediction:
            lines.append(f"{self.labels_without_prediction} label maps have no prediction.")
        return "\n".join(lines)


def _summary_json(summary: Summary) -> dict[str, Any]:
    interval = summary.confidence_interval
    return {
        "dice": summary.dice,
        "confidence_interval": None if interval is None else list(interval),
        "cases": summary.cases,
    }


def _case_json(case: CaseScores) -> dict[str, Any]:
    return {
        "case": case.case,
        "classes": {
            str(label): {
                "dice": score.dice,
                "volume_ml": {"prediction": score.prediction_ml, "truth": score.truth_ml},
            }
            for label, score in case.classes.items()
        },
    }


def _number(value: float | None) -> str:
    return "  none" if value is None else f"{value:.4f}"


def _interval(summary: Summary) -> str:
    if summary.confidence_interval is None:
        return "none (fewer than 2 cases)"
    lower, upper = summary.confidence_interval
    return f"{lower:.4f} to {upper:.4f}"
