"""NIfTI files in and out: the one place where axes change order.

A NIfTI file stores voxels as (i, j, k) and channels on the fourth axis. The library works in
spatial order (z, y, x), the reverse, with channels last. Affines stay NIfTI's own: 4x4, from
(i, j, k), and always to millimetres, whatever a file's own unit is. Taught in lesson 01.
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
_UNIT_BITS = 7  # of xyzt_units: those above are the unit of time
_UNITS_BITS = 63
_MILLIMETRES_SECONDS = 2 + 8
_MILLIMETRES = {1: 1000.0, 3: 0.001}  # metres, microns; all else counts as millimetres
_READ_ERRORS = (
    OSError,
    EOFError,
    ValueError,
    OverflowError,  # of a place in the file that no file has
    zlib.error,
    ImageFileError,
    HeaderDataError,
    WrapStructError,
)
_DAMAGED = "Replace it by an intact copy"
_LOCKED = "Ask for the right to read it"


@dataclass(frozen=True)
class Placement:
    """Where a header says that its voxels lie: NIfTI has room for two answers, or for none.

    Programs differ in which answer they follow, and in what they make up where there is none.
    What belongs to an image must say the same as the image, or some would show the two apart.

    Attributes:
        sform: (4, 4), from (i, j, k) to millimetres; None if the header has none.
        sform_code: NIfTI's number of the space that it leads to, such as 1 for the scanner's;
            0 if there is none.
        qform: as `sform`; it can hold turns and spacings, but no shear.
        qform_code: as `sform_code`.
        units: NIfTI's number (xyzt_units) of the units in which the file has lengths and times;
            without one a length counts as millimetres.
    """

    sform: np.ndarray | None = None
    sform_code: int = 0
    qform: np.ndarray | None = None
    qform_code: int = 0
    units: int = _MILLIMETRES_SECONDS


@dataclass(frozen=True)
class Volume:
    """An image and its place in space.

    Attributes:
        array: (z, y, x, channel) float32.
        affine: (4, 4) float64, from (i, j, k) to millimetres: the header's sform, else its
            qform, else made up.
        spacing: distance of neighbouring voxels along (z, y, x), in millimetres.
        placement: what the header says, to be written into what belongs to the image.
    """

    array: np.ndarray
    affine: np.ndarray
    spacing: tuple[float, float, float]
    placement: Placement | None = None


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
        affine: (4, 4) float64, from (i, j, k) to millimetres; see `Volume`.
        spacing: (z, y, x) in millimetres.
        placement: what the header says about how it lies in space.
    """

    shape: tuple[int, int, int]
    channels: int
    affine: np.ndarray
    spacing: tuple[float, float, float]
    placement: Placement


def orientation_of(affine: np.ndarray) -> str:
    """Towards which side of the patient i, j and k grow, such as "RAS".

    Right, Anterior (front), Superior (up), or their opposites Left, Posterior, Inferior. An
    oblique axis counts as the nearest of them. `affine` is (4, 4), see `Volume`; the codes are
    nibabel's.
    """
    codes: Any = nib.orientations.aff2axcodes  # which has no types
    return "".join(codes(affine))


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


def times(sizes: Sequence[float]) -> str:
    """Sizes as people write them: `40 x 56 x 40`."""
    return " x ".join(f"{size:g}" for size in sizes)


def read_header(path: Path | str) -> Header:
    """Read and check a header, without reading (or making room for) the voxels.

    Raises:
        InputError: if the file is missing or not NIfTI, or if its header is impossible: a size
            or spacing that is not positive, more voxels than the file can hold, voxels that
            are not real numbers, an affine that cannot be inverted or has another spacing.
    """
    path = Path(path)
    raw = _raw_header(path)
    sizes = _sizes(path, raw)
    _check_data(path, raw, sizes)
    units = int(raw["xyzt_units"]) & _UNITS_BITS
    millimetres = _millimetres(units)
    scale = np.diag([millimetres] * 3 + [1.0])
    affine = scale @ _affine(path, raw)  # (4, 4)
    spacing = tuple(float(size) * millimetres for size in raw["pixdim"][1:4])  # i, j, k
    if not all(math.isfinite(size) and size > 0 for size in spacing):
        problem = f"has the impossible spacing {times(spacing)} mm"
        raise FindingError(path, problem, "Set the voxel size (pixdim) in its header")
    # An sform that aligns to another space, beside a qform, stretches voxels as it likes.
    if not (raw["qform_code"] > 0 and raw["sform_code"] > 1):
        _check_spacing(path, affine, spacing, sizes)
    k, j, i = sizes[2], sizes[1], sizes[0]
    channels = sizes[3] if len(sizes) == 4 else 1
    placement = _placement(raw, scale, units)
    return Header((k, j, i), channels, affine, (spacing[2], spacing[1], spacing[0]), placement)


