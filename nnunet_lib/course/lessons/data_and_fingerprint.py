"""What lesson 01 shows and claims about scans, datasets and the fingerprint, as numbers.

Files are turned, damaged and counted here with nibabel and NumPy. The library is asked only for
what a claim is about: what it reads, resamples, finds, or notes in a fingerprint.
"""

import gzip
import itertools
import json
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from nnunet_lib.datasets import (
    Case,
    Dataset,
    Volume,
    make_phantom,
    orientation_of,
    phantom,
    read_label,
    read_volume,
    validate,
    write_label,
)
from nnunet_lib.errors import InputError
from nnunet_lib.planning import Fingerprint, compute_fingerprint
from nnunet_lib.planning.fingerprint import VOXELS_PER_CASE
from nnunet_lib.preprocessing import resample_labels, resampled_shape

_nibabel: Any = nib  # its functions have no types
_open_image: Callable[[Path], Any] = _nibabel.Nifti1Image.from_filename

BLOCK_EDGE = 24  # voxels an axis of the part of a scan that is turned in all 48 ways
# How the spacing (z, y, x) is multiplied to try resampling: finer, coarser, and thick slices.
FACTORS = ((0.5, 0.5, 0.5), (1.7, 1.3, 1.1), (4.0, 1.0, 1.0))

# Where voxels lie ----------------------------------------------------------------------------


def header_rows(path: Path) -> list[tuple[str, str]]:
    """The fields of a NIfTI header that matter here, as the file holds them: (field, value)."""
    header = _open_image(path).header
    dimensions = int(header["dim"][0])
    return [
        ("dim: sizes i, j, k", " × ".join(str(size) for size in header["dim"][1 : 1 + dimensions])),
        ("pixdim: spacing", " × ".join(f"{size:.3g}" for size in header["pixdim"][1:4])),
        ("xyzt_units: unit", str(header.get_xyzt_units()[0])),
        ("datatype: of a voxel", str(header.get_data_dtype())),
        *zip(
            ("affine, first row", "second row", "third row"),
            (
                np.array2string(row, precision=2, suppress_small=True)
                for row in header.get_best_affine()[:3]
            ),
            strict=True,
        ),
    ]


def turned(path: Path, folder: Path, codes: str) -> Path:
    """Store a scan again with its axes growing towards `codes`, such as "LPS"; nothing moves."""
    image = _open_image(path)
    start, end = (
        _nibabel.orientations.axcodes2ornt(c) for c in (orientation_of(image.affine), codes)
    )
    target = folder / f"{codes}.nii.gz"
    image.as_reoriented(_nibabel.orientations.ornt_transform(start, end)).to_filename(target)
    return target


def index_of(volume: Volume, point: np.ndarray) -> tuple[int, int, int]:
    """The voxel (z, y, x) whose centre is nearest to a point in millimetres."""
    ijk = np.linalg.inv(volume.affine) @ [*point, 1.0]
    i, j, k = (int(value) for value in np.rint(ijk[:3]))
    return k, j, i


def place_of(affine: np.ndarray, index: Sequence[int]) -> np.ndarray:
    """The millimetres (x, y, z) of the voxel (z, y, x): the affine times (i, j, k, 1)."""
    k, j, i = index
    place: np.ndarray = (affine @ [i, j, k, 1])[:3]
    return place


def moved_by_reorienting(path: Path, folder: Path) -> float:
    """The furthest that a voxel moves, in mm, when a scan is stored in each of the 48 ways.

    A block of the scan gets a number in each voxel. nibabel stores it in every orientation, the
    library reads it, and each number has to be where nibabel had it in the scan itself.
    """
    block = _numbered_block(path)
    indices = np.indices(block.shape).reshape(3, -1)  # (3, voxel), numbered in this order
    points = (block.affine[:3, :3] @ indices).T + block.affine[:3, 3]  # (voxel, 3) mm
    worst = 0.0
    for volume in _all_orientations(block, folder):
        distances = np.linalg.norm(_places_by_number(volume) - points, axis=1)  # (voxel,)
        worst = max(worst, float(distances.max()))
    return worst


def spacing_error(path: Path, folder: Path) -> float:
    """How far the library's spacing is from the distance of neighbours in mm, in the 48 ways."""
    worst = 0.0
    for volume in _all_orientations(_numbered_block(path), folder):
        steps = np.linalg.norm(volume.affine[:3, :3], axis=0)[::-1]  # (z, y, x)
        worst = max(worst, float(np.abs(steps - volume.spacing).max()))
    return worst


