"""An exported network answers as the original does, where this library cannot be imported."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from nnunet_lib.cli import main
from nnunet_lib.datasets import Volume
from nnunet_lib.deployment import export
from nnunet_lib.deployment.export import describe
from nnunet_lib.errors import InputError
from nnunet_lib.inference import Postprocessing
from nnunet_lib.model import (
    BEST,
    LAST,
    Checkpoint,
    build_unet,
    load_network,
    save_checkpoint,
    variable_arrays,
)
from nnunet_lib.planning import Normalisation, Plan
from nnunet_lib.preprocessing import preprocess_case

PAGE = Path(__file__).parents[2] / "docs" / "export.md"
CT = Normalisation("ct", lower=-100, upper=200, mean=50, standard_deviation=40)


def make_plan(patch_size: tuple[int, ...], channels: int, classes: int, **others) -> Plan:
    axes = len(patch_size)
    fields = {
        "dataset": "made up",
        "dimensions": axes,
        "channels": tuple(f"channel {number}" for number in range(channels)),
        "labels": ("background", *(f"class {number}" for number in range(1, classes))),
        "axis_order": (2, 0, 1),
        "target_spacing": (1.0,) * axes,
        "normalisation": (CT, *[Normalisation("z_score")] * (channels - 1)),
        "patch_size": patch_size,
        "batch_size": 2,
        "strides": ((1,) * axes, (2,) * axes, (2,) * axes),
        "kernels": ((3,) * axes,) * 3,
        "filters": (4, 6, 8),
        "mirrored": False,
    }
    return Plan(**{**fields, **others})


# (plan, deep supervision)
NETWORKS = {
    "2D": (make_plan((8, 12), 1, 2), True),
    "2D batch norm": (make_plan((8, 8), 3, 5, norm="batch"), False),
    "3D": (make_plan((8, 8, 12), 1, 3), True),
    "3D group norm": (make_plan((4, 8, 8), 4, 4, norm="group", negative_slope=0.2), False),
    "3D without norm": (make_plan((8, 8, 8), 2, 2, norm="none"), True),
    "3D anisotropic": (
        make_plan(
            (3, 8, 8), 2, 3,
            kernels=((1, 3, 3), (1, 3, 3), (3, 3, 3)),
            strides=((1, 1, 1), (1, 2, 2), (1, 2, 2)),
        ),
        True,
    ),
}  # fmt: skip

# Run where nnunet_lib cannot be imported: answers of every export to the patches beside it.
SCRIPT = """
import json, pathlib, shutil, sys
sys.modules["nnunet_lib"] = None
import numpy as np
import tensorflow as tf

for folder in map(pathlib.Path, sys.argv[1:]):
    moved = shutil.move(folder / "exported", folder / "moved")
    network = tf.saved_model.load(str(moved))
    patches = np.load(folder / "patches.npy")
    answers = {
        "patch": np.stack([network.signatures["patch"](tf.constant(p))["logits"] for p in patches]),
        "one": np.concatenate([network.batch(p[None])["logits"] for p in patches]),
        "batch": network.signatures["batch"](tf.constant(patches))["logits"],
        "default": network.signatures["serving_default"](tf.constant(patches))["logits"],
    }
    np.savez(folder / "answers.npz", **answers)
    shutil.copy(network.metadata.asset_path.numpy().decode(), folder / "metadata.json")
