"""What lesson 06 claims, as numbers: steps, optimisers, schedules, resumed runs, folds and logs.

Formulas are done again in NumPy, and what a run has written is read here as plain JSON, zip and
TFRecord files, not with the library's own readers. Runs that must agree bit for bit are trained in
processes of their own, because op determinism is a setting of a whole process.
"""

import itertools
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from shutil import copytree
from typing import Any
from unittest import mock

import numpy as np
import tensorflow as tf

from nnunet_lib.course.lessons.common import relative_difference as relative_difference
from nnunet_lib.course.lessons.common import run_python
from nnunet_lib.loading import AugmentationSettings, CaseFiles, LoaderSettings, training_batches
from nnunet_lib.model import LAST, build_unet, load_checkpoint, save_checkpoint
from nnunet_lib.planning import Plan
from nnunet_lib.preprocessing import PreprocessedDataset
from nnunet_lib.training import (
    TrainingSettings,
    learning_rate_at,
    loop,
    make_optimiser,
    segmentation_loss,
    train,
)
from nnunet_lib.training.settings import Optimiser
from nnunet_lib.training.step import Step, make_step

Batch = tuple[Any, Any]
"""Slices (n, *patch, channels) float32, and their labels (n, *patch, 1) uint8."""

STEPS, EVERY = 160, 20
"""Training steps behind a curve, and between two of its points."""
VOLUMES = 4
"""That the slices of a batch come from."""
DOZEN = 3 * VOLUMES
"""Slices of a batch at most, however many the plan allows: so many are soon learned by heart."""


# The loop, watched -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Learner:
    """A network with its training step, which can start again from the same first weights."""

    model: tf.keras.Model
    optimiser: tf.keras.optimizers.Optimizer
    step: Step
    first: Sequence[np.ndarray]

    def start_again(self) -> None:
        """Give the network and its optimiser the values that they had at first."""
        for variable, value in zip(_variables(self.model, self.optimiser), self.first, strict=True):
            variable.assign(value)


def new_learner(plan: Plan, optimiser: Optimiser = "adam", seed: int = 0) -> Learner:
    """A seeded network of the plan, and the library's step with an optimiser's own defaults."""
    settings = TrainingSettings(optimiser=optimiser, seed=seed)
    tf.keras.utils.set_random_seed(seed)
    model = build_unet(plan, settings.deep_supervision)
    rule = make_optimiser(settings)
    step = make_step(model, rule, plan, settings)
    first = [variable.numpy() for variable in _variables(model, rule)]
    return Learner(model, rule, step, first)


def batches_of(
    data: PreprocessedDataset, cases: Sequence[str], seed: int = 0, augmented: bool = True
) -> Iterator[Batch]:
    """The loader's batches of these cases, without end.

    Without augmentation every slice is aimed at a structure, so that Dice always has one to score.
    """
    files = [CaseFiles(data.image_path(name), data.label_path(name)) for name in cases]
    plan = data.plan
    settings = LoaderSettings(
        batch_size=min(DOZEN, max(VOLUMES, plan.batch_size - plan.batch_size % VOLUMES)),
        patch_size=plan.patch_size,
        dimensions=plan.dimensions,
        foreground_oversampling=0.33 if augmented else 1.0,
        number_of_volumes=VOLUMES,
        seed=seed,
        augmentation=replace(
            AugmentationSettings.nvidia(), enabled=augmented, flip_probability=0.0
        ),
    )
    return iter(training_batches(files, settings))


@dataclass(frozen=True)
class Curve:
    """How a network did on slices of cases that it trained on, and of held-out cases.

    Attributes:
        steps: training steps before each point.
        seen_loss: cross-entropy and Dice loss of the finest answer on slices it trained on.
        held_out_loss: the same on slices of held-out cases.
        seen_dice: Dice of the label map that follows, mean over structures.
        held_out_dice: the same on slices of held-out cases.
    """

    steps: tuple[int, ...]
    seen_loss: tuple[float, ...]
    held_out_loss: tuple[float, ...]
    seen_dice: tuple[float, ...]
    held_out_dice: tuple[float, ...]


def watch(
    learner: Learner, batches: Iterable[Batch], seen: Batch, held_out: Batch, steps: int = STEPS
) -> Curve:
    """Train from the first weights on `batches`, and look at two fixed batches now and then."""
    learner.start_again()
    points = [(0, *_scores(learner.model, seen), *_scores(learner.model, held_out))]
    for number, (image, label) in enumerate(itertools.islice(batches, steps), start=1):
        learner.step(tf.constant(image), tf.constant(label))
        if number % EVERY == 0 or number == steps:
            both = (*_scores(learner.model, seen), *_scores(learner.model, held_out))
            points.append((number, *both))
    at, seen_loss, seen_dice, held_out_loss, held_out_dice = zip(*points, strict=True)
    return Curve(at, seen_loss, held_out_loss, seen_dice, held_out_dice)


