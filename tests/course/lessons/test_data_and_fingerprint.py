"""Lesson 01's claims fail when the library is broken in the way that they speak of."""

import math
from dataclasses import replace

import numpy as np
import pytest

from nnunet_lib.course.lessons import data_and_fingerprint as lesson
from nnunet_lib.course.lessons import data_and_fingerprint_figures as figures
from nnunet_lib.datasets import Dataset, nifti, read_label, read_volume, validation, write_label
from nnunet_lib.errors import InputError
from nnunet_lib.planning import compute_fingerprint
from nnunet_lib.planning import fingerprint as fingerprints


@pytest.fixture(scope="module")
def dataset(phantom_path):
    """Three of the phantom's cases: one along the axes, one flipped, one oblique."""
    opened = Dataset.open(phantom_path)
    return replace(opened, training=opened.training[:3], test=())


def image_of(dataset, number):
    return dataset.training[number].images[0]


# Orientation


@pytest.mark.parametrize("number", [0, 1, 2])
def test_no_voxel_moves_in_any_orientation(dataset, number, tmp_path):
    assert lesson.moved_by_reorienting(image_of(dataset, number), tmp_path) < 1e-4
    assert lesson.spacing_error(image_of(dataset, number), tmp_path) < 1e-4


def test_a_reader_that_forgets_to_reverse_the_axes_moves_voxels(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr(
        nifti, "_as_spatial", lambda voxels: voxels[..., np.newaxis] if voxels.ndim == 3 else voxels
    )
    assert lesson.moved_by_reorienting(image_of(dataset, 0), tmp_path) > 10


def test_an_array_that_turns_without_its_affine_moves_voxels(dataset, tmp_path, monkeypatch):
    real = nifti._as_spatial
    monkeypatch.setattr(nifti, "_as_spatial", lambda voxels: real(voxels)[:, :, ::-1])
    assert lesson.moved_by_reorienting(image_of(dataset, 0), tmp_path) > 10


def test_a_spacing_in_the_header_s_order_is_noticed(dataset, tmp_path, monkeypatch):
    real = nifti.read_header

    def in_file_order(path):
        header = real(path)
        return replace(header, spacing=header.spacing[::-1])

    monkeypatch.setattr(nifti, "read_header", in_file_order)
    assert lesson.spacing_error(image_of(dataset, 0), tmp_path) > 0.3


def test_a_point_is_found_again_in_a_scan_stored_otherwise(dataset, tmp_path):
    scan = read_volume([image_of(dataset, 2)])
    for codes in ("LPS", "PIL"):
        turned = read_volume([lesson.turned(image_of(dataset, 2), tmp_path, codes)])
        assert lesson.orientation_of(turned.affine) == codes
        index = lesson.index_of(turned, lesson.place_of(scan.affine, (9, 17, 21)))
        assert index != (9, 17, 21)
        assert turned.array[index] == scan.array[9, 17, 21]


# Volumes


def test_counts_follow_the_voxels_and_millilitres_the_head(tmp_path):
    measured = lesson.one_head_two_scanners(tmp_path)
    assert measured[0].voxels > 5 * measured[2].voxels
    assert lesson.count_ratio_error(measured) < 0.1
    assert lesson.volume_error(measured) < 0.1


@pytest.mark.parametrize("wrong", [(1.0, 1.0, 1.0), (0.7, 0.7, 0.7)])
def test_a_spacing_that_is_not_the_file_s_spoils_the_ratio(tmp_path, monkeypatch, wrong):
    monkeypatch.setattr(lesson, "read_label", lambda path: replace(read_label(path), spacing=wrong))
    assert lesson.volume_error(lesson.one_head_two_scanners(tmp_path)) > 0.3


def test_a_reader_that_loses_every_other_slice_of_one_scanner_is_noticed(tmp_path, monkeypatch):
    def thinned(path):
        label = read_label(path)
        return replace(label, array=label.array[::2]) if "B" in path.name else label

    monkeypatch.setattr(lesson, "read_label", thinned)
    assert lesson.count_ratio_error(lesson.one_head_two_scanners(tmp_path)) > 0.5


def test_resampling_keeps_a_volume_but_for_the_boundary(dataset):
    for case in dataset.training:
        label = read_label(case.label)
        assert 0 < lesson.volume_change(label.array, label.spacing) < 0.5


def test_a_structure_of_one_voxel_may_vanish_and_nothing_is_no_structure():
    label = np.zeros((9, 9, 9), np.uint8)
    assert lesson.volume_change(label, (1.0, 1.0, 1.0)) == 0
    label[4, 4, 4] = 1
    assert lesson.volume_change(label, (1.0, 1.0, 1.0)) <= 1


def test_only_new_voxels_made_from_inside_and_outside_straddle():
    mask = np.zeros((8, 1, 1), bool)
    mask[2:6] = True
    # At twice the resolution, new voxels 3 and 4 are made from old voxels 1 and 2, 11 and 12 from
    # 5 and 6; the others are made from, and lie in, old voxels of one kind.
    assert lesson._straddling(mask, (16, 1, 1)) == 4
    assert lesson._straddling(mask, (8, 1, 1)) <= 4


def rounded(labels, shape, spacing, new_spacing):
    """Label values taken for intensities: what the lesson warns of."""
    from nnunet_lib.preprocessing import resample_logits

    values = resample_logits(
        labels[..., np.newaxis].astype(np.float32), shape, spacing, new_spacing
    )
    return np.rint(values[..., 0]).astype(np.uint8)


def test_labels_rounded_from_interpolated_values_break_the_bound(monkeypatch):
    label = np.zeros((20, 20, 20), np.uint8)
    label[4:16, 4:16, 4:16] = 2  # large, with a rim of ones that nobody drew
    label[1, 1, 1] = 1
    assert lesson.volume_change(label, (1.0, 1.0, 1.0)) <= 1
    monkeypatch.setattr(lesson, "resample_labels", rounded)
    assert lesson.volume_change(label, (1.0, 1.0, 1.0)) > 1


def test_a_resampler_that_loses_half_of_a_structure_breaks_the_bound(monkeypatch):
    real = lesson.resample_labels

    def cut(labels, shape, spacing, new_spacing):
        result = real(labels, shape, spacing, new_spacing)
        result[:, : shape[1] // 2] = 0
        return result

    label = np.zeros((20, 20, 20), np.uint8)
    label[4:16, 4:16, 4:16] = 1
    assert lesson.volume_change(label, (1.0, 1.0, 1.0)) <= 1
    monkeypatch.setattr(lesson, "resample_labels", cut)
    assert lesson.volume_change(label, (1.0, 1.0, 1.0)) > 1


# The validator


def test_the_validator_finds_every_planted_fault(tmp_path):
    report = lesson.validator_report(tmp_path)
    assert len(report) == len(lesson.FAULTS) > 10
    assert [fault for fault, _, right in report if not right] == []


@pytest.mark.parametrize(
    ("check", "missed"),
    [("grid_findings", 3), ("_voxel_findings", 4), ("_channel_findings", 1)],
)
def test_a_validator_without_one_of_its_checks_misses_faults(tmp_path, monkeypatch, check, missed):
    monkeypatch.setattr(validation, check, lambda *arguments: iter(()))
    report = lesson.validator_report(tmp_path)
    assert sum(not right for _, _, right in report) >= missed


def test_a_validator_that_always_complains_is_never_right(tmp_path, monkeypatch):
    real = lesson.validate
    monkeypatch.setattr(lesson, "validate", lambda dataset: real(dataset) * 2)
    assert not any(right for _, _, right in lesson.validator_report(tmp_path, lesson.FAULTS[:2]))


def test_the_layout_is_shown_with_its_lists_cut_short(dataset):
    text = lesson.layout_of(dataset)
    assert '"... 5 more"' in text
    assert "phantom_001" not in text


# Cases without structures


@pytest.fixture
def empty_at_first(dataset, tmp_path):
    """The dataset, with nothing in the label map of its first case."""
    first, *others = dataset.training
    label = read_label(first.label)
    write_label(tmp_path / "empty.nii.gz", 0 * label.array, label.affine)
    return replace(dataset, training=(replace(first, label=tmp_path / "empty.nii.gz"), *others))


def test_the_first_case_with_structures_is_found(dataset, empty_at_first):
    assert lesson.first_with_structures(dataset) == dataset.training[0]
    assert lesson.first_with_structures(empty_at_first) == dataset.training[1]
    with pytest.raises(InputError, match="no training case has a structure"):
        lesson.first_with_structures(replace(empty_at_first, training=empty_at_first.training[:1]))


def test_claims_about_structures_pass_cases_without_any(empty_at_first, tmp_path):
    fingerprint = compute_fingerprint(empty_at_first)
    assert lesson.standard_errors_off(fingerprint, empty_at_first.training) < 5
    twice = replace(empty_at_first, training=empty_at_first.training[:1] * 2)
    more = replace(twice, training=twice.training + empty_at_first.training[1:2])
    assert lesson.background_influence(more, tmp_path) == 0


# The fingerprint


def test_facts_of_a_case_are_its_file_s(dataset):
    first, second = (lesson.case_facts(case, dataset.labels) for case in dataset.training[:2])
    volume, label = read_volume([image_of(dataset, 0)]), read_label(dataset.training[0].label)
    assert first.shape == volume.array.shape[:3]
    assert first.spacing == pytest.approx(volume.spacing, abs=1e-4)
    assert (first.orientation, second.orientation) == ("RAS", "LPS")
    assert (first.zeros > 0.3, second.zeros) == (True, pytest.approx(0, abs=0.01))
    inside = volume.array[label.array > 0]
    assert first.foreground[1] == pytest.approx(float(np.median(inside)))
    ones = (label.array == 1).sum() * np.prod(volume.spacing) / 1000
    assert first.millilitres[0] == pytest.approx(ones, rel=1e-4)


def test_the_fingerprint_describes_the_structures_of_every_case_alike(dataset, tmp_path):
    fingerprint = compute_fingerprint(dataset)
    assert lesson.standard_errors_off(fingerprint, dataset.training) < 5
    assert lesson.background_influence(dataset, tmp_path) == 0


def test_a_fingerprint_of_all_voxels_is_noticed(dataset, tmp_path, monkeypatch):
    def all_foreground(path):
        label = read_label(path)
        return replace(label, array=np.ones_like(label.array))

    monkeypatch.setattr(fingerprints, "read_label", all_foreground)
    assert lesson.standard_errors_off(compute_fingerprint(dataset), dataset.training) > 5
    assert lesson.background_influence(dataset, tmp_path) > 0.1


def test_a_fingerprint_in_which_large_structures_weigh_more_is_noticed(dataset, monkeypatch):
    monkeypatch.setattr(fingerprints, "_draw", lambda foreground, generator: foreground)
    assert lesson.standard_errors_off(compute_fingerprint(dataset), dataset.training) > 5


# Figures


def names_in(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_figures_draw_millimetres_and_mark_the_point(dataset, tmp_path):
    volume = read_volume([image_of(dataset, 0)])
    label = read_label(dataset.training[0].label)
    squashed = figures.squashed_figure(
        volume.array[..., 0], label.array, volume.spacing, dataset.labels
    )
    in_voxels, in_mm = squashed.axes[:2]
    assert names_in(squashed) == list(dataset.labels[1:])
    assert in_voxels.get_ylim()[1] == volume.array.shape[0]
    assert in_mm.get_ylim()[1] == pytest.approx(volume.array.shape[0] * volume.spacing[0])
    point = lesson.place_of(volume.affine, (9, 17, 21))
    (panel,) = figures.orientation_figure([volume], point).axes
    (x,), (y,) = panel.lines[0].get_data()
    assert (x, y) == pytest.approx((21.5 * volume.spacing[2], 17.5 * volume.spacing[1]))


def test_cases_are_drawn_on_a_logarithmic_axis_unless_they_go_below_zero(dataset):
    facts = [lesson.case_facts(case, dataset.labels) for case in dataset.training]
    assert figures.cases_figure(facts).axes[1].get_yscale() == "log"
    empty = replace(facts[0], foreground=(math.nan,) * 3)
    right = figures.cases_figure([empty, *facts]).axes[1]
    assert right.get_yscale() == "log"
    assert np.isnan(right.lines[0].get_ydata()[0])  # not drawn
    cold = [replace(item, foreground=(-50.0, 0.0, 60.0)) for item in facts]
    assert figures.cases_figure(cold).axes[1].get_yscale() == "linear"
