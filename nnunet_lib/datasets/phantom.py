"""Made-up heads whose segmentation is known exactly: a dataset for learning, without download.

Each head holds a curved tube, which a landmark divides into an anterior and a posterior part.
Both parts have the same intensity, so that a network has to look around: at the landmark
beside the border, at the tube's thickness, and at the fluid under the posterior part. A
ball of the tube's intensity, labelled background, rules out thresholds. Mirroring a head
mirrors these signs with it, so that mirroring is a fair augmentation.

Every shape is a formula in millimetres in the head's own frame (u: right to left, v: posterior
to anterior, w: up). Labels are the formulas at the voxels' centres. Taught in lesson 01.
"""

import math
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Literal

import numpy as np
from scipy.ndimage import gaussian_filter
from tqdm.auto import tqdm

from nnunet_lib.datasets.dataset import Dataset
from nnunet_lib.datasets.nifti import write_label, write_volume
from nnunet_lib.errors import InputError, require_choice
from nnunet_lib.files import filling, is_free, read_json, require_writable_folder, write_json

Modality = Literal["mri", "ct"]
LABELS = ("background", "anterior", "posterior")
_MADE_BY = "phantom"  # the entry of dataset.json that says how a phantom was made

_HEAD = np.array([22.0, 26.0, 21.0])  # half axes of the head along u, v, w in mm
_RIM = 0.9  # the skull lies outside of this part of the half axes
_MARGIN = 3.0  # mm of air on each side of the head
_LANDMARK_RADIUS = 3.0  # mm
_FLUID_RADIUS = 3.5  # mm
_MRI_NOISE = 0.03  # standard deviation, where soft tissue is about 0.5
_CT_NOISE = 12.0  # standard deviation in Hounsfield units
_CT_RANGE = (-1024, 3071)  # what a 12-bit scanner stores


class Tissue(IntEnum):
    """What a voxel is made of; the intensity tables below have one column each."""

    AIR = 0
    SKULL = 1
    SOFT = 2
    FLUID = 3
    STRUCTURE = 4  # the tube, and the ball that resembles it
    LANDMARK = 5


# One row a channel, one column a tissue: air, skull, soft, fluid, structure, landmark.
_MRI = {
    "T1w": (0.0, 0.30, 0.50, 0.15, 0.75, 1.10),
    "T2w": (0.0, 0.20, 0.50, 1.00, 0.65, 0.30),
    "T1gd": (0.0, 0.35, 0.50, 0.15, 0.75, 0.90),
    "FLAIR": (0.0, 0.25, 0.50, 0.10, 0.70, 0.80),
}
# Hounsfield units; the fluid holds contrast agent, because clipping to the foreground's range,
# as nnU-Net does for CT, would leave no difference between dark fluid and soft tissue.
_CT = {"CT": (-1000.0, 700.0, 40.0, 200.0, 110.0, 250.0)}


@dataclass(frozen=True)
class Anatomy:
    """The geometry of one head. Lengths are millimetres before `size` scales them all.

    The tube's centre line is an arc of radius `arc_radius` around an axis along u, from the
    angle `arc_start` (anterior end) to `arc_stop` (posterior end). At the fraction t of the arc
    the tube's radius is anterior_radius + t * (posterior_radius - anterior_radius).

    Attributes:
        centre: the head's centre in the scanner's frame.
        rotation: (3, 3), from the head's frame to the scanner's.
        size: scale of the whole head.
        side: 1 or -1, the side along u on which the tube lies.
        border: the fraction of the arc at which anterior becomes posterior.
        ball: centre of the ball that resembles the tube.
    """

    centre: np.ndarray
    rotation: np.ndarray
    size: float
    side: int
    border: float
    arc_radius: float
    anterior_radius: float
    posterior_radius: float
    ball: np.ndarray
    ball_radius: float
    arc_start: float = math.radians(15)
    arc_stop: float = math.radians(165)

    @property
    def arc_centre(self) -> np.ndarray:
        """(u, v, w) of the point around which the tube bends."""
        return np.array([8.0 * self.side, 0.0, -4.0])

    def radius_at(self, fraction: Any) -> Any:
        """The tube's radius at a fraction of the arc."""
        return self.anterior_radius + fraction * (self.posterior_radius - self.anterior_radius)

    def arc_point(self, fraction: float, distance: float) -> np.ndarray:
        """(u, v, w) in the arc's plane, at a fraction of the arc and a distance of its centre."""
        angle = self.arc_start + fraction * (self.arc_stop - self.arc_start)
        return self.arc_centre + distance * np.array([0.0, math.cos(angle), math.sin(angle)])

    @property
    def landmark(self) -> np.ndarray:
        """(u, v, w) of the landmark's centre: beside the tube, on the border's plane."""
        beside = self.radius_at(self.border) + _LANDMARK_RADIUS + 0.5
        return self.arc_point(self.border, self.arc_radius) - [self.side * beside, 0.0, 0.0]


