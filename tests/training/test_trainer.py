"""What the loop hands on to its parts, and when: settings, shares of several processes, time."""

import itertools
import json
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from nnunet_lib.distributed import ALONE, Ranks
from nnunet_lib.errors import InputError
from nnunet_lib.inference import InferenceSettings, number_of_windows
from nnunet_lib.loading import AugmentationSettings, split_folds
from nnunet_lib.model import BEST, LAST, Checkpoint, ComputeSettings
from nnunet_lib.planning import Norm
from nnunet_lib.preprocessing import PreprocessedDataset
from nnunet_lib.training import EpochRecord, TrainingSettings, loop
from nnunet_lib.training.job import open_job
from nnunet_lib.training.precision import optimiser_variables
from nnunet_lib.training.schedules import Budget
from nnunet_lib.training.state import RunState

SETTINGS = TrainingSettings(number_of_folds=3, epochs=2, steps_per_epoch=2, validation_interval=9)
MakeTrainer = Callable[..., loop._Trainer]


@pytest.fixture
def make_trainer(tiny_3d: PreprocessedDataset, tmp_path: Path) -> MakeTrainer:
    """A trainer that is about to take its first step."""

    def make(
        settings: TrainingSettings = SETTINGS, ranks: Ranks = ALONE, seconds: float | None = None
    ) -> loop._Trainer:
        job, _ = open_job(tiny_3d, tmp_path / "run", settings, ALONE)
        trainer = loop._Trainer(replace(job, ranks=ranks), time.monotonic())
        trainer.spent, trainer.budget = 0.0, Budget(None if seconds else 100, seconds)
        trainer.state = replace(trainer.state, validation_cases=1)
        trainer.validation_seconds = 5.0
        return trainer

    return make


def test_the_fold_that_was_asked_for_is_held_out_of_the_seeds_folds(
    make_trainer: MakeTrainer, tiny_3d: PreprocessedDataset
) -> None:
    fold = make_trainer(replace(SETTINGS, seed=7, fold=2)).job.fold
    assert fold == split_folds(tiny_3d.identifiers, 3, 7)[2]
    assert fold != split_folds(tiny_3d.identifiers, 3, 0)[2]


def test_the_loader_has_the_runs_seed_and_augmentation(make_trainer: MakeTrainer) -> None:
    augmentation = AugmentationSettings(flip_probability=0.25)
    settings = replace(SETTINGS, seed=7, augmentation=augmentation, foreground_oversampling=0.75)
    loader = make_trainer(settings).job.loader
    assert (loader.seed, loader.augmentation) == (7, augmentation)
    assert loader.foreground_oversampling == 0.75


def test_float16_reaches_the_network_and_scales_its_loss(make_trainer: MakeTrainer) -> None:
    trainer = make_trainer(replace(SETTINGS, compute=ComputeSettings("float16")))
    layer = trainer.model.get_layer("down_0_first_convolution")
    assert layer.compute_dtype == "float16"
    assert isinstance(trainer.optimiser, tf.keras.mixed_precision.LossScaleOptimizer)


