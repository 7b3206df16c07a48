import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from nnunet_lib.datasets.nifti import (
    grid_difference,
    read_header,
    read_label,
    read_volume,
    stem,
    write_label,
    write_probabilities,
    write_volume,
)
from nnunet_lib.errors import InputError

OBLIQUE = np.array([[-0.8, 0.6, 0, 3], [0.6, 0.8, 0, -4], [0, 0, 3, 5], [0, 0, 0, 1.0]])
SHEARED = np.array([[1, 0.3, 0, 3], [0, 2, 0.1, -4], [0, 0, 3, 5], [0, 0, 0, 1.0]])


def read_raw(path):
    """A header as it is in the file; to load the image would mend it."""
    with path.open("rb") as stream:
        return nib.Nifti1Header.from_fileobj(stream, check=False)


def test_axes_are_reversed_and_channels_come_last(tmp_path, write_nifti, affine):
    data = np.arange(2 * 3 * 4 * 5, dtype=np.float32).reshape(2, 3, 4, 5)  # i, j, k, channel
    volume = read_volume([write_nifti(tmp_path / "a.nii.gz", data, affine)])
    assert volume.array.shape == (4, 3, 2, 5)
    assert volume.array.dtype == np.float32
    for i, j, k, channel in [(1, 2, 3, 4), (0, 1, 2, 3), (1, 0, 3, 0)]:
        assert volume.array[k, j, i, channel] == data[i, j, k, channel]
    np.testing.assert_allclose(volume.spacing, (2.5, 1.2, 0.8), rtol=1e-6)
    np.testing.assert_allclose(volume.affine, affine, rtol=1e-6)


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("affine", [OBLIQUE, SHEARED, np.diag([-1.0, -1.0, 2.0, 1.0])])
@pytest.mark.parametrize("shape", [(3, 4, 5), (3, 4, 5, 2), (1, 4, 1, 3)])
def test_what_is_written_is_read(tmp_path, ending, affine, shape):
    path = tmp_path / f"a{ending}"
    array = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    write_volume(path, array, affine)
    volume = read_volume([path])
    np.testing.assert_array_equal(volume.array, array.reshape(*shape[:3], -1))
    np.testing.assert_array_equal(volume.affine, affine.astype(np.float32))


def test_labels_are_written_as_bytes_on_the_affine_that_was_read(tmp_path, write_nifti):
    affine = OBLIQUE @ np.diag([1, 2, 1, 1])  # columns and rows of other lengths
    source = write_nifti(tmp_path / "image.nii.gz", np.zeros((4, 5, 6), np.float32), affine)
    label = np.random.default_rng(0).integers(0, 256, (6, 5, 4))
    write_label(tmp_path / "label.nii.gz", label, read_volume([source]).affine)
    written = nib.load(tmp_path / "label.nii.gz")
    assert written.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(written.affine, nib.load(source).affine)
    np.testing.assert_allclose(written.get_qform(), affine, atol=1e-5)
    np.testing.assert_array_equal(read_label(tmp_path / "label.nii.gz").array, label)


@pytest.mark.parametrize("shear", [SHEARED, np.eye(4) + 0.01 * np.eye(4, k=1)])
def test_a_shear_is_not_forced_into_a_qform(tmp_path, shear):
    write_label(tmp_path / "a.nii.gz", np.zeros((2, 3, 4), np.uint8), shear)
    header = nib.load(tmp_path / "a.nii.gz").header
    assert (header["qform_code"], header["sform_code"]) == (0, 1)


def test_probabilities_have_classes_on_the_fourth_axis(tmp_path, affine):
    array = np.random.default_rng(0).random((3, 4, 5, 2))  # z, y, x, class
    write_probabilities(tmp_path / "p.nii.gz", array, affine)
    image = nib.load(tmp_path / "p.nii.gz")
    data = image.get_fdata()
    assert (data.shape, image.get_data_dtype()) == ((5, 4, 3, 2), np.float32)
    assert data[4, 3, 2, 1] == pytest.approx(array[2, 3, 4, 1], rel=1e-6)


@pytest.mark.parametrize("write", [write_label, write_probabilities])
def test_an_array_of_other_dimensions_is_not_written(tmp_path, affine, write):
    shape = (3, 4, 5, 2) if write is write_label else (3, 4, 5)
    with pytest.raises(ValueError, match="array"):
        write(tmp_path / "a.nii.gz", np.zeros(shape, np.uint8), affine)
    assert not list(tmp_path.iterdir())


def test_the_same_array_gives_the_same_bytes(tmp_path, affine):
    array = np.arange(60, dtype=np.uint8).reshape(3, 4, 5)
    for folder in ("one", "two"):
        write_label(tmp_path / folder / "a.nii.gz", array, affine)
    assert (tmp_path / "one/a.nii.gz").read_bytes() == (tmp_path / "two/a.nii.gz").read_bytes()