assert not [name for name in sys.modules if name.startswith("nnunet_lib.")]
"""


def write_run(run: Path, plan: Plan, deep_supervision: bool = True, name: str = LAST) -> Path:
    """A run folder with random weights and moving statistics."""
    random = np.random.default_rng(0)
    arrays = variable_arrays(build_unet(plan, deep_supervision).variables)
    drawn = {
        name: array * random.uniform(0.5, 1.5, array.shape).astype(np.float32) + 0.01
        for name, array in arrays.items()
    }
    save_checkpoint(run / name, Checkpoint(plan, deep_supervision, drawn))
    return run


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """For each network a folder with its run, three patches, and what the export answered."""
    folders = {name: tmp_path_factory.mktemp("export") for name in NETWORKS}
    for name, folder in folders.items():
        plan, deep_supervision = NETWORKS[name]
        write_run(folder / "run", plan, deep_supervision)
        export(folder / "run", folder / "exported")
        shape = (3, *plan.patch_size, len(plan.channels))
        patches = np.random.default_rng(1).normal(size=shape).astype(np.float32)
        np.save(folder / "patches.npy", patches)
    command = [sys.executable, "-I", "-c", SCRIPT, *map(str, folders.values())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folders


@pytest.mark.slow  # builds six networks and starts a process
@pytest.mark.parametrize("name", NETWORKS)
def test_an_export_answers_as_the_original(answers: dict[str, Path], name: str) -> None:
    network, plan = load_network(answers[name] / "run")
    wanted = network(np.load(answers[name] / "patches.npy"))
    assert wanted.std() > 0.01  # else everything would be close to it
    assert wanted.shape == (3, *plan.patch_size, len(plan.labels))
    with np.load(answers[name] / "answers.npz") as given:
        assert set(given) == {"patch", "one", "batch", "default"}
        for signature in given:
            np.testing.assert_allclose(given[signature], wanted, rtol=0, atol=1e-5)


@pytest.mark.slow  # uses the same exports
@pytest.mark.parametrize("name", NETWORKS)
def test_the_metadata_travels_inside(answers: dict[str, Path], name: str) -> None:
    metadata = json.loads((answers[name] / "metadata.json").read_text())
    plan, _ = NETWORKS[name]
    assert Plan.from_json(metadata["plan"]) == plan
    assert metadata["plan"]["patch_size"] == list(plan.patch_size)
    others = len(plan.channels) - 1
    assert metadata["preprocessing"]["padding_value"] == [-3.75, *[None] * others]
    assert metadata["inference"]["may_average_over_flips"] is False


def test_the_metadata_says_how_preprocessing_and_prediction_go() -> None:
    metadata = describe(NETWORKS["2D"][0])
    assert metadata["preprocessing"] == {
        "spatial_axes": "zyx",
        "crop_to": "nonzero",
        "image_interpolation_order": 3,
        "logits_interpolation_order": 1,
        "separate_axis_above_anisotropy": 3.0,
        "padding": "centred",
        "padding_value": [-3.75],  # air: (-100 - 50) / 40
    }
    assert metadata["inference"] == {
        "overlap": 0.5,
        "blend_mode": "gaussian",
        "gaussian_sigma": 0.125,
        "may_average_over_flips": False,
    }


def test_only_a_network_that_met_mirrored_cases_may_average_over_flips() -> None:
    for mirrored in (True, False):
        inference = describe(replace(NETWORKS["2D"][0], mirrored=mirrored))["inference"]
        assert inference["may_average_over_flips"] is mirrored


def test_what_the_cross_validation_decided_travels_too(run: Path, tmp_path: Path) -> None:
    own = shutil.copytree(run, tmp_path / "decided")
    Postprocessing(foreground=True, classes=(1,)).save(own)
    for number, model in enumerate((own, own / LAST)):
        folder = export(model, tmp_path / str(number))
        metadata = json.loads((folder / "assets" / "metadata.json").read_text())
        assert metadata["postprocessing"] == {
            "largest_component_of_foreground": True,
            "largest_component_of_classes": [1],
        }


def test_padding_values_are_those_of_preprocessing() -> None:
    schemes = (CT, Normalisation("z_score", inside_mask=True), Normalisation("z_score"))
    plan = make_plan((8, 8, 8), 3, 2, normalisation=schemes)
    array = np.random.default_rng(0).normal(100, 50, (9, 9, 9, 3)).astype(np.float32)
    case = preprocess_case(Volume(array, np.eye(4), (1.0, 1.0, 1.0)), plan)
    ct, inside, everywhere = describe(plan)["preprocessing"]["padding_value"]
    assert (ct, inside) == case.geometry.padding_value[:2]
    assert everywhere is None
    assert case.geometry.padding_value[2] != 0


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run", NETWORKS["2D"][0])


def test_the_checkpoint_that_was_asked_for_is_exported(run: Path, tmp_path: Path) -> None:
    plan = replace(NETWORKS["2D"][0], labels=("background", "a", "b", "c"))
    write_run(run, plan, name=BEST)
    assert main(["export", "--model", str(run), "--output", str(tmp_path / "last")]) == 0
    assert main(["export", "--model", str(run), "--output", str(tmp_path / "best"),
                 "--checkpoint", "best"]) == 0  # fmt: skip
    for name, classes in (("last", 2), ("best", 4)):
        metadata = json.loads((tmp_path / name / "assets" / "metadata.json").read_text())
        assert len(metadata["plan"]["labels"]) == classes
        patch = tf.saved_model.load(str(tmp_path / name)).signatures["patch"]
        assert patch.structured_outputs["logits"].shape == (8, 12, classes)


def test_an_export_names_no_folder_of_this_machine(run: Path, tmp_path: Path) -> None:
    content = (export(run, tmp_path / "out") / "saved_model.pb").read_bytes()
    assert str(tmp_path).encode() not in content
    assert str(PAGE.parents[1]).encode() not in content


def test_another_folder_is_never_replaced(run: Path, tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "important.txt").write_text("keep")
    with pytest.raises(InputError, match="no exported model"):
        export(run, tmp_path / "notes", overwrite=True)
    assert (tmp_path / "notes" / "important.txt").read_text() == "keep"


def test_an_earlier_export_is_replaced_only_on_request(run: Path, tmp_path: Path) -> None:
    output = export(run, tmp_path / "out")
    (output / "left_over").touch()
    with pytest.raises(InputError, match="--overwrite"):
        export(run, output)
    assert (output / "left_over").exists()
    export(run, output, overwrite=True)
    assert not (output / "left_over").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "run"]


def test_a_write_that_fails_leaves_what_was_there(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = export(run, tmp_path / "out")
    before = (output / "saved_model.pb").read_bytes()

    def full_disk(module, folder, signatures):
        Path(folder).mkdir()
        (Path(folder) / "saved_model.pb").write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(tf.saved_model, "save", full_disk)
    for target in ("out", "new"):
        with pytest.raises(OSError, match="no space"):
            export(run, tmp_path / target, overwrite=True)
    assert (output / "saved_model.pb").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "run"]


@pytest.mark.slow  # starts a process
def test_the_page_shows_how_to_load_it(run: Path, tmp_path: Path) -> None:
    export(run, tmp_path / "build" / "exported")
    (block,) = re.findall(r"```python\n(.+?)```", PAGE.read_text(), flags=re.DOTALL)
    assert "nnunet_lib" not in block
    script = "import sys\nsys.modules['nnunet_lib'] = None\n" + block + "print(label_map.shape)"
    done = subprocess.run([sys.executable, "-I", "-c", script], cwd=tmp_path, check=False,
                          capture_output=True, text=True)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "(8, 12)"


def test_the_page_explains_every_entry() -> None:
    metadata = describe(NETWORKS["2D"][0])
    text = PAGE.read_text()
    for part in ("preprocessing", "inference", "postprocessing"):
        for entry in metadata[part]:
            assert f"`{entry}`" in text, entry


def test_a_place_that_cannot_be_written_is_told_before_the_network_is_built(
    tmp_path: Path, read_only: Path
) -> None:
    with pytest.raises(InputError, match=r"exported: cannot be written, because .* is read-only"):
        export(tmp_path / "no_run", read_only / "exported")


def test_an_earlier_export_in_a_folder_that_cannot_be_written_is_not_replaced(
    tmp_path: Path, read_only: Path
) -> None:
    (read_only / "exported").mkdir()
    (read_only / "exported" / "saved_model.pb").touch()
    with pytest.raises(InputError, match=r"exported: cannot be written, because .* is read-only"):
        export(tmp_path / "no_run", read_only / "exported", overwrite=True)
