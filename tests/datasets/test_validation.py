import gzip
import json
import tracemalloc

import nibabel as nib
import numpy as np
import pytest

from nnunet_lib.datasets.dataset import Dataset, find_images
from nnunet_lib.datasets.nifti import read_header, read_volume
from nnunet_lib.datasets.validation import require_valid, validate
from nnunet_lib.errors import InputError

SHAPE = (5, 6, 7)  # i, j, k of the cases in conftest.py
AFFINE = np.array([[0.8, 0, 0, -3], [0, 1.2, 0, 5], [0, 0, 2.5, 7], [0, 0, 0, 1.0]])
IMAGE, LABEL = "imagesTr/b.nii.gz", "labelsTr/b.nii.gz"
DIM, DATATYPE, PIXDIM, SROW = 40, 70, 80, 280  # offsets in NIfTI-1's header


def _moved(millimetres):
    affine = AFFINE.copy()
    affine[1, 3] += millimetres
    return affine


def _image(value=1.0, shape=(*SHAPE, 2)):
    data = np.ones(shape, np.float32)
    data[1, 2, 3] = value
    return data


def _label(value=1.0, shape=SHAPE):
    data = np.zeros(shape, np.float32)
    data[1, 2, 3] = value
    return data


def _header(file, offset, values, dtype):
    """Overwrite a field of a header, which nibabel would refuse to write."""

    def plant(root, save):
        raw = bytearray(gzip.decompress((root / file).read_bytes()))
        value = np.array(values, dtype).tobytes()
        raw[offset : offset + len(value)] = value
        (root / file).write_bytes(gzip.compress(raw))

    return plant


def _replace(file, data, affine=AFFINE):
    return lambda root, save: save(root / file, data, affine)


def _remove(file):
    return lambda root, save: (root / file).unlink()


def _truncate(root, save):
    path = root / IMAGE
    path.write_bytes(path.read_bytes()[:-500])


def _rename_channel(root, save):
    value = json.loads((root / "dataset.json").read_text())
    value["modality"] = {"0": "T1", "1": "T2", "2": "FLAIR"}
    (root / "dataset.json").write_text(json.dumps(value))


# What is planted, the file at fault, what is said about it.
FAULTS = {
    "no image": (_remove(IMAGE), IMAGE, "does not exist"),
    "no label": (_remove(LABEL), LABEL, "does not exist"),
    "no test image": (_remove("imagesTs/t.nii.gz"), "imagesTs/t.nii.gz", "does not exist"),
    "truncated": (_truncate, IMAGE, "cannot be read as NIfTI"),
    "shape": (_replace(LABEL, _label(shape=(5, 6, 8))), LABEL, "shape 8 x 6 x 5 against 7 x 6 x 5"),
    "affine": (_replace(LABEL, _label(), _moved(1)), LABEL, "voxel 1 mm apart. Draw or resample"),
    "flipped": (
        _replace(LABEL, _label(), AFFINE @ np.diag([-1, 1, 1, 1])),
        LABEL,
        "a corner voxel 6.4 mm apart",
    ),
    "label value": (_replace(LABEL, _label(7)), LABEL, "does not list: 7"),
    "first value beyond": (_replace(LABEL, _label(3)), LABEL, "does not list: 3"),
    "half a label": (_replace(LABEL, _label(0.5)), LABEL, "not whole numbers"),
    "negative label": (_replace(LABEL, _label(-1)), LABEL, "not whole numbers"),
    "NaN": (_replace(IMAGE, _image(np.nan)), IMAGE, "voxels that are NaN or infinite: 2"),
    "infinite": (_replace(IMAGE, _image(-np.inf)), IMAGE, "voxels that are NaN or infinite: 2"),
    "one channel": (_replace(IMAGE, _image(shape=SHAPE)), IMAGE, "has 1 channels, but .* names 2"),
    "label channels": (_replace(LABEL, _label(shape=(*SHAPE, 2))), LABEL, "with 2 channels"),
    "two dimensions": (_header(IMAGE, DIM, [2, 5, 6, 1, 1], "<i2"), IMAGE, "has 2 dimensions"),
    "five": (_header(IMAGE, DIM, [5, 5, 6, 7, 1, 2], "<i2"), IMAGE, "has 5 dimensions"),
    "no size": (_header(IMAGE, DIM, [4, 5, 0, 7], "<i2"), IMAGE, "impossible size 5 x 0 x 7"),
    "huge": (
        _header(IMAGE, DIM, [3, 30000, 30000, 30000], "<i2"),
        IMAGE,
        "claims 30000 x 30000 x 30000 voxels, more than",
    ),
    "complex": (_header(IMAGE, DATATYPE, 32, "<i2"), IMAGE, "holds complex64 voxels"),
    "colours": (_header(IMAGE, DATATYPE, 128, "<i2"), IMAGE, "not real numbers"),
    "no type": (_header(IMAGE, DATATYPE, 999, "<i2"), IMAGE, "unknown data type 999"),
    "zero spacing": (_header(IMAGE, PIXDIM, 0, "<f4"), IMAGE, "impossible spacing 0 x 1.2 x 2.5"),
    "negative spacing": (_header(LABEL, PIXDIM, -1, "<f4"), LABEL, "impossible spacing -1"),
    "NaN spacing": (_header(IMAGE, PIXDIM, np.nan, "<f4"), IMAGE, "impossible spacing nan"),
    "two spacings": (
        _header(IMAGE, PIXDIM, 1.6, "<f4"),
        IMAGE,
        "voxels of 1.6 x 1.2 x 2.5 mm by its pixdim, but of 0.8 x 1.2 x 2.5 mm by its affine",
    ),
    "singular": (_header(IMAGE, SROW, [0, 0, 0, 0], "<f4"), IMAGE, "cannot be inverted"),
    "NaN affine": (_header(IMAGE, SROW, [np.nan], "<f4"), IMAGE, "not finite"),
}


