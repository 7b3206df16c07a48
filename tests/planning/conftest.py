"""Fingerprints made up for the planner."""

from collections.abc import Callable

import pytest

from nnunet_lib.planning import Fingerprint, IntensityStatistics


@pytest.fixture
def make_fingerprint() -> Callable[..., Fingerprint]:
    """A fingerprint of equal cases, or of those given."""

    def make(
        shape: tuple[int, ...] = (36, 50, 35),
        spacing: tuple[float, ...] = (1.0, 1.0, 1.0),
        cases: int = 20,
        labels: int = 3,
        channels: tuple[str, ...] = ("MRI",),
        median_relative_size: float = 1.0,
        spacings: tuple[tuple[float, ...], ...] | None = None,
    ) -> Fingerprint:
        spacings = spacings or (spacing,) * cases
        statistics = IntensityStatistics(99.3, 100.0, 39.5, -1000.0, 900.0, -41.0, 176.0)
        return Fingerprint(
            dataset="Made up",
            channels=channels,
            labels=tuple(f"label {value}" for value in range(labels)),
            spacings=spacings,
            shapes=(shape,) * len(spacings),
            median_relative_size=median_relative_size,
            intensities=(statistics,) * len(channels),
        )

    return make
