"""What an evaluation found: for programs (JSON), spreadsheets (CSV) and people (a table)."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from nnunet_lib.errors import InputError
from nnunet_lib.evaluation.overlap import EmptyAs, Overlap, dice_of
from nnunet_lib.evaluation.statistics import CaseDice, Summary, summarise, summarise_class
from nnunet_lib.evaluation.surface import SurfaceScores
from nnunet_lib.files import replacing, require_writable, write_json

_COLUMNS = ("case", "class", "dice", "prediction_ml", "truth_ml")
_SURFACE = tuple(field.name for field in fields(SurfaceScores))


@dataclass(frozen=True)
class ClassScore:
    """One class in one case.

    Attributes:
        dice: None where neither the prediction nor the truth has the class.
        prediction_ml: its volume in the prediction, in millilitres.
        truth_ml: its volume in the truth, in millilitres.
        surface: how its surfaces agree; None if the evaluation did not measure that.
    """

    dice: float | None
    prediction_ml: float
    truth_ml: float
    surface: SurfaceScores | None = None


@dataclass(frozen=True)
class CaseScores:
    """All classes of one case.

    Attributes:
        case: its identifier.
        classes: by class value.
        sheared: whether its axes are not perpendicular, as surface distances take them to be.
    """

    case: str
    classes: Mapping[int, ClassScore]
    sheared: bool = False

    @property
    def dice(self) -> CaseDice:
        """Dice by class value."""
        return {label: score.dice for label, score in self.classes.items()}

    @property
    def surfaces(self) -> Mapping[int, SurfaceScores]:
        """Surface scores by class value; empty if they were not measured."""
        scores = self.classes.items()
        return {label: score.surface for label, score in scores if score.surface is not None}


@dataclass(frozen=True)
class SurfaceSummary:
    """Means of surface scores: over cases, then over classes.

    Attributes:
        mean: surface Dice over the cases that Dice is defined for; the distances only over those
            in which prediction and truth both have the class, so that a class which was missed
            altogether shows in surface Dice alone.
        cases_with_distances: how many cases those are.
    """

    mean: SurfaceScores
    cases_with_distances: int


@dataclass(frozen=True)
class EvaluationReport:
    """Scores of a folder of predictions.

    Attributes:
        cases: every case with every class, ordered by case.
        labels_without_prediction: how many label maps had no prediction and were left out.
        empty_as: what Dice is where neither map has the class.
        tolerance_mm: that of the surface Dice; None if surfaces were not measured.
    """

    cases: tuple[CaseScores, ...]
    labels_without_prediction: int = 0
    empty_as: EmptyAs = "undefined"
    tolerance_mm: float | None = None

    @classmethod
    def merged(cls, parts: Sequence["EvaluationReport"]) -> "EvaluationReport":
        """The report of all cases, from parts that each hold some cases of one evaluation.

        Each case gets every class that any case has: with no voxels where it was not found.

        Raises:
            ValueError: if a case is in two parts, or the parts were evaluated differently.
        """
        first, *others = (replace(part, cases=()) for part in parts)
        if any(other != first for other in others):
            raise ValueError(f"The parts come from different evaluations: {[first, *others]}.")
        cases = sorted((case for part in parts for case in part.cases), key=lambda case: case.case)
        for case, next_case in pairwise(cases):
            if case.case == next_case.case:
                raise ValueError(f"Two parts hold the case {case.case}.")
        labels = sorted({label for case in cases for label in case.classes})
        absent = _absent(first.empty_as, first.tolerance_mm is not None)
        complete = (
            replace(case, classes={label: case.classes.get(label, absent) for label in labels})
            for case in cases
        )
        return replace(first, cases=tuple(complete))

    @cached_property
    def mean(self) -> Summary:
        """Mean over classes of the mean over cases."""
        return summarise([case.dice for case in self.cases])

    @cached_property
    def classes(self) -> Mapping[int, Summary]:
        """Mean over cases, by class value."""
        cases = [case.dice for case in self.cases]
        return {label: summarise_class(cases, label) for label in self._labels}

    @cached_property
    def surface_mean(self) -> SurfaceSummary:
        """Mean over classes of the mean over cases; of nothing if surfaces were not measured."""
        return _summarise_surfaces([case.surfaces for case in self.cases])

    @cached_property
    def surface_classes(self) -> Mapping[int, SurfaceSummary]:
        """Mean over cases, by class value; empty if surfaces were not measured."""
        if self.tolerance_mm is None:
            return {}
        cases = [case.surfaces for case in self.cases]
        return {
            label: _summarise_surfaces([{label: case[label]} for case in cases])
            for label in self._labels
        }

    @property
    def _labels(self) -> Sequence[int]:
        return tuple(self.cases[0].classes) if self.cases else ()

    def to_json(self) -> dict[str, Any]:
        """The report as plain JSON values; null stands for a score that is undefined."""
        measured = self.tolerance_mm is not None
        return {
            "mean": _summary_json(self.mean, self.surface_mean if measured else None),
            "classes": {
                str(label): _summary_json(item, self.surface_classes.get(label))
                for label, item in self.classes.items()
            },
            "cases": [_case_json(case) for case in self.cases],
            "labels_without_prediction": self.labels_without_prediction,
            "empty_as": self.empty_as,
            "tolerance_mm": self.tolerance_mm,
        }

    @classmethod
    def from_json(cls, value: Any) -> "EvaluationReport":
        """Rebuild a report from `to_json`'s value.

        Raises:
            InputError: if it is no such value.
        """
        try:
            return cls(
                tuple(_case_from_json(case) for case in value["cases"]),
                value["labels_without_prediction"],
                value["empty_as"],
                value["tolerance_mm"],
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"This is no evaluation report ({error}).") from None

    def rows(self) -> Iterator[tuple[str, int, float | None, float, float]]:
        """(case, class, dice, millilitres predicted, millilitres true), one a case and class."""
        for case in self.cases:
            for label, score in case.classes.items():
                yield case.case, label, score.dice, score.prediction_ml, score.truth_ml

    def save(self, path: Path | str) -> None:
        """Write the JSON file `path`, and beside it a CSV file with one row a case and class.

        Raises:
            InputError: as `check_results_path` does.
        """
        path = Path(path)
        check_results_path(path)
        write_json(path, self.to_json())
        with (
            replacing(path.with_suffix(".csv")) as temporary,
            # a name in another encoding is written as it is
            temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file,
        ):
            csv.writer(file).writerows(self._table())  # None becomes an empty cell

    def _table(self) -> Iterator[tuple[Any, ...]]:
        """The CSV file's lines: `rows`, and the surface scores if they were measured."""
        yield (*_COLUMNS, *(() if self.tolerance_mm is None else _SURFACE))
        surfaces = (score.surface for case in self.cases for score in case.classes.values())
        for row, surface in zip(self.rows(), surfaces, strict=True):
            yield (*row, *(() if surface is None else asdict(surface).values()))

    def describe(self) -> str:
        """Tables for people: Dice a class with its 95% confidence interval; then the surfaces."""
        lines = [f"{'class':>6}  {'cases':>5}  {'Dice':>6}  95% interval"]
        summaries = {str(label): item for label, item in self.classes.items()}
        for name, item in {**summaries, "mean": self.mean}.items():
            lines.append(f"{name:>6}  {item.cases:>5}  {_number(item.dice)}  {_interval(item)}")
        if self.tolerance_mm is not None:
            lines += self._describe_surfaces(self.tolerance_mm)
        if self.labels_without_prediction:
            lines.append(f"Label maps without a prediction: {self.labels_without_prediction}")
        return "\n".join(lines)

    def _describe_surfaces(self, tolerance_mm: float) -> Iterator[str]:
        yield ""
        yield f"Surface Dice at {tolerance_mm:g} mm; distances where both maps have the class:"
        yield f"{'class':>6}  {'surface Dice':>12}  {'both':>5}  {'HD95 (mm)':>9}  {'ASSD (mm)':>9}"
        summaries = {str(label): item for label, item in self.surface_classes.items()}
        for name, item in {**summaries, "mean": self.surface_mean}.items():
            mean, both = item.mean, item.cases_with_distances
            hd95, assd = _number(mean.hd95_mm), _number(mean.assd_mm)
            yield f"{name:>6}  {_number(mean.surface_dice):>12}  {both:>5}  {hd95:>9}  {assd:>9}"
        sheared = [case.case for case in self.cases if case.sheared]
        if sheared:
            yield (
                "The axes of these cases are sheared, and their surface distances, which take them "
                f"as perpendicular, are not exact: {', '.join(sheared)}."
            )


