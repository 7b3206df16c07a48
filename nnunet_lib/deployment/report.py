"""What a benchmark came to: one row a process, their sum, and NVIDIA's figures beside them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnunet_lib.datasets.nifti import times
from nnunet_lib.deployment.published import SOURCE, Published
from nnunet_lib.files import write_json


@dataclass(frozen=True)
class Latency:
    """Milliseconds that a step took: the mean, and what 90, 95 and 99 steps in 100 stayed below."""

    mean: float
    percentile_90: float
    percentile_95: float
    percentile_99: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Latency":
        """The summary of single steps."""
        milliseconds = 1000 * np.asarray(seconds)
        percentiles = np.percentile(milliseconds, (90, 95, 99))
        return cls(float(milliseconds.mean()), *(float(value) for value in percentiles))


@dataclass(frozen=True)
class Result:
    """What one process measured, or all of them together.

    Attributes:
        items_per_second: volumes in 3D, images in 2D; together: the sum over processes.
        latency: of a step; together: over the steps of all processes.
        memory: MiB, the most that was resident since the process began; together: the sum.
        gpu_memory: MiB, the most that TensorFlow held on the GPU; None on a CPU.
    """

    items_per_second: float
    latency: Latency
    memory: float
    gpu_memory: float | None


@dataclass(frozen=True)
class Sample:
    """What one process tells the others: seconds of each step, and its peaks of memory in MiB."""

    seconds: tuple[float, ...]
    memory: float
    gpu_memory: float | None

    def result(self, batch_size: int) -> Result:
        """Its own result."""
        rate = batch_size * len(self.seconds) / sum(self.seconds)
        return Result(rate, Latency.of(self.seconds), self.memory, self.gpu_memory)


@dataclass(frozen=True)
class Configuration:
    """What was measured, and on what."""

    mode: str
    dimensions: int
    patch_size: tuple[int, ...]
    batch_size: int
    channels: int
    classes: int
    filters: tuple[int, ...]
    precision: str
    tf32: bool
    xla: bool
    loader: str
    steps: int
    warmup_steps: int
    processes: int
    device: str
    tensorflow: str

    @property
    def unit(self) -> str:
        """What is counted, a second."""
        return "volumes/s" if self.dimensions == 3 else "images/s"

    def describe(self) -> str:
        """Two lines for people."""
        compiled = ", XLA" if self.xla else ""
        network = "" if self.mode == "loader" else f", {self.filters[0]} filters"
        return (
            f"{self.mode}, {self.dimensions}D: batch {self.batch_size} of {times(self.patch_size)} "
            f"x {self.channels}{network}, {self.precision}{compiled}, loader {self.loader}\n"
            f"{self.steps} steps after {self.warmup_steps} of warm-up, processes: "
            f"{self.processes}, on {self.device}, TensorFlow {self.tensorflow}"
        )


@dataclass(frozen=True)
class BenchmarkReport:
    """The whole of it; `describe` tells it to people, `save` to programs."""

    configuration: Configuration
    samples: tuple[Sample, ...]
    published: tuple[Published, ...] = ()

    @property
    def ranks(self) -> tuple[Result, ...]:
        """One result a process, in the order of the ranks."""
        return tuple(sample.result(self.configuration.batch_size) for sample in self.samples)

    @property
    def total(self) -> Result:
        """All processes together."""
        on_gpu = [item.gpu_memory for item in self.samples if item.gpu_memory is not None]
        return Result(
            items_per_second=sum(result.items_per_second for result in self.ranks),
            latency=Latency.of([time for sample in self.samples for time in sample.seconds]),
            memory=sum(sample.memory for sample in self.samples),
            gpu_memory=sum(on_gpu) if on_gpu else None,
        )

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; times in milliseconds, memory in MiB."""
        return {
            "configuration": asdict(self.configuration),
            "unit": self.configuration.unit,
            "ranks": [asdict(result) for result in self.ranks],
            "total": asdict(self.total),
            "published_by_nvidia": {
                "source": SOURCE,
                "figures": [asdict(figure) for figure in self.published],
            },
        }

    def save(self, path: Path) -> None:
        """Write `to_json` as a file."""
        write_json(path, self.to_json())

    def describe(self) -> str:
        """The configuration and the table."""
        heads = ("", self.configuration.unit, "mean ms", "90%", "95%", "99%", "MiB", "GPU MiB")
        ranks = [_row(f"rank {number}", result) for number, result in enumerate(self.ranks)]
        together = [_row("together", self.total)] if len(ranks) > 1 else []
        theirs = [_published_row(figure) for figure in self.published]
        lines = _aligned([heads, *ranks, *together, *theirs])
        note = f"* published by NVIDIA, not measured here: {SOURCE}"
        if not theirs:
            note = "NVIDIA published no figure for this configuration."
        return "\n".join([self.configuration.describe(), "", *lines, "", note])


def _row(name: str, result: Result) -> tuple[str, ...]:
    latency = result.latency
    times_ = (latency.mean, latency.percentile_90, latency.percentile_95, latency.percentile_99)
    gpu = "" if result.gpu_memory is None else f"{result.gpu_memory:.0f}"
    rate = f"{result.items_per_second:.2f}"
    return (name, rate, *(f"{time:.1f}" for time in times_), f"{result.memory:.0f}", gpu)


def _published_row(figure: Published) -> tuple[str, ...]:
    name = f"* {figure.gpus} x {figure.gpu}, {figure.precision}"
    mean = "" if figure.latency is None else f"{figure.latency:.1f}"
    return (name, f"{figure.items_per_second:.2f}", mean, "", "", "", "", "")


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """The first column to the left, numbers to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
