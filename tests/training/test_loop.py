"""The loop on tiny data: what it writes, when it ends, and what it refuses."""

import json
import math
import shutil
import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import get_args

import pytest
import tensorflow as tf

from nnunet_lib import distributed
from nnunet_lib.course.lessons.quickstart import source_of
from nnunet_lib.distributed import Ranks
from nnunet_lib.errors import InputError
from nnunet_lib.inference import InferenceSettings
from nnunet_lib.loading import AugmentationSettings, Loader, split_folds
from nnunet_lib.model import BEST, LAST, ComputeSettings, load_checkpoint
from nnunet_lib.planning import Plan
from nnunet_lib.preprocessing import PreprocessedDataset
from nnunet_lib.training import (
    EpochRecord,
    TrainingResult,
    TrainingSettings,
    cross_validate,
    loop,
    read_metrics,
    train,
    validation,
)
from nnunet_lib.training.job import open_job

SHORT = TrainingSettings(
    number_of_folds=3, epochs=2, steps_per_epoch=2, validation_interval=1, learning_rate=1e-3
)


@pytest.fixture(scope="module")
def short_run(
    tiny_3d: PreprocessedDataset, tmp_path_factory: pytest.TempPathFactory
) -> TrainingResult:
    return train(tiny_3d, tmp_path_factory.mktemp("runs") / "run", SHORT, show_progress=False)


def test_a_run_leaves_everything_that_it_should(
    short_run: TrainingResult, tiny_3d: PreprocessedDataset
) -> None:
    fold = split_folds(tiny_3d.identifiers, 3, SHORT.seed)[0]
    written = json.loads((short_run.run / "fold.json").read_text())
    assert written == {"training": list(fold.training), "validation": list(fold.validation)}
    assert read_metrics(short_run.run) == short_run.history
    last = load_checkpoint(short_run.run / LAST)
    assert last.plan == replace(tiny_3d.plan, mirrored=False)
    assert last.progress["step"] == 4
    assert last.optimiser["iteration:0"] == 4


def test_tensorboard_is_told_what_the_log_is(short_run: TrainingResult) -> None:
    (events,) = (short_run.run / "tensorboard").glob("events*")
    scalars = {
        (event.step, value.tag): float(tf.make_ndarray(value.tensor))
        for event in tf.compat.v1.train.summary_iterator(str(events))
        for value in event.summary.value
    }
    records = [asdict(record) for record in short_run.history]
    expected = {(r["step"], name): r[name] for r in records for name in r if name != "step"}
    assert scalars == pytest.approx(expected, rel=1e-6)  # it stores float32


def test_records_count_steps_and_time(short_run: TrainingResult) -> None:
    assert [(record.epoch, record.step) for record in short_run.history] == [(1, 2), (2, 4)]
    assert 0 < short_run.history[0].seconds < short_run.history[1].seconds
    assert all(record.patches_per_second > 0 for record in short_run.history)


def test_the_best_checkpoint_is_the_best_epochs(short_run: TrainingResult) -> None:
    scores = {record.step: record.validation_dice for record in short_run.history}
    best = load_checkpoint(short_run.run / BEST)
    assert scores[best.progress["step"]] == max(scores.values()) == short_run.best_dice


