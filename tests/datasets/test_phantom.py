import hashlib
import json
import math
import os

import numpy as np
import pytest

from nnunet_lib.datasets.dataset import Dataset
from nnunet_lib.datasets.nifti import read_label, read_volume
from nnunet_lib.datasets.phantom import (
    Anatomy,
    Scan,
    Tissue,
    bias_field,
    draw_anatomy,
    draw_label,
    draw_scan,
    draw_tissues,
    head_coordinates,
    is_phantom,
    make_phantom,
    structure_volumes,
)
from nnunet_lib.datasets.validation import validate
from nnunet_lib.errors import InputError


@pytest.fixture(scope="module")
def mri(tmp_path_factory) -> Dataset:
    return make_phantom(tmp_path_factory.mktemp("mri"), cases=8)


@pytest.fixture(scope="module")
def ct(tmp_path_factory) -> Dataset:
    return make_phantom(tmp_path_factory.mktemp("ct"), cases=3, modality="ct")


def _digests(root):
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }


def _images(dataset):
    return [read_volume(case.images) for case in dataset.training]


def _labels(dataset):
    return [read_label(case.label) for case in dataset.training]


def test_it_is_a_valid_dataset_with_test_cases(mri):
    assert validate(mri) == []
    assert mri.labels == ("background", "anterior", "posterior")
    assert (len(mri.training), len(mri.test)) == (8, 1)
    assert mri.test[0].images[0].parent.name == "imagesTs"
    assert len(list((mri.root / "labelsTr").iterdir())) == 8


def test_a_phantom_is_known_as_one(mri, msd_folder):
    assert is_phantom(mri.root)
    assert not is_phantom(msd_folder)


def test_every_tenth_case_is_for_testing(tmp_path):
    dataset = make_phantom(tmp_path / "p", cases=20, modality="ct")
    assert (len(dataset.training), len(dataset.test)) == (20, 2)


def test_the_seed_decides_every_byte(tmp_path):
    roots = {name: tmp_path / name for name in ("one", "two", "other")}
    for name, root in roots.items():
        make_phantom(root, cases=2, channels=2, seed=1 if name == "other" else 0)
    one, two, other = (_digests(root) for root in roots.values())
    assert one == two
    assert one.keys() == other.keys()
    assert not set(one.values()) & set(other.values())


def test_more_cases_leave_the_first_ones_as_they_are(mri, tmp_path):
    few = make_phantom(tmp_path / "few", cases=2)
    for case, same in zip(few.training, mri.training, strict=False):
        assert case.images[0].read_bytes() == same.images[0].read_bytes()
        assert case.label.read_bytes() == same.label.read_bytes()


def test_spacings_are_anisotropic_and_differ(mri):
    spacings = np.array([volume.spacing for volume in _images(mri)])  # (case, 3): z, y, x
    assert np.all(spacings[:, 0] > 1.03 * spacings[:, 2])
    np.testing.assert_allclose(spacings[:, 1], spacings[:, 2], rtol=1e-4)
    assert len(np.unique(spacings[:, 0].round(3))) == 8
    assert np.ptp(spacings[:, 0]) > 0.1


def test_affines_are_straight_flipped_and_oblique(mri):
    affines = [volume.affine for volume in _images(mri)[:3]]
    signs = [np.sign(np.diag(affine)[:3]).tolist() for affine in affines]
    assert signs[:2] == [[1, 1, 1], [-1, -1, 1]]
    off_diagonal = [
        np.abs(affine[:3, :3] - np.diag(np.diag(affine)[:3])).max() for affine in affines
    ]
    assert off_diagonal[:2] == [0, 0]
    assert off_diagonal[2] > 0.05


def test_structures_are_small_and_unequal(mri):
    for label in _labels(mri):
        shares = np.bincount(label.array.ravel(), minlength=3) / label.array.size
        assert 0.005 < shares[1] + shares[2] < 0.03
        assert shares[1] > shares[2] > 0.002


def test_intensity_alone_tells_no_structure(mri):
    """Both parts look alike, and a voxel of their intensity is often background."""
    for volume, label in zip(_images(mri), _labels(mri), strict=True):
        image = volume.array[..., 0]
        anterior, posterior = (np.median(image[label.array == value]) for value in (1, 2))
        assert 0.7 < anterior / posterior < 1.4
        middle = (anterior + posterior) / 2
        alike = np.abs(image - middle) < 0.15 * middle
        assert np.mean(label.array[alike] > 0) < 0.9


