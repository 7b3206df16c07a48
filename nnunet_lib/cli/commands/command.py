"""What a command is, and what several commands share."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

Arguments = argparse.Namespace
Parser = argparse.ArgumentParser

WINDOW_FLAGS = ("--tta", "--overlap", "--blend-mode", "--window-batch-size")
"""Options of the sliding window, for every command that predicts whole cases."""
COMPUTE_FLAGS = ("--amp", "--tf32", "--xla")
"""Options of how the network computes, for every command that runs one."""


@dataclass(frozen=True)
class Command:
    """One word after `python -m nnunet_lib`; `run` may return an exit code."""

    name: str
    summary: str
    add_options: Callable[[Parser], None]
    run: Callable[[Arguments], int | None]
