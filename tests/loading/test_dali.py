"""What holds for DALI alone; what both loaders promise stands in test_batches.py."""

import sys

import pytest

import nnunet_lib.loading
from nnunet_lib.errors import InputError
from nnunet_lib.loading import CaseFiles, LoaderSettings, training_batches

PATCH = (4, 5, 6)
SETTINGS = LoaderSettings(batch_size=3, patch_size=PATCH)


def test_training_uses_dali_itself(numbered_cases: list[CaseFiles]) -> None:
    import nvidia.dali.plugin.tf as dali_tf

    for dimensions, patch in ((3, PATCH), (2, PATCH[1:])):
        settings = LoaderSettings(4, patch, dimensions=dimensions)
        assert isinstance(training_batches(numbered_cases, settings), dali_tf.DALIDataset)


@pytest.mark.parametrize("missing", ["nvidia.dali", "nvidia.dali.plugin.tf"])
def test_without_dali_nothing_takes_its_place(
    numbered_cases: list[CaseFiles], monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    # The graphs may have been imported before: by its name, and as the package's attribute.
    monkeypatch.delitem(sys.modules, "nnunet_lib.loading.pipelines", raising=False)
    monkeypatch.delattr(nnunet_lib.loading, "pipelines", raising=False)
    with pytest.raises(InputError, match=r"DALI.*--loader tf"):
        training_batches(numbered_cases, SETTINGS)


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