def hard_dice(prediction: np.ndarray, truth: np.ndarray, classes: int) -> float:
    """Mean of 2 |P ∩ T| / (|P| + |T|) over the structures that either map has, counted here."""
    values = []
    for value in range(1, classes):
        predicted, true = prediction == value, truth == value
        size = int(predicted.sum()) + int(true.sum())
        values += [2 * int((predicted & true).sum()) / size] if size else []
    return float(np.mean(values)) if values else math.nan


def shifted_at_random(label: np.ndarray, seed: int) -> np.ndarray:
    """Each slice's label (n, y, x, 1), moved round its slice by an offset drawn at random.

    Structures keep their size and form, and where they lie says nothing about the image any more.
    """
    generator = np.random.default_rng(seed)
    moved = [
        np.roll(one, [int(generator.integers(size)) for size in one.shape[:2]], axis=(0, 1))
        for one in label
    ]
    return np.stack(moved)


def _scores(model: tf.keras.Model, batch: Batch) -> tuple[float, float]:
    """Loss and hard Dice of the finest answer."""
    image, label = batch
    logits = tf.nest.flatten(model(image, training=False))[0]  # (n, *patch, classes)
    loss = float(segmentation_loss(logits, label))
    prediction, truth = logits.numpy().argmax(axis=-1), np.asarray(label)[..., 0]
    return loss, hard_dice(prediction, truth, logits.shape[-1])


def _variables(model: tf.keras.Model, optimiser: tf.keras.optimizers.Optimizer) -> list[Any]:
    return [*model.variables, *optimiser.variables]


# Optimisers --------------------------------------------------------------------------------------


def random_gradients(updates: int = 12, weights: int = 50, seed: int = 0) -> np.ndarray:
    """Noise around a slope for each weight: (updates, weights)."""
    generator = np.random.default_rng(seed)
    slopes = generator.normal(size=weights)
    return 0.1 * (slopes + generator.normal(size=(updates, weights)))


def path(settings: TrainingSettings, gradients: np.ndarray) -> np.ndarray:
    """Where the library's optimiser takes weights that start at 0: (updates, weights)."""
    optimiser = make_optimiser(settings)
    weights = tf.Variable(tf.zeros(gradients.shape[1]))
    optimiser.build([weights])
    places = []
    for gradient in gradients:
        optimiser.apply_gradients([(tf.constant(gradient, tf.float32), weights)])
        places.append(weights.numpy())
    return np.array(places)


def adam_on_paper(gradients: np.ndarray, rate: float) -> np.ndarray:
    """Kingma and Ba, arXiv:1412.6980, section 2, in the order that it gives for speed."""
    first, second, epsilon = 0.9, 0.999, 1e-7
    m, v, weights = (np.zeros(gradients.shape[1]) for _ in range(3))
    places = []
    for t, gradient in enumerate(gradients, start=1):
        m = first * m + (1 - first) * gradient
        v = second * v + (1 - second) * gradient**2
        scaled = rate * math.sqrt(1 - second**t) / (1 - first**t)
        weights = weights - scaled * m / (np.sqrt(v) + epsilon)
        places.append(weights)
    return np.array(places)


def nesterov_on_paper(gradients: np.ndarray, rate: float, momentum: float) -> np.ndarray:
    """Nesterov: m <- momentum · m - rate · g, then w <- w + momentum · m - rate · g."""
    m, weights = (np.zeros(gradients.shape[1]) for _ in range(2))
    places = []
    for gradient in gradients:
        m = momentum * m - rate * gradient
        weights = weights + momentum * m - rate * gradient
        places.append(weights)
    return np.array(places)


# Schedules ---------------------------------------------------------------------------------------


def factor_on_paper(name: str, progress: float, restarts: int) -> float:
    """What the rate is multiplied with, t in [0, 1] being the share of training that has passed."""
    cycle = math.fmod(progress * (restarts + 1), 1.0) if progress < 1 else 1.0
    return {
        "poly": math.pow(1 - progress, 0.9),
        "cosine": math.cos(math.pi * progress / 2) ** 2,
        "cosine_restarts": math.cos(math.pi * cycle / 2) ** 2,
        "constant": 1.0,
    }[name]