@dataclass(frozen=True)
class Scan:
    """Where a scanner puts its voxels: `shape` is (z, y, x), `affine` NIfTI's (4, 4)."""

    shape: tuple[int, int, int]
    affine: np.ndarray


def make_phantom(
    output: Path | str,
    cases: int = 20,
    modality: Modality = "mri",
    channels: int = 1,
    seed: int = 0,
    progress: bool = False,
) -> Dataset:
    """Write a dataset of made-up heads in MSD layout, and open it.

    `cases` training cases have labels; max(1, cases // 10) test cases have none. The same
    arguments give the same bytes. The folder appears when it is complete; one that holds this
    very phantom already is left as it is.

    Args:
        output: a folder that does not exist or is empty.
        cases: number of training cases.
        modality: "mri": 1 to 4 channels, arbitrary units, whose scale differs between cases.
            "ct": 1 channel in Hounsfield units.
        channels: image channels of a case.
        seed: another seed gives other heads.
        progress: show a progress bar.

    Raises:
        InputError: for arguments out of range, or a folder that holds something else or
            cannot be written.
    """
    settings = {"cases": cases, "modality": modality, "channels": channels, "seed": seed}
    names = _channel_names(modality, channels)
    if cases < 1 or seed < 0:
        raise InputError("A phantom needs cases of at least 1 and a seed of at least 0.")
    output = Path(output)
    if _is_there(output, settings):
        return Dataset.open(output)
    require_writable_folder(output)
    with filling(output, last="dataset.json") as folder:
        identifiers = [f"phantom_{index:03d}" for index in range(cases + max(1, cases // 10))]
        for index, name in enumerate(tqdm(identifiers, "phantom", disable=not progress)):
            _write_case(folder, name, index, index < cases, modality, names, seed)
        _write_description(folder, identifiers, names, settings)
    return Dataset.open(output)


def is_phantom(root: Path) -> bool:
    """Whether the dataset in that folder was made by `make_phantom`, as its dataset.json says.

    Raises:
        InputError: if its dataset.json is missing or unreadable.
    """
    description = read_json(root / "dataset.json")
    return isinstance(description, dict) and _MADE_BY in description


def draw_anatomy(generator: np.random.Generator) -> Anatomy:
    """A head at random. The ranges keep all shapes inside the head and apart."""
    side = int(generator.choice([-1, 1]))
    return Anatomy(
        centre=generator.uniform(-30, 30, 3),
        rotation=_turn(generator, 10),
        size=generator.uniform(0.9, 1.1),
        side=side,
        border=generator.uniform(0.35, 0.55),
        arc_radius=generator.uniform(12, 13.5),
        anterior_radius=generator.uniform(5.2, 5.8),
        posterior_radius=generator.uniform(3.3, 3.8),
        ball=np.array([-11.0 * side, generator.uniform(-6, 6), generator.uniform(-5, 3)]),
        ball_radius=generator.uniform(4, 5),
    )


def draw_scan(generator: np.random.Generator, anatomy: Anatomy, orientation: int) -> Scan:
    """A grid around a head, at random: thick slices, and axes as `orientation` % 3 says.

    0: along the scanner's axes; 1: with the first two axes flipped; 2: turned (oblique).
    """
    in_plane, thick = generator.uniform(1.05, 1.35), generator.uniform(1.4, 1.8)
    spacing = np.array([in_plane, in_plane, thick])  # i, j, k in mm
    extent = 2 * (anatomy.size * _HEAD + _MARGIN)
    sizes = np.ceil(extent / spacing).astype(int)  # i, j, k
    turned = _turn(generator, 15)
    axes = (np.eye(3), np.diag([-1.0, -1.0, 1.0]), turned)[orientation % 3]
    affine = np.eye(4)
    affine[:3, :3] = axes * spacing
    middle = anatomy.centre + generator.uniform(-2, 2, 3)
    affine[:3, 3] = middle - affine[:3, :3] @ ((sizes - 1) / 2)
    i, j, k = (int(size) for size in sizes)
    stored = affine.astype(np.float32).astype(np.float64)  # as NIfTI keeps it
    return Scan((k, j, i), stored)


def _turn(generator: np.random.Generator, degrees: float) -> np.ndarray:
    """A random rotation matrix (3, 3), at most this far about each axis."""
    # Here, because half a second of every import of the package would go into it.
    from scipy.spatial.transform import Rotation

    angles = generator.uniform(-degrees, degrees, 3)
    return np.asarray(Rotation.from_euler("xyz", angles, degrees=True).as_matrix())


def head_coordinates(anatomy: Anatomy, scan: Scan) -> np.ndarray:
    """(u, v, w) of every voxel's centre in millimetres before scaling: (z, y, x, 3)."""
    indices = np.moveaxis(np.indices(scan.shape)[::-1], 0, -1)  # (z, y, x, 3): i, j, k
    points = indices @ scan.affine[:3, :3].T + scan.affine[:3, 3]  # (z, y, x, 3): scanner's frame
    return (points - anatomy.centre) @ anatomy.rotation / anatomy.size


def draw_label(anatomy: Anatomy, points: np.ndarray) -> np.ndarray:
    """The true label at points (..., 3) in the head's frame: (...) uint8.

    A point belongs to the tube if it is no further from the nearest point of the arc than the
    tube's radius there. In polar coordinates (rho, angle) around the arc's axis, that nearest
    point has the same angle, clamped to the arc.
    """
    u, v, w = np.moveaxis(points - anatomy.arc_centre, -1, 0)
    middle = (anatomy.arc_start + anatomy.arc_stop) / 2
    rho = np.hypot(v, w)
    angle = np.arctan2(w, v) - middle
    angle = (angle + np.pi) % (2 * np.pi) - np.pi  # the jump lies opposite the arc
    half = (anatomy.arc_stop - anatomy.arc_start) / 2
    nearest = np.clip(angle, -half, half)
    fraction = (nearest + half) / (2 * half)
    along = rho * np.sin(angle - nearest)  # zero beside the arc, the distance past its ends
    across = rho * np.cos(angle - nearest) - anatomy.arc_radius
    inside = u**2 + along**2 + across**2 <= anatomy.radius_at(fraction) ** 2
    return np.where(inside, np.where(fraction <= anatomy.border, 1, 2), 0).astype(np.uint8)


def structure_volumes(anatomy: Anatomy) -> tuple[float, float]:
    """Exact volumes of the anterior and the posterior part, in cubic millimetres.

    A slice of the tube between two half-planes through the arc's axis is a disc whose centroid
    lies on the arc. By Pappus, a part of the arc has the volume of the integral of
    pi r^2 times the arc length; with r linear this is pi * length * (r1^3 - r0^3) / (3 (r1 - r0)).
    Each end adds half a ball, 2/3 pi r^3.
    """
    length = anatomy.arc_radius * (anatomy.arc_stop - anatomy.arc_start)
    change = anatomy.posterior_radius - anatomy.anterior_radius
    start, border, stop = (anatomy.radius_at(part) ** 3 for part in (0, anatomy.border, 1))
    anterior = length * (border - start) / (3 * change) + 2 / 3 * start
    posterior = length * (stop - border) / (3 * change) + 2 / 3 * stop
    scale = math.pi * anatomy.size**3
    return scale * anterior, scale * posterior


def draw_tissues(anatomy: Anatomy, points: np.ndarray, label: np.ndarray) -> np.ndarray:
    """What each voxel is made of: values of `Tissue`, in the shape of `label`."""
    radial = np.linalg.norm(points / _HEAD, axis=-1)  # 1 at the head's surface
    fluid = anatomy.arc_point(0.8, anatomy.arc_radius - 8)
    rules = {
        Tissue.STRUCTURE: (label > 0) | _in_ball(points, anatomy.ball, anatomy.ball_radius),
        Tissue.LANDMARK: _in_ball(points, anatomy.landmark, _LANDMARK_RADIUS),
        Tissue.FLUID: _in_ball(points, fluid, _FLUID_RADIUS),
        Tissue.SOFT: radial <= _RIM,
        Tissue.SKULL: radial <= 1,
    }
    return np.select(list(rules.values()), list(rules), Tissue.AIR)  # the first that holds


def draw_mri(
    generator: np.random.Generator, tissues: np.ndarray, table: np.ndarray, black: bool
) -> np.ndarray:
    """A magnetic resonance image (z, y, x, channel) float32 of `tissues` (z, y, x).

    intensity = scale * bias * blurred tissue + noise, as a magnitude: never negative. The bias
    field is smooth; the scale runs over four orders of magnitude between cases. With `black`
    the air is exactly zero, as after removing the background; else it is noise.
    """
    image = np.stack([_blurred(row[tissues]) for row in table], axis=-1)  # (z, y, x, channel)
    noise = generator.normal(0, _MRI_NOISE, image.shape)
    scales = 10 ** generator.uniform(1.5, 5.5, len(table))
    image = np.abs(image * bias_field(generator, tissues.shape)[..., np.newaxis] + noise) * scales
    if black:
        image[tissues == Tissue.AIR] = 0
    return image.astype(np.float32)


def draw_ct(generator: np.random.Generator, tissues: np.ndarray, table: np.ndarray) -> np.ndarray:
    """A computed tomography image (z, y, x, 1) int16 in Hounsfield units: calibrated, unbiased."""
    image = np.stack([_blurred(row[tissues]) for row in table], axis=-1)  # (z, y, x, 1)
    image += generator.normal(0, _CT_NOISE, image.shape)
    return np.clip(np.rint(image), *_CT_RANGE).astype(np.int16)


def bias_field(generator: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """A smooth field around 1: exp of a quadratic polynomial with small random coefficients."""
    axes = [np.linspace(-1, 1, size) for size in shape]
    z, y, x = np.meshgrid(*axes, indexing="ij", sparse=True)
    terms = (z, y, x, z * y, y * x, x * z, z * z, y * y, x * x)
    coefficients = generator.uniform(-0.1, 0.1, len(terms))
    total = sum(factor * term for factor, term in zip(coefficients, terms, strict=True))
    return np.asarray(np.exp(total))


def _write_case(
    folder: Path,
    identifier: str,
    index: int,
    labelled: bool,
    modality: Modality,
    names: tuple[str, ...],
    seed: int,
) -> None:
    """Draw and write one case; it depends on the seed and its index alone."""
    generator = np.random.default_rng([seed, index])
    anatomy = draw_anatomy(generator)
    scan = draw_scan(generator, anatomy, orientation=index)
    points = head_coordinates(anatomy, scan)  # (z, y, x, 3)
    label = draw_label(anatomy, points)  # (z, y, x)
    tissues = draw_tissues(anatomy, points, label)  # (z, y, x)
    table = np.array([(_CT if modality == "ct" else _MRI)[name] for name in names])
    if modality == "ct":
        image = draw_ct(generator, tissues, table)
    else:
        image = draw_mri(generator, tissues, table, black=index % 2 == 0)
    image = image[..., 0] if len(names) == 1 else image  # one channel: a 3D file
    name = f"{identifier}.nii.gz"
    write_volume(folder / ("imagesTr" if labelled else "imagesTs") / name, image, scan.affine)
    if labelled:
        write_label(folder / "labelsTr" / name, label, scan.affine)


def _write_description(
    folder: Path, identifiers: list[str], names: tuple[str, ...], settings: dict[str, Any]
) -> None:
    """dataset.json as MSD writes it; `phantom` says how the dataset was made."""
    cases = settings["cases"]
    training, test = identifiers[:cases], identifiers[cases:]
    description = {
        "name": f"Phantom {settings['modality'].upper()}",
        "description": "Made-up heads with an exactly known segmentation",
        "tensorImageSize": "3D" if len(names) == 1 else "4D",
        "modality": {str(number): name for number, name in enumerate(names)},
        "labels": {str(value): name for value, name in enumerate(LABELS)},
        "numTraining": len(training),
        "numTest": len(test),
        "training": [
            {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"}
            for name in training
        ],
        "test": [f"./imagesTs/{name}.nii.gz" for name in test],
        _MADE_BY: settings,
    }
    write_json(folder / "dataset.json", description)


def _channel_names(modality: str, channels: int) -> tuple[str, ...]:
    """Names of the channels; InputError for a modality or number that there is not."""
    require_choice("modality", modality, Modality)
    names = tuple(_CT if modality == "ct" else _MRI)
    if not 1 <= channels <= len(names):
        raise InputError(f"A phantom {modality} has 1 to {len(names)} channels, not {channels}.")
    return names[:channels]


def _is_there(output: Path, settings: dict[str, Any]) -> bool:
    """Whether this phantom is there already; InputError if something else is."""
    if is_free(output):
        return False
    source = output / "dataset.json"
    found = read_json(source) if source.is_file() else None
    if isinstance(found, dict) and found.get(_MADE_BY) == settings:
        return True
    raise InputError(
        f"{output}: holds something else than the phantom asked for. "
        "Name a folder that is empty or does not exist."
    )


def _in_ball(points: np.ndarray, centre: np.ndarray, radius: float) -> np.ndarray:
    return np.asarray(np.linalg.norm(points - centre, axis=-1) <= radius)


def _blurred(image: np.ndarray) -> np.ndarray:
    """A scanner mixes neighbouring tissues: a Gaussian of half a voxel."""
    return np.asarray(gaussian_filter(image, sigma=0.5))
