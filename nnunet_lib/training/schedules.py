"""Learning-rate schedules as functions of how much of training has passed.

Taught in lesson 06. Progress runs from 0 at the first step to 1 at the end, whether the end is
a number of steps or a time limit, so that the rate reaches its end when training does.
"""

import math
from dataclasses import dataclass
from typing import Literal

Scheduler = Literal["poly", "cosine", "constant"]

POLY_POWER = 0.9


def learning_rate_factor(scheduler: Scheduler, progress: float) -> float:
    """What the base learning rate is multiplied with at `progress` in [0, 1].

    poly: (1 - t)^0.9, nnU-Net's; cosine: (1 + cos πt) / 2; constant: 1.
    """
    progress = min(max(progress, 0.0), 1.0)
    if scheduler == "poly":
        return (1.0 - progress) ** POLY_POWER
    if scheduler == "cosine":
        return (1.0 + math.cos(math.pi * progress)) / 2
    return 1.0


@dataclass(frozen=True)
class Budget:
    """How long training lasts: a number of steps, or seconds, whichever ends first.

    At least one of the two is given.
    """

    steps: int | None
    seconds: float | None

    def progress(self, step: int, elapsed: float) -> float:
        """The share used up after `step` steps and `elapsed` seconds, at most 1."""
        by_steps = step / self.steps if self.steps else 0.0
        by_time = elapsed / self.seconds if self.seconds else 0.0
        return min(max(by_steps, by_time), 1.0)