def schedule_error(settings: TrainingSettings, points: int = 1001) -> float:
    """The largest difference between the library's rate and the formula's, in base rates."""
    differences = []
    for progress in np.linspace(0, 1, points).tolist():
        found = learning_rate_at(settings, progress) / settings.base_learning_rate
        formula = factor_on_paper(settings.scheduler, progress, settings.restarts)
        differences.append(abs(found - formula))
    return max(differences)


def recorded_rate_error(run: Path, settings: TrainingSettings) -> float:
    """How far the rates that a finished run wrote down are from the formula, in base rates.

    The step after s of S steps is taken at progress s / S, and each epoch records its last one's.
    """
    records = metrics(run)
    total = records[-1]["step"]
    rates = [
        factor_on_paper(settings.scheduler, (record["step"] - 1) / total, settings.restarts)
        for record in records
    ]
    pairs = zip(records, rates, strict=True)
    base = settings.base_learning_rate
    return max(abs(record["learning_rate"] / base - rate) for record, rate in pairs)


# Runs that must agree bit for bit ----------------------------------------------------------------


UNPLUGGED = 75
"""What a process that was cut off answers with."""
STOPPED_AFTER = 7
SHORT = TrainingSettings(
    epochs=2,
    steps_per_epoch=5,
    checkpoint_interval=2,
    validation_interval=1,
    base_filters=4,
    batch_size=VOLUMES,
    number_of_volumes=VOLUMES,
)
"""Ten steps. Cut off after the seventh, it has a checkpoint of the sixth, amid the second epoch."""

_PROGRAM = """
import sys
from nnunet_lib.course.lessons.training import main
main(sys.argv[1:])
"""


@dataclass(frozen=True)
class Runs:
    """The folders of runs of one training.

    Attributes:
        whole: never interrupted.
        again: the same in another process.
        other_seed: the same with the next seed.
        resumed: cut off, and gone on with in another process.
        forgetful: the same, and what the optimiser remembered was wiped from the checkpoint.
    """

    whole: Path
    again: Path
    other_seed: Path
    resumed: Path
    forgetful: Path


def runs_in(folder: Path) -> Runs:
    """Where the runs lie."""
    return Runs(*(folder / name for name in Runs.__dataclass_fields__))


def run_apart(prepared: Path, folder: Path, seed: int = 0, preamble: str = "") -> Runs:
    """Train all runs, in processes of their own and two at a time.

    Args:
        prepared: what `preprocess` wrote, in 2D.
        folder: the runs' folders go in here.
        seed: of all runs but one.
        preamble: source that each process runs first.

    Raises:
        RuntimeError: if a process fails, with what it said; or if none was cut off.
    """

    def start(*tasks: str, expected: int = 0) -> None:
        arguments = [str(prepared), str(folder), str(seed), *tasks]
        run_python(preamble + _PROGRAM, arguments, expected=expected)

    def interrupted() -> None:
        start("cut_off", expected=UNPLUGGED)
        start("resumed", "forgetful", "again")

    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(start, "whole", "other_seed"), pool.submit(interrupted)]
    for one in both:
        one.result()
    return runs_in(folder)


def main(arguments: Sequence[str]) -> None:
    """One process of `run_apart`: prepared cases, folder, seed, then what to train."""
    prepared, folder, seed, *tasks = arguments
    data = PreprocessedDataset.open(Path(prepared), dimensions=2)
    for task in tasks:
        train_one(task, data, runs_in(Path(folder)), replace(SHORT, seed=int(seed)))


def train_one(task: str, data: PreprocessedDataset, runs: Runs, settings: TrainingSettings) -> None:
    """Train one of the runs in this process, from here on with op determinism."""
    tf.config.experimental.enable_op_determinism()
    resuming = replace(settings, resume=True)
    if task == "cut_off":
        with _cut_off_after(STOPPED_AFTER):
            train(data, runs.resumed, settings, show_progress=False)
    elif task == "resumed":
        copytree(runs.resumed, runs.forgetful)
        train(data, runs.resumed, resuming, show_progress=False)
    elif task == "forgetful":
        _forget_optimiser(runs.forgetful / LAST)
        train(data, runs.forgetful, resuming, show_progress=False)
    elif task == "other_seed":
        train(data, runs.other_seed, replace(settings, seed=settings.seed + 1), False)
    else:
        train(data, getattr(runs, task), settings, show_progress=False)


