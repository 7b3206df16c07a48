"""What lesson 09 claims, as numbers, and what the processes that it launches do.

`experiments` is what every rank runs. It lives here, and not in the notebook, because a new process
can only run what it can import. The network is tiny, and the batch is made so that its parts
differ as much as parts can: what is claimed about sums and means does not depend on size.
"""

import importlib.util
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import psutil
import tensorflow as tf
from scipy.optimize import nnls

from nnunet_lib import distributed
from nnunet_lib.course.lessons.common import relative_difference
from nnunet_lib.course.lessons.unet import tiny_plan
from nnunet_lib.datasets import Dataset
from nnunet_lib.distributed import Ranks
from nnunet_lib.model import build_unet
from nnunet_lib.planning import PlannerSettings, plan_dataset
from nnunet_lib.preprocessing import PreprocessedDataset, preprocess
from nnunet_lib.training import TrainingSettings, learning_rate_at, make_optimiser, train
from nnunet_lib.training.precision import optimiser_variables
from nnunet_lib.training.step import make_gradients, make_step

FloatArray = npt.NDArray[Any]

EDGE = 16
FOREGROUND = (0.5, 0.4, 0.3, 0.02, 0.01, 0.005)
"""The share of foreground voxels in each patch of the batch: two or three ranks share them."""
PLAN = tiny_plan(3, EDGE, filters=(4, 8, 8), batch_size=len(FOREGROUND))
STEPS = 3
"""Training steps after which the ranks' weights are compared."""

PLAIN = TrainingSettings(
    optimiser="sgd", momentum=0.0, weight_decay=0.0, gradient_clip=1e6, scheduler="constant"
)
"""Plain gradient descent, for rules that were found with it. Adam could not tell a sum from a
mean."""
HALFWAY = 0.5
"""Progress at which any warm-up is over."""

CASES = 7
"""Of the dataset; nothing is to be learnt from them but who has which."""
RUN = TrainingSettings(
    epochs=1, steps_per_epoch=4, loader="tf", number_of_folds=3, deep_supervision=False
)
"""A run that is over at once. tf.data starts sooner than DALI, and reads the same shards."""

COUNTED_BYTES = 2**25
"""Of the tensor whose bytes are counted: so many that whatever else moves is next to nothing."""
COUNTS = 7
TIMED_BYTES = tuple(2**power for power in range(10, 25, 2))
"""1 KiB to 16 MiB."""
TIMINGS = 9
_FLOAT = 4  # bytes
_LOOPBACKS = ("lo", "lo0")  # as Linux and macOS call it


# What each rank does ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Weights:
    """All weights of a network in one line: as this rank drew them, and after `STEPS` steps."""

    drawn: FloatArray
    trained: FloatArray


@dataclass(frozen=True)
class Traffic:
    """What moved over loopback, in bytes, each time that a tensor of `size` bytes was summed.

    `blanks` is the same for a tensor of one number: control messages, and other programs.
    """

    size: int
    moved: tuple[int, ...]
    blanks: tuple[int, ...]

    @property
    def tensors(self) -> float:
        """Tensor sizes moved. The least of the counts, as others' traffic can only add to it."""
        return (min(self.moved) - min(self.blanks)) / self.size


@dataclass(frozen=True)
class Training:
    """What one rank found out while the ranks trained.

    Attributes:
        broadcast, alone: its weights, with rank 0's broadcast before training and without.
        files: what it wrote while the library trained, with a folder of its own for each rank.
        learning_rate: of that training's last step, as its log has it; None without a log.
    """

    broadcast: Weights
    alone: Weights
    files: tuple[str, ...]
    learning_rate: float | None


