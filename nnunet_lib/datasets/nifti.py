"""NIfTI files in and out: the one place where axes change order.

A NIfTI file stores voxels as (i, j, k) and channels on the fourth axis. The library works in
spatial order (z, y, x), the reverse, with channels last. Affines stay NIfTI's own: 4x4, from
(i, j, k) to millimetres. Taught in lesson 01.
"""

import gzip
import math
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import IO, Any, cast

import nibabel as nib
import numpy as np
from nibabel.filebasedimages import ImageFileError
from nibabel.spatialimages import HeaderDataError
from nibabel.wrapstruct import WrapStructError

from nnunet_lib.datasets.findings import FindingError
from nnunet_lib.files import replacing

ENDINGS = (".nii.gz", ".nii")
GRID_TOLERANCE = 0.05
"""How far, in voxels, the corners of two grids may lie apart and still be the same grid."""

_DEFLATE_BOUND = 1032  # gzip's deflate never compresses better than 1032 to 1
_SPACING_TOLERANCE = 0.02  # headers round a voxel size to two or three digits
_LABEL_TOLERANCE = 1e-3  # labels that a header scales (scl_slope) are whole but for rounding
_UNIT_BITS = 7  # of xyzt_units: the others are the unit of time
_MILLIMETRES = {1: 1000.0, 3: 0.001}  # metres, microns; all else counts as millimetres
_READ_ERRORS = (
    OSError,
    EOFError,
    ValueError,
    zlib.error,
    ImageFileError,
    HeaderDataError,
    WrapStructError,
)
_DAMAGED = "Replace it by an intact copy"


@dataclass(frozen=True)
class Volume:
    """An image and its place in space.

    Attributes:
        array: (z, y, x, channel) float32.
        affine: (4, 4) float64, from (i, j, k) to millimetres.
        spacing: distance of neighbouring voxels along (z, y, x), in millimetres.
        oriented: False if the file does not say how it lies in space. Its affine is then made up.
    """

    array: np.ndarray
    affine: np.ndarray
    spacing: tuple[float, float, float]
    oriented: bool = True


@dataclass(frozen=True)
class LabelMap:
    """A label a voxel: `array` is (z, y, x) uint8; affine and spacing are as in `Volume`."""

    array: np.ndarray
    affine: np.ndarray
    spacing: tuple[float, float, float]


@dataclass(frozen=True)
class Header:
    """What a file says about itself before its voxels are read.

    Attributes:
        shape: (z, y, x).
        channels: length of the fourth axis, 1 if there is none.
        affine: (4, 4) float64, from (i, j, k) to millimetres.
        spacing: (z, y, x) in millimetres.
        oriented: whether the file says how it lies in space, by an sform or a qform.
    """

    shape: tuple[int, int, int]
    channels: int
    affine: np.ndarray
    spacing: tuple[float, float, float]
    oriented: bool = True


def file_ending(path: Path) -> str:
    """`.nii.gz` or `.nii`.

    Raises:
        InputError: for any other ending.
    """
    for ending in ENDINGS:
        if path.name.endswith(ending):
            return ending
    raise FindingError(path, "is not a .nii or .nii.gz file", "Convert it to NIfTI")


def stem(path: Path) -> str:
    """The file name without its ending: `case_01` for `case_01.nii.gz`."""
    return path.name.removesuffix(file_ending(path))


