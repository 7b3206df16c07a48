"""The benchmark runs the library's own steps, and counts what it says it counts."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nnunet_lib.cli import main
from nnunet_lib.deployment import BenchmarkSettings, benchmark, run_benchmark
from nnunet_lib.deployment.benchmark import time_steps
from nnunet_lib.deployment.synthetic import synthetic_plan, write_cases
from nnunet_lib.distributed import Ranks
from nnunet_lib.errors import InputError
from nnunet_lib.loading import CaseFiles
from nnunet_lib.model import ComputeSettings, build_unet
from nnunet_lib.training import TrainingSettings

TINY = {
    2: BenchmarkSettings(dimensions=2, patch_size=(16, 16), base_filters=2, channels=2,
                         batch_size=3, loader="tf", steps=3, warmup_steps=2),
    3: BenchmarkSettings(patch_size=(16, 16, 16), base_filters=2, channels=2,
                         batch_size=3, loader="tf", steps=3, warmup_steps=2),
}  # fmt: skip


class Machine:
    """A clock that only work moves: each step takes the next of the planted times."""

    def __init__(self, *seconds: float) -> None:
        self.now, self.seconds, self.events = 0.0, list(seconds), []

    def work(self) -> None:
        self.events.append("step")
        self.now += self.seconds.pop(0)

    def wait(self) -> None:
        self.events.append("wait")
        self.now += 100

    def clock(self) -> float:
        return self.now


def test_slow_first_steps_do_not_count() -> None:
    machine = Machine(50, 20, 1, 2, 3)
    seconds = time_steps(machine.work, 2, 3, ready=machine.wait, clock=machine.clock)
    assert seconds == [1, 2, 3]
    assert machine.events == ["step", "step", "wait", "step", "step", "step"]


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux alone tells it there")
def test_peak_memory_is_in_mebibytes() -> None:
    (line,) = re.findall(
        r"^VmHWM:\s+(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE
    )
    assert benchmark.peak_memory() == pytest.approx(int(line) / 1024, rel=0.02)


@pytest.mark.slow  # traces a graph
@pytest.mark.parametrize("dimensions", [2, 3])
@pytest.mark.parametrize("mode", ["train", "predict", "loader"])
def test_each_mode_measures(mode: str, dimensions: int) -> None:
    report = run_benchmark(replace(TINY[dimensions], mode=mode))
    assert report.configuration.mode == mode
    (sample,) = report.samples
    assert len(sample.seconds) == 3
    assert all(time > 0 for time in sample.seconds)
    assert sample.memory > 50  # MiB: TensorFlow alone takes more


def test_what_is_asked_for_reaches_the_network(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = []

    def spy(model, xla, batch_size):
        seen.append((model.get_layer("down_0_first_convolution").filters, xla, batch_size))
        return lambda patches: seen.append(patches.shape.as_list())

    monkeypatch.setattr(benchmark, "as_network", spy)
    line = ("benchmark --mode predict --dim 2 --batch-size 5 --patch-size 16 32 --base-filters 3 "
            "--channels 1 --loader tf --steps 2 --warmup-steps 1 --no-tf32 --xla")  # fmt: skip
    assert main([*line.split(), "--output", str(tmp_path / "report.json")]) == 0
    assert seen == [(3, True, 5), *[[5, 16, 32, 1]] * 3]
    written = json.loads((tmp_path / "report.json").read_text())
    expected = {"batch_size": 5, "patch_size": [16, 32], "channels": 1, "steps": 2,
                "warmup_steps": 1, "tf32": False, "xla": True, "loader": "tf"}  # fmt: skip
    assert written["configuration"].items() >= expected.items()
    printed = capsys.readouterr()
    assert "images/s" in printed.out
    assert "XLA on a CPU" in printed.err


def test_the_loader_is_measured_as_training_uses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each process on its own share of the cases, augmented, from as many volumes."""
    asked = []

    def spy(cases, settings, epoch, *others):
        asked.append((cases, settings, others))
        return []

    monkeypatch.setattr(benchmark, "training_batches", spy)
    settings = replace(TINY[2], mode="loader", batch_size=4)
    plan, cases = synthetic_plan(settings), [CaseFiles(Path("image"), Path("label"))]
    benchmark._work(plan, cases, settings, Ranks(1, 2))
    ((given, loader, others),) = asked
    assert (given, others) == (cases, (1, 2, "tf"))
    assert (loader.batch_size, loader.patch_size, loader.dimensions) == (4, (16, 16), 2)
    assert loader.number_of_volumes == TrainingSettings().number_of_volumes
    assert loader.augmentation == TrainingSettings().augmentation


