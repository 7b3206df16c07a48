"""The work of the rows on how cost grows: the same at several sizes, by this library alone.

A network that costs nothing stands for the real one, whose cost grows with the number of windows.
"""

import os
import shutil
import statistics
import time
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.speed import inputs
from benchmarks.speed.worker import Reported, Work, resident

STEPS = 4


def volume(edge: str) -> Work:
    """A cube predicted from a scan in memory to labels, 3 classes."""
    return _prediction(int(edge), inputs.CLASSES)


def classes(number: str) -> Work:
    """A cube of 128 predicted with that many classes."""
    return _prediction(128, int(number))


def _prediction(edge: int, number: int) -> Work:
    """Cubic resampling to 1.25 times the spacing, windows, logits back, the largest wins."""
    from benchmarks.speed.ours import HALF, plan_of
    from nnunet_lib.datasets import Volume
    from nnunet_lib.inference import predict_volume

    plan = plan_of(number, target_spacing=1.25)
    scan = Volume(inputs.noise(edge, edge, edge, 1), np.eye(4), (1.0, 1.0, 1.0))
    zeros = np.zeros((1, *inputs.PATCH, number), np.float32)
    return lambda: predict_volume(lambda patches: zeros, scan, plan, HALF).labels.shape


def cases(number: str) -> Work:
    """That many phantom cases preprocessed by one process, from NIfTI to .npy."""
    from benchmarks.speed.ours import plan_of
    from nnunet_lib.datasets import make_phantom
    from nnunet_lib.preprocessing import preprocess

    folder = Path("build/benchmarks/cases") / number
    shutil.rmtree(folder, ignore_errors=True)
    dataset = make_phantom(folder / "phantom", cases=int(number))
    plan = plan_of(len(dataset.labels), target_spacing=1.0)

    def work() -> None:
        preprocess(dataset, plan, folder / "results")
        shutil.rmtree(folder / "results")

    return work


def ranks(number: str) -> Work:
    """Training steps of that many Horovod ranks with one thread and one batch each."""
    return _steps(int(number), inputs.BATCH)


def apart(number: str) -> Work:
    """The same steps by that many processes that train on their own, all at once."""
    return _steps(int(number), inputs.BATCH, together=False)


def ranks_planned(number: str) -> Work:
    """As `ranks`, at the batch that nnU-Net plans."""
    return _steps(int(number), inputs.PLANNED_BATCH)


def apart_planned(number: str) -> Work:
    """As `apart`, at the batch that nnU-Net plans."""
    return _steps(int(number), inputs.PLANNED_BATCH, together=False)


def _steps(processes: int, batch: int, *, together: bool = True) -> Work:
    from nnunet_lib.distributed import launch

    single = ("OMP_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    os.environ.update(dict.fromkeys(single, "1"), PYTHONPATH=os.getcwd())
    start = partial(launch, take_steps, together, batch, processes=processes)

    def work() -> Reported:
        answers = start()
        return Reported(max(one[0] for one in answers), max(int(one[1]) for one in answers))

    return work


def take_steps(together: bool, batch: int) -> tuple[float, int]:
    """What a rank does: seconds of a step, and its memory at its largest."""
    from nnunet_lib.distributed import ALONE, join

    group = join()  # before TensorFlow does any work
    from benchmarks.speed.ours import training_step

    step = training_step(group if together else ALONE, batch)
    step()
    seconds = []
    for _ in range(STEPS):
        group.wait()
        began = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds), resident("VmHWM")
