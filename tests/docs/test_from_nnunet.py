"""docs/from-nnunet.md names everything of nnU-Net v2, and only what exists here."""

import re

import pytest

# nnU-Net 2.8.1's commands, from its documentation (reference/cli-overview.md).
COMMANDS = (
    "accumulate_crossval_results", "apply_postprocessing", "convert_MSD_dataset",
    "convert_old_nnUNet_dataset", "create_deep_ensemble_splits", "determine_postprocessing",
    "download_pretrained_model_by_url", "ensemble", "evaluate_folder", "evaluate_simple",
    "export_model_to_zip", "extract_fingerprint", "extract_sampling_locations",
    "find_best_configuration", "install_pretrained_model_from_zip", "move_plans_between_datasets",
    "plan_and_preprocess", "plan_experiment", "plot_overlay_pngs", "predict",
    "predict_from_modelfolder", "preprocess", "train",
)  # fmt: skip
LEFT_OUT = ("ignore label", "region-based training", "cascade", "low resolution",
            "residual encoder", "1000 epochs", "pretrained weights")  # fmt: skip
VARIABLES = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results", "nnUNet_n_proc_DA",
             "nnUNet_def_n_proc", "nnUNet_compile")  # fmt: skip
FIELDS = ("channel_names", "labels", "numTraining", "file_ending", "regions_class_order",
          "overwrite_image_reader_writer")  # fmt: skip


@pytest.fixture
def rows(page) -> dict[str, str]:
    """What stands in the first column -> what stands in the second."""
    found = list(page("docs/from-nnunet.md").rows())
    assert all(len(row) == 2 for row in found)
    return dict(found)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_counterpart_or_a_reason(command: str, rows: dict[str, str]) -> None:
    (answer, *_) = [there for theirs, there in rows.items()
                    if re.search(rf"`nnUNetv2_{command}\b", theirs)]  # fmt: skip
    assert len(answer) > 10


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_is_left_out_has_a_reason(name: str, rows: dict[str, str]) -> None:
    (reason,) = [why for what, why in rows.items() if name in what]
    assert len(reason.split()) >= 10


@pytest.mark.parametrize("name", [*VARIABLES, *FIELDS])
def test_every_variable_and_field_is_answered(name: str, rows: dict[str, str]) -> None:
    assert any(f"`{name}`" in what for what in rows)


def test_what_the_page_calls_ours_exists(rows: dict[str, str], check_ours) -> None:
    assert check_ours(rows.values()) >= 20