def test_one_file_a_channel_equals_one_file(tmp_path, write_nifti):
    data = np.random.default_rng(0).random((4, 5, 6, 3), dtype=np.float32)
    whole = write_nifti(tmp_path / "whole.nii.gz", data)
    parts = [write_nifti(tmp_path / f"part_{c}.nii", data[..., c]) for c in range(3)]
    np.testing.assert_array_equal(read_volume(parts).array, read_volume([whole]).array)


def test_channels_on_different_grids_are_refused(tmp_path, write_nifti, affine):
    one = write_nifti(tmp_path / "one.nii", np.zeros((4, 5, 6), np.float32))
    affine[0, 3] += 1
    two = write_nifti(tmp_path / "two.nii", np.zeros((4, 5, 6), np.float32), affine)
    with pytest.raises(InputError, match=r"two\.nii: is not on the grid of one\.nii"):
        read_volume([one, two])


def test_scaling_in_the_header_is_applied(tmp_path, write_nifti):
    path = tmp_path / "a.nii"
    write_nifti(path, np.full((2, 3, 4), 7, np.int16))
    raw = bytearray(path.read_bytes())
    raw[112:120] = np.array([0.5, -10], np.float32).tobytes()  # scl_slope, scl_inter
    path.write_bytes(raw)
    assert np.all(read_volume([path]).array == -6.5)


@pytest.mark.parametrize("offset", [np.inf, 1e30])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_voxels_that_lie_nowhere_make_a_damaged_file(tmp_path, write_nifti, ending, offset):
    path = write_nifti(tmp_path / f"a{ending}", np.zeros((2, 3, 4), np.int16))
    pack, unpack = (gzip.compress, gzip.decompress) if ending == ".nii.gz" else (bytes, bytes)
    raw = bytearray(unpack(path.read_bytes()))
    raw[108:112] = np.float32(offset).tobytes()  # vox_offset
    path.write_bytes(pack(bytes(raw)))
    with pytest.raises(InputError, match=r"a\.nii.*intact copy"):
        read_volume([path])


@pytest.mark.parametrize(("unit", "millimetres"), [("meter", 1000), ("mm", 1), ("micron", 1e-3)])
@pytest.mark.parametrize("time", [None, "sec", "msec"])
def test_units_become_millimetres(tmp_path, write_nifti, affine, unit, millimetres, time):
    def change(header):
        header.set_xyzt_units(unit, time)

    path = write_nifti(tmp_path / "a.nii", np.zeros((2, 3, 4), np.float32), change=change)
    header = read_header(path)
    np.testing.assert_allclose(header.spacing, np.array([2.5, 1.2, 0.8]) * millimetres, rtol=1e-6)
    np.testing.assert_allclose(header.affine[:3], affine[:3] * millimetres, rtol=1e-6)


@pytest.mark.parametrize("image_class", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("order", ["<", ">"])
def test_both_versions_and_byte_orders_are_read(tmp_path, affine, image_class, order):
    data = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    header = image_class.header_class(endianness=order)
    header.set_data_dtype(np.float32)
    nib.save(image_class(data, affine, header), tmp_path / "a.nii.gz")
    volume = read_volume([tmp_path / "a.nii.gz"])
    np.testing.assert_array_equal(volume.array[..., 0], data.transpose(2, 1, 0))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_whole_numbers_are_labels_whatever_their_type(tmp_path, write_nifti, dtype):
    data = np.random.default_rng(0).integers(0, 4, (3, 4, 5)).astype(dtype)
    label = read_label(write_nifti(tmp_path / "a.nii.gz", data))
    assert label.array.dtype == np.uint8
    np.testing.assert_array_equal(label.array, data.transpose(2, 1, 0))


@pytest.mark.parametrize("value", [0.01, 0.5, 1.25, -1, 256, np.nan, np.inf])
def test_other_values_are_no_labels(tmp_path, write_nifti, value):
    data = np.zeros((3, 4, 5), np.float32)
    data[1, 2, 3] = value
    path = write_nifti(tmp_path / "a.nii.gz", data)
    with pytest.raises(InputError, match=rf"a\.nii\.gz: holds labels .* such as {value:g}\."):
        read_label(path)
    with pytest.raises(ValueError, match="whole numbers"):
        write_label(tmp_path / "b.nii.gz", data, np.eye(4))
    assert not (tmp_path / "b.nii.gz").exists()


def test_a_label_has_one_channel(tmp_path, write_nifti):
    data = np.zeros((3, 4, 5, 1), np.uint8)
    assert read_label(write_nifti(tmp_path / "a.nii.gz", data)).array.shape == (5, 4, 3)
    path = write_nifti(tmp_path / "b.nii.gz", np.zeros((3, 4, 5, 2), np.uint8))
    with pytest.raises(InputError, match=r"b\.nii\.gz: is a label map with 2 channels"):
        read_label(path)


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-300])