@pytest.mark.parametrize("folder", ["msd_folder", "nnunet_folder"])
def test_a_sound_dataset_has_no_findings(request, folder):
    dataset = Dataset.open(request.getfixturevalue(folder))
    assert validate(dataset, progress=True) == []
    require_valid(dataset)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_the_one_finding(msd_folder, write_nifti, fault):
    plant, file, problem = FAULTS[fault]
    plant(msd_folder, write_nifti)
    dataset = Dataset.open(msd_folder)
    (finding,) = validate(dataset)
    assert finding.path == msd_folder / file
    assert finding.remedy
    with pytest.raises(InputError, match=problem):
        require_valid(dataset)


def test_one_report_names_every_fault(msd_folder, write_nifti):
    _remove("imagesTr/a.nii.gz")(msd_folder, write_nifti)
    _replace(LABEL, _label(7))(msd_folder, write_nifti)
    _header("labelsTr/c.nii.gz", PIXDIM, 0, "<f4")(msd_folder, write_nifti)
    _replace("imagesTs/t.nii.gz", _image(np.nan))(msd_folder, write_nifti)
    dataset = Dataset.open(msd_folder)
    with pytest.raises(InputError) as error:
        require_valid(dataset)
    title, *lines = str(error.value).splitlines()
    assert title == "Dataset Small has 4 problems:"
    files = ["imagesTr/a.nii.gz", LABEL, "labelsTr/c.nii.gz", "imagesTs/t.nii.gz"]
    assert [line.split(": ")[0] for line in lines] == [f"  - {msd_folder / file}" for file in files]
    assert validate(dataset, workers=3) == validate(dataset)


def test_every_case_with_the_wrong_number_of_channels_is_named(msd_folder):
    _rename_channel(msd_folder, None)
    findings = validate(Dataset.open(msd_folder))
    assert [finding.path.name for finding in findings] == [f"{case}.nii.gz" for case in "abct"]


def _one_channel(root, save, names):
    """A dataset that lists images of one channel, by these names."""
    for name in names:
        save(root / f"imagesTr/{name}.nii.gz", _image(shape=SHAPE))
        save(root / f"labelsTr/{name}.nii.gz", _label().astype(np.uint8))
    listed = [
        {"image": f"imagesTr/{name}.nii.gz", "label": f"labelsTr/{name}.nii.gz"} for name in names
    ]
    value = {"modality": {"0": "MRI"}, "labels": {"0": "background", "1": "a"}, "training": listed}
    (root / "dataset.json").write_text(json.dumps(value))
    return Dataset.open(root)