def test_the_bar_ends_at_its_end(
    tiny_3d: PreprocessedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[float] = []
    monkeypatch.setattr(loop.RunLog, "step", lambda self, progress, loss: shown.append(progress))
    train(tiny_3d, tmp_path / "run", replace(SHORT, epochs=1), show_progress=False)
    assert shown == [0.5, 1.0]


def test_the_learning_rate_falls_by_the_schedule(short_run: TrainingResult) -> None:
    rates = [record.learning_rate for record in short_run.history]
    # The rate of a step is set before it: progress 1/4 and 3/4.
    assert rates == pytest.approx([1e-3 * 0.75**0.9, 1e-3 * 0.25**0.9], rel=1e-5)


def test_a_run_takes_the_optimiser_that_was_asked_for_at_the_rate_of_its_ranks(
    tiny_3d: PreprocessedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, twins: Ranks
) -> None:
    monkeypatch.setattr(distributed, "join", lambda: twins)
    settings = replace(SHORT, optimiser="sgd", learning_rate=None, scheduler="constant", warmup=0.5)
    result = train(tiny_3d, tmp_path / "run", settings, show_progress=False)
    # nnU-Net's 0.01 for sgd; the rates are those at progress 1/4 and 3/4.
    rates = [record.learning_rate for record in result.history]
    assert rates == pytest.approx([0.015, 0.02], rel=1e-5)
    state = load_checkpoint(tmp_path / "run" / LAST).optimiser
    assert {name.split("/")[0] for name in state} == {"iteration:0", "m"}  # adam has v too


def test_an_epochs_loss_is_the_mean_over_that_epoch(
    tiny_3d: PreprocessedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([4.0, 2.0, 1.0, 0.5])
    monkeypatch.setattr(loop, "make_step", lambda *_: lambda image, label: next(losses))
    monkeypatch.setattr(loop, "validate", lambda *_: 0.5)
    result = train(tiny_3d, tmp_path / "run", SHORT, show_progress=False)
    assert [record.loss for record in result.history] == [3.0, 0.75]


def test_the_machine_is_prepared_before_anything_is_written(
    tiny_3d: PreprocessedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(compute: ComputeSettings) -> None:
        raise InputError(f"{compute.precision}: not on this machine.")

    monkeypatch.setattr(loop, "prepare", refuse)
    settings = replace(SHORT, compute=ComputeSettings("bfloat16"))
    with pytest.raises(InputError, match="bfloat16: not on this machine"):
        train(tiny_3d, tmp_path / "run", settings, show_progress=False)
    assert not (tmp_path / "run").exists()


def test_asking_for_flips_without_mirroring_is_answered(
    tiny_3d: PreprocessedDataset,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plans = []
    real = validation.predict_logits

    def spy(network: object, image: object, plan: Plan, *others: object) -> object:
        plans.append(plan)
        return real(network, image, plan, *others)

    monkeypatch.setattr(validation, "predict_logits", spy)
    settings = replace(SHORT, epochs=1, inference=InferenceSettings(tta=True))
    train(tiny_3d, tmp_path / "run", settings)
    assert plans
    assert not any(plan.mirrored for plan in plans)
    assert "No test-time augmentation" in capsys.readouterr().out


def test_the_same_seed_gives_the_same_losses(
    short_run: TrainingResult, tiny_3d: PreprocessedDataset, tmp_path: Path
) -> None:
    again = train(tiny_3d, tmp_path / "run", SHORT, show_progress=False)
    expected = [record.loss for record in short_run.history]
    assert [record.loss for record in again.history] == pytest.approx(expected, rel=1e-3)
    other = train(tiny_3d, tmp_path / "other", replace(SHORT, seed=1), show_progress=False)
    assert [record.loss for record in other.history] != pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("loader", get_args(Loader))
def test_training_reads_through_the_loader_it_is_told(
    tiny_3d: PreprocessedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, loader: Loader
) -> None:
    sources = []
    real = loop.training_batches

    def spy(*arguments: object, **keywords: object) -> object:
        batches = real(*arguments, **keywords)
        sources.append(source_of(batches))
        return batches

    monkeypatch.setattr(loop, "training_batches", spy)
    settings = replace(SHORT, epochs=1, loader=loader)
    train(tiny_3d, tmp_path / "run", settings, show_progress=False)
    assert set(sources) == {"nvidia.dali" if loader == "dali" else "tensorflow.python"}


def test_a_run_is_not_replaced_by_one_that_cannot_load_its_cases(
    tiny_3d: PreprocessedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / LAST).write_text("of an earlier run")
    monkeypatch.setitem(sys.modules, "nvidia.dali.plugin.tf", None)
    with pytest.raises(InputError, match="--loader tf"):
        train(tiny_3d, tmp_path / "run", replace(SHORT, overwrite=True), show_progress=False)
    assert (tmp_path / "run" / LAST).read_text() == "of an earlier run"
    with pytest.raises(InputError, match="--loader tf"):
        train(tiny_3d, tmp_path / "new", SHORT, show_progress=False)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("part", ["training", "validation"])
def test_a_damaged_case_is_found_before_the_training(
    tiny_3d: PreprocessedDataset, tmp_path: Path, part: str
) -> None:
    """The validation's, too, which is not read before all steps have been taken."""
    folder = tmp_path / "cases"
    shutil.copytree(tiny_3d.folder, folder)
    case = getattr(split_folds(tiny_3d.identifiers, 3, SHORT.seed)[0], part)[-1]
    image = folder / f"{case}_image.npy"
    image.write_bytes(image.read_bytes()[:-100])
    with pytest.raises(InputError, match=f"{case}_image.npy: is not a readable"):
        train(replace(tiny_3d, folder=folder), tmp_path / "run", SHORT, show_progress=False)
    assert not (tmp_path / "run").exists()


def test_slices_train_with_test_time_augmentation_in_validation(
    tiny_2d: PreprocessedDataset, tmp_path: Path
) -> None:
    settings = replace(
        SHORT,
        epochs=1,
        number_of_volumes=2,
        augmentation=AugmentationSettings(flip_probability=0.5),
        inference=InferenceSettings(tta=True),
    )
    result = train(tiny_2d, tmp_path / "run", settings, show_progress=False)
    assert result.history[-1].validation_dice is not None
    assert load_checkpoint(tmp_path / "run" / LAST).plan.mirrored


def test_a_planned_2d_batch_is_rounded_down_to_what_its_volumes_share(
    tiny_2d: PreprocessedDataset, tmp_path: Path
) -> None:
    settings = replace(SHORT, epochs=1, number_of_volumes=3)
    train(tiny_2d, tmp_path / "run", settings, show_progress=False)
    assert load_checkpoint(tmp_path / "run" / LAST).plan.batch_size == 3
    with pytest.raises(InputError, match="nvol"):
        train(tiny_2d, tmp_path / "other", replace(settings, batch_size=4), show_progress=False)
    assert not (tmp_path / "other").exists()


def test_a_planned_2d_batch_of_fewer_slices_than_volumes_stays_as_small(
    tiny_2d: PreprocessedDataset, tmp_path: Path
) -> None:
    """Its memory was planned: a larger batch might not fit."""
    data = replace(tiny_2d, plan=replace(tiny_2d.plan, batch_size=2))
    train(data, tmp_path / "run", replace(SHORT, epochs=1), show_progress=False)
    assert load_checkpoint(tmp_path / "run" / LAST).plan.batch_size == 2


def test_a_runs_own_choices_travel_in_its_checkpoint(
    tiny_3d: PreprocessedDataset, tmp_path: Path
) -> None:
    settings = replace(
        SHORT,
        epochs=1,
        base_filters=2,
        batch_size=3,
        norm="group",
        negative_slope=0.2,
        deep_supervision=False,
    )
    train(tiny_3d, tmp_path / "run", settings, show_progress=False)
    checkpoint = load_checkpoint(tmp_path / "run" / LAST)
    assert checkpoint.plan.filters[:2] == (2, 4)
    assert checkpoint.plan.batch_size == 3
    assert (checkpoint.plan.norm, checkpoint.plan.negative_slope) == ("group", 0.2)
    assert not checkpoint.deep_supervision
    assert not [name for name in checkpoint.weights if name.startswith("head_1")]


@pytest.mark.slow
def test_a_time_limit_ends_the_run_and_the_schedule(
    tiny_3d: PreprocessedDataset, tmp_path: Path
) -> None:
    settings = replace(SHORT, epochs=None, steps_per_epoch=5, time_limit=0.5)
    result = train(tiny_3d, tmp_path / "run", settings, show_progress=False)
    last = result.history[-1]
    assert last.seconds < 40
    assert last.learning_rate < 0.1 * settings.learning_rate
    assert last.validation_dice is not None


@pytest.mark.parametrize("size", [1, 2, 8])
@pytest.mark.parametrize("seconds_a_case", [0.3, 7.0, 80.0])
def test_a_validation_that_is_afforded_ends_in_time(size: int, seconds_a_case: float) -> None:
    """Ranks work in rounds of one case each: a share of a case takes as long as a whole one."""
    limit = 90.0
    cases = loop.affordable_cases(limit, seconds_a_case, size)
    rounds = max(len(range(rank, cases, size)) for rank in range(size))
    assert loop.validation_seconds(cases, seconds_a_case, size) == rounds * seconds_a_case <= limit
    assert loop.validation_seconds(cases + 1, seconds_a_case, size) > limit
    assert loop.affordable_cases(limit, 400.0, size) == size  # no rank stands by


def test_a_run_whose_time_ends_while_it_saves_is_still_validated_at_its_end(
    tiny_3d: PreprocessedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    real = loop._Trainer._finish_epoch

    def finish_epoch(self: loop._Trainer, record: EpochRecord) -> None:
        real(self, record)
        clock[0] = 1e6

    monkeypatch.setattr(loop._Trainer, "_elapsed", lambda self: clock[0])
    monkeypatch.setattr(loop._Trainer, "_finish_epoch", finish_epoch)
    settings = replace(SHORT, epochs=None, time_limit=60, validation_interval=100)
    result = train(tiny_3d, tmp_path / "run", settings, show_progress=False)
    assert [record.step for record in result.history] == [2, 3]
    assert [record.validation_dice is None for record in result.history] == [True, False]


def test_a_folder_with_a_run_is_not_overwritten_unasked(
    tiny_3d: PreprocessedDataset, tmp_path: Path
) -> None:
    settings = replace(SHORT, epochs=1)
    train(tiny_3d, tmp_path / "run", settings, show_progress=False)
    before = (tmp_path / "run" / LAST).read_bytes()
    with pytest.raises(InputError, match="--overwrite"):
        train(tiny_3d, tmp_path / "run", settings, show_progress=False)
    assert (tmp_path / "run" / LAST).read_bytes() == before
    train(tiny_3d, tmp_path / "run", replace(settings, overwrite=True), show_progress=False)
    assert len(read_metrics(tmp_path / "run")) == 1


@pytest.mark.parametrize("name", ["plan.json", "settings.json", "fold.json"])
@pytest.mark.parametrize("start", [train, cross_validate])
def test_a_file_that_no_training_wrote_is_not_replaced_unasked(
    tiny_3d: PreprocessedDataset, tmp_path: Path, name: str, start: Callable[..., object]
) -> None:
    theirs = tmp_path / ("run" if start is train else "run/fold_2") / name
    theirs.parent.mkdir(parents=True)
    theirs.write_text("somebody else's")
    with pytest.raises(InputError, match=f"holds {name}, but no training run.*--overwrite"):
        start(tiny_3d, tmp_path / "run", SHORT, show_progress=False)
    with pytest.raises(InputError, match=f"holds {name}, but no training run.*--overwrite"):
        start(tiny_3d, tmp_path / "run", replace(SHORT, resume=True), show_progress=False)
    assert theirs.read_text() == "somebody else's"
    assert [path for path in (tmp_path / "run").rglob("*") if path.is_file()] == [theirs]
    job, _ = open_job(tiny_3d, theirs.parent, replace(SHORT, overwrite=True), distributed.ALONE)
    assert (job.run / name).read_text() != "somebody else's"


def test_a_training_that_stopped_before_its_first_record_is_begun_anew(
    tiny_3d: PreprocessedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    settings = replace(SHORT, epochs=1)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "build_unet", stop)
        with pytest.raises(KeyboardInterrupt):
            train(tiny_3d, tmp_path / "run", settings, show_progress=False)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == [
        "fold.json",
        "plan.json",
        "settings.json",
    ]
    assert train(tiny_3d, tmp_path / "run", settings, show_progress=False).history


def test_a_loss_that_is_not_finite_ends_the_run_with_a_word(
    tiny_3d: PreprocessedDataset, tmp_path: Path
) -> None:
    settings = replace(SHORT, epochs=1, steps_per_epoch=20, learning_rate=1e30)
    with pytest.raises(InputError, match="lower --learning-rate"):
        train(tiny_3d, tmp_path / "run", settings, show_progress=False)


def test_weights_that_are_no_numbers_are_not_saved(
    tiny_2d: PreprocessedDataset, tmp_path: Path
) -> None:
    """The last step may spoil them when its loss was still a number."""
    run, settings = tmp_path / "run", replace(SHORT, epochs=1, optimiser="sgd", learning_rate=1e38)
    settings = replace(settings, steps_per_epoch=1, weight_decay=1e30)
    with pytest.raises(InputError, match=r"no numbers any more after step 1, .* --weight-decay"):
        train(tiny_2d, run, settings, show_progress=False)
    assert not list(run.glob("*.npz"))


def test_the_checkpoint_before_weights_that_are_no_numbers_stays(
    tiny_2d: PreprocessedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make_step(model: tf.keras.Model, *_: object) -> Callable[[object, object], float]:
        def step(image: object, label: object) -> float:
            if (run / LAST).exists():
                model.trainable_variables[0].assign(model.trainable_variables[0] * math.nan)
            return 0.5

        return step

    run = tmp_path / "run"
    monkeypatch.setattr(loop, "make_step", make_step)
    with pytest.raises(InputError, match="after step 4"):
        train(tiny_2d, run, replace(SHORT, checkpoint_interval=2), show_progress=False)
    assert load_checkpoint(run / LAST).progress["step"] == 2


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"fold": 5}, "fold"),
        ({"number_of_folds": 1}, "number of folds 1: must be at least 2"),
        ({"number_of_folds": 0}, "number of folds 0: must be at least 2"),
        ({"negative_slope": 1.0}, "negative slope"),
        ({"negative_slope": -0.1}, "negative slope"),
        ({"negative_slope": 2.0}, "negative slope"),
        ({"epochs": 0}, "epochs"),
        ({"time_limit": 0.0}, "minutes"),
        ({"time_limit": float("nan")}, "minutes"),
        ({"time_limit": math.inf}, "time limit inf: must be above 0 minutes and finite"),
        ({"steps_per_epoch": 0}, "steps"),
        ({"steps_per_epoch": 2**31}, r"steps per epoch 2147483648: .* below 2\^31"),
        ({"restarts": 10**30}, r"restarts .* below 2\^31"),
        ({"number_of_volumes": 0}, "volumes"),
        ({"base_filters": 0}, "filters"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**32}, "seed"),
        ({"gradient_clip": 0.0}, "clip"),
        ({"gradient_clip": math.inf}, "gradient clip inf: must be above 0 and finite"),
        ({"gradient_clip": 1e38}, r"gradient clip 1e\+38: must be from 1e-30 to 1e\+30\. Give 1e6"),
        ({"gradient_clip": 1e39}, "Give 1e6 to leave gradients as they are"),
        ({"learning_rate": -1e-3}, "learning rate"),
        ({"weight_decay": -1.0}, "weight decay"),
        ({"momentum": 1.0}, "momentum"),
        ({"restarts": -1}, "restarts"),
        ({"warmup": 1.5}, "warmup"),
        ({"warmup": float("nan")}, "warmup"),
        ({"optimiser": "lion"}, "adam, adamw, sgd"),
        ({"scheduler": "step"}, "cosine_restarts"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(change: dict[str, object], word: str) -> None:
    with pytest.raises(InputError, match=word):
        TrainingSettings(**change)