@dataclass(frozen=True)
class Report:
    """What one rank found out.

    Attributes:
        ranks: who it was.
        process: its number in the operating system.
        summed, local: its averaged gradients, with Dice sums added over ranks and without.
        cases: those of its share.
        wrong_sums: numbers of the counted tensor that were not the sum over ranks.
        traffic: what it counted.
        seconds: of an all-reduce, for each tensor size in bytes.
        training: the rest, where it was asked for.
    """

    ranks: Ranks
    process: int
    summed: FloatArray
    local: FloatArray
    cases: tuple[str, ...]
    wrong_sums: int
    traffic: Traffic
    seconds: dict[int, float]
    training: Training | None


def launch(processes: int, prepared: Path, runs: Path | None = None, seed: int = 0) -> list[Report]:
    """Start so many processes, let each do its `experiments`, and return what they report."""
    return distributed.launch(experiments, prepared, runs, seed, processes=processes)


def experiments(prepared: Path, runs: Path | None, seed: int) -> Report:
    """All that one rank does, one experiment after the other, since a launch takes long.

    Args:
        prepared: the folder of preprocessed cases.
        runs: where each rank may write, into a folder named by its rank; None trains nothing.
        seed: of batch and weights.
    """
    # A computer with one GPU could not give each rank its own, and what GPUs exchange directly
    # could not be counted.
    os.environ["CUDA_VISIBLE_DEVICES"] = "-1"
    ranks = distributed.join()
    wrong, traffic = count_traffic(ranks)
    data = PreprocessedDataset.open(prepared, dimensions=3)
    return Report(
        ranks=ranks,
        process=os.getpid(),
        summed=gradients(ranks, seed),
        local=gradients(LocalDice(**vars(ranks)), seed),
        cases=tuple(ranks.share(data.identifiers)),
        wrong_sums=wrong,
        traffic=traffic,
        seconds=time_all_reduce(ranks),
        training=None if runs is None else training_experiments(ranks, data, runs, seed),
    )


def training_experiments(
    ranks: Ranks, data: PreprocessedDataset, runs: Path, seed: int
) -> Training:
    """Three short trainings: with a broadcast, without, and the library's own."""
    broadcast, alone = (train_weights(ranks, seed, share) for share in (True, False))
    return Training(broadcast, alone, *train_together(ranks, data, runs))


def trainings(reports: Sequence[Report]) -> list[Training]:
    """The ranks' trainings, in the order of the ranks."""
    return [report.training for report in reports if report.training is not None]


def prepare_cases(dataset: Dataset, folder: Path, workers: int) -> PreprocessedDataset:
    """A few cases, preprocessed for a network that is tiny too."""
    few = replace(dataset, training=dataset.training[:CASES])
    limits = PlannerSettings(memory_gigabytes=0.02, base_filters=4)
    return preprocess(few, plan_dataset(few, limits, workers)[1], folder, workers=workers)


def missing_horovod() -> str | None:
    """What to tell readers whose machine cannot launch ranks; None if it can."""
    if importlib.util.find_spec("horovod") is not None:
        return None
    return (
        "Horovod is not installed here (`make env` builds it on Linux x86-64 only). The cells that "
        "launch processes will stop with a word on it. Sections 2, 4, 6 and 7 are in part "
        "arithmetic that needs none; the rest can be read."
    )


# Gradients -------------------------------------------------------------------------------------


class LocalDice(Ranks):
    """Ranks that keep their Dice sums to themselves, and average gradients all the same."""

    def total(self, tensor: tf.Tensor) -> tf.Tensor:
        """This rank's part in place of the sum over ranks."""
        return tensor


def made_batch(seed: int = 0) -> tuple[FloatArray, FloatArray]:
    """Image (6, 16, 16, 16, 1) and label: noise in which foreground is brighter by 1."""
    random = np.random.default_rng(seed)
    shares = np.reshape(FOREGROUND, (-1, 1, 1, 1, 1))
    label = random.random((len(FOREGROUND), *PLAN.patch_size, 1)) < shares
    image = label + random.normal(size=label.shape)
    return image.astype(np.float32), label.astype(np.uint8)


