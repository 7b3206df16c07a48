"""Work for the runner's tests: quick, and each with something to tell."""

import time
from collections.abc import Callable


def nap() -> Callable[[], str]:
    return lambda: time.sleep(0.02) or "slept"


def grow() -> Callable[[], object]:
    return lambda: bytearray(b"x" * 64 * 2**20)


def talk() -> Callable[[], None]:
    return lambda: print("not an answer")


def fail() -> Callable[[], object]:
    turns = iter([0])  # the first one, before any is measured, goes well
    return lambda: next(turns)