def _numbered_block(path: Path) -> Any:
    """The corner of a scan, with the voxels' own numbers 0, 1, 2, ... in place of intensities."""
    image = _open_image(path)
    shape = tuple(min(size, BLOCK_EDGE) for size in image.shape[:3])
    return _nibabel.Nifti1Image(
        np.arange(math.prod(shape), dtype=np.int32).reshape(shape), image.affine
    )


def _all_orientations(block: Any, folder: Path) -> Iterator[Volume]:
    """The block as the library reads it from each of 48 files: 6 orders of axes, 8 of signs."""
    path = folder / "turned.nii"
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            block.as_reoriented(np.array([*zip(order, signs, strict=True)])).to_filename(path)
            yield read_volume([path])


def _places_by_number(volume: Volume) -> np.ndarray:
    """Where the voxels with the numbers 0, 1, 2, ... lie: (voxel, 3) mm."""
    k, j, i = np.indices(volume.array.shape[:3]).reshape(3, -1)
    points = (volume.affine[:3, :3] @ [i, j, k]).T + volume.affine[:3, 3]
    order = np.argsort(volume.array[..., 0].ravel())
    places: np.ndarray = points[order]
    return places


# Millilitres and voxels ----------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """One structure of the same head in one scanner's file."""

    scanner: str
    structure: str
    spacing: tuple[float, float, float]  # mm (z, y, x)
    voxels: int
    millilitres: float
    true_millilitres: float

    def row(self) -> tuple[object, ...]:
        """A table's row, in the order of the attributes."""
        spacing = " × ".join(f"{step:g}" for step in self.spacing)
        size = (self.voxels, self.millilitres, self.true_millilitres)
        return (self.scanner, self.structure, spacing, *size)


def one_head_two_scanners(folder: Path, seed: int = 0) -> list[Measured]:
    """A phantom's head on two grids, read back from files: one of cubes, one of thick slices.

    The head's formulas give its true volumes. `phantom` lays out the grids.
    """
    anatomy = phantom.draw_anatomy(np.random.default_rng(seed))
    truths = [volume / 1000 for volume in phantom.structure_volumes(anatomy)]
    rows = []
    for scanner, spacing in (("A", (0.7, 0.7, 0.7)), ("B", (2.0, 1.0, 1.0))):
        scan = _scan_around(anatomy.centre, spacing)
        path = folder / f"scanner_{scanner}.nii.gz"
        label = phantom.draw_label(anatomy, phantom.head_coordinates(anatomy, scan))
        write_label(path, label, scan.affine)
        rows += [
            Measured(scanner, name, spacing, *_size(path, value), truths[value - 1])
            for value, name in enumerate(phantom.LABELS)
            if value > 0
        ]
    return rows


def _scan_around(centre: np.ndarray, spacing: Sequence[float]) -> phantom.Scan:
    """A grid of 64 mm an axis around a head, along the scanner's axes."""
    shape = tuple(math.ceil(64 / step) for step in spacing)  # (z, y, x)
    affine = np.diag([*spacing[::-1], 1.0])
    affine[:3, 3] = centre - affine[:3, :3] @ ((np.array(shape[::-1]) - 1) / 2)
    return phantom.Scan((shape[0], shape[1], shape[2]), affine)


def _size(path: Path, value: int) -> tuple[int, float]:
    """Voxels and millilitres of a label in a file, as the library reads it."""
    label = read_label(path)
    voxels = int((label.array == value).sum())
    return voxels, voxels * math.prod(label.spacing) / 1000


def count_ratio_error(rows: Sequence[Measured]) -> float:
    """How far the ratio of raw counts is from the inverse ratio of voxel volumes, relative.

    The worst structure of `one_head_two_scanners`.
    """
    half = len(rows) // 2
    worst = 0.0
    for one, other in zip(rows[:half], rows[half:], strict=True):
        counted = one.voxels / other.voxels
        expected = math.prod(other.spacing) / math.prod(one.spacing)
        worst = max(worst, abs(counted / expected - 1))
    return worst


def volume_error(rows: Sequence[Measured]) -> float:
    """The largest relative error of a volume in millilitres against the head's formulas."""
    return max(abs(row.millilitres / row.true_millilitres - 1) for row in rows)


