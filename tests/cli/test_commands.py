"""What is typed arrives at the function that a command stands for."""

import inspect
import pkgutil
from pathlib import Path
from typing import Any

import pytest

from nnunet_lib.cli import main
from nnunet_lib.errors import InputError
from nnunet_lib.inference import InferenceSettings
from nnunet_lib.loading import AugmentationSettings
from nnunet_lib.model import ComputeSettings
from nnunet_lib.planning import PlannerSettings
from nnunet_lib.training import LossSettings, TrainingSettings

# Stages before the one that is looked at, which here find nothing and do nothing.
BEFORE = (
    "nnunet_lib.datasets.Dataset.open",
    "nnunet_lib.datasets.require_valid",
    "nnunet_lib.planning.compute_fingerprint",
    "nnunet_lib.planning.make_plan",
    "nnunet_lib.preprocessing.PreprocessedDataset.open",
)
TRAINING = (
    "--nfolds 4 --dim 2 --epochs 3 --time-limit 2.5 --steps-per-epoch 7 --optimiser sgd "
    "--learning-rate 0.1 --momentum 0.5 --weight-decay 0.2 --scheduler cosine_restarts "
    "--restarts 5 --no-scale-learning-rate --warmup 0.3 --gradient-clip 6 --no-deep-supervision "
    "--include-background --focal --batch-size 9 --base-filters 8 --norm group "
    "--negative-slope 0.4 --oversampling 0.6 --nvol 3 --loader tf --validation-interval 11 "
    "--checkpoint-interval 13 --seed 17 --overwrite --rotation-probability 0.11 "
    "--flip-probability 0.12 --low-resolution-probability 0.13 --gamma-probability 0.14 "
    "--inverted-gamma-probability 0.15 --tta --overlap 0.7 --blend-mode constant "
    "--window-batch-size 19 --amp bfloat16 --no-tf32 --xla"
)
COMPUTE = ComputeSettings("bfloat16", tf32=False, xla=True)


def trained(fold: int) -> TrainingSettings:
    """The settings that `TRAINING` names, each of another value than its default."""
    return TrainingSettings(
        fold=fold, number_of_folds=4, epochs=3, time_limit=2.5, steps_per_epoch=7,
        optimiser="sgd", learning_rate=0.1, momentum=0.5, weight_decay=0.2,
        scheduler="cosine_restarts", restarts=5, scale_learning_rate=False, warmup=0.3,
        gradient_clip=6, deep_supervision=False,
        loss=LossSettings(include_background=True, focal=True), batch_size=9, base_filters=8,
        norm="group", negative_slope=0.4, foreground_oversampling=0.6, number_of_volumes=3,
        augmentation=AugmentationSettings(
            rotation_probability=0.11, flip_probability=0.12, low_resolution_probability=0.13,
            gamma_probability=0.14, inverted_gamma_probability=0.15,
        ),
        loader="tf", validation_interval=11,
        inference=InferenceSettings(
            tta=True, overlap=0.7, blend_mode="constant", window_batch_size=19
        ),
        checkpoint_interval=13, compute=COMPUTE, seed=17, overwrite=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("line", "function", "expected"),
    [
        ("phantom --output o --cases 3 --modality ct --channels 2 --seed 4",
         "datasets:make_phantom",
         {"output": Path("o"), "cases": 3, "modality": "ct", "channels": 2, "seed": 4}),
        ("convert --input i --output o --suffixes B=_b A= --label-suffix _m --structures y x",
         "datasets:convert",
         {"source": Path("i"), "output": Path("o"), "channels": {"B": "_b", "A": ""},
          "label_suffix": "_m", "labels": ["y", "x"]}),
        ("download --task 9 --output o --base-url http://mirror", "datasets.download:download_task",
         {"output": Path("o"), "base_url": "http://mirror"}),
        ("plan --data d --output p.json --dim 2 --patch-size 32 16 --target-spacing 2 1.5 "
         "--memory 3 --base-filters 6 --batch-size 7 --no-small-steps", "planning:make_plan",
         {"settings": PlannerSettings(
             dimensions=2, patch_size=(32, 16), target_spacing=(2.0, 1.5), memory_gigabytes=3,
             base_filters=6, batch_size=7, small_steps=False)}),
        ("preprocess --data d --results r --dim 2", "planning:make_plan",
         {"settings": PlannerSettings(dimensions=2)}),
        ("preprocess --data d --results r --exec-mode val --workers 3", "preprocessing:preprocess",
         {"results": Path("r"), "mode": "val", "workers": 3}),
        (f"train --data d --results r --fold 2 {TRAINING}", "training:train",
         {"run": Path("r"), "settings": trained(2)}),
        (f"train --data d --results r --fold all {TRAINING}", "training:cross_validate",
         {"results": Path("r"), "settings": trained(0)}),
        ("train --data d --results r --no-augment --resume", "training:train",
         {"settings": TrainingSettings(
             augmentation=AugmentationSettings(enabled=False), resume=True)}),
        ("train --data d --results r --dim 2", "preprocessing:PreprocessedDataset.open",
         {"dimensions": 2}),
        ("predict --model m n --input i --output o --tta --overlap 0.7 --blend-mode constant "
         "--window-batch-size 3 --save-probabilities --checkpoint best --subset validation "
         "--no-postprocess --amp bfloat16 --no-tf32 --xla", "inference:predict",
         {"model": [Path("m"), Path("n")], "input": Path("i"), "output": Path("o"),
          "settings": InferenceSettings(tta=True, overlap=0.7, blend_mode="constant",
                                        window_batch_size=3, save_probabilities=True),
          "checkpoint": "best", "subset": "validation", "postprocess": False,
          "compute": COMPUTE}),
        ("export --model m --output o --checkpoint best --overwrite", "deployment:export",
         {"model": Path("m"), "output": Path("o"), "checkpoint": "best", "overwrite": True}),
        ("course --notebooks a b --output o --profile laptop --dataset x --seed 5",
         "course:run_course",
         {"notebooks": [Path("a"), Path("b")], "output": Path("o"), "profile": "laptop",
          "dataset": "x", "seed": 5}),
        ("grade --submissions s --output t.csv --seed 5", "course.exercises.grading:grade",
         {"submissions": Path("s"), "seed": 5}),
    ],
)  # fmt: skip
def test_what_is_typed_arrives(
    line: str, function: str, expected: dict[str, Any],
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    function, given = f"nnunet_lib.{function}", {}
    signature = inspect.signature(pkgutil.resolve_name(function))

    def spy(*arguments: Any, **keywords: Any) -> None:
        given.update(signature.bind(*arguments, **keywords).arguments)
        raise InputError("arrived")

    for name in BEFORE:
        monkeypatch.setattr(name, lambda *_, **__: None)
    monkeypatch.setattr(function.replace(":", "."), spy)
    monkeypatch.chdir(tmp_path)
    assert main(line.split()) == 2
    assert "arrived" in capsys.readouterr().err
    assert given | expected == given