def metrics(run: Path) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl."""
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def epochs_that_differ(run: Path, other: Path) -> int:
    """Epochs whose loss or validation Dice is not the same to the last bit, or that one lacks."""
    one, two = ([(r["loss"], r["validation_dice"]) for r in metrics(each)] for each in (run, other))
    return sum(a != b for a, b in itertools.zip_longest(one, two))


def arrays_that_differ(run: Path, other: Path, kind: str = "") -> int:
    """Arrays of the last checkpoint that differ in any bit.

    Args:
        run: the folder of one run.
        other: that of another.
        kind: what names begin with, `weights/` or `optimiser/`; both if not given.
    """
    one, two = (_arrays(each / "checkpoint_last.npz") for each in (run, other))
    names = [name for name in one.keys() | two.keys() if name.startswith(kind)]
    return sum(one.get(name) != two.get(name) for name in names)


def number_of_arrays(run: Path) -> int:
    """Arrays of weights and optimiser state in a run's last checkpoint."""
    return len(_arrays(run / "checkpoint_last.npz"))


def _arrays(checkpoint: Path) -> dict[str, bytes]:
    """Each array's bytes; a .npz file is a zip of arrays."""
    with np.load(checkpoint, allow_pickle=False) as archive:
        return {name: archive[name].tobytes() for name in archive.files if "/" in name}


@contextmanager
def _cut_off_after(steps: int) -> Iterator[None]:
    """Pull the plug in place of the step after so many."""

    def until_then(*arguments: Any) -> Step:
        step, taken = make_step(*arguments), itertools.count()

        def counted(image: tf.Tensor, label: tf.Tensor) -> tf.Tensor:
            if next(taken) == steps:
                _pull_the_plug()
            return step(image, label)

        return counted

    with mock.patch.object(loop, "make_step", until_then):
        yield


def _pull_the_plug() -> None:
    """End this process at once: nothing is finished, flushed or closed."""
    os._exit(UNPLUGGED)


def _forget_optimiser(path: Path) -> None:
    """Set all that the optimiser remembers to zero."""
    checkpoint = load_checkpoint(path)
    nothing = {name: np.zeros_like(array) for name, array in checkpoint.optimiser.items()}
    save_checkpoint(path, replace(checkpoint, optimiser=nothing))


# Logs --------------------------------------------------------------------------------------------


def events(run: Path) -> dict[tuple[str, int], float]:
    """What TensorBoard would show of a run, by name and step, read as plain TFRecords."""
    files = sorted(map(str, (run / "tensorboard").glob("events*")))
    found = {}
    for record in tf.data.TFRecordDataset(files).as_numpy_iterator():
        event = tf.compat.v1.Event.FromString(record)
        for value in event.summary.value:
            found[value.tag, event.step] = float(tf.make_ndarray(value.tensor))
    return found


def log_disagreement(run: Path) -> float:
    """The largest relative difference between metrics.jsonl and TensorBoard's events.

    Infinite if one of the two has a number that the other lacks.
    """
    written = {
        (name, record["step"]): float(value)
        for record in metrics(run)
        for name, value in record.items()
        if name != "step" and value is not None
    }
    shown = events(run)
    if written.keys() != shown.keys():
        return math.inf
    return max(abs(shown[key] - value) / max(abs(value), 1e-12) for key, value in written.items())


# Folds -------------------------------------------------------------------------------------------


def unfairly_scored(results: Path, identifiers: Iterable[str]) -> int:
    """Cases without exactly one score, or scored by a run that trained on them.

    Both are read from what the cross-validation left in its folder.
    """
    folds = _read(results / "cross_validation.json")["folds"]
    scores = [(case, fold["run"]) for fold in folds for case in fold["cases"]]
    scored = [case for case, _ in scores]
    wrong = {case for case in identifiers if scored.count(case) != 1}
    wrong |= set(scored) - set(identifiers)
    trained = {run: _read(results / run / "fold.json")["training"] for _, run in scores}
    wrong |= {case for case, run in scores if case in trained[run]}
    return len(wrong)


def fold_table(results: Path, labels: Sequence[str]) -> list[tuple[Any, ...]]:
    """(fold, cases, Dice of each structure, mean), and the same over all cases."""
    report = _read(results / "cross_validation.json")
    rows = {str(number): fold["dice"] for number, fold in enumerate(report["folds"])}
    return [
        (name, row["mean"]["cases"], *(row[key]["dice"] for key in _keys(labels)))
        for name, row in {**rows, "all": report["pooled"]}.items()
    ]


def case_scores(results: Path) -> list[list[float]]:
    """Mean Dice over structures of each case, a list a fold."""
    folds = _read(results / "cross_validation.json")["folds"]
    return [[_mean(case) for case in fold["cases"].values()] for fold in folds]


def _mean(dice: Mapping[str, float | None]) -> float:
    values = [value for value in dice.values() if value is not None]
    return float(np.mean(values)) if values else math.nan


def _keys(labels: Sequence[str]) -> list[str]:
    return [*map(str, range(1, len(labels))), "mean"]


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))
