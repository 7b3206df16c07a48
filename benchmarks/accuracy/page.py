"""Runs of the accuracy comparison: kept as JSON, shown as a page and a figure."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nnunet_lib.files import as_tuples, read_json, replacing, write_json, write_text
from nnunet_lib.training.settings import TrainingSettings

RESULTS = Path("benchmarks/accuracy.json")
PAGE, FIGURE = "ACCURACY.md", "accuracy.png"
GOALS_OF = "Hippocampus"
GOALS = {5.0: 0.865, 15.0: 0.885, 45.0: 0.89}
"""Mean Dice to reach on it after so many minutes; the last is what nnU-Net publishes after a full
training on a GPU (five folds, all 260 cases; Isensee et al. 2021)."""
WHY_MISSED = (
    "Why goals are missed: the goal of 45 minutes is what nnU-Net publishes after a full training "
    "on a GPU, as the mean of five folds over all 260 cases (Isensee et al. 2021), and the earlier "
    "ones are on the way there; but one fold of fewer cases may be harder or easier, and [more "
    "cases helped](../docs/defaults.md#more-cases) where more minutes did not."
)
FOLDS = TrainingSettings().number_of_folds
SHOWN_FOLD = 0
"""Whose runs the figure and the first table compare, and what nnU-Net is trained on here."""
FINE = 0.84
"""Where the finer of the figure's two axes begins."""
COLOURS = ("#0072B2", "#E69F00", "#D55E00", "#009E73", "#CC79A7", "#56B4E9")
MARKERS = "os^Dv*"


@dataclass(frozen=True)
class Run:
    """One training of one system.

    Attributes:
        system: what was trained.
        minutes: wall time of the training; what prepares the data and predicts is not part of it.
        steps: training steps that fitted in.
        batch_size: patches a step.
        dice: mean foreground Dice over the validation cases, on the scans' own grid.
        interval: 95% confidence interval of that mean.
        cases: how many validation cases.
        date: when.
        machine: its processor, cores and memory, or "not noted".
        dataset: what it learned from.
        fold: which fold it did not learn from.
    """

    system: str
    minutes: float
    steps: int
    batch_size: int
    dice: float
    interval: tuple[float, float]
    cases: int
    date: str
    machine: str
    dataset: str
    fold: int = 0

    def sentence(self) -> str:
        """The run on one line."""
        low, high = self.interval
        return (
            f"{self.system}, fold {self.fold}, {self.minutes:g} minutes: {self.steps} steps of "
            f"batch {self.batch_size}, mean Dice {self.dice:.4f} ({low:.3f} to {high:.3f})"
        )


def read_runs(path: Path) -> tuple[Run, ...]:
    """The runs that the file holds, none if there is no file."""
    entries = read_json(path) if path.exists() else []
    return tuple(Run(**{key: as_tuples(value) for key, value in e.items()}) for e in entries)


def add_run(run: Run, path: Path) -> None:
    """Put the run in the place of an earlier one of the same system, time, data, fold, machine."""
    others = [old for old in read_runs(path) if _key(old) != _key(run)]
    ordered = sorted([*others, run], key=_key)
    write_json(path, [asdict(one) for one in ordered])


def _key(run: Run) -> tuple[str, str, float, str, int]:
    return run.dataset, run.machine, run.minutes, run.system, run.fold


def write_page(path: Path) -> None:
    """Write the page and the figure beside the file of runs."""
    runs = read_runs(path)
    with replacing(path.parent / FIGURE) as temporary:
        draw(_of_shown_fold(runs)).savefig(temporary, dpi=100)
    write_text(path.parent / PAGE, page(runs))


