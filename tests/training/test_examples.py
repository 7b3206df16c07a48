"""The examples in docstrings work one after the other: train, predict, evaluate."""

import doctest
import json
from pathlib import Path

import pytest

from nnunet_lib.evaluation import evaluate_folder
from nnunet_lib.inference import predict_volume
from nnunet_lib.preprocessing import PreprocessedDataset
from nnunet_lib.training import train


@pytest.mark.slow
def test_the_examples_lead_from_preprocessed_cases_to_scores(
    tiny_3d: PreprocessedDataset,
    phantom_path: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "prepared").mkdir()
    (tmp_path / "prepared" / "3d").symlink_to(tiny_3d.folder.parent)
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / folder).symlink_to(phantom_path / folder)
    monkeypatch.chdir(tmp_path)
    lines = [
        example.source
        for function in (train, predict_volume, evaluate_folder)
        for example in doctest.DocTestParser().get_examples(function.__doc__ or "")
    ]
    script = "".join(lines)
    assert script.count("time_limit=15") == 1
    # As printed, but for how long it trains.
    script = script.replace("time_limit=15", "epochs=1, steps_per_epoch=2")
    exec(script, {})  # noqa: S102 - the library's own lines
    assert [case["case"] for case in json.loads(Path("scores.json").read_text())["cases"]] == [
        "phantom_001"
    ]
