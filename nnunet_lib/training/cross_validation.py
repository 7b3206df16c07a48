"""Cross-validation: every case is validated once, by a network that has not seen it.

Taught in lesson 06. All folds together say how well the method does on new cases, which one fold
says less surely, and whether to keep only largest components (see `inference.components`).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from nnunet_lib import distributed
from nnunet_lib.distributed import Ranks
from nnunet_lib.errors import InputError
from nnunet_lib.evaluation.statistics import CaseDice, Summary, summarise, summarise_class
from nnunet_lib.files import read_json, write_json
from nnunet_lib.inference import (
    CROSS_VALIDATION,
    FOLD,
    Postprocessing,
    Trial,
    decide_postprocessing,
    try_postprocessing,
)
from nnunet_lib.loading import Fold
from nnunet_lib.model import LAST, load_network
from nnunet_lib.preprocessing import PreprocessedDataset
from nnunet_lib.training.job import make_room
from nnunet_lib.training.loop import train
from nnunet_lib.training.settings import TrainingSettings
from nnunet_lib.training.validation import for_every_case, segment_case

MEAN = "mean"


@dataclass(frozen=True)
class CrossValidation:
    """What a cross-validation found.

    Attributes:
        results: the folder with one run a fold: `fold_0`, `fold_1`, ...
        labels: name of each label value, background first.
        folds: the trials of each fold's validation cases, by case.
        postprocessing: what to do to label maps, decided on all cases.
    """

    results: Path
    labels: tuple[str, ...]
    folds: tuple[Mapping[str, Trial], ...]
    postprocessing: Postprocessing

    @property
    def pooled(self) -> dict[str, Summary]:
        """Dice over the cases of all folds: by class value, and `mean`."""
        return self._summaries(trial.plain for trial in self._trials)

    @property
    def postprocessed(self) -> dict[str, Summary]:
        """The same after postprocessing. It was chosen on these cases, which flatters a little."""
        return self._summaries(trial.after(self.postprocessing) for trial in self._trials)

    def fold_summaries(self, fold: int) -> dict[str, Summary]:
        """Dice over the cases of one fold: by class value, and `mean`."""
        return self._summaries(trial.plain for trial in self.folds[fold].values())

    @property
    def _trials(self) -> list[Trial]:
        return [trial for fold in self.folds for trial in fold.values()]

    def _summaries(self, cases: Iterable[CaseDice]) -> dict[str, Summary]:
        cases = list(cases)
        classes = range(1, len(self.labels))
        return {
            **{str(label): summarise_class(cases, label) for label in classes},
            MEAN: summarise(cases),
        }

    def to_json(self) -> dict[str, Any]:
        """The scores as plain JSON values; null stands for a Dice that is undefined."""
        folds = [
            {
                "run": f"fold_{number}",
                "dice": _as_json(self.fold_summaries(number)),
                "cases": {case: dict(trial.plain) for case, trial in fold.items()},
            }
            for number, fold in enumerate(self.folds)
        ]
        return {
            "folds": folds,
            "pooled": _as_json(self.pooled),
            "postprocessing": asdict(self.postprocessing),
            "postprocessed": _as_json(self.postprocessed),
        }

    def describe(self) -> str:
        """A table: Dice a fold and class, over all cases, and what postprocessing does."""
        names = [*self.labels[1:], MEAN]
        widths = [max(6, len(name)) for name in names]
        lines = ["  ".join(["fold  cases", *map(str.rjust, names, widths)])]
        rows = {str(number): self.fold_summaries(number) for number in range(len(self.folds))}
        for name, row in {**rows, "all": self.pooled}.items():
            cells = map(str.rjust, map(_number, row.values()), widths)
            lines.append("  ".join([f"{name:>4}  {row[MEAN].cases:>5}", *cells]))
        if (interval := self.pooled[MEAN].confidence_interval) is not None:
            lines.append(f"95% interval of the mean: {interval[0]:.4f} to {interval[1]:.4f}")
        return "\n".join([*lines, self._describe_postprocessing()])

    def _describe_postprocessing(self) -> str:
        before, after = (scores[MEAN].dice for scores in (self.pooled, self.postprocessed))
        if self.postprocessing == Postprocessing():
            return "To keep only largest components does not help, so label maps stay as they are."
        what = self.postprocessing.describe(self.labels)
        return f"In predictions {what}: mean Dice {before:.4f} becomes {after:.4f}."


def cross_validate(
    preprocessed: PreprocessedDataset,
    results: Path | str,
    settings: TrainingSettings | None = None,
    show_progress: bool = True,
) -> CrossValidation:
    """Train all folds, score every case by the fold that held it out, decide postprocessing.

    Leaves a run a fold in `results/fold_0`, `results/fold_1`, ..., the scores in
    `results/cross_validation.json`, and the decision in each run. `predict` then takes `results`
    for all the folds. Scores are taken on the preprocessed grid, from the last checkpoint.

    Under `horovodrun` all processes train each fold together and share its validation cases;
    all of them must see `results`.

    Args:
        preprocessed: labelled cases, preprocessed in mode "training".
        results: the folder to write; made if it is not there.
        settings: of each fold; `fold` is not read. A time limit holds for each fold. With
            `resume` a finished fold is not trained again.
        show_progress: whether to draw progress bars.

    Raises:
        InputError: if a fold's folder holds a run already, or a fold cannot be trained.
    """
    settings, ranks = settings or TrainingSettings(), distributed.join()
    results = Path(results)
    runs = [results / f"fold_{fold}" for fold in range(settings.number_of_folds)]
    make_room(preprocessed, results, runs, settings, ranks)
    for fold, run in enumerate(runs):
        if show_progress and ranks.is_first:
            tqdm.write(f"Fold {fold}, one of {len(runs)}")
        train(preprocessed, run, replace(settings, fold=fold), show_progress)
    folds = _folds_of(runs, preprocessed.identifiers, ranks)
    trials = [
        _try_fold(run, preprocessed, fold.validation, settings, ranks, show_progress)
        for run, fold in zip(runs, folds, strict=True)
    ]
    decision = decide_postprocessing(chain.from_iterable(fold.values() for fold in trials))
    result = CrossValidation(results, preprocessed.plan.labels, tuple(trials), decision)
    if ranks.is_first:
        for run in runs:
            decision.save(run)
        write_json(results / CROSS_VALIDATION, result.to_json())  # last: it says that all is done
    ranks.wait()
    return result


def _folds_of(runs: Sequence[Path], identifiers: Sequence[str], ranks: Ranks) -> list[Fold]:
    """What each run says that it trained and validated on, once it is sure to be a partition."""
    written = ranks.agree([read_json(run / FOLD) for run in runs] if ranks.is_first else None)
    folds = [Fold(tuple(fold["training"]), tuple(fold["validation"])) for fold in written]
    for run, fold in zip(runs, folds, strict=True):
        if sorted(fold.training + fold.validation) != sorted(identifiers):
            raise InputError(
                f"{run / FOLD}: its training and validation cases are not each case once, so "
                "its score would not be that of new cases. Train this fold again."
            )
    if sorted(chain.from_iterable(fold.validation for fold in folds)) != sorted(identifiers):
        raise InputError(
            f"{runs[0].parent}: the folds do not validate each case once. Train them again, all "
            "with the same cases, seed and number of folds."
        )
    return folds


def _try_fold(
    run: Path,
    data: PreprocessedDataset,
    cases: Sequence[str],
    settings: TrainingSettings,
    ranks: Ranks,
    show_progress: bool,
) -> dict[str, Trial]:
    """Predict the validation cases of one fold, and score what could be done to them."""
    inference = settings.inference
    network, plan = load_network(run, LAST, settings.compute, inference.window_batch_size)
    data = replace(data, plan=plan)  # the run's own: it says whether the network may be flipped
    classes = range(1, len(plan.labels))
    hidden = not (show_progress and ranks.is_first)
    with tqdm(total=len(ranks.share(cases)), desc=run.name, unit="case", disable=hidden) as bar:

        def score(case: str) -> list[list[tuple[int, float | None]]]:
            prediction, truth = segment_case(network, data, case, inference)
            trial = try_postprocessing(prediction, truth, classes)
            bar.update()
            return [list(dice.items()) for dice in trial]

        scores = for_every_case(score, cases, ranks)
    return {case: Trial(*map(dict, dice)) for case, dice in scores.items()}


def _as_json(summaries: Mapping[str, Summary]) -> dict[str, Any]:
    return {name: asdict(summary) for name, summary in summaries.items()}


def _number(summary: Summary) -> str:
    return "none" if summary.dice is None else f"{summary.dice:.4f}"