def page(runs: Sequence[Run]) -> str:
    """The runs as Markdown: the figure and one line a run of one fold, then means of all folds."""
    shown = _of_shown_fold(runs)
    lines = [
        "# Learning per minute",
        "",
        "Mean foreground Dice on the validation cases of fold 0, after so much wall time of "
        "training with all cores of the machine. A faster one fits more steps into it, so compare "
        "runs of one machine. Written by `make bench-accuracy`, never by hand.",
        "",
        "What each system was given: nnunet_lib its defaults, which are a plan for a CPU with 16 "
        "filters and batch 2, no mirroring, and prediction by the last checkpoint without "
        "test-time augmentation. nnunetv2 its own trainer, network of 32 filters, loss, loader and "
        "augmentation, and its own plan for 3d_fullres, at the plan's batch or, where it says so, "
        "at batch 2; its learning rate comes down over the time in place of 1000 epochs, and it "
        "predicts with mirroring as test-time augmentation, as it does by default. Preparing data "
        "and predicting are not part of the time.",
        "",
        "Two things to know. That nnunet_lib mirrors no patches was decided by trials of 5 minutes "
        "that were scored on these same cases ([the trials](../docs/defaults.md#mirroring)), which "
        "flatters it a little. And each run is of the library of its day: until 28 November 2026 "
        "it planned patches of 40x56x40 for Hippocampus, and since plans 32x40x32; on 30 November "
        "convolutions began to take fewer products.",
        "",
        f"![{alt_text(shown)}]({FIGURE})",
        "",
        "| system | minutes | steps | batch | mean Dice (95% interval) | goal | dataset, cases "
        "| machine | date |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    return "\n".join([*lines, *map(_row, shown), *_why_missed(shown), *_all_folds(runs), ""])


def _why_missed(runs: Sequence[Run]) -> list[str]:
    """The reason, if one of these runs misses its goal, and what more steps gave."""
    if not any("missed" in _outcome(run, run.dice) for run in runs):
        return []
    goals = sorted((run for run in runs if _outcome(run, run.dice)), key=lambda run: run.steps)
    longest = [run for run in goals if run.minutes == max(GOALS)]
    told = "; ".join(f"{run.steps} steps {run.dice:.3f}" for run in longest)
    more = (
        f" More steps changed little: in {max(GOALS):g} minutes, {told}."
        if len(longest) > 1
        else ""
    )
    return ["", WHY_MISSED + more]


def _of_shown_fold(runs: Sequence[Run]) -> list[Run]:
    return [run for run in runs if run.fold == SHOWN_FOLD]


def _all_folds(runs: Sequence[Run]) -> list[str]:
    """A table of what was trained on every fold, nothing if nothing was."""
    groups = [list(group) for _, group in groupby(sorted(runs, key=_key), lambda r: _key(r)[:-1])]
    complete = [group for group in groups if len(group) == FOLDS]
    if not complete:
        return []
    return [
        "",
        "## All folds",
        "",
        "One training a fold, each scored on the cases that it did not learn from. The mean is "
        f"that of all cases, as is nnU-Net's published {GOALS[max(GOALS)]:g} of {GOALS_OF}'s 260.",
        "",
        "| system | minutes | folds 0 to 4 | mean Dice | goal | dataset, cases | machine | date |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
        *map(_mean_row, complete),
    ]


def _mean_row(folds: Sequence[Run]) -> str:
    """The runs of all folds of one system on one line."""
    first, cases = folds[0], sum(run.cases for run in folds)
    dice = sum(run.dice * run.cases for run in folds) / cases
    return _line(
        first.system,
        f"{first.minutes:g}",
        ", ".join(f"{run.dice:.4f}" for run in folds),
        f"{dice:.4f}",
        _outcome(first, dice),
        f"{first.dataset}, {cases}",
        first.machine,
        max(run.date for run in folds),
    )


def _curve(run: Run, runs: Sequence[Run]) -> str:
    """Its system, and where the runs have several, its data and the machine's processor."""
    processor = run.machine.rsplit(", ", 2)[0]  # without cores and memory
    named = {"dataset": run.dataset, "machine": processor}
    several = [name for name in named if len({getattr(other, name) for other in runs}) > 1]
    return ", ".join([run.system, *(named[name] for name in several)])


def alt_text(runs: Sequence[Run]) -> str:
    """What the figure shows, in words."""
    best: dict[str, list[str]] = {}
    for run in sorted(runs, key=lambda one: one.minutes):
        best.setdefault(_curve(run, runs), []).append(f"{run.dice:.3f} after {run.minutes:g}")
    curves = "; ".join(f"{system}: {', '.join(points)}" for system, points in best.items())
    return f"Mean Dice against minutes of training. {curves}."


def _row(run: Run) -> str:
    low, high = run.interval
    return _line(
        run.system,
        f"{run.minutes:g}",
        str(run.steps),
        str(run.batch_size),
        f"{run.dice:.4f} ({low:.3f} to {high:.3f})",
        _outcome(run, run.dice),
        f"{run.dataset}, {run.cases}",
        run.machine,
        run.date,
    )


def _line(*cells: str) -> str:
    inside = [cell.replace("|", r"\|") for cell in cells]
    return f"| {' | '.join(inside)} |"


def _outcome(run: Run, dice: float) -> str:
    """The goal of such a run, if it has one, and whether that Dice meets it."""
    has_goal = (run.system, run.dataset) == ("nnunet_lib", GOALS_OF)
    goal = GOALS.get(run.minutes) if has_goal else None
    return "" if goal is None else f"{goal:g}: {'met' if dice >= goal else 'missed'}"


def draw(runs: Sequence[Run]) -> Figure:
    """Dice against minutes, a line a `_curve`: whole, and from FINE on with the goals."""
    figure = Figure(figsize=(9, 5.5), layout="constrained")
    whole, fine = figure.subplots(1, 2)
    for axes in (whole, fine):
        _draw_curves(axes, runs)
    fine.plot(*zip(*GOALS.items(), strict=True), "k_", markersize=14, label=f"goal, {GOALS_OF}")
    whole.set_ylim(0, 1)
    best = max([*GOALS.values(), *(run.dice for run in runs)])
    fine.set_ylim(FINE, best + 0.01)
    figure.legend(*fine.get_legend_handles_labels(), loc="outside upper center", frameon=False)
    return figure


def _draw_curves(axes: Axes, runs: Sequence[Run]) -> None:
    for number, curve in enumerate(sorted({_curve(run, runs) for run in runs})):
        own = [(run.minutes, run.dice) for run in runs if _curve(run, runs) == curve]
        (line,) = axes.plot(*zip(*own, strict=True), label=curve)
        line.set(color=COLOURS[number % len(COLOURS)], marker=MARKERS[number % len(MARKERS)])
    ticks = sorted({run.minutes for run in runs})
    axes.set_xscale("log")
    axes.set_xticks(ticks, [f"{minutes:g}" for minutes in ticks])
    axes.minorticks_off()
    axes.set(xlabel="minutes of training", ylabel="mean Dice")
    axes.grid(alpha=0.3)
