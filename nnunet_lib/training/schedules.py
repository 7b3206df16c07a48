"""Learning-rate schedules as functions of how much of training has passed.

Taught in lesson 06. Progress runs from 0 at the first step to 1 at the end, whether the end is
a number of steps or a time limit, so that the rate reaches its end when training does.
"""

import math
from dataclasses import dataclass
from typing import Literal

from nnunet_lib.errors import require_choice

Scheduler = Literal["poly", "cosine", "cosine_restarts", "constant"]

POLY_POWER = 0.9
RESTARTS = 3


def learning_rate_factor(scheduler: Scheduler, progress: float, restarts: int = RESTARTS) -> float:
    """What the base learning rate is multiplied with at `progress` in [0, 1].

    poly: (1 - t)^0.9, nnU-Net's; cosine: (1 + cos πt) / 2; constant: 1; cosine_restarts: the
    cosine again after each of the restarts, in cycles of equal length, so that training ends at
    the bottom of one (SGDR, Loshchilov and Hutter, arXiv:1608.03983).

    Raises:
        InputError: if there is no such scheduler.
    """
    require_choice("scheduler", scheduler, Scheduler)
    progress = min(max(progress, 0.0), 1.0)
    if scheduler == "poly":
        return (1.0 - progress) ** POLY_POWER
    if scheduler == "cosine":
        return _cosine(progress)
    if scheduler == "cosine_restarts":
        return _cosine(_part_of_cycle(progress, restarts + 1))
    return 1.0


def rank_factor(size: int, progress: float, warmup: float) -> float:
    """What `size` ranks multiply the learning rate with at `progress` in [0, 1].

    `size` ranks make the batch `size` times as large, and the rate follows it (linear scaling
    rule). It starts at 1 and grows linearly until the share `warmup` of training has passed, since
    a large rate harms a network that has just been initialised. Goyal et al., arXiv:1706.02677,
    sections 2.1 and 2.2, who found the rule with SGD.
    """
    if progress >= warmup:
        return float(size)
    return 1.0 + (size - 1) * max(progress, 0.0) / warmup


def _cosine(progress: float) -> float:
    """From 1 down to 0 along half a period."""
    return (1.0 + math.cos(math.pi * progress)) / 2


def _part_of_cycle(progress: float, cycles: int) -> float:
    """How much of the current cycle has passed; at the end, all of the last one."""
    return 1.0 if progress == 1.0 else progress * cycles % 1.0


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
