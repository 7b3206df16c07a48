"""Work for the runner's tests: quick, and each with something to tell."""

import os
import time
from collections.abc import Callable
from functools import cache
from itertools import count

import numpy as np

from benchmarks.speed.worker import Reported


def nap() -> Callable[[], str]:
    times = count(1)
    return lambda: time.sleep(0.02) or f"slept for the {next(times)}th time"


def grow() -> Callable[[], object]:
    return lambda: np.ones(2**23)  # 64 MiB


def keep() -> Callable[[], object]:
    return cache(grow())


def report(seconds: str, size: str) -> Callable[[], Reported]:
    return lambda: Reported(float(seconds), int(size) + int(os.environ["TOY"]))


def talk() -> Callable[[], None]:
    return lambda: os.write(1, b"not an answer") and print("nor this")


def fail() -> Callable[[], object]:
    turns = iter([0])  # the first one, before any is measured, goes well
    return lambda: next(turns)