def check_results_path(path: Path) -> None:
    """Refuse a name that a report cannot be saved under, before work is done for it.

    Raises:
        InputError: if `path` does not end in .json, or it or the .csv beside it cannot be written.
    """
    if path.suffix != ".json":
        raise InputError(f"{path}: is no name for a JSON file. Name it <something>.json.")
    for written in (path, path.with_suffix(".csv")):
        require_writable(written)


def _absent(empty_as: EmptyAs, with_surface: bool) -> ClassScore:
    """The score of a class that neither map of a case has."""
    dice = dice_of(Overlap(0, 0, 0), empty_as)
    return ClassScore(dice, 0.0, 0.0, SurfaceScores(None, None, dice) if with_surface else None)


def _summarise_surfaces(cases: Sequence[Mapping[int, SurfaceScores]]) -> SurfaceSummary:
    """Summaries of each surface score over the cases and classes for which it is defined."""
    summaries = {
        name: summarise([{label: getattr(s, name) for label, s in case.items()} for case in cases])
        for name in _SURFACE
    }
    means = SurfaceScores(**{name: summary.dice for name, summary in summaries.items()})
    return SurfaceSummary(means, summaries["hd95_mm"].cases)


def _summary_json(summary: Summary, surface: SurfaceSummary | None) -> dict[str, Any]:
    interval = summary.confidence_interval
    value = {
        "dice": summary.dice,
        "confidence_interval": None if interval is None else list(interval),
        "cases": summary.cases,
    }
    if surface is None:
        return value
    return value | asdict(surface.mean) | {"cases_with_distances": surface.cases_with_distances}


def _case_json(case: CaseScores) -> dict[str, Any]:
    return {
        "case": case.case,
        "sheared": case.sheared,
        "classes": {
            str(label): {
                "dice": score.dice,
                "volume_ml": {"prediction": score.prediction_ml, "truth": score.truth_ml},
                **({} if score.surface is None else asdict(score.surface)),
            }
            for label, score in case.classes.items()
        },
    }


def _case_from_json(value: Any) -> CaseScores:
    return CaseScores(
        value["case"],
        {
            int(label): ClassScore(
                score["dice"],
                score["volume_ml"]["prediction"],
                score["volume_ml"]["truth"],
                SurfaceScores(*(score[name] for name in _SURFACE))
                if _SURFACE[0] in score
                else None,
            )
            for label, score in value["classes"].items()
        },
        value.get("sheared", False),  # which older reports do not say
    )


def _number(value: float | None) -> str:
    return "  none" if value is None else f"{value:.4f}"


def _interval(summary: Summary) -> str:
    if summary.confidence_interval is None:
        return "none (fewer than 2 cases)"
    lower, upper = summary.confidence_interval
    return f"{lower:.4f} to {upper:.4f}"
