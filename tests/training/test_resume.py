"""A run that stops and goes on ends as one that never stopped."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from nnunet_lib import distributed
from nnunet_lib.distributed import Ranks
from nnunet_lib.errors import InputError
from nnunet_lib.files import write_json
from nnunet_lib.inference import FOLD
from nnunet_lib.model import BEST, LAST, Checkpoint, load_checkpoint, save_checkpoint
from nnunet_lib.planning import PlannerSettings
from nnunet_lib.planning.topology import stage_filters
from nnunet_lib.preprocessing import PreprocessedDataset
from nnunet_lib.training import EpochRecord, TrainingSettings, loop, read_metrics, train

SETTINGS = TrainingSettings(
    number_of_folds=3,
    epochs=3,
    steps_per_epoch=4,
    validation_interval=1,
    learning_rate=1e-3,
    checkpoint_interval=1,
)


class Killed(BaseException):
    """Ends a run as a signal would: nothing in the library catches it."""


@contextmanager
def stopping_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> Iterator[None]:
    """Let a run end just before step number `steps` + 1."""
    real = loop._Trainer._take_step

    def step(self: loop._Trainer, image: tf.Tensor, label: tf.Tensor) -> None:
        if self.state.step == steps:
            raise Killed
        real(self, image, label)

    with monkeypatch.context() as patch:
        patch.setattr(loop._Trainer, "_take_step", step)
        yield


@pytest.fixture
def determinism() -> Iterator[None]:
    """Let TensorFlow give the same bits each time."""
    tf.config.experimental.enable_op_determinism()
    yield
    # TensorFlow has no public way to switch it off again.
    from tensorflow.python.framework import config

    config.disable_op_determinism()


@pytest.mark.usefixtures("determinism")
@pytest.mark.parametrize("stopped_after", [2, 4, 7])
def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(
    tiny_2d: PreprocessedDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stopped_after: int,
) -> None:
    whole = train(tiny_2d, tmp_path / "whole", SETTINGS, show_progress=False)
    with stopping_after(monkeypatch, stopped_after), pytest.raises(Killed):
        train(tiny_2d, tmp_path / "parts", SETTINGS, show_progress=False)
    settings = replace(SETTINGS, resume=True)
    parts = train(tiny_2d, tmp_path / "parts", settings, show_progress=False)
    assert [r.loss for r in parts.history] == [r.loss for r in whole.history]
    assert [r.validation_dice for r in parts.history] == [r.validation_dice for r in whole.history]
    assert parts.best_dice == whole.best_dice
    one, two = (load_checkpoint(tmp_path / run / LAST) for run in ("whole", "parts"))
    for kind in ("weights", "optimiser"):
        arrays, others = getattr(one, kind), getattr(two, kind)
        assert arrays.keys() == others.keys()
        assert all(np.array_equal(arrays[name], others[name]) for name in arrays)


def test_the_best_score_is_remembered(
    tiny_2d: PreprocessedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A forgotten best score would let a worse, later state replace the best checkpoint."""
    scores = iter([0.9, 0.2, 0.3])
    monkeypatch.setattr(loop, "validate", lambda *arguments: next(scores))
    with stopping_after(monkeypatch, 4), pytest.raises(Killed):
        train(tiny_2d, tmp_path / "run", SETTINGS, show_progress=False)
    result = train(tiny_2d, tmp_path / "run", replace(SETTINGS, resume=True), show_progress=False)
    assert result.best_dice == 0.9
    assert load_checkpoint(tmp_path / "run" / BEST).progress["step"] == 4