def test_the_network_of_validation_is_compiled_for_the_windows_that_it_gets(
    make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(loop, "as_network", lambda model, *others: asked.append(others))
    inference = InferenceSettings(window_batch_size=3)
    make_trainer(replace(SETTINGS, compute=ComputeSettings(xla=True), inference=inference))
    assert asked == [(True, 3)]


# Several processes.


def test_each_rank_draws_its_own_share_of_each_epochs_training_cases(
    make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []

    def training_batches(cases: object, settings: object, *others: object) -> list[object]:
        drawn.append((cases, *others[:3]))
        return []

    monkeypatch.setattr(loop, "training_batches", training_batches)
    trainer = make_trainer(ranks=Ranks(1, 2))
    trainer.state = replace(trainer.state, losses=(1.0,))
    trainer._train_epoch(5)
    assert drawn == [(trainer.job.files_of(trainer.job.fold.training), 5, 1, 2)]


def test_more_processes_than_training_cases_are_refused_before_anything_is_written(
    tiny_3d: PreprocessedDataset, tmp_path: Path, twins: Ranks
) -> None:
    with pytest.raises(InputError, match="99"):
        open_job(tiny_3d, tmp_path / "run", SETTINGS, type(twins)(0, 99))
    assert not (tmp_path / "run").exists()


@pytest.fixture
def broadcasts(twins: Ranks, monkeypatch: pytest.MonkeyPatch) -> list[set[str]]:
    """The names of the variables that one of the twins gives the other, each time."""
    sent: list[set[str]] = []
    monkeypatch.setattr(
        type(twins), "broadcast", lambda self, variables: sent.append({v.name for v in variables})
    )
    return sent


def test_all_ranks_start_from_the_first_ones_weights_and_optimiser(
    make_trainer: MakeTrainer, twins: Ranks, broadcasts: list[set[str]]
) -> None:
    trainer = make_trainer(ranks=twins)
    trainer.restore(None)
    variables = [*trainer.model.variables, *optimiser_variables(trainer.optimiser)]
    assert broadcasts == [{variable.name for variable in variables}]


def test_all_ranks_go_on_where_the_first_one_stands(
    make_trainer: MakeTrainer,
    twins: Ranks,
    broadcasts: list[set[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It alone has read the checkpoint and the log."""
    state = RunState(epoch=1, step=3, seconds=9.0, losses=(0.5,), best_dice=0.75, processes=2)
    record = EpochRecord(1, 2, 6.0, 0.5, 1e-3, 8.0, 0.75)
    first = json.loads(json.dumps((asdict(state), [asdict(record)])))
    monkeypatch.setattr(type(twins), "agree", lambda self, value: first)
    trainer = make_trainer(ranks=type(twins)(1, 2))
    trainer.restore(None)
    assert (trainer.state, trainer.history) == (state, [record])


def test_a_step_is_one_of_all_ranks_together(
    make_trainer: MakeTrainer, twins: Ranks, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr(loop, "make_step", lambda *given: asked.append(given[3:]))
    make_trainer(ranks=twins)
    assert asked == [(SETTINGS, twins)]


def refuse(*_: object, **__: object) -> None:
    raise InputError("the first rank cannot go on.")


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("part", ["restore", "RunLog"])
def test_what_the_first_rank_cannot_read_or_write_ends_all_of_them_with_a_word(
    make_trainer: MakeTrainer,
    twins: Ranks,
    broadcasts: list[set[str]],
    monkeypatch: pytest.MonkeyPatch,
    part: str,
    rank: int,
) -> None:
    """Else the others would wait for it in the next exchange, and end with a traceback."""
    told: list[Any] = []

    def gather(self: Ranks, value: Any) -> list[Any]:
        told.append(value)
        return [(None, "the first rank cannot go on."), value]

    monkeypatch.setattr(type(twins), "gather", gather)
    trainer = make_trainer(ranks=type(twins)(rank, 2))
    checkpoint = Checkpoint(trainer.job.plan, True, {}) if rank == 0 else None
    if rank == 0:
        monkeypatch.setattr(loop, part, refuse)
    if part == "restore":
        start = partial(trainer.restore, checkpoint)
    else:
        start = partial(trainer.run_all, show_progress=False)
    with pytest.raises(InputError, match="the first rank cannot go on"):
        start()
    assert told == [(None, "the first rank cannot go on." if rank == 0 else None)]
    assert not broadcasts


def test_all_ranks_validate_with_the_first_ones_moving_statistics(
    make_trainer: MakeTrainer,
    twins: Ranks,
    broadcasts: list[set[str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loop, "validate", lambda *_: None)
    make_trainer(replace(SETTINGS, norm="batch"), twins)._validate()
    (names,) = broadcasts
    assert [name for name in names if "moving_mean" in name]


@pytest.mark.parametrize(("norm", "told"), [("batch", 1), ("instance", 0)])
def test_that_batch_norm_is_each_ranks_own_is_told(
    make_trainer: MakeTrainer, twins: Ranks, norm: Norm, told: int
) -> None:
    settings = replace(SETTINGS, norm=norm)
    said = " ".join(make_trainer(settings, twins)._what_differs())
    assert said.count("each of the 2 processes has the statistics of its own 2 patches") == told
    assert "The run goes on" not in said  # it starts


def test_alone_batch_norm_is_as_one_expects(make_trainer: MakeTrainer) -> None:
    assert not list(make_trainer(replace(SETTINGS, norm="batch"))._what_differs())


def test_all_ranks_go_by_the_first_ones_clock(
    make_trainer: MakeTrainer, twins: Ranks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(twins), "agree_number", lambda self, value: 0.25)
    trainer = make_trainer(ranks=twins, seconds=100.0)
    monkeypatch.setattr(trainer, "_elapsed", lambda: 99.0)
    assert trainer._progress() == 0.25


def test_all_ranks_validate_when_and_what_the_first_one_says(
    make_trainer: MakeTrainer, twins: Ranks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each by its own clock, they would wait for one another for ever."""
    first: list[Any] = [False]
    monkeypatch.setattr(type(twins), "gather", lambda self, value: [first[0], value])
    settings = replace(SETTINGS, epochs=None, time_limit=1.0, validation_interval=1)
    trainer = make_trainer(settings, type(twins)(1, 2), seconds=100.0)
    monkeypatch.setattr(trainer, "_elapsed", lambda: 0.0)
    assert not trainer._validates_after(1)
    first[0] = 5.0
    monkeypatch.setattr(trainer, "_time_one_case", lambda: 50.0)
    assert trainer._plan_time()[2] == 5.0


def test_progress_is_exchanged_once_a_step(
    make_trainer: MakeTrainer, twins: Ranks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a CPU each exchange waits for up to 10 ms, which is more than a small step takes."""
    exchanges = []

    def exchange(self: Ranks, value: float) -> float:
        exchanges.append(value)
        return value

    monkeypatch.setattr(type(twins), "agree_number", exchange)
    monkeypatch.setattr(type(twins), "gather", lambda self, value: [exchange(self, value)] * 2)
    trainer = make_trainer(replace(SETTINGS, steps_per_epoch=4), twins, seconds=1e6)
    trainer._train_epoch(1)
    assert len(trainer.state.losses) == 4
    assert len(exchanges) == 4 + 1


def test_patches_a_second_are_those_of_all_processes(
    make_trainer: MakeTrainer, twins: Ranks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While they train: a validation takes no patches."""
    trainer, clock = make_trainer(replace(SETTINGS, validation_interval=1), twins), [10.0]

    def six_steps_in_four_seconds(epoch: int) -> float:
        trainer.state = replace(trainer.state, step=6)
        clock[0] += 4.0
        return 0.5

    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    monkeypatch.setattr(trainer, "_train_epoch", six_steps_in_four_seconds)
    monkeypatch.setattr(trainer, "_validate", lambda: clock.append(clock.pop() + 50.0))
    trainer._run_epoch(1)
    assert trainer.history[0].patches_per_second == 6 * 2 * 2 / 4  # two patches a step and rank


# Validation and time.


@pytest.mark.parametrize("affordable", [1, 99])
def test_validation_takes_as_many_held_out_cases_as_are_afforded(
    make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch, affordable: int
) -> None:
    validated = []
    monkeypatch.setattr(loop, "validate", lambda network, data, *what: validated.append(what))
    inference = InferenceSettings(overlap=0.25)
    trainer = make_trainer(replace(SETTINGS, inference=inference))
    trainer.state = replace(trainer.state, validation_cases=affordable)
    trainer._validate()
    assert validated == [(trainer.job.fold.validation[:affordable], inference, ALONE)]


def test_the_first_score_is_the_best_so_far_and_an_equal_one_changes_nothing(
    make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even one of 0: a run that was validated has a best checkpoint."""
    saved: list[tuple[str, ...]] = []
    trainer = make_trainer()
    monkeypatch.setattr(trainer, "_save", lambda *names: saved.append(names))
    for epoch, dice in enumerate((None, 0.0, 0.0, 0.5), start=1):
        trainer._finish_epoch(EpochRecord(epoch, epoch, 1.0, 0.5, 1e-3, 1.0, dice))
    assert saved == [(LAST,), (BEST, LAST), (LAST,), (BEST, LAST)]
    assert trainer.state.best_dice == 0.5


@pytest.mark.parametrize(
    ("epochs", "limit", "steps"),
    [(3, None, 6), (3, 1.0, 6), (None, 1.0, None), (None, None, 40)],
)
def test_a_run_has_the_epochs_that_were_asked_for_else_20_unless_time_ends_it(
    make_trainer: MakeTrainer, epochs: int | None, limit: float | None, steps: int | None
) -> None:
    budget, _, _ = make_trainer(replace(SETTINGS, epochs=epochs, time_limit=limit))._plan_time()
    assert (budget.steps, budget.seconds is None) == (steps, limit is None)


@pytest.mark.parametrize(
    ("together", "seconds_a_case", "validated", "left"),
    [(False, 2.0, 2, 56.0), (False, 5.0, 1, 55.0), (True, 5.0, 2, 55.0)],
)
def test_training_gets_the_time_that_the_last_validation_leaves(
    make_trainer: MakeTrainer,
    twins: Ranks,
    monkeypatch: pytest.MonkeyPatch,
    together: bool,
    seconds_a_case: float,
    validated: int,
    left: float,
) -> None:
    """Of two cases as many as fit into a tenth of it; two processes predict both at once."""
    settings = replace(SETTINGS, epochs=None, time_limit=1.0)
    trainer = make_trainer(settings, twins if together else ALONE)
    trainer.state = replace(trainer.state, validation_cases=None)
    monkeypatch.setattr(trainer, "_time_one_case", lambda: seconds_a_case)
    assert trainer._plan_time() == (Budget(None, left), validated, 60.0 - left)


@pytest.mark.parametrize(
    ("affordable", "before", "cases"),
    [(7, None, 7), (8, 7, 7), (40, 7, 7), (6, 7, 7), (4, 8, 8), (3, 8, 3), (1, 40, 1)],
)
def test_a_resumed_run_validates_as_many_cases_unless_that_takes_twice_the_time(
    affordable: int, before: int | None, cases: int
) -> None:
    assert loop.cases_to_validate(affordable, before) == cases


def test_scores_after_a_resume_compare_with_the_best_one_or_it_is_said_that_they_do_not(
    tiny_3d: PreprocessedDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of two validation cases one is affordable at first, then both, and then one of two again."""
    validated = []

    def validate(*given: Any) -> float:
        validated.append(len(given[2]))
        return 0.9 / len(validated)

    monkeypatch.setattr(loop, "validate", validate)

    def start(run: str, seconds_a_case: float, **options: Any) -> float | None:
        monkeypatch.setattr(loop._Trainer, "_time_one_case", lambda _: seconds_a_case)
        settings = replace(SETTINGS, **options)
        return loop.train(tiny_3d, tmp_path / run, settings, show_progress=False).best_dice

    start("one", 6.0, epochs=1, time_limit=1.0)
    assert start("one", 0.1, epochs=2, time_limit=60.0, resume=True) == 0.9
    assert validated == [1, 1]
    assert capsys.readouterr().out.count("Validating on 1 of 2 cases, as before.") == 1
    validated.clear()
    monkeypatch.setattr(loop, "cases_to_validate", lambda affordable, _: affordable)
    start("other", 0.1, epochs=1)
    assert start("other", 6.0, epochs=2, time_limit=1.0, resume=True) == 0.45
    assert validated == [2, 1]
    assert "was the best on 2 cases" in capsys.readouterr().out


@pytest.mark.parametrize(("elapsed", "validates"), [(70.0, True), (76.0, False)])
def test_near_the_end_of_the_time_only_the_last_epoch_validates(
    make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch, elapsed: float, validates: bool
) -> None:
    trainer = make_trainer(replace(SETTINGS, validation_interval=1), seconds=100.0)
    monkeypatch.setattr(trainer, "_elapsed", lambda: elapsed)
    assert trainer._validates_after(1) == validates  # a validation takes 5 seconds


def test_no_more_windows_are_timed_than_a_case_has(make_trainer: MakeTrainer) -> None:
    inference, timed = InferenceSettings(window_batch_size=10**9), []
    trainer = make_trainer(replace(SETTINGS, inference=inference))

    def network(windows: np.ndarray) -> None:
        timed.append(len(windows))

    trainer.network = network
    trainer._time_one_case()
    shape = trainer.job.data.geometry(trainer.job.fold.validation[0]).shape
    assert set(timed) == {number_of_windows(shape, trainer.job.plan, inference)}


def test_a_case_is_timed_by_its_windows_without_the_making_of_the_graph(
    make_trainer: MakeTrainer, monkeypatch: pytest.MonkeyPatch
) -> None:
    inference = InferenceSettings(window_batch_size=2, tta=True)
    mirrored = AugmentationSettings(flip_probability=0.5)
    trainer = make_trainer(replace(SETTINGS, inference=inference, augmentation=mirrored))
    calls, clock = iter([1000.0, 3.0]), [0.0]

    def network(windows: np.ndarray) -> None:
        clock[0] += next(calls)

    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    trainer.network = network
    shape = trainer.job.data.geometry(trainer.job.fold.validation[0]).shape
    calls_a_case = number_of_windows(shape, trainer.job.plan, inference) / 2
    assert trainer._time_one_case() == pytest.approx(3.0 * calls_a_case)


def test_a_time_limit_counts_from_the_start(
    tiny_3d: PreprocessedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Preparing the machine takes all of this one, so that one step of two is left."""
    ticks, prepared = itertools.count(), []

    def clock() -> float:
        return 1e-3 * next(ticks) + 1e3 * len(prepared)

    def prepare(compute: ComputeSettings) -> tuple[str, ...]:
        prepared.append(compute)
        return ()

    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=clock))
    monkeypatch.setattr(loop, "prepare", prepare)
    settings = replace(SETTINGS, epochs=1, time_limit=1.0)
    (record,) = loop.train(tiny_3d, tmp_path / "run", settings, show_progress=False).history
    assert record.step == 1
    assert record.seconds > 1e3
