import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

import nnunet_lib.loading
from nnunet_lib.errors import InputError
from nnunet_lib.loading import (
    AugmentationSettings,
    CaseFiles,
    LoaderSettings,
    benchmark_batches,
    evaluation_batches,
    training_batches,
)

PATCH = (4, 5, 6)
SETTINGS = LoaderSettings(batch_size=3, patch_size=PATCH)
PLAIN = replace(SETTINGS, augmentation=AugmentationSettings.none())
EVERYTHING = AugmentationSettings(
    zoom_probability=0.5,
    noise_probability=0.5,
    blur_probability=0.5,
    brightness_probability=0.5,
    contrast_probability=0.5,
)


def numbers_met(
    cases: list[CaseFiles], settings: LoaderSettings, batches: int, shard_id: int, shards: int
) -> list[list[int]]:
    """The case numbers in each batch, read from the images and checked against the labels."""
    dataset = training_batches(cases, settings, shard_id=shard_id, number_of_shards=shards)
    rows = []
    for image, label in dataset.take(batches).as_numpy_iterator():
        rows.append([int(number) for number in image.reshape(len(image), -1)[:, 0]])
        assert (label == np.reshape(rows[-1], (-1,) + (1,) * (label.ndim - 1))).all()
        assert (image == label).all()
    return rows


def first_bytes(
    cases: list[CaseFiles], settings: LoaderSettings, epoch: int = 0, batches: int = 8
) -> bytes:
    dataset = training_batches(cases, settings, epoch=epoch).take(batches)
    return b"".join(a.tobytes() + b.tobytes() for a, b in dataset.as_numpy_iterator())


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
    with pytest.raises(InputError, match="DALI"):
        training_batches(numbered_cases, SETTINGS)