def read_volume(paths: Sequence[Path | str] | Path | str) -> Volume:
    """Read an image: one 3D or 4D file (channels on its fourth axis), or one file a channel.

    Scaling in the header (scl_slope, scl_inter) is applied; metres and microns become
    millimetres. A single path means a list of one.

    Raises:
        InputError: if a file cannot be read, or if the files are not on one grid.
    """
    files = [Path(path) for path in ([paths] if isinstance(paths, Path | str) else paths)]
    headers = [read_header(path) for path in files]
    for path, header in zip(files[1:], headers[1:], strict=True):
        difference = grid_difference(header, headers[0])
        if difference:
            problem = f"is not on the grid of {files[0].name}: {difference}"
            raise FindingError(path, problem, "Resample all channels of a case to one grid")
    arrays = [_as_spatial(_voxels(path)).astype(np.float32, copy=False) for path in files]
    array = arrays[0] if len(arrays) == 1 else np.concatenate(arrays, axis=-1)  # (z, y, x, c)
    array, first = np.ascontiguousarray(array), headers[0]
    return Volume(array, first.affine, first.spacing, first.placement)


def read_label(path: Path | str) -> LabelMap:
    """Read a label map, stored as integers or as floats that are whole numbers.

    Raises:
        InputError: if the file cannot be read, has several channels, or holds a value that is
            not one of 0, 1, ..., 255.
    """
    path = Path(path)
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


def write_volume(path: Path | str, array: np.ndarray, affine: np.ndarray) -> None:
    """Write an image (z, y, x) or (z, y, x, channel), in the array's own data type."""
    _write(path, array, affine)


def write_label(
    path: Path | str, array: np.ndarray, affine: np.ndarray, placement: Placement | None = None
) -> None:
    """Write a label map (z, y, x) as uint8.

    Args:
        path: the file.
        array: whole numbers from 0 to 255.
        affine: (4, 4), from (i, j, k) to millimetres.
        placement: that of the `Volume` which the labels belong to; without one sform and qform
            are made from the affine.

    Raises:
        ValueError: if the array is not 3D or holds something else than 0, 1, ..., 255.
    """
    labels = _as_labels(array)
    if labels is None or labels.ndim != 3:
        raise ValueError("A label map is a (z, y, x) array of whole numbers from 0 to 255.")
    _write(path, labels, affine, placement)


def write_probabilities(
    path: Path | str, array: np.ndarray, affine: np.ndarray, placement: Placement | None = None
) -> None:
    """Write class probabilities (z, y, x, class) as float32, classes on NIfTI's fourth axis.

    The other arguments are `write_label`'s.
    """
    if array.ndim != 4:
        raise ValueError("Probabilities are a (z, y, x, class) array.")
    _write(path, array.astype(np.float32, copy=False), affine, placement)


def grid_difference(one: Header, other: Header) -> str:
    """How two grids differ, in words; empty if they are the same.

    They are the same if their shapes are equal and no corner voxel lies further apart than
    `GRID_TOLERANCE` times the smallest spacing.
    """
    if one.shape != other.shape:
        return f"shape {times(one.shape)} against {times(other.shape)} (z, y, x)"
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
        remedy = _LOCKED if isinstance(error, PermissionError) else _DAMAGED
        problem = f"cannot be read as NIfTI ({_first_line(error)})"
        raise FindingError(path, problem, remedy) from None


def _raw_header(path: Path) -> Any:
    """The header as it is in the file: nibabel's own reading would mend a zero spacing."""

    def read(stream: IO[bytes]) -> Any:
        header_class: Any = nib.Nifti2Header if _is_second_version(stream) else nib.Nifti1Header
        return header_class.from_fileobj(stream, check=False)

    return _reading(path, read)