def test_mri_scales_differ_between_cases(mri):
    medians = [np.median(volume.array[volume.array > 0]) for volume in _images(mri)]
    assert max(medians) / min(medians) > 15


def test_half_of_the_mri_have_black_air(mri):
    shares = [np.mean(volume.array == 0) for volume in _images(mri)]
    assert all(share > 0.2 for share in shares[::2])
    assert all(share == 0 for share in shares[1::2])


@pytest.mark.parametrize("channels", [2, 4])
def test_channels_differ_beyond_their_scale(tmp_path, channels):
    dataset = make_phantom(tmp_path / "p", cases=1, channels=channels)
    assert len(dataset.channels) == channels
    array = read_volume(dataset.training[0].images).array
    assert array.shape[-1] == channels
    tissue = array[array.min(axis=-1) > 0]  # (voxel, channel)
    assert np.corrcoef(tissue[:, 0], tissue[:, 1])[0, 1] < 0.95
    assert validate(dataset) == []


def test_ct_is_in_hounsfield_units(ct):
    assert ct.channels == ("CT",)
    for volume, label in zip(_images(ct), _labels(ct), strict=True):
        image = volume.array[..., 0]
        corner = image[:2, :2, :2]
        assert abs(corner.mean() + 1000) < 20
        assert abs(image[image < -900].std() - 12) < 2  # noise
        assert abs(np.median(image[image > -200]) - 40) < 30  # soft tissue
        assert 500 < image.max() < 1000  # bone
        assert abs(np.median(image[label.array > 0]) - 110) < 10
        np.testing.assert_array_equal(image, image.round())


def _fine_grid(anatomy: Anatomy, spacing: float) -> Scan:
    half = 30 * anatomy.size
    size = round(2 * half / spacing)
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = anatomy.centre - half + spacing / 2
    return Scan((size, size, size), affine)


@pytest.mark.parametrize("seed", range(4))
def test_labels_have_the_analytic_volumes(seed):
    """An independent check of both: count voxels of a fine grid against Pappus' formula."""
    anatomy = draw_anatomy(np.random.default_rng(seed))
    spacing = 0.5
    points = head_coordinates(anatomy, _fine_grid(anatomy, spacing))
    counts = np.bincount(draw_label(anatomy, points).ravel(), minlength=3)[1:]
    np.testing.assert_allclose(counts * spacing**3, structure_volumes(anatomy), rtol=0.01)


@pytest.mark.parametrize("index", range(4))
def test_files_hold_the_analytic_volumes_in_millimetres(mri, index):
    """The header's spacing and the voxels together give the right size in space."""
    label = read_label(mri.training[index].label)
    volumes = np.bincount(label.array.ravel(), minlength=3)[1:] * math.prod(label.spacing)
    anatomy = draw_anatomy(np.random.default_rng([0, index]))
    np.testing.assert_allclose(volumes, structure_volumes(anatomy), rtol=0.08)


@pytest.mark.parametrize("seed", range(4))
def test_the_label_is_the_tube_by_brute_force(seed):
    """The nearest of many points on the arc, instead of polar coordinates."""
    generator = np.random.default_rng(seed)
    anatomy = draw_anatomy(generator)
    points = anatomy.arc_centre + generator.uniform(-20, 20, (5_000, 3))
    fractions = np.linspace(0, 1, 400)
    arc = np.array([anatomy.arc_point(f, anatomy.arc_radius) for f in fractions])  # (400, 3)
    distances = np.linalg.norm(points[:, None] - arc, axis=-1)  # (point, 400)
    nearest = fractions[distances.argmin(axis=1)]
    clearance = anatomy.radius_at(nearest) - distances.min(axis=1)
    sure = (np.abs(clearance) > 0.05) & (np.abs(nearest - anatomy.border) > 0.01)
    expected = np.where(clearance > 0, np.where(nearest <= anatomy.border, 1, 2), 0)
    assert (expected[sure] == 1).sum() > 15
    np.testing.assert_array_equal(draw_label(anatomy, points)[sure], expected[sure])


