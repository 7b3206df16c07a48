"""What several lessons measure and start in the same way."""

import os
import subprocess
import sys
from collections.abc import Sequence

import numpy as np


def relative_difference(found: np.ndarray, expected: np.ndarray) -> float:
    """|found - expected| / |expected|, as lengths of vectors, in float64."""
    exact = expected.astype(np.float64)
    return float(np.linalg.norm(found.astype(np.float64) - exact) / np.linalg.norm(exact))


def run_python(
    program: str, arguments: Sequence[str] = (), *, expected: int = 0, **variables: str
) -> None:
    """Run a program in a new Python on the processor, with this one's modules at hand.

    Args:
        program: source code.
        arguments: what it finds in `sys.argv`.
        expected: the code that it has to end with.
        variables: of its environment, besides this one's.

    Raises:
        RuntimeError: if it ends otherwise, with what it said.
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)} | variables
    environment["CUDA_VISIBLE_DEVICES"] = "-1"  # this process may hold all of a GPU's memory
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != expected:
        raise RuntimeError(f"answered {done.returncode} and not {expected}: {done.stderr}")