def volume_change(label: np.ndarray, spacing: Sequence[float]) -> float:
    """How much resampling changes a structure's ml, in units of what its boundary allows.

    The worst of all structures and all `FACTORS`. A new voxel straddles the boundary if, of the
    old voxels that it touches or is interpolated from, some are in the structure and some are
    not. Every other new voxel is wholly inside or wholly outside, before and after, so that the
    volume changes by at most that of the straddling ones: the result is at most 1.

    Args:
        label: label values (z, y, x).
        spacing: millimetres (z, y, x).
    """
    label = _around_structures(label)
    worst = 0.0
    for factors in FACTORS:
        new_spacing = tuple(s * factor for s, factor in zip(spacing, factors, strict=True))
        shape = resampled_shape(label.shape, spacing, new_spacing)
        resampled = resample_labels(label, shape, spacing, new_spacing)
        voxel = label.size / resampled.size  # in old voxels, because the outer faces stay
        for value in np.unique(label[label > 0]):
            before, after = (int((array == value).sum()) for array in (label, resampled))
            allowed = _straddling(label == value, shape) * voxel
            worst = max(worst, _share(abs(after * voxel - before), allowed))
    return worst


def _share(change: float, allowed: float) -> float:
    """`change / allowed`; where nothing is allowed, any change is too much."""
    if allowed == 0:
        return math.inf if change else 0.0
    return change / allowed


def _around_structures(label: np.ndarray, margin: int = 4) -> np.ndarray:
    """The part of a label map that holds its structures, with a margin where there is one."""
    if not label.any():
        return label
    indices = np.argwhere(label > 0)
    low, high = indices.min(axis=0) - margin, indices.max(axis=0) + margin + 1
    return label[tuple(slice(max(0, a), b) for a, b in zip(low, high, strict=True))]


def _straddling(mask: np.ndarray, shape: Sequence[int]) -> int:
    """New voxels, of `shape`, that some but not all of their old voxels say are in the mask."""
    some, every = mask, mask
    for axis, size in enumerate(shape):
        ranges = _old_voxels(mask.shape[axis], size)
        some = over_ranges(some, ranges, axis, np.any)
        every = over_ranges(every, ranges, axis, np.all)
    return int((some & ~every).sum())


def _old_voxels(size: int, new_size: int) -> list[tuple[int, int]]:
    """For each new voxel of an axis the first and last old one it touches or is made from."""
    step = size / new_size
    ranges = []
    for index in range(new_size):
        centre = (index + 0.5) * step - 0.5  # in old voxels, 0 at the first one's centre
        first = min(math.floor(index * step), math.floor(centre))
        last = max(math.ceil((index + 1) * step) - 1, math.floor(centre) + 1)
        ranges.append((max(0, first), min(size - 1, last)))
    return ranges


def over_ranges(
    mask: np.ndarray, ranges: Sequence[tuple[int, int]], axis: int, reduce: Callable[..., Any]
) -> np.ndarray:
    """The mask's values in each range of an axis made one."""
    parts = (mask.take(range(first, last + 1), axis) for first, last in ranges)
    return np.stack([reduce(part, axis=axis) for part in parts], axis=axis)


# Faults on purpose ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a dataset.

    Attributes:
        name: what, in a few words.
        file: the file at fault, relative to the dataset's folder.
        plant: damages that file.
    """

    name: str
    file: str
    plant: Callable[[Path], None]


def _rewrite(change: Callable[[np.ndarray, np.ndarray], tuple[Any, np.ndarray]]) -> Any:
    """A fault that changes a file's voxels and affine, both as nibabel has them."""

    def plant(path: Path) -> None:
        image = _open_image(path)
        voxels, affine = change(np.asarray(image.dataobj).astype(np.float32), image.affine)
        _nibabel.Nifti1Image(voxels, affine).to_filename(path)

    return plant