@pytest.mark.parametrize("seed", range(8))
def test_shapes_stay_apart_and_inside(seed):
    generator = np.random.default_rng(seed)
    anatomy = draw_anatomy(generator)
    points = head_coordinates(anatomy, _fine_grid(anatomy, 1.0))
    tissues = draw_tissues(anatomy, points, draw_label(anatomy, points))
    balls = {Tissue.LANDMARK: 3.0, Tissue.FLUID: 3.5}
    for tissue, radius in balls.items():  # nothing lies over them
        volume = np.sum(tissues == tissue) / anatomy.size**3
        assert volume == pytest.approx(4 / 3 * math.pi * radius**3, rel=0.15)
    tube = sum(structure_volumes(anatomy)) / anatomy.size**3
    ball = 4 / 3 * math.pi * anatomy.ball_radius**3
    structures = np.sum(tissues == Tissue.STRUCTURE) / anatomy.size**3
    assert structures == pytest.approx(tube + ball, rel=0.03)
    coarse = draw_label(anatomy, head_coordinates(anatomy, draw_scan(generator, anatomy, seed)))
    for axis in range(3):  # the scan's edge cuts no structure
        edges = np.moveaxis(coarse, axis, 0)[[0, -1]]
        assert not edges.any()


def test_the_landmark_lies_on_the_borders_plane():
    for seed in range(8):
        anatomy = draw_anatomy(np.random.default_rng(seed))
        offset = anatomy.landmark - anatomy.arc_point(anatomy.border, anatomy.arc_radius)
        assert offset[1:].tolist() == [0, 0]
        assert np.sign(offset[0]) == -anatomy.side  # towards the middle
        assert abs(offset[0]) > anatomy.radius_at(anatomy.border) + 3


def test_mirroring_a_head_mirrors_its_label():
    """Nothing but the head itself says where anterior is."""
    anatomy = draw_anatomy(np.random.default_rng(0))
    points = np.random.default_rng(1).uniform(-25, 25, (5000, 3))
    mirrored = Anatomy(**(vars(anatomy) | {"side": -anatomy.side}))
    flipped = points * [-1, 1, 1]
    np.testing.assert_array_equal(draw_label(mirrored, flipped), draw_label(anatomy, points))


def test_the_bias_field_is_smooth_and_moderate():
    field = bias_field(np.random.default_rng(0), (30, 40, 50))
    assert field.shape == (30, 40, 50)
    assert 1.1 < field.max() / field.min() < 5
    for axis in range(3):
        assert np.abs(np.diff(np.log(field), axis=axis)).max() < 0.03


def test_the_same_phantom_is_made_once(tmp_path):
    root = tmp_path / "p"
    make_phantom(root, cases=1)
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*.nii.gz")}
    make_phantom(root, cases=1)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*.nii.gz")} == before


@pytest.mark.parametrize("change", [{"cases": 2}, {"seed": 1}, {"modality": "ct"}, {"channels": 2}])
def test_another_phantom_is_not_overwritten(tmp_path, change):
    make_phantom(tmp_path / "p", **{"cases": 1})
    before = _digests(tmp_path / "p")
    with pytest.raises(InputError, match="holds something else"):
        make_phantom(tmp_path / "p", **({"cases": 1} | change))
    assert _digests(tmp_path / "p") == before


@pytest.mark.parametrize("name", ["thesis.txt", "dataset.json"])
def test_a_foreign_folder_is_left_alone(tmp_path, name):
    (tmp_path / name).write_text(json.dumps({"name": "mine"}))
    with pytest.raises(InputError, match="holds something else"):
        make_phantom(tmp_path, cases=1)
    assert os.listdir(tmp_path) == [name]


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "p").touch()
    with pytest.raises(InputError, match="holds something else"):
        make_phantom(tmp_path / "p", cases=1)


def test_a_phantom_that_fails_half_way_leaves_nothing(tmp_path, monkeypatch):
    def fail(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("nnunet_lib.datasets.phantom.write_label", fail)
    with pytest.raises(KeyboardInterrupt):
        make_phantom(tmp_path / "p", cases=1)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"cases": 0}, "at least 1"),
        ({"seed": -1}, "at least 0"),
        ({"modality": "pet"}, "modality pet: must be one of mri, ct"),
        ({"channels": 0}, "1 to 4 channels, not 0"),
        ({"channels": 5}, "1 to 4 channels, not 5"),
        ({"modality": "ct", "channels": 2}, "1 to 1 channels, not 2"),
    ],
)
def test_arguments_out_of_range_are_refused(tmp_path, arguments, message):
    with pytest.raises(InputError, match=message):
        make_phantom(tmp_path / "p", **arguments)
    assert not (tmp_path / "p").exists()


def test_a_place_that_cannot_be_written_is_told_by_its_name(read_only):
    with pytest.raises(InputError, match=r"phantom: cannot be written, because .* is read-only"):
        make_phantom(read_only / "phantom", cases=1)