def part_of(ranks: Ranks, array: FloatArray) -> FloatArray:
    """This rank's part of a batch: neighbours stay together, so that foreground is unequal."""
    part: FloatArray = np.array_split(array, ranks.size)[ranks.rank]
    return part


def gradients(ranks: Ranks, seed: int = 0) -> FloatArray:
    """The library's gradients of this rank's part of the batch, averaged over ranks; in one line.

    With `ALONE` they are those of the whole batch.
    """
    tf.keras.utils.set_random_seed(seed)
    with tf.device("/CPU:0"):  # a GPU may round products to TF32
        model = build_unet(PLAN)
        gradients_of = make_gradients(model, make_optimiser(PLAIN), PLAN, PLAIN, ranks)
        _, found = gradients_of(*(part_of(ranks, array) for array in made_batch(seed)))
    return flat(found)


def flat(tensors: Sequence[tf.Tensor]) -> FloatArray:
    """Tensors one after the other in one line."""
    return np.concatenate([tensor.numpy().ravel() for tensor in tensors])


def worst_error(found: Sequence[FloatArray], reference: FloatArray) -> float:
    """The largest relative error of several ranks' arrays."""
    return max(relative_difference(each, reference) for each in found)


def foreground_of(ranks: Ranks, seed: int = 0) -> float:
    """The share of foreground in this rank's part of the batch."""
    return float(part_of(ranks, made_batch(seed)[1]).mean())


# Broadcast -------------------------------------------------------------------------------------


def train_weights(ranks: Ranks, seed: int, broadcast: bool) -> Weights:
    """Draw weights with a seed of this rank's own, and train on its part of the batch."""
    tf.keras.utils.set_random_seed(seed + ranks.rank)
    settings = TrainingSettings()
    model, optimiser = build_unet(PLAN), make_optimiser(settings)
    step = make_step(model, optimiser, PLAN, settings, ranks)
    drawn = flat(model.trainable_variables)
    if broadcast:
        ranks.broadcast([*model.variables, *optimiser_variables(optimiser)])
    image, label = (tf.constant(part_of(ranks, array)) for array in made_batch(seed))
    for _ in range(STEPS):
        step(image, label)
    return Weights(drawn, flat(model.trainable_variables))


def different_weights(each: Sequence[Weights]) -> float:
    """How many weights differ from rank 0's after training, over all other ranks.

    Infinite if two ranks drew the same weights, or training moved none: then nothing is shown.
    """
    same_start = any(np.array_equal(one.drawn, other.drawn) for one, other in pairwise(each))
    if same_start or any(np.array_equal(one.drawn, one.trained) for one in each):
        return float("inf")
    return float(sum(np.count_nonzero(one.trained != each[0].trained) for one in each[1:]))


def distance_from_first(each: Sequence[Weights]) -> float:
    """The smallest relative distance of another rank's trained weights from rank 0's."""
    return min(relative_difference(one.trained, each[0].trained) for one in each[1:])


# The ring, in NumPy ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Ring:
    """An all-reduce by hand.

    Attributes:
        results: the tensor that each rank holds at the end.
        sent: bytes that each rank has sent.
        history: what all ranks hold at first and after each step; [step][rank][chunk].
    """

    results: tuple[FloatArray, ...]
    sent: tuple[int, ...]
    history: tuple[tuple[tuple[FloatArray, ...], ...], ...]


