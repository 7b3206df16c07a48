"""Find every fault of a dataset before any work starts. Taught in lesson 01."""

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from tqdm.auto import tqdm

from nnunet_lib.datasets.dataset import (
    Case,
    Dataset,
    ends_like_a_channel,
    find_images,
    unlike_a_channel,
)
from nnunet_lib.datasets.findings import Finding, FindingError
from nnunet_lib.datasets.nifti import (
    Header,
    file_ending,
    grid_difference,
    read_header,
    read_label,
    read_volume,
    stem,
)
from nnunet_lib.errors import InputError
from nnunet_lib.parallel import require_workers


def validate(dataset: Dataset, workers: int = 1, progress: bool = False) -> list[Finding]:
    """Read every file once and report all faults, in the order of the cases.

    Checked are: missing and unreadable files; names that `predict` would misread; impossible
    headers; the number of channels; one grid for all channels and the label (see
    `nifti.grid_difference` for the tolerance); finite voxels; label values that are whole numbers
    and listed. Headers are checked before voxels are read, so that a file that claims more than
    it holds takes no memory. `workers` cases are in memory at a time.
    """
    require_workers(workers)
    if not dataset.training:
        problem = "lists no training case"
        return [Finding(dataset.root / "dataset.json", problem, "Add images with labels")]
    cases = (*dataset.training, *dataset.test)
    with ThreadPoolExecutor(workers) as pool:
        results = pool.map(lambda case: list(_case_findings(case, dataset)), cases)
        shown = tqdm(results, "validate", len(cases), unit="case", disable=not progress)
        return [finding for findings in shown for finding in findings]


def require_valid(dataset: Dataset, workers: int = 1, progress: bool = False) -> None:
    """Raise an `InputError` that holds every finding of `validate`, if there is any."""
    findings = validate(dataset, workers, progress)
    if findings:
        count = "1 problem" if len(findings) == 1 else f"{len(findings)} problems"
        lines = "\n".join(f"  - {finding}" for finding in findings)
        raise InputError(f"Dataset {dataset.name} has {count}:\n{lines}")


def _case_findings(case: Case, dataset: Dataset) -> Iterator[Finding]:
    """Everything that is wrong with one case; voxels are read only where the header is sound."""
    headers, unreadable = read_headers((*case.images, *([case.label] if case.label else [])))
    yield from unreadable
    yield from _name_findings(case, len(dataset.channels))
    yield from _channel_findings(case, headers, len(dataset.channels))
    yield from grid_findings(headers, case.label)
    for path in headers:
        yield from _voxel_findings(path, path == case.label, dataset.labels)


def read_headers(files: Iterable[Path]) -> tuple[dict[Path, Header], list[Finding]]:
    """The headers of the files that can be read, in order, and what is wrong with the others."""
    headers, unreadable = {}, []
    for path in files:
        try:
            headers[path] = read_header(path)
        except FindingError as error:
            unreadable.append(error.finding)
    return headers, unreadable


def _name_findings(case: Case, number_of_channels: int) -> Iterator[Finding]:
    """A listed image that `predict`, which reads no list, would take for a channel of another."""
    image, *others = case.images
    if others or not ends_like_a_channel(case.identifier) or not image.is_file():
        return
    try:
        (found,) = find_images(image, number_of_channels)
    except FindingError as error:
        yield error.finding
        return
    if found.identifier != case.identifier:
        problem = f"is named as a channel of {found.identifier}, which predict would take it for"
        remedy = f"Name it {unlike_a_channel(image, number_of_channels)}"
        if case.label is not None and stem(case.label) == found.identifier:
            remedy = f"List it in dataset.json as {found.identifier}{file_ending(image)}"
        yield Finding(image, problem, remedy)


def _channel_findings(case: Case, headers: dict[Path, Header], expected: int) -> Iterator[Finding]:
    """The channels of all files of a case together are as many as dataset.json names."""
    if all(path in headers for path in case.images):
        found = sum(headers[path].channels for path in case.images)
        if found != expected:
            problem = f"has {found} channels, but dataset.json names {expected}"
            yield Finding(case.images[0], problem, "Correct the file or the list of channels")


def grid_findings(headers: Mapping[Path, Header], label: Path | None) -> Iterator[Finding]:
    """All files of a case are on the grid of its first readable one."""
    for path, header in headers.items():
        first = next(iter(headers))
        difference = grid_difference(header, headers[first])
        if difference:
            remedy = "Resample the files of a case to one grid"
            if path == label:
                remedy = "Draw or resample the label on its image's grid"
            yield Finding(path, f"is not on the grid of {first.name}: {difference}", remedy)


def _voxel_findings(path: Path, is_label: bool, labels: tuple[str, ...]) -> Iterator[Finding]:
    """Faults inside one file's voxels."""
    try:
        if is_label:
            yield from _unlisted(path, labels)
        else:
            yield from _not_finite(path)
    except FindingError as error:
        yield error.finding


def _not_finite(path: Path) -> Iterator[Finding]:
    array = read_volume([path]).array  # (z, y, x, c)
    count = array.size - np.count_nonzero(np.isfinite(array))
    if count:
        problem = f"has voxels that are NaN or infinite: {count}"
        yield Finding(path, problem, "Replace these voxels, for instance by the background's value")


def _unlisted(path: Path, labels: tuple[str, ...]) -> Iterator[Finding]:
    array = read_label(path).array  # (z, y, x)
    values = np.unique(array[array >= len(labels)])
    if values.size:
        listed = ", ".join(str(value) for value in values)
        problem = f"holds label values that dataset.json does not list: {listed}"
        yield Finding(path, problem, f"Use 0 to {len(labels) - 1}, or list the others")