def _flip_checksum(path):
    raw = bytearray(path.read_bytes())
    raw[-8] ^= 1
    path.write_bytes(raw)


def _flip_a_voxel(path):
    """Damage that only gzip's checksum shows: stored blocks hold the voxels as they are."""
    raw = bytearray(gzip.compress(gzip.decompress(path.read_bytes()), compresslevel=0))
    raw[-100] ^= 1
    path.write_bytes(raw)


DAMAGE = {
    "missing": lambda path: path.unlink(),
    "empty": lambda path: path.write_bytes(b""),
    "text": lambda path: path.write_text("no image at all"),
    "not NIfTI": lambda path: path.write_bytes(gzip.compress(b"no image" * 100)),
    "truncated": _truncate,
    "short header": lambda path: path.write_bytes(gzip.compress((348).to_bytes(4, "little"))),
    "checksum": _flip_checksum,
    "voxel": _flip_a_voxel,
    "a folder": lambda path: (path.unlink(), path.mkdir()),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("read", [read_label, lambda path: read_volume([path])])
def test_unreadable_files_are_named(tmp_path, write_nifti, damage, read):
    data = np.random.default_rng(0).integers(0, 3, (11, 12, 13), dtype=np.uint8)
    path = write_nifti(tmp_path / "scan.nii.gz", data)
    read(path)
    DAMAGE[damage](path)
    with pytest.raises(InputError, match=r"scan\.nii\.gz: "):
        read(path)


@pytest.mark.parametrize("name", ["scan.mha", "scan.nii.bz2", "scan.hdr", "nii"])
def test_other_endings_are_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(InputError, match=r"is not a \.nii or \.nii\.gz file"):
        read_header(tmp_path / name)
    with pytest.raises(InputError, match=r"is not a \.nii or \.nii\.gz file"):
        write_label(tmp_path / name, np.zeros((2, 2, 2), np.uint8), np.eye(4))


def test_the_stem_keeps_inner_dots(tmp_path):
    assert stem(tmp_path / "case.1.nii.gz") == "case.1"
    assert stem(tmp_path / "case.1.nii") == "case.1"


def test_the_tolerance_of_grids_is_in_voxels(tmp_path, write_nifti, affine):
    data = np.zeros((50, 60, 70), np.uint8)
    headers = []
    for number, shift in enumerate([0, 0.03, 0.05]):  # the smallest voxel has 0.8 mm
        moved = affine.copy()
        moved[0, 3] += shift
        headers.append(read_header(write_nifti(tmp_path / f"{number}.nii.gz", data, moved)))
    assert grid_difference(headers[0], headers[1]) == ""
    assert "0.05 mm apart" in grid_difference(headers[0], headers[2])


def test_what_belongs_to_an_image_of_unknown_orientation_leaves_it_unknown(tmp_path, write_nifti):
    """Programs differ in where they put such an image: so they must treat both files alike."""

    data = np.zeros((4, 5, 6), np.float32)
    source, header = tmp_path / "image.nii.gz", nib.Nifti1Header()
    header.set_data_shape(data.shape)
    header.set_zooms((0.8, 1.2, 2.5))
    nib.save(nib.Nifti1Image(data, None, header), source)
    volume = read_volume([source])
    for name, write in (("label", write_label), ("probabilities", write_probabilities)):
        array = np.zeros((6, 5, 4) if name == "label" else (6, 5, 4, 2), np.uint8)
        write(tmp_path / f"{name}.nii.gz", array, volume.affine, volume.placement)
        header = nib.load(tmp_path / f"{name}.nii.gz").header
        assert (header["sform_code"], header["qform_code"]) == (0, 0)
        np.testing.assert_allclose(header.get_zooms()[:3], (0.8, 1.2, 2.5), rtol=1e-6)
        assert grid_difference(read_header(tmp_path / f"{name}.nii.gz"), read_header(source)) == ""


@pytest.mark.parametrize("codes", [(1, 1), (2, 1), (4, 1), (1, 0), (0, 1), (0, 3)])
# Millimetres, metres, microns, unknown; the last two with times in seconds and in milliseconds.
@pytest.mark.parametrize("unit", [2, 1, 3, 0, 3 + 8, 2 + 16])
def test_what_belongs_to_an_image_lies_where_any_program_sees_the_image(
    tmp_path, write_nifti, codes, unit
):
    """Some follow the sform, some the qform; a registered scan has two that differ."""
    sform, qform = OBLIQUE.copy(), np.diag([1.0, 1.0, 3.0, 1.0])
    millimetres = {1: 1000, 3: 0.001}.get(unit % 8, 1)
    sform[:3] /= millimetres
    qform[:3] /= millimetres

    def place(header):
        header["pixdim"][1:4] = qform.diagonal()[:3]
        header.set_sform(sform if codes[0] else None, codes[0])
        header.set_qform(qform if codes[1] else None, codes[1])
        header["xyzt_units"] = unit

    source = write_nifti(tmp_path / "a.nii.gz", np.zeros((4, 5, 6), np.float32), None, place)
    volume = read_volume([source])
    write_label(tmp_path / "label.nii.gz", np.zeros((6, 5, 4)), volume.affine, volume.placement)
    image, label = (nib.load(tmp_path / name) for name in ("a.nii.gz", "label.nii.gz"))
    for form, wanted in zip(("get_sform", "get_qform"), codes, strict=True):
        expected, code = getattr(image, form)(coded=True)
        assert code == wanted
        found, found_code = getattr(label, form)(coded=True)
        assert (found_code, found is None) == (code, expected is None)
        if expected is not None:
            np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6 / millimetres)
    np.testing.assert_array_equal(label.affine, image.affine)
    assert label.header["xyzt_units"] == unit
    found = read_header(tmp_path / "label.nii.gz")
    np.testing.assert_allclose(found.spacing, volume.spacing, rtol=1e-6)
    np.testing.assert_allclose(found.affine, volume.affine, rtol=1e-6)


