"""What a command is, and what several commands share."""

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass

Arguments = argparse.Namespace
Parser = argparse.ArgumentParser

WINDOW_FLAGS = ("--tta", "--overlap", "--blend-mode", "--window-batch-size")
"""Options of the sliding window, for every command that predicts whole cases."""


@dataclass(frozen=True)
class Command:
    """One word after `python -m nnunet_lib`."""

    name: str
    summary: str
    add_options: Callable[[Parser], None]
    run: Callable[[Arguments], None]


def cores() -> int:
    """How many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
