"""The numbers of a report, from steps whose times are known."""

import json
from pathlib import Path

import pytest

from nnunet_lib.deployment.published import Published
from nnunet_lib.deployment.report import BenchmarkReport, Configuration, Latency, Sample


def configuration(**others) -> Configuration:
    fields = {
        "mode": "train", "dimensions": 3, "patch_size": (32, 32, 32), "batch_size": 2,
        "channels": 1, "classes": 4, "filters": (8, 16), "precision": "float32", "tf32": True,
        "xla": False, "loader": "dali", "steps": 4, "warmup_steps": 1, "processes": 1,
        "device": "CPU", "tensorflow": "2.14.1",
    }  # fmt: skip
    return Configuration(**{**fields, **others})


def test_percentiles_of_planted_steps() -> None:
    latency = Latency.of([number / 1000 for number in reversed(range(101))])
    assert latency.mean == pytest.approx(50)
    assert latency.percentile_90 == pytest.approx(90)
    assert latency.percentile_95 == pytest.approx(95)
    assert latency.percentile_99 == pytest.approx(99)


def test_throughput_counts_the_whole_batch_over_the_whole_time() -> None:
    (rank,) = BenchmarkReport(configuration(), (Sample((0.5, 0.5, 0.5, 2.5), 100, None),)).ranks
    assert rank.items_per_second == pytest.approx(2 * 4 / 4)  # not the mean of each step's rate


def test_processes_add_up() -> None:
    samples = (Sample((0.5, 0.5), 100, 10.0), Sample((1.0, 1.0), 50, 30.0))
    report = BenchmarkReport(configuration(processes=2), samples)
    assert [rank.items_per_second for rank in report.ranks] == pytest.approx([4, 2])
    assert report.total.items_per_second == pytest.approx(6)
    assert report.total.latency.mean == pytest.approx(750)
    assert report.total.memory == 150
    assert report.total.gpu_memory == 40
    for word in ("rank 0", "rank 1", "together"):
        assert word in report.describe()


def test_without_a_gpu_there_is_no_memory_of_one() -> None:
    report = BenchmarkReport(configuration(), (Sample((1.0,), 100, None),))
    assert report.total.gpu_memory is None
    assert "together" not in report.describe()


def test_what_is_saved_can_be_read_and_holds_everything(tmp_path: Path) -> None:
    theirs = Published("A100", 1, "TF32", 11.8)
    report = BenchmarkReport(configuration(), (Sample((1.0, 3.0), 100, None),), (theirs,))
    report.save(tmp_path / "report.json")
    read = json.loads((tmp_path / "report.json").read_text())
    assert read["unit"] == "volumes/s"
    assert read["configuration"]["patch_size"] == [32, 32, 32]
    assert read["ranks"] == [read["total"]]
    assert read["total"]["items_per_second"] == pytest.approx(1)
    assert set(read["total"]["latency"]) == {"mean", "percentile_90", "percentile_95",
                                             "percentile_99"}  # fmt: skip
    (figure,) = read["published_by_nvidia"]["figures"]
    assert figure["items_per_second"] == 11.8
    assert "NVIDIA" in read["published_by_nvidia"]["source"]


def test_their_figures_are_marked_as_theirs() -> None:
    sample = (Sample((1.0,), 100, None),)
    theirs = Published("A100", 1, "FP16", 78.2, 12.8)
    text = BenchmarkReport(configuration(), sample, (theirs,)).describe()
    (line,) = [line for line in text.splitlines() if "A100" in line]
    assert line.split() == ["*", "1", "x", "A100,", "FP16", "78.20", "12.8"]
    assert "* published by NVIDIA, not measured here" in text
    assert "published no figure" in BenchmarkReport(configuration(), sample).describe()


def test_the_unit_follows_the_dimensions() -> None:
    assert configuration(dimensions=2).unit == "images/s"
    assert configuration(dimensions=3).unit == "volumes/s"


def test_each_column_of_the_table_holds_what_its_head_says() -> None:
    seconds = tuple(number / 100 for number in range(1, 102))  # 10 ms to 1010 ms
    report = BenchmarkReport(configuration(), (Sample(seconds, 200.0, 70.0),))
    head, row = report.describe().splitlines()[3:5]
    assert head.split() == ["volumes/s", "mean", "ms", "90%", "95%", "99%", "MiB", "GPU", "MiB"]
    assert row.split() == ["rank", "0", "3.92", "510.0", "910.0", "960.0", "1000.0", "200", "70"]


@pytest.mark.parametrize("xla", [False, True])
def test_it_says_whether_the_network_was_compiled(xla: bool) -> None:
    assert ("XLA" in configuration(xla=xla).describe()) == xla


def test_the_loader_alone_has_no_filters() -> None:
    assert "8 filters" in configuration().describe()
    assert "filters" not in configuration(mode="loader").describe()