@pytest.mark.parametrize(
    ("names", "misread"),
    [
        (["scan_0000", "scan_0001"], ["scan_0000", "scan_0001"]),
        (["scan_0000"], ["scan_0000"]),
        (["scan_0000", "scan_0002"], ["scan_0000", "scan_0002"]),
        (["scan_2019", "scan_2020"], []),
        (["scan_001", "scan_002"], []),
    ],
)
def test_an_image_that_predict_would_take_for_a_channel_is_found(
    tmp_path, write_nifti, names, misread
):
    dataset = _one_channel(tmp_path, write_nifti, names)
    findings = validate(dataset)
    assert [finding.path.name for finding in findings] == [f"{name}.nii.gz" for name in misread]
    for finding in findings:
        assert "is named as a channel of scan" in finding.problem
        finding.path.rename(finding.path.with_name(finding.remedy.split()[-1]))
    dataset = Dataset.open(tmp_path)
    assert validate(dataset) == []
    found = {case.identifier for case in find_images(tmp_path / "imagesTr", 1)}
    assert found == {case.identifier for case in dataset.training} == set(names)


def test_an_image_named_as_nnunet_names_it_is_to_be_listed_by_its_case(tmp_path, write_nifti):
    _one_channel(tmp_path, write_nifti, ["a_0000", "b_0000"])
    for name in "ab":
        label = tmp_path / f"labelsTr/{name}_0000.nii.gz"
        label.rename(label.with_name(f"{name}.nii.gz"))
    path = tmp_path / "dataset.json"
    listed = path.read_text().replace("labelsTr/a_0000", "labelsTr/a")
    path.write_text(listed.replace("labelsTr/b_0000", "labelsTr/b"))
    findings = validate(Dataset.open(tmp_path))
    remedies = [finding.remedy for finding in findings]
    assert remedies == [f"List it in dataset.json as {name}.nii.gz" for name in "ab"]
    path.write_text(path.read_text().replace("imagesTr/a_0000", "imagesTr/a"))
    path.write_text(path.read_text().replace("imagesTr/b_0000", "imagesTr/b"))
    dataset = Dataset.open(tmp_path)
    assert validate(dataset) == []
    assert [case.identifier for case in dataset.training] == ["a", "b"]


def test_a_listed_4d_image_is_not_to_be_named_like_a_channel(msd_folder):
    value = (msd_folder / "dataset.json").read_text().replace("/b.nii", "/b_0000.nii")
    (msd_folder / "dataset.json").write_text(value)
    for folder in ("imagesTr", "labelsTr"):
        (msd_folder / folder / "b.nii.gz").rename(msd_folder / folder / "b_0000.nii.gz")
    (finding,) = validate(Dataset.open(msd_folder))
    assert (finding.path.name, finding.remedy.split(":")[0]) == (
        "b_0000.nii.gz",
        "Name it otherwise",
    )


def test_channels_on_different_grids_are_found(nnunet_folder, write_nifti):
    path = nnunet_folder / "imagesTr/p_2_0001.nii.gz"
    write_nifti(path, _image(shape=SHAPE), _moved(1))
    (finding,) = validate(Dataset.open(nnunet_folder))
    assert finding.path == path
    assert "grid of p_2_0000.nii.gz" in finding.problem
    assert finding.remedy.startswith("Resample the files")


@pytest.mark.parametrize("change", ["missing", "surplus"])
def test_a_wrong_number_of_channel_files_is_found(nnunet_folder, write_nifti, change):
    if change == "missing":
        (nnunet_folder / "imagesTr/p_2_0001.nii.gz").unlink()
    else:
        write_nifti(nnunet_folder / "imagesTr/p_2_0002.nii.gz", _image(shape=SHAPE))
    (finding,) = validate(Dataset.open(nnunet_folder))
    assert finding.path.name.startswith("p_2_")
    problem = "does not exist" if change == "missing" else "has 3 channels"
    assert problem in finding.problem


def test_an_empty_dataset_is_found(msd_folder):
    value = json.loads((msd_folder / "dataset.json").read_text())
    (msd_folder / "dataset.json").write_text(json.dumps(value | {"training": []}))
    (finding,) = validate(Dataset.open(msd_folder))
    assert finding.path == msd_folder / "dataset.json"