def read_header(path: Path) -> Header:
    """Read and check a header, without reading (or making room for) the voxels.

    Raises:
        InputError: if the file is missing or not NIfTI, or if its header is impossible: a size
            or spacing that is not positive, more voxels than the file can hold, voxels that
            are not real numbers, an affine that cannot be inverted or has another spacing.
    """
    raw = _raw_header(path)
    sizes = _sizes(path, raw)
    _check_data(path, raw, sizes)
    millimetres = _MILLIMETRES.get(int(raw["xyzt_units"]) & _UNIT_BITS, 1.0)
    affine = np.diag([millimetres] * 3 + [1.0]) @ _affine(path, raw)  # (4, 4)
    spacing = tuple(float(size) * millimetres for size in raw["pixdim"][1:4])  # i, j, k
    if not all(math.isfinite(size) and size > 0 for size in spacing):
        problem = f"has the impossible spacing {_times(spacing)} mm"
        raise FindingError(path, problem, "Set the voxel size (pixdim) in its header")
    # An sform that aligns to another space, beside a qform, stretches voxels as it likes.
    if not (raw["qform_code"] > 0 and raw["sform_code"] > 1):
        _check_spacing(path, affine, spacing, sizes)
    k, j, i = sizes[2], sizes[1], sizes[0]
    channels = sizes[3] if len(sizes) == 4 else 1
    oriented = bool(raw["sform_code"] > 0 or raw["qform_code"] > 0)
    return Header((k, j, i), channels, affine, (spacing[2], spacing[1], spacing[0]), oriented)


def read_volume(paths: Sequence[Path]) -> Volume:
    """Read an image: one 3D or 4D file (channels on its fourth axis), or one file a channel.

    Scaling in the header (scl_slope, scl_inter) is applied; metres and microns become
    millimetres.

    Raises:
        InputError: if a file cannot be read, or if the files are not on one grid.
    """
    headers = [read_header(path) for path in paths]
    for path, header in zip(paths[1:], headers[1:], strict=True):
        difference = grid_difference(header, headers[0])
        if difference:
            problem = f"is not on the grid of {paths[0].name}: {difference}"
            raise FindingError(path, problem, "Resample all channels of a case to one grid")
    arrays = [_as_spatial(_voxels(path)).astype(np.float32, copy=False) for path in paths]
    array = arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=-1)  # (z, y, x, c)
    array, first = np.ascontiguousarray(array), headers[0]
    return Volume(array, first.affine, first.spacing, first.oriented)


def read_label(path: Path) -> LabelMap:
    """Read a label map, stored as integers or as floats that are whole numbers.

    Raises:
        InputError: if the file cannot be read, has several channels, or holds a value that is
            not one of 0, 1, ..., 255.
    """
    header = read_header(path)
    if header.channels != 1:
        problem = f"is a label map with {header.channels} channels"
        raise FindingError(path, problem, "Store one label a voxel, in a 3D file")
    values = _as_spatial(_voxels(path))[..., 0]  # (z, y, x)
    if values.dtype.kind == "f":
        values = _without_rounding(values)
    labels = _as_labels(values)
    if labels is None:
        strange = ", ".join(f"{value:g}" for value in _no_labels(values)[:5])
        problem = f"holds labels that are not whole numbers from 0 to 255, such as {strange}"
        raise FindingError(path, problem, "Store the labels 0, 1, 2, ... as integers")
    return LabelMap(labels, header.affine, header.spacing)


def write_volume(path: Path, array: np.ndarray, affine: np.ndarray) -> None:
    """Write an image (z, y, x) or (z, y, x, channel), in the array's own data type."""
    _write(path, array, affine)


def write_label(
    path: Path, array: np.ndarray, affine: np.ndarray, *, oriented: bool = True
) -> None:
    """Write a label map (z, y, x) as uint8; `oriented` as in the `Volume` that it belongs to.

    Raises:
        ValueError: if the array is not 3D or holds something else than 0, 1, ..., 255.
    """
    labels = _as_labels(array)
    if labels is None or labels.ndim != 3:
        raise ValueError("A label map is a (z, y, x) array of whole numbers from 0 to 255.")
    _write(path, labels, affine, oriented)


def write_probabilities(
    path: Path, array: np.ndarray, affine: np.ndarray, *, oriented: bool = True
) -> None:
    """Write class probabilities (z, y, x, class) as float32, classes on NIfTI's fourth axis."""
    if array.ndim != 4:
        raise ValueError("Probabilities are a (z, y, x, class) array.")
    _write(path, array.astype(np.float32, copy=False), affine, oriented)