def ring_all_reduce(tensors: Sequence[FloatArray]) -> Ring:
    """The sum of one tensor a rank, on every rank, along a ring of ranks.

    Patarasuk and Yuan, J. Parallel Distrib. Comput. 69, 117-124 (2009). N - 1 steps add up: rank
    r sends chunk r - step to the next rank, which adds it to its own. Now rank r holds the whole
    sum of chunk r + 1, and N - 1 more steps hand the sums round.
    """
    size = len(tensors)
    held = [np.array_split(tensor, size) for tensor in tensors]  # [rank][chunk]
    sent, history = np.zeros(size, int), [_snapshot(held)]
    for step in range(2 * (size - 1)):
        adds = step < size - 1
        first = -step if adds else size - step  # the chunk that rank 0 sends
        moving = [held[rank][(rank + first) % size] for rank in range(size)]  # all at once
        for rank, chunk in enumerate(moving):
            there, index = held[(rank + 1) % size], (rank + first) % size
            there[index] = there[index] + chunk if adds else chunk
            sent[rank] += chunk.nbytes
        history.append(_snapshot(held))
    results = tuple(np.concatenate(chunks) for chunks in held)
    return Ring(results, tuple(sent.tolist()), tuple(history))


def _snapshot(held: Sequence[Sequence[FloatArray]]) -> tuple[tuple[FloatArray, ...], ...]:
    return tuple(tuple(chunks) for chunks in held)


def rank_tensors(size: int, length: int, seed: int = 0) -> list[FloatArray]:
    """One line of whole numbers a rank, whose sums are exact."""
    random = np.random.default_rng(seed)
    return [random.integers(-999, 999, length).astype(np.float64) for _ in range(size)]


def wrong_ring_sums(sizes: Sequence[int], length: int, seed: int = 0) -> int:
    """Numbers that any rank got wrong, over rings of several sizes."""
    wrong = 0
    for size in sizes:
        tensors = rank_tensors(size, length, seed)
        expected = np.sum(tensors, axis=0)
        wrong += sum(int((one != expected).sum()) for one in ring_all_reduce(tensors).results)
    return wrong


def busiest(size: int, length: int) -> float:
    """Tensor sizes that the busiest rank of a ring sends."""
    tensors = rank_tensors(size, length)
    return max(ring_all_reduce(tensors).sent) / tensors[0].nbytes


def busiest_beyond(sizes: Sequence[int], length: int) -> float:
    """The most, over rings of several sizes, that it sends beyond 2 (N - 1) / N tensor sizes."""
    return max(busiest(size, length) - 2 * (size - 1) / size for size in sizes)


# The ring, on real processes -------------------------------------------------------------------


def loopback_bytes() -> int:
    """What this computer's loopback interface has sent since it was started."""
    counters = psutil.net_io_counters(pernic=True)
    return next(counters[name].bytes_sent for name in _LOOPBACKS if name in counters)