def test_a_best_score_that_is_remembered_has_its_checkpoint(
    tiny_2d: PreprocessedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also after a run that was killed between the two checkpoints of an epoch."""
    run, settings = tmp_path / "run", replace(SETTINGS, epochs=1, checkpoint_interval=None)
    saved, real = [], loop.save_checkpoint

    def save(path: Path, checkpoint: Checkpoint) -> None:
        if len(saved) == 1:
            raise Killed
        saved.append(path)
        real(path, checkpoint)

    monkeypatch.setattr(loop, "validate", lambda *_: 0.9)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "save_checkpoint", save)
        with pytest.raises(Killed):
            train(tiny_2d, run, settings, show_progress=False)
    train(tiny_2d, run, replace(settings, epochs=2, resume=True), show_progress=False)
    assert load_checkpoint(run / BEST).progress["best_dice"] == 0.9


def test_a_finished_run_is_not_trained_again_and_says_so(
    tiny_2d: PreprocessedDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = train(tiny_2d, tmp_path / "run", SETTINGS, show_progress=False)
    assert "done" not in capsys.readouterr().out
    before = (tmp_path / "run" / LAST).read_bytes()
    settings = replace(SETTINGS, resume=True)
    again = train(tiny_2d, tmp_path / "run", settings, show_progress=False)
    assert again.history == first.history
    assert (tmp_path / "run" / LAST).read_bytes() == before
    said = capsys.readouterr().out
    assert "12 steps in" in said
    assert "which is all. For more raise --epochs" in said
    longer = train(tiny_2d, tmp_path / "run", replace(settings, epochs=4), show_progress=False)
    assert [record.step for record in longer.history] == [4, 8, 12, 16]
    said = capsys.readouterr().out
    assert "12 steps in" in said
    assert "goes on" in said
    assert "which is all" not in said


def test_the_clock_of_a_resumed_run_goes_on(tiny_2d: PreprocessedDataset, tmp_path: Path) -> None:
    run, settings = tmp_path / "run", replace(SETTINGS, epochs=1)
    first = train(tiny_2d, run, settings, show_progress=False)
    saved = load_checkpoint(run / LAST)
    assert saved.progress["seconds"] >= first.history[-1].seconds
    save_checkpoint(run / LAST, replace(saved, progress={**saved.progress, "seconds": 1e4}))
    again = train(tiny_2d, run, replace(settings, epochs=2, resume=True), show_progress=False)
    assert again.history[-1].seconds > 1e4


def test_an_epoch_that_was_under_way_when_the_time_ended_is_finished_and_validated(
    tiny_2d: PreprocessedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, settings = tmp_path / "run", replace(SETTINGS, time_limit=60.0, validation_interval=9)
    with stopping_after(monkeypatch, 6), pytest.raises(Killed):
        train(tiny_2d, run, settings, show_progress=False)
    saved = load_checkpoint(run / LAST)
    save_checkpoint(run / LAST, replace(saved, progress={**saved.progress, "seconds": 1e4}))
    result = train(tiny_2d, run, replace(settings, resume=True), show_progress=False)
    assert [record.validation_dice is None for record in result.history] == [True, False]


def test_within_an_epoch_there_is_a_checkpoint_every_so_many_steps(
    tiny_2d: PreprocessedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = replace(SETTINGS, checkpoint_interval=2)
    with stopping_after(monkeypatch, 3), pytest.raises(Killed):
        train(tiny_2d, tmp_path / "run", settings, show_progress=False)
    assert load_checkpoint(tmp_path / "run" / LAST).progress["step"] == 2


def test_an_epoch_that_was_written_down_but_not_saved_is_written_down_once(
    tiny_2d: PreprocessedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = loop.RunLog.epoch

    def epoch(self: loop.RunLog, record: EpochRecord) -> None:
        real(self, record)
        if record.epoch == 2:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(loop.RunLog, "epoch", epoch)
        with pytest.raises(Killed):
            train(tiny_2d, tmp_path / "run", SETTINGS, show_progress=False)
    train(tiny_2d, tmp_path / "run", replace(SETTINGS, resume=True), show_progress=False)
    assert [record.epoch for record in read_metrics(tmp_path / "run")] == [1, 2, 3]


def test_going_on_with_another_number_of_processes_is_told(
    tiny_2d: PreprocessedDataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    twins: Ranks,
    capsys: pytest.CaptureFixture[str],
) -> None:
    settings = replace(SETTINGS, epochs=1)
    with monkeypatch.context() as patch:
        patch.setattr(distributed, "join", lambda: twins)
        train(tiny_2d, tmp_path / "run", settings, show_progress=False)
    train(tiny_2d, tmp_path / "run", replace(settings, resume=True), show_progress=False)
    assert "goes on with 1 processes instead of 2" in capsys.readouterr().out


def test_resuming_starts_a_run_where_there_is_none(
    tiny_2d: PreprocessedDataset, tmp_path: Path
) -> None:
    settings = replace(SETTINGS, epochs=1, resume=True)
    result = train(tiny_2d, tmp_path / "run", settings, show_progress=False)
    assert result.history[-1].step == 4


def test_a_run_of_another_width_than_the_plan_is_another_run(
    tiny_3d: PreprocessedDataset, tmp_path: Path
) -> None:
    settings = replace(SETTINGS, epochs=1)
    train(tiny_3d, tmp_path / "run", settings, show_progress=False)
    filters = stage_filters(len(tiny_3d.plan.filters), PlannerSettings().base_filters, 3)
    data = replace(tiny_3d, plan=replace(tiny_3d.plan, filters=filters))
    with pytest.raises(InputError, match="another plan"):
        train(data, tmp_path / "run", replace(settings, resume=True), show_progress=False)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"learning_rate": 5e-4}, "learning rate was 0.001 and is now 0.0005"),
        ({"base_filters": 2}, "another plan"),
    ],
)
def test_another_run_is_not_gone_on_with(
    tiny_2d: PreprocessedDataset, tmp_path: Path, change: dict[str, float], word: str
) -> None:
    settings = replace(SETTINGS, epochs=1)
    train(tiny_2d, tmp_path / "run", settings, show_progress=False)
    before = {path: path.read_bytes() for path in (tmp_path / "run").glob("*.*")}
    with pytest.raises(InputError, match=word):
        train(tiny_2d, tmp_path / "run", replace(settings, resume=True, **change))
    assert {path: path.read_bytes() for path in before} == before


def test_other_cases_are_another_run(tiny_2d: PreprocessedDataset, tmp_path: Path) -> None:
    settings = replace(SETTINGS, epochs=1)
    train(tiny_2d, tmp_path / "run", settings, show_progress=False)
    fold = json.loads((tmp_path / "run" / FOLD).read_text())
    write_json(tmp_path / "run" / FOLD, {**fold, "training": fold["training"][1:]})
    with pytest.raises(InputError, match="other cases"):
        train(tiny_2d, tmp_path / "run", replace(settings, resume=True))


TRAIN = """
import sys
from pathlib import Path
from nnunet_lib.preprocessing import PreprocessedDataset
from nnunet_lib.training import TrainingSettings, train

if __name__ == "__main__":
    settings = TrainingSettings(
        number_of_folds=3, epochs=12, steps_per_epoch=50, validation_interval=2,
        learning_rate=1e-3, checkpoint_interval=3, resume=True, number_of_volumes=2,
    )
    train(PreprocessedDataset.open(Path(sys.argv[1]), 2), Path(sys.argv[2]), settings)
"""
KILLS = 10


def start(data: Path, run: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", TRAIN, str(data), str(run)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait_for_a_new_checkpoint(path: Path, process: subprocess.Popen[bytes]) -> None:
    before = path.stat().st_mtime_ns if path.exists() else 0
    deadline = time.monotonic() + 120
    while not (path.exists() and path.stat().st_mtime_ns > before):
        assert process.poll() is None, "the run ended before it was killed"
        assert time.monotonic() < deadline, "no checkpoint in two minutes"
        time.sleep(0.01)


@pytest.mark.slow
def test_killing_a_run_ten_times_loses_no_step_and_no_checkpoint(
    tiny_2d: PreprocessedDataset, tmp_path: Path
) -> None:
    run, data = tmp_path / "run", tiny_2d.folder.parent.parent
    moments, steps = random.Random(3), 0
    for _ in range(KILLS):
        process = start(data, run)
        wait_for_a_new_checkpoint(run / LAST, process)
        time.sleep(moments.uniform(0, 0.4))
        os.kill(process.pid, signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        checkpoint = load_checkpoint(run / LAST)  # whole, whatever moment it was
        assert checkpoint.progress["step"] >= steps
        steps = checkpoint.progress["step"]
    assert start(data, run).wait() == 0
    progress = load_checkpoint(run / LAST).progress
    assert (progress["epoch"], progress["step"], progress["losses"]) == (12, 600, [])
    history = read_metrics(run)
    assert [record.step for record in history] == [50 * epoch for epoch in range(1, 13)]
    scores = {r.step: r.validation_dice for r in history if r.validation_dice is not None}
    assert load_checkpoint(run / BEST).progress["step"] == max(scores, key=scores.__getitem__)