def _is_second_version(stream: IO[bytes]) -> bool:
    """Whether a file is NIfTI-2 or NIfTI-1: it begins with its header's size, in any byte order."""
    start = stream.read(4)
    stream.seek(0)
    sizes = {int.from_bytes(start, "little"), int.from_bytes(start, "big")} & {348, 540}
    if len(start) < 4 or not sizes:
        raise ValueError("the first bytes are not a NIfTI header's")
    return 540 in sizes


def _sizes(path: Path, raw: Any) -> tuple[int, ...]:
    """The (i, j, k) or (i, j, k, channel) sizes."""
    dimensions = int(raw["dim"][0])
    sizes = tuple(int(size) for size in raw["dim"][1 : 1 + max(dimensions, 0)])
    if dimensions not in (3, 4):
        problem = f"has {dimensions} dimensions"
        raise FindingError(path, problem, "Store it in 3D, or in 4D with channels last")
    if min(sizes) < 1:
        raise FindingError(path, f"has the impossible size {times(sizes)}", _DAMAGED)
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
        problem = f"claims {times(sizes)} voxels, more than its {on_disk} bytes can hold"
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


def _millimetres(units: int) -> float:
    """How many millimetres a header's unit of length is."""
    return _MILLIMETRES.get(units & _UNIT_BITS, 1.0)


def _placement(raw: Any, scale: np.ndarray, units: int) -> Placement:
    """Both forms of a header, in millimetres by `scale` (4, 4); of those that it has."""
    sform, sform_code = raw.get_sform(coded=True)
    try:
        qform, qform_code = raw.get_qform(coded=True)
    except (HeaderDataError, ValueError):  # a quaternion that is none, beside an sform
        qform, qform_code = None, 0
    if qform is not None and not np.isfinite(qform).all():
        qform, qform_code = None, 0
    return Placement(
        None if sform is None else scale @ sform,
        int(sform_code),
        None if qform is None else scale @ qform,
        int(qform_code),
        units,
    )


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
            f"has voxels of {times(spacing)} mm by its pixdim, but of {times(steps)} mm by its "
            "affine (i, j, k)"
        )
        raise FindingError(path, problem, "Correct the pixdim, or the sform, in its header")


def _voxels(path: Path) -> np.ndarray:
    """The voxels in the file's order (i, j, k[, channel]), scaled as the header says."""

    def read(stream: IO[bytes]) -> np.ndarray:
        image_class: Any = nib.Nifti2Image if _is_second_version(stream) else nib.Nifti1Image
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


def _write(
    path: Path | str, array: np.ndarray, affine: np.ndarray, placement: Placement | None = None
) -> None:
    """Write (z, y, x[, channel]) whole or not at all; the same array gives the same bytes."""
    path = Path(path)
    file_ending(path)
    voxels = array.transpose(2, 1, 0, *range(3, array.ndim))  # (i, j, k[, channel])
    image_class: Any = nib.Nifti1Image  # nibabel's methods have no types
    image = image_class(voxels, None)
    said = placement or _placed(affine)
    scale = np.diag([1 / _millimetres(said.units)] * 3 + [1.0])  # from millimetres
    image.header["xyzt_units"] = said.units
    image.header["pixdim"][1:4] = np.linalg.norm((scale @ affine)[:3, :3], axis=0)
    image.set_sform(None if said.sform is None else scale @ said.sform, said.sform_code)
    image.set_qform(None if said.qform is None else scale @ said.qform, said.qform_code)
    with replacing(path) as temporary:
        nib.save(image, temporary)


def _placed(affine: np.ndarray) -> Placement:
    """An affine as the scanner's space, in both forms where a qform can hold it."""
    scanner = 1
    if _is_orthogonal(affine):
        return Placement(affine, scanner, affine, scanner)
    return Placement(affine, scanner)


def _is_orthogonal(affine: np.ndarray) -> bool:
    """Whether the axes i, j, k stand at right angles in space."""
    axes = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return np.allclose(axes.T @ axes, np.eye(3), atol=1e-4)


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