def count_traffic(ranks: Ranks) -> tuple[int, Traffic]:
    """Sum a large tensor over ranks, and count; also how many numbers of the sum are wrong."""
    large = tf.fill(COUNTED_BYTES // _FLOAT, float(ranks.rank + 1))
    total = ranks.total(large)  # the first one also opens connections
    wrong = int(np.count_nonzero(total.numpy() != sum(range(1, ranks.size + 1))))
    moved = tuple(_moved_by(ranks, large) for _ in range(COUNTS))
    blanks = tuple(_moved_by(ranks, tf.constant([0.0])) for _ in range(COUNTS))
    return wrong, Traffic(COUNTED_BYTES, moved, blanks)


def _moved_by(ranks: Ranks, tensor: tf.Tensor) -> int:
    """Bytes over loopback until every rank has the sum. None moves before all have asked."""
    ranks.wait()
    before = loopback_bytes()
    ranks.total(tensor)
    ranks.wait()
    return loopback_bytes() - before


def traffic_error(reports: Sequence[Report]) -> float:
    """How far the bytes that rank 0 counted are from 2 (N - 1) tensor sizes, relative.

    Infinite if any rank got a wrong sum: then its bytes prove nothing.
    """
    if any(report.wrong_sums for report in reports):
        return float("inf")
    expected = 2 * (len(reports) - 1)
    return abs(reports[0].traffic.tensors / expected - 1)


# Shares and learning rates ---------------------------------------------------------------------


def misplaced(cases: Sequence[str], shares: Sequence[Sequence[str]]) -> int:
    """How many cases are in no rank's share, or in more than one."""
    return sum(sum(case in share for share in shares) != 1 for case in cases)


def rule_errors(
    rates: Sequence[float], size: int, scaled: bool = True, seed: int = 0
) -> list[float]:
    """How far one step of `size` ranks is from `size` steps of one rank, at each learning rate.

    All see the same batch, so that nothing but the rate differs. The distance between where both
    arrive, as a share of the way that the small steps went.

    Args:
        rates: of one rank.
        size: ranks; the library decides what they make of the rate.
        scaled: whether the library is asked to scale the rate.
        seed: of batch and weights.
    """
    walk = _walker(seed)
    errors = []
    for rate in rates:
        settings = replace(PLAIN, learning_rate=rate, scale_learning_rate=scaled)
        small = walk(learning_rate_at(settings, HALFWAY), size)
        large = walk(learning_rate_at(settings, HALFWAY, size), 1)
        errors.append(relative_difference(large, small))
    return errors


def _walker(seed: int) -> Callable[[float, int], FloatArray]:
    """A function (rate, steps) -> how far each weight moves in so many steps from its start."""
    tf.keras.utils.set_random_seed(seed)
    model, optimiser = build_unet(PLAN), make_optimiser(PLAIN)
    step = make_step(model, optimiser, PLAN, PLAIN)
    start, drawn = model.get_weights(), flat(model.trainable_variables)
    image, label = map(tf.constant, made_batch(seed))

    def walk(rate: float, steps: int) -> FloatArray:
        model.set_weights(start)
        optimiser.learning_rate.assign(rate)
        for _ in range(steps):
            step(image, label)
        return flat(model.trainable_variables) - drawn

    return walk


# What only rank 0 does -------------------------------------------------------------------------


def train_together(
    ranks: Ranks, data: PreprocessedDataset, runs: Path
) -> tuple[tuple[str, ...], float | None]:
    """Train with the library, each rank in a folder of its own.

    Returns:
        The files in this rank's folder, and the learning rate of the last line of its log.
    """
    own = runs / f"rank_{ranks.rank}"
    history = train(data, own, RUN, show_progress=False).history
    ranks.wait()
    files = sorted(str(path.relative_to(own)) for path in own.rglob("*") if path.is_file())
    return tuple(files), history[-1].learning_rate if ranks.is_first and history else None


def files_of_others(each: Sequence[Training]) -> float:
    """Files that ranks other than 0 wrote; infinite if rank 0 wrote no checkpoint either."""
    if not any(name.endswith(".npz") for name in each[0].files):
        return float("inf")
    return float(sum(len(training.files) for training in each[1:]))


def rate_factor(first: Training) -> float:
    """By how much rank 0's logged learning rate exceeds what a single rank would have had.

    The polynomial schedule by hand: the base rate times (1 - t)^0.9 at the last step.
    """
    if first.learning_rate is None:
        return float("nan")
    steps = RUN.steps_per_epoch
    return first.learning_rate / (RUN.base_learning_rate * (1 - (steps - 1) / steps) ** 0.9)


# The cost of an all-reduce ---------------------------------------------------------------------


@dataclass(frozen=True)
class Cost:
    """What a step of the ring costs: T(n) = 2 (N - 1) (latency + n / (N bandwidth)).

    Attributes:
        latency: seconds before anything moves. On a CPU much of it is Horovod's pause between two
            rounds. An all-reduce waits for one pause; here it is shared among the steps.
        bandwidth: bytes a second from one rank to the next.
    """

    latency: float
    bandwidth: float

    def seconds(self, size: int, tensor: float) -> float:
        """Of an all-reduce of `tensor` bytes over `size` ranks."""
        return 2 * (size - 1) * (self.latency + tensor / (size * self.bandwidth))


def time_all_reduce(ranks: Ranks) -> dict[int, float]:
    """Seconds of an all-reduce for each tensor size in bytes.

    The least of several times, as whatever else runs can only add to it; taken in turns, so that
    a busy moment does not meet one size alone.
    """
    tensors = {size: tf.ones(size // _FLOAT) for size in TIMED_BYTES}
    rounds = [
        {size: _seconds(ranks, tensor) for size, tensor in tensors.items()} for _ in range(TIMINGS)
    ]
    return {size: min(times[size] for times in rounds) for size in tensors}


def _seconds(ranks: Ranks, tensor: tf.Tensor) -> float:
    """Of one all-reduce, after another one that lets all ranks start it together."""
    ranks.total(tensor)
    start = time.perf_counter()
    ranks.total(tensor)
    return time.perf_counter() - start


def fit_cost(size: int, seconds: dict[int, float]) -> Cost:
    """The latency and bandwidth that fit measured all-reduces of `size` ranks best.

    Least squares of relative errors, so that small tensors count as much as large ones; neither
    may be negative.
    """
    tensors, measured = np.array(list(seconds)), np.array(list(seconds.values()))
    design = 2 * (size - 1) * np.stack([np.ones(len(tensors)), tensors / size], axis=1)
    (latency, inverse), _ = nnls(design / measured[:, np.newaxis], np.ones(len(measured)))
    return Cost(float(latency), 1 / inverse if inverse > 0 else float("inf"))


def speed_up(size: int, step: float, exchange: float) -> float:
    """How many times as many patches a second `size` ranks train on as one does.

    Weak scaling: the batch of each rank stays as it is. N t / (t + T).

    Args:
        size: ranks, N.
        step: seconds of one rank's training step, t.
        exchange: seconds that exchanging gradients adds to it, T.
    """
    return size * step / (step + exchange)


# Published, not measured here ------------------------------------------------------------------


@dataclass(frozen=True)
class Published:
    """Training of the 3D network for brain tumours on A100 GPUs.

    Source: NVIDIA/DeepLearningExamples, TensorFlow2/Segmentation/nnUNet, README of April 2024.

    Attributes:
        batch: patches a GPU.
        one: patches a second on one GPU.
        eight: on eight together.
        weak_scaling: as the table's own column has it.
    """

    batch: int
    one: float
    eight: float
    weak_scaling: float

    @property
    def step(self) -> float:
        """Seconds of a training step on one GPU."""
        return self.batch / self.one

    @property
    def exchange(self) -> float:
        """Seconds that a step takes longer on eight."""
        return PUBLISHED_GPUS * self.batch / self.eight - self.step

    @property
    def scaling(self) -> float:
        """How many times as many patches a second eight give."""
        return self.eight / self.one


PUBLISHED_GPUS = 8
PUBLISHED_BYTES = 31_192_868 * _FLOAT
"""Of that network's gradients in float32."""
PUBLISHED = (  # in mixed precision
    Published(batch=1, one=27.02, eight=186.84, weak_scaling=7.24),
    Published(batch=2, one=29.3, eight=219.34, weak_scaling=7.77),
    Published(batch=4, one=31.87, eight=244.01, weak_scaling=7.76),
)
PUBLISHED_TF32 = (
    Published(batch=1, one=11.63, eight=91.11, weak_scaling=7.83),
    Published(batch=2, one=11.81, eight=92.91, weak_scaling=7.87),
    Published(batch=4, one=12.17, eight=96.52, weak_scaling=7.93),
)


def prediction_error(entries: Sequence[Published], exchange: float) -> float:
    """The largest relative error of eight GPUs' predicted throughput, if T is `exchange`."""
    predicted = [speed_up(PUBLISHED_GPUS, each.step, exchange) * each.one for each in entries]
    return max(abs(guess / each.eight - 1) for guess, each in zip(predicted, entries, strict=True))


def exchange_ratio(entries: Sequence[Published], others: Sequence[Published]) -> float:
    """The largest ratio of what eight GPUs lengthen a step by, entry by entry."""
    return max(a.exchange / b.exchange for a, b in zip(entries, others, strict=True))