@pytest.mark.slow  # float16 convolutions on a CPU
@pytest.mark.parametrize("mode", ["train", "predict"])
def test_mixed_precision_reaches_the_network(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    policies = []

    def spy(plan, deep_supervision, precision):
        model = build_unet(plan, deep_supervision, precision)
        policies.append(model.get_layer("down_0_first_convolution").compute_dtype)
        return model

    monkeypatch.setattr(benchmark, "build_unet", spy)
    run_benchmark(replace(TINY[3], mode=mode, compute=ComputeSettings("float16"), steps=1))
    assert policies == ["float16"]


def test_made_up_cases_hold_every_class_and_a_whole_patch(tmp_path: Path) -> None:
    for dimensions, settings in TINY.items():
        plan = synthetic_plan(settings)
        one, other = write_cases(tmp_path, plan, 2)
        image, label = np.load(one.image), np.load(one.label)
        assert image.shape == (*label.shape[:3], 2)
        assert all(size > 16 for size in image.shape[3 - dimensions : 3])
        assert set(np.unique(label)) == {0, 1, 2, 3}
        assert not np.array_equal(image, np.load(other.image))


def test_made_up_cases_are_the_same_each_time(tmp_path: Path) -> None:
    (tmp_path / "again").mkdir()
    plan = synthetic_plan(TINY[2])
    (one,), (again,) = (write_cases(folder, plan, 1) for folder in (tmp_path, tmp_path / "again"))
    np.testing.assert_array_equal(np.load(one.image), np.load(again.image))


def test_there_is_a_made_up_case_for_each_process() -> None:
    ranks = Ranks(0, 5)
    with benchmark._cases(TINY[2], None, ranks) as (_, cases):
        assert len({case.image for case in cases}) >= ranks.size


def test_the_network_is_nvidias_where_its_sizes_are_given() -> None:
    """31,192,868 parameters without deep-supervision heads: as NVIDIA's for BraTS."""
    settings = BenchmarkSettings(patch_size=(128, 128, 128), base_filters=32, channels=4)
    model = build_unet(synthetic_plan(settings), deep_supervision=False)
    assert model.count_params() == 31_192_868


@pytest.mark.parametrize(
    ("size", "words"), [(36, "multiple of 8 x 8 x 8"), (1, "cannot be halved even once")]
)
def test_a_patch_that_cannot_be_halved_is_refused(size: int, words: str) -> None:
    with pytest.raises(InputError, match=words):
        synthetic_plan(BenchmarkSettings(patch_size=(size,) * 3))


@pytest.mark.parametrize(
    ("field", "value"),
    [("steps", 0), ("warmup_steps", 0), ("batch_size", 0), ("patch_size", (8, 8)),
     ("dimensions", 4), ("mode", "fly"), ("channels", -1)],
)  # fmt: skip
def test_what_cannot_be_measured_is_refused(field: str, value: object) -> None:
    with pytest.raises(InputError, match=field.replace("_", " ")):
        BenchmarkSettings(**{field: value})


@pytest.mark.slow  # preprocesses a phantom
def test_preprocessed_cases_bring_their_own_plan(phantom_path: Path, tmp_path: Path) -> None:
    from nnunet_lib.datasets import Dataset
    from nnunet_lib.planning import PlannerSettings, plan_dataset
    from nnunet_lib.preprocessing import preprocess

    dataset = Dataset.open(phantom_path)
    planned = PlannerSettings(patch_size=(16, 16, 16), target_spacing=(3, 3, 3), base_filters=2)
    preprocess(dataset, plan_dataset(dataset, planned)[1], tmp_path, mode="training")
    settings = BenchmarkSettings(mode="predict", batch_size=3, steps=1, warmup_steps=1)
    report = run_benchmark(settings, tmp_path)
    assert report.configuration.patch_size == (16, 16, 16)
    assert report.configuration.filters[0] == 2
    assert report.configuration.batch_size == 3
    contradiction = BenchmarkSettings(channels=2, base_filters=4)
    with pytest.raises(InputError, match="decides base filters, channels"):
        run_benchmark(contradiction, tmp_path)


@pytest.mark.slow  # starts two processes
def test_two_ranks_measure_together_and_one_writes(tmp_path: Path) -> None:
    pytest.importorskip("horovod", reason="Horovod exists for Linux and macOS only")
    line = ("-m nnunet_lib benchmark --patch-size 16 16 16 --base-filters 2 --channels 1 "
            "--batch-size 2 --steps 3 --warmup-steps 1 --loader tf --output")  # fmt: skip
    launcher = Path(sys.executable).with_name("horovodrun")
    command = [launcher, "-np", "2", "--gloo", sys.executable, *line.split(), tmp_path / "b.json"]
    ran = subprocess.run(command, check=False, capture_output=True, text=True, env=os.environ)
    assert ran.returncode == 0, ran.stderr
    report = json.loads((tmp_path / "b.json").read_text())
    assert report["configuration"]["processes"] == len(report["ranks"]) == 2
    for name in ("items_per_second", "memory"):
        parts = [rank[name] for rank in report["ranks"]]
        assert report["total"][name] == pytest.approx(sum(parts))
        assert min(parts) > 0
        assert parts[0] != parts[1]  # each has measured for itself
    assert ran.stdout.count("together") == 1