def grid_difference(one: Header, other: Header) -> str:
    """How two grids differ, in words; empty if they are the same.

    They are the same if their shapes are equal and no corner voxel lies further apart than
    `GRID_TOLERANCE` times the smallest spacing.
    """
    if one.shape != other.shape:
        return f"shape {_times(one.shape)} against {_times(other.shape)} (z, y, x)"
    corners = np.array([*product(*((0, size - 1) for size in one.shape[::-1]))])  # (8, 3) ijk
    points = np.c_[corners, np.ones(len(corners))].T  # (4, 8)
    distance = np.linalg.norm((one.affine - other.affine) @ points, axis=0).max()
    if distance <= GRID_TOLERANCE * min(one.spacing):
        return ""
    return f"the affines put a corner voxel {distance:.3g} mm apart"


def _open(path: Path) -> IO[bytes]:
    """The file as a stream of uncompressed bytes."""
    opener = gzip.open if file_ending(path) == ".nii.gz" else open
    return cast(IO[bytes], opener(path, "rb"))


def _reading(path: Path, read: Callable[[IO[bytes]], Any]) -> Any:
    """`read` the open file, with errors that name it."""
    file_ending(path)
    if not path.is_file():
        raise FindingError(path, "does not exist", "Add the file or correct its name")
    try:
        with _open(path) as stream:
            return read(stream)
    except _READ_ERRORS as error:
        problem = f"cannot be read as NIfTI ({_first_line(error)})"
        raise FindingError(path, problem, _DAMAGED) from None


def _raw_header(path: Path) -> Any:
    """The header as it is in the file: nibabel's own reading would mend a zero spacing."""

    def read(stream: IO[bytes]) -> Any:
        start = stream.read(4)
        sizes = {int.from_bytes(start, "little"), int.from_bytes(start, "big")}
        stream.seek(0)
        if sizes & {348, 540} and len(start) == 4:
            header_class: Any = nib.Nifti2Header if 540 in sizes else nib.Nifti1Header
            return header_class.from_fileobj(stream, check=False)
        raise ValueError("the first bytes are not a NIfTI header's")

    return _reading(path, read)


def _sizes(path: Path, raw: Any) -> tuple[int, ...]:
    """The (i, j, k) or (i, j, k, channel) sizes."""
    dimensions = int(raw["dim"][0])
    sizes = tuple(int(size) for size in raw["dim"][1 : 1 + max(dimensions, 0)])
    if dimensions not in (3, 4):
        problem = f"has {dimensions} dimensions"
        raise FindingError(path, problem, "Store it in 3D, or in 4D with channels last")
    if min(sizes) < 1:
        raise FindingError(path, f"has the impossible size {_times(sizes)}", _DAMAGED)
    return sizes


def _check_data(path: Path, raw: Any, sizes: tuple[int, ...]) -> None:
    """Refuse voxels that are not real numbers, or more of them than the file can hold."""
    try:
        data_type = raw.get_data_dtype()
    except (HeaderDataError, KeyError):
        problem = f"has the unknown data type {int(raw['datatype'])}"
        raise FindingError(path, problem, _DAMAGED) from None
    if data_type.kind not in "iuf":
        problem = f"holds {data_type} voxels, not real numbers"
        raise FindingError(path, problem, "Convert it to integers or floats")
    bound = _DEFLATE_BOUND if file_ending(path) == ".nii.gz" else 1
    on_disk = path.stat().st_size
    if math.prod(sizes) * data_type.itemsize > on_disk * bound:
        problem = f"claims {_times(sizes)} voxels, more than its {on_disk} bytes can hold"
        raise FindingError(path, problem, _DAMAGED)


def _affine(path: Path, raw: Any) -> np.ndarray:
    """The (4, 4) affine in the file's own unit; it has to be finite and invertible."""
    if raw["pixdim"][0] not in (-1, 1):
        raw["pixdim"][0] = 1  # what the standard makes of a qform without handedness
    try:
        affine = np.asarray(raw.get_best_affine(), dtype=np.float64)
        if np.isfinite(affine).all() and np.linalg.det(affine[:3, :3]) != 0:
            return affine
    except (HeaderDataError, ValueError, np.linalg.LinAlgError):
        pass
    problem = "has an affine that is not finite or cannot be inverted"
    raise FindingError(path, problem, "Correct the sform or qform in its header")