@pytest.mark.parametrize("quaternion", [(1.0, 1.0, 1.0), (np.nan, 0.0, 0.0)])
def test_a_qform_that_is_none_is_left_out_where_there_is_an_sform(
    tmp_path, write_nifti, quaternion
):
    def spoil(header):
        header.set_sform(OBLIQUE, 2)
        header["pixdim"][1:4] = 1, 1, 3
        header["qform_code"] = 1
        header["quatern_b"], header["quatern_c"], header["quatern_d"] = quaternion

    source = write_nifti(tmp_path / "a.nii", np.zeros((4, 5, 6), np.float32), None, spoil)
    assert read_raw(source)["qform_code"] == 1
    volume = read_volume([source])
    np.testing.assert_allclose(volume.affine, OBLIQUE, rtol=1e-6)
    write_label(tmp_path / "label.nii", np.zeros((6, 5, 4)), volume.affine, volume.placement)
    header = nib.load(tmp_path / "label.nii").header
    assert (header["sform_code"], header["qform_code"]) == (2, 0)
    np.testing.assert_allclose(header.get_sform(), OBLIQUE, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16])
def test_a_mask_that_the_header_scales_is_read(tmp_path, dtype):
    """nibabel stretches float masks over the range of an integer header: 1 comes back rounded."""
    mask = np.random.default_rng(0).integers(0, 2, (4, 5, 6)).astype(np.float64)
    image = nib.Nifti1Image(mask, np.eye(4))
    image.set_data_dtype(dtype)
    nib.save(image, tmp_path / "mask.nii.gz")
    stored = np.asarray(nib.load(tmp_path / "mask.nii.gz").dataobj)
    assert not np.array_equal(stored, mask)  # else there is nothing to show
    np.testing.assert_array_equal(read_label(tmp_path / "mask.nii.gz").array, mask.T)


def test_units_of_time_that_nobody_knows_are_no_fault(tmp_path, write_nifti):
    def change(header):
        header["xyzt_units"] = 3 + 64  # microns, and a time code that NIfTI does not have

    path = write_nifti(tmp_path / "a.nii", np.zeros((2, 3, 4), np.float32), change=change)
    np.testing.assert_allclose(read_header(path).spacing, (0.0025, 0.0012, 0.0008), rtol=1e-6)


def test_a_qform_without_handedness_is_right_handed(tmp_path, write_nifti, affine):
    path = write_nifti(tmp_path / "a.nii", np.zeros((2, 3, 4), np.float32), affine)
    raw = bytearray(path.read_bytes())
    raw[76:80] = bytes(4)  # pixdim[0], which NIfTI calls qfac
    raw[252:256] = bytes([1, 0, 0, 0])  # qform_code, sform_code
    path.write_bytes(raw)
    np.testing.assert_allclose(read_header(path).affine, affine, rtol=1e-6)


def test_a_map_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "a.nii.gz"
    write_label(path, np.ones((3, 3, 3), np.uint8), np.eye(4))
    before = path.read_bytes()

    def full(image, name):
        Path(name).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(nib, "save", full)
    with pytest.raises(OSError, match="No space left"):
        write_label(path, np.zeros((3, 3, 3), np.uint8), np.eye(4))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