def _with_one(value: float) -> Any:
    """A fault that puts `value` into one voxel."""

    def change(voxels: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        voxels[3, 4, 5] = value
        return voxels, affine

    return _rewrite(change)


def _doubled(voxels: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two channels where one is listed."""
    return np.stack([voxels, voxels], axis=-1), affine


def _shortened(voxels: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One slice less."""
    return voxels[..., :-1], affine


def _shifted(voxels: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The label two millimetres beside its image."""
    moved = affine.copy()
    moved[0, 3] += 2
    return voxels, moved


def _mirrored(voxels: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Voxels and affine turned together: right in millimetres, but not on the image's grid."""
    flip = np.diag([-1.0, 1.0, 1.0, 1.0])
    flip[0, 3] = voxels.shape[0] - 1
    return voxels[::-1], affine @ flip


def _cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2000])


def _no_spacing(path: Path) -> None:
    """Zero the first spacing in the header, which nibabel would refuse to write."""
    raw = bytearray(gzip.decompress(path.read_bytes()))
    raw[80:84] = np.float32(0).tobytes()
    path.write_bytes(gzip.compress(raw))


_IMAGE, _LABEL = "imagesTr/phantom_000.nii.gz", "labelsTr/phantom_000.nii.gz"
FAULTS = (
    Fault("the image is missing", _IMAGE, Path.unlink),
    Fault("the label is missing", _LABEL, Path.unlink),
    Fault("the download was cut short", _IMAGE, _cut_short),
    Fault("the header gives a spacing of zero", _IMAGE, _no_spacing),
    Fault("an intensity is not a number (NaN)", _IMAGE, _with_one(math.nan)),
    Fault("a second channel that nobody listed", _IMAGE, _rewrite(_doubled)),
    Fault("the label has a slice less", _LABEL, _rewrite(_shortened)),
    Fault("the label lies 2 mm beside its image", _LABEL, _rewrite(_shifted)),
    Fault("the label is stored in another orientation", _LABEL, _rewrite(_mirrored)),
    Fault("a label value that nobody listed", _LABEL, _with_one(7)),
    Fault("a label value of one half", _LABEL, _with_one(0.5)),
)


def validator_report(folder: Path, faults: Sequence[Fault] = FAULTS) -> list[tuple[str, str, bool]]:
    """What the validator says of each fault: (fault, its words, whether it is right).

    Each fault is planted in a fresh phantom of its own. The validator is right if it reports
    one finding, and about the very file.
    """
    sound = folder / "sound"
    make_phantom(sound, cases=1)
    rows = []
    for number, fault in enumerate(faults):
        root = folder / f"fault_{number}"
        shutil.copytree(sound, root)
        fault.plant(root / fault.file)
        findings = validate(Dataset.open(root))
        named = [finding.path.relative_to(root).as_posix() for finding in findings]
        words = "; ".join(finding.problem for finding in findings) or "nothing"
        rows.append((fault.name, words, named == [fault.file]))
    return rows


def with_structures(dataset: Dataset) -> Iterator[Case]:
    """The training cases whose label map is not empty; an empty one is no fault."""
    for case in dataset.training:
        if case.label is not None and (np.asarray(_open_image(case.label).dataobj) > 0.5).any():
            yield case


def first_with_structures(dataset: Dataset) -> Case:
    """The first training case whose label map is not empty.

    Raises:
        InputError: if all are empty.
    """
    for case in with_structures(dataset):
        return case
    raise InputError(
        f"{dataset.root}: no training case has a structure to look at. Check the label maps, or "
        "take a larger PROFILE, which takes more cases."
    )


def layout_of(dataset: Dataset) -> str:
    """A dataset's dataset.json, the lists of files cut to their first entry."""
    value = json.loads((dataset.root / "dataset.json").read_text(encoding="utf-8"))
    keys = ("name", "modality", "channel_names", "labels", "numTraining", "training", "test")
    return json.dumps({key: _first(value[key]) for key in keys if key in value}, indent=2)


def _first(item: Any) -> Any:
    """A list cut to its first entry and the number of others; anything else as it is."""
    if not isinstance(item, list) or len(item) < 2:
        return item
    return [item[0], f"... {len(item) - 1} more"]


# What differs between cases ------------------------------------------------------------------


@dataclass(frozen=True)
class CaseFacts:
    """What nibabel and NumPy say of one case.

    Attributes:
        identifier: its name.
        shape: voxels (z, y, x).
        spacing: millimetres (z, y, x).
        orientation: such as "RAS".
        zeros: the share of voxels that are exactly zero in every channel.
        foreground: 0.5th percentile, median and 99.5th percentile of the first channel inside
            the structures.
        millilitres: of each structure.
    """

    identifier: str
    shape: tuple[int, ...]
    spacing: tuple[float, ...]
    orientation: str
    zeros: float
    foreground: tuple[float, float, float]
    millilitres: tuple[float, ...]

    def row(self) -> tuple[object, ...]:
        """A table's row: all but the intensities, in the order of the attributes."""
        shape = " × ".join(map(str, self.shape))
        spacing = " × ".join(f"{step:.2f}" for step in self.spacing)
        zeros = f"{self.zeros:.0%}"
        return (self.identifier, shape, spacing, self.orientation, zeros, *self.millilitres)


def case_facts(case: Case, labels: Sequence[str]) -> CaseFacts:
    """Read one case anew; structures that it does not have get 0 ml, and intensities NaN."""
    images, voxels, label = _with_nibabel(case)  # voxels (i, j, k, channel)
    affine = images[0].affine
    voxel = abs(float(np.linalg.det(affine[:3, :3]))) / 1000  # ml
    inside = voxels[label > 0, 0]
    low, middle, high = np.percentile(inside, (0.5, 50, 99.5)) if inside.size else (math.nan,) * 3
    return CaseFacts(
        identifier=case.identifier,
        shape=voxels.shape[2::-1],
        spacing=tuple(np.linalg.norm(affine[:3, :3], axis=0)[::-1].tolist()),
        orientation=orientation_of(affine),
        zeros=float((voxels == 0).all(axis=-1).mean()),
        foreground=(float(low), float(middle), float(high)),
        millilitres=tuple(float((label == value).sum() * voxel) for value in range(1, len(labels))),
    )


def _with_nibabel(case: Case) -> tuple[list[Any], np.ndarray, np.ndarray]:
    """A case's image files, its voxels (i, j, k, channel) and its label map (i, j, k)."""
    if case.label is None:
        raise ValueError(f"{case.identifier} has no label.")
    images = [_open_image(path) for path in case.images]
    arrays = [np.asarray(image.dataobj, np.float64) for image in images]
    voxels = np.concatenate([a[..., np.newaxis] if a.ndim == 3 else a for a in arrays], axis=-1)
    return images, voxels, np.asarray(_open_image(case.label).dataobj)


def standard_errors_off(fingerprint: Fingerprint, cases: Sequence[Case]) -> float:
    """How far the fingerprint's means are from those of *all* foreground voxels.

    The fingerprint draws `VOXELS_PER_CASE` voxels a case, so that each case weighs the same. Its
    mean then lies around the mean of the cases' means, with a standard error of
    sqrt(mean of the cases' variances / (draws a case * cases)), in which the result is given.
    """
    means, variances = [], []
    for case in cases:
        _, voxels, label = _with_nibabel(case)
        inside = voxels[label > 0]  # (foreground voxel, channel)
        if len(inside):
            means.append(inside.mean(axis=0))
            variances.append(inside.var(axis=0))
    errors = np.sqrt(np.mean(variances, axis=0) / (VOXELS_PER_CASE * len(means)))  # (channel,)
    noted = np.array([channel.mean for channel in fingerprint.intensities])
    differences = np.abs(noted - np.mean(means, axis=0))  # (channel,)
    return float((differences / np.maximum(errors, 1e-12 * np.abs(noted) + 1e-300)).max())


def background_influence(dataset: Dataset, folder: Path) -> float:
    """The largest relative change of the intensity statistics when all but the structures change.

    The first two cases with structures are stored again with everything outside of these ten times
    as bright. Zero stays zero, so that cropping sees the same mask.
    """
    cases = tuple(itertools.islice(with_structures(dataset), 2))
    before = compute_fingerprint(replace(dataset, training=cases))
    after = compute_fingerprint(
        replace(dataset, training=tuple(_brighter_outside(case, folder) for case in cases))
    )
    one, other = (
        np.array([list(vars(channel).values()) for channel in item.intensities])
        for item in (before, after)
    )
    return float(np.max(np.abs(other - one) / np.maximum(np.abs(one), 1e-12)))


def _brighter_outside(case: Case, folder: Path) -> Case:
    """The case with its background ten times as bright; channels in one file."""
    images, voxels, label = _with_nibabel(case)
    voxels[label == 0] *= 10
    path = folder / f"{case.identifier}.nii.gz"
    _nibabel.Nifti1Image(voxels.astype(np.float32), images[0].affine).to_filename(path)
    return Case(case.identifier, (path,), case.label)
