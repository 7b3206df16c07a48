"""What holds for DALI alone; what both loaders promise stands in test_batches.py."""

import sys
from typing import Any

import pytest

import nnunet_lib.loading
from nnunet_lib.errors import InputError
from nnunet_lib.loading import CaseFiles, LoaderSettings, check_training, training_batches
from nnunet_lib.loading.dali import patches_at_once

PATCH = (4, 5, 6)
SETTINGS = LoaderSettings(batch_size=3, patch_size=PATCH)


@pytest.mark.parametrize(("dimensions", "patch"), [(3, PATCH), (2, PATCH[1:])])
def test_training_uses_dali_itself_and_its_threads(
    numbered_cases: list[CaseFiles],
    monkeypatch: pytest.MonkeyPatch,
    dimensions: int,
    patch: tuple[int, ...],
) -> None:
    import nvidia.dali.plugin.tf as dali_tf

    threads, begin = [], dali_tf.DALIDataset.__init__

    def noted(self: Any, **arguments: Any) -> None:
        threads.append(arguments["num_threads"])
        begin(self, **arguments)

    monkeypatch.setattr(dali_tf.DALIDataset, "__init__", noted)
    settings = LoaderSettings(4, patch, dimensions=dimensions, threads=3)
    batches = training_batches(numbered_cases, settings)
    assert threads == [3]
    assert batches.element_spec[0].shape == (4, *patch, 1)


@pytest.mark.parametrize(
    ("batch_size", "patch", "drawn"),
    [(2, (8, 8, 8), 16), (3, (8, 8, 8), 15), (20, (8, 8, 8), 20), (2, (128, 192, 160), 2)],
)
def test_small_patches_are_drawn_several_batches_at_a_time(
    batch_size: int, patch: tuple[int, ...], drawn: int
) -> None:
    assert patches_at_once(LoaderSettings(batch_size, patch)) == drawn


@pytest.mark.parametrize("missing", ["nvidia.dali", "nvidia.dali.plugin.tf"])
def test_without_dali_nothing_takes_its_place(
    numbered_cases: list[CaseFiles], monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    # The graphs may have been imported before: by its name, and as the package's attribute.
    monkeypatch.delitem(sys.modules, "nnunet_lib.loading.pipelines", raising=False)
    monkeypatch.delattr(nnunet_lib.loading, "pipelines", raising=False)
    for begin in (training_batches, check_training):
        with pytest.raises(InputError, match=r"DALI.*--loader tf"):
            begin(numbered_cases, SETTINGS)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_graph_for_a_gpu_can_be_drawn_without_one(
    random_cases: list[CaseFiles], dimensions: int
) -> None:
    from nnunet_lib.loading.pipelines import benchmark_graph, training_graph

    settings = LoaderSettings(4, PATCH[3 - dimensions :], dimensions=dimensions)
    names = [str(case.image) for case in random_cases], [str(case.label) for case in random_cases]
    for graph in (training_graph, benchmark_graph):
        channels = (1,) if graph is training_graph else ()
        on_cpu = graph(
            *names, settings, *channels, False, batch_size=4, num_threads=1, device_id=None
        )
        on_gpu = graph(*names, settings, *channels, True, batch_size=4, num_threads=1, device_id=0)
        assert [node.device for node in on_cpu._graph_out] == ["cpu", "cpu"]
        assert [node.device for node in on_gpu._graph_out] == ["gpu", "gpu"]


def test_dali_gets_the_number_of_the_gpu_that_tensorflow_may_use(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import tensorflow as tf

    from nnunet_lib.loading.dali import _first_gpu

    devices: list[tf.config.PhysicalDevice] = []
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: devices)
    assert _first_gpu() is None
    devices.append(tf.config.PhysicalDevice("/physical_device:GPU:3", "GPU"))
    assert _first_gpu() == 3