def test_importing_the_package_needs_neither_tensorflow_nor_dali() -> None:
    script = (
        "import sys; sys.modules['nvidia'] = sys.modules['tensorflow'] = None; "
        "from nnunet_lib.loading import split_folds, LoaderSettings, training_batches"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize(
    ("dimensions", "patch", "channels"),
    [(3, PATCH, 1), (3, PATCH, 4), (2, (6, 7), 1), (2, (6, 7), 3)],
)
def test_batches_have_the_promised_shapes(
    write_case: Callable[..., CaseFiles], dimensions: int, patch: tuple[int, ...], channels: int
) -> None:
    random = np.random.default_rng(0)
    image = random.normal(size=(9, 9, 9, channels))
    case = write_case("a", image, image[..., 0] > 1)
    settings = LoaderSettings(4, patch, dimensions=dimensions, augmentation=EVERYTHING)
    for dataset in (training_batches([case], settings), benchmark_batches([case], settings)):
        images, labels = dataset.element_spec
        assert images.shape == (4, *patch, channels)
        assert images.dtype == "float32"
        assert labels.shape == (4, *patch, 1)
        assert labels.dtype == "uint8"
        for drawn_image, drawn_label in dataset.take(10).as_numpy_iterator():
            assert drawn_image.shape == (4, *patch, channels)
            assert drawn_label.shape == (4, *patch, 1)
            assert np.isfinite(drawn_image).all()


def test_image_and_label_of_a_patch_are_from_the_same_case(
    numbered_cases: list[CaseFiles],
) -> None:
    rows = numbers_met(numbered_cases, PLAIN, batches=70, shard_id=0, shards=1)
    met = np.reshape(rows, (-1, 7))
    assert (np.sort(met, axis=1) == np.arange(1, 8)).all()  # every pass meets every case
    assert len({tuple(row) for row in met}) > 20  # and each pass in another order


def test_shards_are_disjoint_and_cover(numbered_cases: list[CaseFiles]) -> None:
    settings = replace(PLAIN, batch_size=1)
    first = numbers_met(numbered_cases, settings, batches=4, shard_id=0, shards=2)
    second = numbers_met(numbered_cases, settings, batches=3, shard_id=1, shards=2)
    assert sorted(row[0] for row in first + second) == list(range(1, 8))


@pytest.mark.parametrize("number_of_volumes", [1, 2, 3, 6])
def test_a_2d_batch_comes_from_so_many_volumes(
    numbered_cases: list[CaseFiles], number_of_volumes: int
) -> None:
    settings = LoaderSettings(
        6,
        (6, 7),
        dimensions=2,
        number_of_volumes=number_of_volumes,
        augmentation=AugmentationSettings.none(),
    )
    for row in numbers_met(numbered_cases, settings, batches=7, shard_id=0, shards=1):
        volumes = np.reshape(row, (number_of_volumes, -1))
        assert (volumes == volumes[:, :1]).all()


def test_patches_of_whole_cases_without_augmentation_are_the_files(
    write_case: Callable[..., CaseFiles],
) -> None:
    random = np.random.default_rng(1)
    image, label = random.normal(size=(*PATCH, 2)), random.integers(0, 3, PATCH)
    case = write_case("a", image, label)
    for images, labels in training_batches([case], PLAIN).take(4).as_numpy_iterator():
        assert (images == image.astype(np.float32)).all()
        assert (labels[..., 0] == label).all()


@pytest.fixture
def random_cases(write_case: Callable[..., CaseFiles]) -> list[CaseFiles]:
    random = np.random.default_rng(2)
    images = [random.normal(size=(10, 12, 11, 1)) for _ in range(3)]
    return [write_case(f"r{i}", image, image[..., 0] > 2) for i, image in enumerate(images)]


@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_seed_decides_every_byte_and_the_threads_none(
    random_cases: list[CaseFiles], dimensions: int
) -> None:
    settings = LoaderSettings(
        4, PATCH[3 - dimensions :], dimensions=dimensions, augmentation=EVERYTHING
    )
    expected = first_bytes(random_cases, settings)
    assert first_bytes(random_cases, replace(settings, threads=1)) == expected
    assert first_bytes(random_cases, replace(settings, threads=4)) == expected
    assert first_bytes(random_cases, replace(settings, seed=1)) != expected


def test_epochs_differ_and_one_can_be_built_again_and_entered_midway(
    random_cases: list[CaseFiles],
) -> None:
    assert first_bytes(random_cases, SETTINGS, 3) == first_bytes(random_cases, SETTINGS, 3)
    assert first_bytes(random_cases, SETTINGS, 3) != first_bytes(random_cases, SETTINGS, 4)
    dataset = training_batches(random_cases, SETTINGS, epoch=3)
    whole = [image for image, _ in dataset.take(6).as_numpy_iterator()]
    rest = [image for image, _ in dataset.skip(4).take(2).as_numpy_iterator()]
    np.testing.assert_array_equal(whole[4:], rest)


def test_a_case_smaller_than_the_patch_is_refused_before_any_work(
    numbered_cases: list[CaseFiles],
) -> None:
    with pytest.raises(InputError, match="fewer than the patch"):
        training_batches(numbered_cases, replace(SETTINGS, patch_size=(9, 10, 9)))


@pytest.mark.parametrize("shards", [1, 2, 3])
def test_evaluation_meets_every_case_once_over_all_shards(
    write_case: Callable[..., CaseFiles], shards: int
) -> None:
    shapes = [(3 + i, 9 - i, 4) for i in range(5)]
    images = [np.full((*shape, 2), i) for i, shape in enumerate(shapes)]
    cases = [write_case(f"e{i}", image, image[..., 0]) for i, image in enumerate(images)]
    met = []
    for shard_id in range(shards):
        dataset = evaluation_batches(cases, shard_id, shards)
        assert dataset.element_spec[0].shape.as_list() == [1, None, None, None, 2]
        for image, label in dataset.as_numpy_iterator():
            number = int(image.flat[0])
            assert (image[0] == images[number]).all()
            assert (label[0, ..., 0] == number).all()
            assert label.dtype == np.uint8
            met.append(number)
    assert sorted(met) == [0, 1, 2, 3, 4]


def test_evaluation_keeps_the_order_of_the_cases(numbered_cases: list[CaseFiles]) -> None:
    order = numbered_cases[::-1]
    numbers = [int(label.flat[0]) for _, label in evaluation_batches(order).as_numpy_iterator()]
    assert numbers == [7, 6, 5, 4, 3, 2, 1]


def test_more_shards_than_cases_are_refused(numbered_cases: list[CaseFiles]) -> None:
    for make in (
        lambda: evaluation_batches(numbered_cases, 0, 8),
        lambda: training_batches(numbered_cases, SETTINGS, 0, 0, 8),
    ):
        with pytest.raises(InputError, match="7 cases cannot be shared by 8"):
            make()


def test_the_benchmark_repeats_the_first_corner_unchanged(
    coordinate_case: Callable[..., CaseFiles],
) -> None:
    dataset = benchmark_batches([coordinate_case()], SETTINGS)
    for image, label in dataset.take(3).as_numpy_iterator():
        expected = np.stack(np.meshgrid(*map(np.arange, PATCH), indexing="ij"), axis=-1)
        assert (image == expected).all()
        assert (label == expected[..., :1]).all()


@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_graph_for_a_gpu_can_be_drawn_without_one(
    random_cases: list[CaseFiles], dimensions: int
) -> None:
    from nnunet_lib.loading.pipelines import benchmark_graph, training_graph

    settings = LoaderSettings(4, PATCH[3 - dimensions :], dimensions=dimensions)
    names = [str(case.image) for case in random_cases], [str(case.label) for case in random_cases]
    for graph in (training_graph, benchmark_graph):
        on_cpu = graph(*names, settings, False, batch_size=4, num_threads=1, device_id=None)
        on_gpu = graph(*names, settings, True, batch_size=4, num_threads=1, device_id=0)
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