def test_a_difference_below_the_tolerance_is_none(msd_folder, write_nifti):
    _replace(LABEL, _label(), _moved(0.03))(msd_folder, write_nifti)  # 0.05 voxels are 0.04 mm
    assert validate(Dataset.open(msd_folder)) == []


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_a_file_that_claims_too_much_takes_no_memory(tmp_path, ending):
    """20 KB that say they hold 2.7 GB: small enough that reading them would succeed."""
    header = nib.Nifti1Header()
    header.set_data_dtype(np.uint8)
    header.set_data_shape((3000, 3000, 300))
    header.set_sform(np.eye(4), 1)
    noise = np.random.default_rng(0).bytes(20_000)
    raw = header.binaryblock + bytes(4) + noise
    path = tmp_path / f"claims{ending}"
    path.write_bytes(gzip.compress(raw) if ending == ".nii.gz" else raw)
    tracemalloc.start()
    with pytest.raises(InputError, match="3000 x 3000 x 300 voxels, more than"):
        read_volume([path])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5e6


def test_zeros_compressed_as_well_as_can_be_are_no_false_claim(tmp_path, write_nifti):
    plain = write_nifti(tmp_path / "zeros.nii", np.zeros((200, 200, 200), np.uint8))
    path = tmp_path / "zeros.nii.gz"
    path.write_bytes(gzip.compress(plain.read_bytes(), compresslevel=9))
    assert 200**3 / path.stat().st_size > 1000
    assert read_volume([path]).array.shape == (200, 200, 200, 1)


def test_both_spacings_of_a_tilted_gantry_are_sound(tmp_path, write_nifti):
    """Slices 5 mm apart, each 2 mm further along: voxels are 5.4 mm from those of the next."""
    affine = np.diag([0.8, 0.8, 5.0, 1.0])
    affine[1, 2] = 2.0
    for distance in (5.0, np.hypot(5, 2)):
        path = write_nifti(tmp_path / "tilted.nii", _label(), affine)
        raw = bytearray(path.read_bytes())
        raw[PIXDIM + 8 : PIXDIM + 12] = np.array(distance, "<f4").tobytes()
        path.write_bytes(raw)
        assert read_header(path).spacing[0] == pytest.approx(distance)


@pytest.mark.parametrize("factor", [0.97, 0.985, 1.015, 1.03])
def test_a_header_may_round_its_spacing_and_no_more(tmp_path, write_nifti, factor):
    def change(header):
        header["pixdim"][3] = 2.5 * factor

    path = write_nifti(tmp_path / "rounded.nii", _label(), change=change)
    if abs(factor - 1) < 0.02:
        assert read_header(path).spacing[0] == pytest.approx(2.5 * factor)
    else:
        with pytest.raises(InputError, match=r"by its pixdim, but of 0\.8 x 1\.2 x 2\.5 mm"):
            read_header(path)


@pytest.mark.parametrize(
    ("qform_code", "sform_code", "sound"),
    [(1, 4, True), (1, 2, True), (1, 1, False), (0, 4, False)],
)
def test_an_alignment_to_another_space_may_stretch_voxels(
    tmp_path, write_nifti, qform_code, sform_code, sound
):
    """NIfTI's pixdim belongs to the qform; the sform may hold a registration to a template."""
    path = write_nifti(tmp_path / "registered.nii", _label())
    image = nib.load(path)
    image.set_qform(AFFINE, code=qform_code)
    image.set_sform(AFFINE @ np.diag([1.2, 1.1, 0.9, 1]), code=sform_code)
    image.header["pixdim"][1:4] = (0.8, 1.2, 2.5)
    path.write_bytes(image.to_bytes())
    if sound:
        np.testing.assert_allclose(read_header(path).spacing, (2.5, 1.2, 0.8), rtol=1e-6)
    else:
        with pytest.raises(InputError, match=r"by its pixdim, but of 0\.96 x 1\.32 x 2\.25 mm"):
            read_header(path)


def test_the_thickness_of_a_single_slice_is_of_no_account(tmp_path, write_nifti):
    path = write_nifti(tmp_path / "slice.nii", np.ones((5, 6, 1), np.float32))
    raw = bytearray(path.read_bytes())
    raw[PIXDIM + 8 : PIXDIM + 12] = np.array(1.0, "<f4").tobytes()
    path.write_bytes(raw)
    assert read_header(path).shape == (1, 6, 5)


def test_the_real_dataset_is_valid(real_dataset_path):
    assert validate(Dataset.open(real_dataset_path), workers=2) == []
