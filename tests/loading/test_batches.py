"""What both loaders promise: shapes, order, shards, and the same bytes from the same seed."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from itertools import islice

import numpy as np
import pytest

from nnunet_lib.errors import InputError
from nnunet_lib.loading import (
    AugmentationSettings,
    CaseFiles,
    Loader,
    LoaderSettings,
    benchmark_batches,
    check_training,
    training_batches,
)

PATCH = (4, 5, 6)
SETTINGS = LoaderSettings(batch_size=3, patch_size=PATCH)
PLAIN = replace(SETTINGS, augmentation=AugmentationSettings.none())
EVERYTHING = AugmentationSettings(
    zoom_probability=0.5,
    rotation_probability=0.5,
    flip_probability=0.5,
    noise_probability=0.5,
    blur_probability=0.5,
    brightness_probability=0.5,
    contrast_probability=0.5,
    low_resolution_probability=0.5,
    inverted_gamma_probability=0.5,
    gamma_probability=0.5,
)


def numbers_met(
    cases: list[CaseFiles],
    settings: LoaderSettings,
    batches: int,
    loader: Loader,
    shard_id: int = 0,
    shards: int = 1,
) -> list[list[int]]:
    """The case numbers in each batch, read from the images and checked against the labels."""
    dataset = training_batches(cases, settings, 0, shard_id, shards, loader)
    rows = []
    for image, label in dataset.take(batches).as_numpy_iterator():
        rows.append([int(number) for number in image.reshape(len(image), -1)[:, 0]])
        assert (label == np.reshape(rows[-1], (-1,) + (1,) * (label.ndim - 1))).all()
        assert (image == label).all()
    return rows


def first_bytes(
    cases: list[CaseFiles], settings: LoaderSettings, loader: Loader, epoch: int = 0
) -> bytes:
    dataset = training_batches(cases, settings, epoch, loader=loader).take(8)
    return b"".join(a.tobytes() + b.tobytes() for a, b in dataset.as_numpy_iterator())


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
    write_case: Callable[..., CaseFiles],
    loader: Loader,
    dimensions: int,
    patch: tuple[int, ...],
    channels: int,
) -> None:
    random = np.random.default_rng(0)
    image = random.normal(size=(9, 9, 9, channels))
    case = write_case("a", image, image[..., 0] > 1)
    settings = LoaderSettings(4, patch, dimensions=dimensions, augmentation=EVERYTHING)
    for dataset in (
        training_batches([case], settings, loader=loader),
        benchmark_batches([case], settings, loader),
    ):
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
    numbered_cases: list[CaseFiles], loader: Loader
) -> None:
    rows = numbers_met(numbered_cases, PLAIN, 70, loader)
    met = np.reshape(rows, (-1, 7))
    assert (np.sort(met, axis=1) == np.arange(1, 8)).all()  # every pass meets every case
    assert len({tuple(row) for row in met}) > 20  # and each pass in another order


def test_shards_are_disjoint_and_cover(numbered_cases: list[CaseFiles], loader: Loader) -> None:
    settings = replace(PLAIN, batch_size=1)
    first = numbers_met(numbered_cases, settings, 4, loader, 0, 2)
    second = numbers_met(numbered_cases, settings, 3, loader, 1, 2)
    assert sorted(row[0] for row in first + second) == list(range(1, 8))


@pytest.mark.parametrize("number_of_volumes", [1, 2, 3, 6])
def test_a_2d_batch_comes_from_so_many_volumes(
    numbered_cases: list[CaseFiles], loader: Loader, number_of_volumes: int
) -> None:
    settings = LoaderSettings(
        6,
        (6, 7),
        dimensions=2,
        number_of_volumes=number_of_volumes,
        augmentation=AugmentationSettings.none(),
    )
    for row in numbers_met(numbered_cases, settings, 7, loader):
        volumes = np.reshape(row, (number_of_volumes, -1))
        assert (volumes == volumes[:, :1]).all()


def test_patches_of_whole_cases_without_augmentation_are_the_files(
    write_case: Callable[..., CaseFiles], loader: Loader
) -> None:
    random = np.random.default_rng(1)
    image, label = random.normal(size=(*PATCH, 2)), random.integers(0, 3, PATCH)
    case = write_case("a", image, label)
    dataset = training_batches([case], PLAIN, loader=loader)
    for images, labels in dataset.take(4).as_numpy_iterator():
        assert (images == image.astype(np.float32)).all()
        assert (labels[..., 0] == label).all()


@pytest.mark.parametrize("dimensions", [2, 3])
def test_the_seed_decides_every_byte_and_the_threads_none(
    random_cases: list[CaseFiles], loader: Loader, dimensions: int
) -> None:
    settings = LoaderSettings(
        4, PATCH[3 - dimensions :], dimensions=dimensions, augmentation=EVERYTHING
    )
    expected = first_bytes(random_cases, settings, loader)
    assert first_bytes(random_cases, replace(settings, threads=1), loader) == expected
    assert first_bytes(random_cases, replace(settings, threads=4), loader) == expected
    assert first_bytes(random_cases, replace(settings, seed=1), loader) != expected


def test_the_seed_decides_the_patches_and_not_the_order_alone(
    random_cases: list[CaseFiles], loader: Loader
) -> None:
    case = random_cases[:1]  # of one, there is one order
    expected = first_bytes(case, SETTINGS, loader)
    assert first_bytes(case, replace(SETTINGS, seed=1), loader) != expected


def test_epochs_and_shards_differ(random_cases: list[CaseFiles], loader: Loader) -> None:
    case, settings = random_cases[:1] * 2, SETTINGS  # twice the same, for two shards
    parts = [(0, 0), (1, 0), (0, 1)]
    digests = {digest(case, settings, loader, 0, *part, shards=2) for part in parts}
    assert len(digests) == 3


def digest(
    cases: list[CaseFiles],
    settings: LoaderSettings,
    loader: Loader,
    number: int,
    epoch: int = 3,
    shard_id: int = 0,
    shards: int = 1,
) -> str:
    """The hash of batch `number` of a dataset made anew, whose first batches are passed over."""
    dataset = training_batches(cases, settings, epoch, shard_id, shards, loader)
    image, label = next(islice(dataset, number, None))
    return sha256(image.numpy().tobytes() + label.numpy().tobytes()).hexdigest()


def test_a_resumed_epoch_meets_the_batches_of_the_uninterrupted_one(
    random_cases: list[CaseFiles], loader: Loader
) -> None:
    settings = replace(SETTINGS, augmentation=EVERYTHING)
    whole = training_batches(random_cases, settings, 3, loader=loader).take(5)
    expected = [sha256(a.tobytes() + b.tobytes()) for a, b in whole.as_numpy_iterator()]
    for number in (0, 2, 4):
        resumed = digest(random_cases, settings, loader, number)
        assert resumed == expected[number].hexdigest()
    assert len({item.hexdigest() for item in expected}) == 5


@pytest.mark.slow
def test_a_restarted_process_meets_the_same_batches(
    random_cases: list[CaseFiles], loader: Loader
) -> None:
    script = (
        "import sys; from pathlib import Path; from tests.loading.test_batches import *\n"
        "names = [Path(name) for name in sys.argv[2:]]\n"
        "cases = [CaseFiles(*pair) for pair in zip(names[::2], names[1::2])]\n"
        "print(digest(cases, SETTINGS, sys.argv[1], 2))"
    )
    names = [str(path) for case in random_cases for path in (case.image, case.label)]
    command = [sys.executable, "-c", script, loader, *names]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert printed.split()[-1] == digest(random_cases, SETTINGS, loader, 2)


def test_a_case_smaller_than_the_patch_is_refused_before_any_work(
    numbered_cases: list[CaseFiles], loader: Loader
) -> None:
    with pytest.raises(InputError, match="fewer than the patch"):
        training_batches(numbered_cases, replace(SETTINGS, patch_size=(9, 10, 9)), loader=loader)


def test_a_benchmark_refuses_a_case_smaller_than_the_patch(
    numbered_cases: list[CaseFiles], loader: Loader
) -> None:
    with pytest.raises(InputError, match="fewer than the patch"):
        benchmark_batches(numbered_cases, replace(SETTINGS, patch_size=(9, 10, 9)), loader)


def test_a_loader_that_there_is_not_is_refused(numbered_cases: list[CaseFiles]) -> None:
    with pytest.raises(InputError, match="loader torch: must be one of dali, tf"):
        training_batches(numbered_cases, SETTINGS, loader="torch")


def test_more_shards_than_cases_are_refused(
    numbered_cases: list[CaseFiles], loader: Loader
) -> None:
    with pytest.raises(InputError, match="7 cases cannot be shared by 8"):
        training_batches(numbered_cases, SETTINGS, 0, 0, 8, loader)


def test_a_check_refuses_what_training_would(
    numbered_cases: list[CaseFiles], loader: Loader
) -> None:
    with pytest.raises(InputError, match="fewer than the patch"):
        check_training(numbered_cases, replace(SETTINGS, patch_size=(9, 10, 9)), loader=loader)
    with pytest.raises(InputError, match="7 cases cannot be shared by 8"):
        check_training(numbered_cases, SETTINGS, 0, 8, loader)
    check_training(numbered_cases, SETTINGS, 6, 7, loader)


def test_the_benchmark_repeats_the_first_corner_unchanged(
    coordinate_case: Callable[..., CaseFiles], loader: Loader
) -> None:
    dataset = benchmark_batches([coordinate_case()], SETTINGS, loader)
    for image, label in dataset.take(3).as_numpy_iterator():
        expected = np.stack(np.meshgrid(*map(np.arange, PATCH), indexing="ij"), axis=-1)
        assert (image == expected).all()
        assert (label == expected[..., :1]).all()
