"""How fast this machine trains, predicts and loads, with the library's own functions.

Lesson 09 says when to use it. A step's time runs from one batch to the next: it includes waiting
for the batch, and in training also for the other processes.
"""

import math
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import tensorflow as tf
from tqdm.auto import tqdm

from nnunet_lib import distributed
from nnunet_lib.deployment.published import find_published
from nnunet_lib.deployment.report import BenchmarkReport, Configuration, Sample
from nnunet_lib.deployment.settings import BenchmarkSettings
from nnunet_lib.deployment.synthetic import synthetic_plan, write_cases
from nnunet_lib.distributed import Ranks
from nnunet_lib.errors import InputError
from nnunet_lib.loading import CaseFiles, LoaderSettings, benchmark_batches, training_batches
from nnunet_lib.model import as_network, build_unet, prepare
from nnunet_lib.model.compute import is_cpu
from nnunet_lib.parallel import cores
from nnunet_lib.planning import Plan
from nnunet_lib.preprocessing import PreprocessedDataset
from nnunet_lib.training import TrainingSettings, make_optimiser
from nnunet_lib.training.precision import with_loss_scaling
from nnunet_lib.training.step import make_step

Work = Callable[[], object]
"""One step, from asking for a batch to having its result."""

MEBIBYTE = 2**20


def run_benchmark(
    settings: BenchmarkSettings | None = None, data: Path | None = None
) -> BenchmarkReport:
    """Measure; under `horovodrun` on all processes at the same time.

    Args:
        settings: what to measure.
        data: preprocessed cases, whose plan decides patch, channels and network. Without, cases
            are made up in a temporary folder.

    Returns:
        The same report on every rank.

    Raises:
        InputError: if there is no such data, the settings contradict its plan, or this machine
            cannot compute in that precision.
    """
    settings = settings or BenchmarkSettings()
    ranks = distributed.join()
    notes = prepare(settings.compute)
    for note in notes if ranks.is_first else ():
        tqdm.write(note, file=sys.stderr)
    with _cases(settings, data, ranks) as (plan, cases):
        work = _work(plan, cases, settings, ranks)
        seconds = time_steps(work, settings.warmup_steps, settings.steps, ready=ranks.wait)
    sample = Sample(tuple(seconds), peak_memory(), peak_gpu_memory())
    samples = tuple(Sample(**item) for item in ranks.gather(asdict(sample)))
    published = find_published(settings.mode, plan, settings.compute, ranks.size)
    return BenchmarkReport(_configuration(settings, plan, ranks), samples, published)


def time_steps(
    work: Work,
    warmup_steps: int,
    steps: int,
    ready: Work = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> list[float]:
    """Seconds of each step after the warm-up; between the two, `ready` is called."""
    for _ in range(warmup_steps):
        work()
    ready()
    ends = [clock()]
    for _ in range(steps):
        work()
        ends.append(clock())
    return [end - start for start, end in pairwise(ends)]


def peak_memory() -> float:
    """MiB, the most that this process has had resident since it began."""
    if sys.platform == "win32":
        import psutil

        return psutil.Process().memory_info().peak_wset / MEBIBYTE
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / MEBIBYTE if sys.platform == "darwin" else peak / 1024  # bytes, or KiB


def peak_gpu_memory() -> float | None:
    """MiB, the most that TensorFlow has held on this process's first GPU; None without one."""
    if is_cpu():
        return None
    return tf.config.experimental.get_memory_info("GPU:0")["peak"] / MEBIBYTE


@contextmanager
def _cases(
    settings: BenchmarkSettings, data: Path | None, ranks: Ranks
) -> Iterator[tuple[Plan, list[CaseFiles]]]:
    """The plan, and cases that follow it; each rank makes up its own."""
    if data is not None:
        yield _given_cases(settings, data)
        return
    plan = synthetic_plan(settings)
    with TemporaryDirectory() as folder:
        yield plan, write_cases(Path(folder), plan, number=2 * ranks.size)


def _given_cases(settings: BenchmarkSettings, data: Path) -> tuple[Plan, list[CaseFiles]]:
    decided = ("patch_size", "base_filters", "channels")
    given = [name.replace("_", " ") for name in decided if getattr(settings, name) is not None]
    if given:
        raise InputError(f"{data}: its plan decides {', '.join(given)}. Leave that out.")
    found = PreprocessedDataset.open(data, settings.dimensions)
    batch_size = settings.batch_size or found.plan.batch_size
    names = found.identifiers
    cases = [CaseFiles(found.image_path(name), found.label_path(name)) for name in names]
    return replace(found.plan, batch_size=batch_size), cases


def _work(
    plan: Plan, cases: Sequence[CaseFiles], settings: BenchmarkSettings, ranks: Ranks
) -> Work:
    """One step of the mode that is asked for."""
    training = TrainingSettings(loader=settings.loader, compute=settings.compute)
    loader = LoaderSettings(
        batch_size=plan.batch_size,
        patch_size=plan.patch_size,
        dimensions=plan.dimensions,
        number_of_volumes=math.gcd(plan.batch_size, training.number_of_volumes),
        augmentation=training.augmentation,
    )
    if settings.mode == "loader":
        shard = (ranks.rank, ranks.size)
        return _loading(iter(training_batches(cases, loader, 0, *shard, settings.loader)))
    batches = iter(benchmark_batches(cases, loader, settings.loader))
    if settings.mode == "predict":
        return _predicting(plan, batches, settings)
    return _training(plan, batches, training, ranks)


def _training(plan: Plan, batches: Iterator[Any], settings: TrainingSettings, ranks: Ranks) -> Work:
    model = build_unet(plan, settings.deep_supervision, settings.compute.precision)
    optimiser = with_loss_scaling(make_optimiser(settings), settings.compute)
    step = make_step(model, optimiser, plan, settings, ranks)
    ranks.broadcast(model.variables)
    return lambda: float(step(*next(batches)))


def _predicting(plan: Plan, batches: Iterator[Any], settings: BenchmarkSettings) -> Work:
    """Patches through the network; windows, flips and resampling are not in it."""
    model = build_unet(plan, deep_supervision=False, precision=settings.compute.precision)
    network = as_network(model, settings.compute.xla, plan.batch_size)
    return lambda: network(next(batches)[0])


def _loading(batches: Iterator[Any]) -> Work:
    def draw() -> None:
        next(batches)
        tf.test.experimental.sync_devices()  # a batch on a GPU may still be on its way

    return draw


def _configuration(settings: BenchmarkSettings, plan: Plan, ranks: Ranks) -> Configuration:
    return Configuration(
        mode=settings.mode,
        dimensions=plan.dimensions,
        patch_size=plan.patch_size,
        batch_size=plan.batch_size,
        channels=len(plan.channels),
        classes=len(plan.labels),
        filters=plan.filters,
        precision=settings.compute.precision,
        tf32=settings.compute.tf32,
        xla=settings.compute.xla,
        loader=settings.loader,
        steps=settings.steps,
        warmup_steps=settings.warmup_steps,
        processes=ranks.size,
        device=_device(),
        tensorflow=tf.__version__,
    )


def _device() -> str:
    """This process's GPU, or its processor's cores."""
    gpus = tf.config.get_visible_devices("GPU")
    if not gpus:
        return f"CPU ({cores()} cores)"
    return tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU")