def _check_spacing(
    path: Path, affine: np.ndarray, spacing: Sequence[float], sizes: Sequence[int]
) -> None:
    """Refuse an affine (4, 4) whose voxels have another size than `spacing`, (i, j, k) in mm.

    Along an axis of one voxel nothing depends on it. In a sheared scan, as of a tilted CT gantry,
    spacing is the distance either of neighbouring voxels or of the planes that they lie in.
    """
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    planes = 1 / np.linalg.norm(np.linalg.inv(affine[:3, :3]), axis=1)
    lowest, highest = planes * (1 - _SPACING_TOLERANCE), steps * (1 + _SPACING_TOLERANCE)
    single = np.array(sizes[:3]) == 1
    if not np.all(single | (lowest <= spacing) & (spacing <= highest)):
        problem = (
            f"has voxels of {_times(spacing)} mm by its pixdim, but of {_times(steps)} mm by its "
            "affine (i, j, k)"
        )
        raise FindingError(path, problem, "Correct the pixdim, or the sform, in its header")


def _voxels(path: Path) -> np.ndarray:
    """The voxels in the file's order (i, j, k[, channel]), scaled as the header says."""

    def read(stream: IO[bytes]) -> np.ndarray:
        second = int.from_bytes(stream.read(4), "little") in (540, 0x1C020000)
        stream.seek(0)
        image_class: Any = nib.Nifti2Image if second else nib.Nifti1Image
        array = np.array(image_class.from_stream(stream).dataobj)
        stream.read(1)  # at the end of the data, gzip compares its checksum
        return array

    return cast(np.ndarray, _reading(path, read))


def _as_spatial(voxels: np.ndarray) -> np.ndarray:
    """(i, j, k) or (i, j, k, channel) as (z, y, x, channel)."""
    array = voxels[..., np.newaxis] if voxels.ndim == 3 else voxels  # (i, j, k, channel)
    return array.transpose(2, 1, 0, 3)


def _as_labels(values: np.ndarray) -> np.ndarray | None:
    """The values as uint8, or None if that would change one of them."""
    with np.errstate(invalid="ignore"):  # NaN becomes some number, which is not equal to it
        labels = values.astype(np.uint8)
    return np.ascontiguousarray(labels) if np.array_equal(labels, values) else None


def _without_rounding(values: np.ndarray) -> np.ndarray:
    """Values that are whole but for rounding as whole numbers, all others as they are."""
    with np.errstate(invalid="ignore"):  # infinity less infinity
        whole = np.rint(values)
        return np.where(np.abs(values - whole) < _LABEL_TOLERANCE, whole, values)


def _no_labels(values: np.ndarray) -> np.ndarray:
    """The distinct values that are no label."""
    return np.unique(values[~np.isin(values, np.arange(256))])


def _write(path: Path, array: np.ndarray, affine: np.ndarray, oriented: bool = True) -> None:
    """Write (z, y, x[, channel]) whole or not at all; the same array gives the same bytes.

    Of a file that does not say how it lies in space each program believes something else. What
    belongs to it must not say so either, or the two would lie apart.
    """
    file_ending(path)
    voxels = array.transpose(2, 1, 0, *range(3, array.ndim))  # (i, j, k[, channel])
    image_class: Any = nib.Nifti1Image  # nibabel's methods have no types
    image = image_class(voxels, affine if oriented else None)
    image.header.set_xyzt_units("mm", "sec")
    image.header["pixdim"][1:4] = np.linalg.norm(affine[:3, :3], axis=0)
    if oriented:
        image.set_sform(affine, code="scanner")
    if oriented and _is_orthogonal(affine):  # a qform holds rotations and spacings, no shear
        image.set_qform(affine, code="scanner")
    with replacing(path) as temporary:
        nib.save(image, temporary)


def _is_orthogonal(affine: np.ndarray) -> bool:
    """Whether the axes i, j, k stand at right angles in space."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return np.allclose(axes.T @ axes, np.eye(3), atol=1e-4)


def _times(sizes: Sequence[float]) -> str:
    return " x ".join(f"{size:g}" for size in sizes)


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
