import os
from pathlib import Path

import numpy as np
import pytest

from nnunet_lib.errors import InputError
from nnunet_lib.loading.cases import (
    SHORTEST_ORDER,
    CaseFiles,
    check_cases,
    pipeline_seed,
    read,
    training_order,
)

SHAPE = (6, 8, 7)


@pytest.fixture
def case(tmp_path: Path) -> CaseFiles:
    case = CaseFiles(tmp_path / "a_image.npy", tmp_path / "a_label.npy")
    np.save(case.image, np.zeros((*SHAPE, 2), np.float32))
    np.save(case.label, np.zeros((*SHAPE, 1), np.uint8))
    return case


def test_good_cases_give_their_number_of_channels(case: CaseFiles) -> None:
    assert check_cases([case], SHAPE) == 2


def test_a_file_that_was_rewritten_is_read_anew(case: CaseFiles) -> None:
    assert read(case.image).shape == (*SHAPE, 2)
    replaced = case.image.with_name("other.npy")
    np.save(replaced, np.arange(12, dtype=np.uint8).reshape(3, 4))
    os.replace(replaced, case.image)
    np.testing.assert_array_equal(read(case.image), np.arange(12).reshape(3, 4))


def test_a_replaced_file_is_read_anew_though_it_bears_the_same_time(case: CaseFiles) -> None:
    assert read(case.label).max() == 0
    replaced = case.label.with_name("other.npy")
    np.save(replaced, np.ones((*SHAPE, 1), np.uint8))
    written = case.label.stat().st_mtime_ns
    os.utime(replaced, ns=(written, written))
    os.replace(replaced, case.label)
    assert read(case.label).min() == 1


def test_a_file_that_was_written_over_in_its_place_is_read_anew(case: CaseFiles) -> None:
    assert read(case.label).shape == (*SHAPE, 1)
    before = case.label.stat()
    np.save(case.label, np.ones((3, 4), np.uint8))
    os.utime(case.label, ns=(before.st_atime_ns, before.st_mtime_ns + 10**9))
    np.testing.assert_array_equal(read(case.label), np.ones((3, 4)))


def test_no_more_files_stay_open_than_a_process_may_open(tmp_path: Path) -> None:
    resource = pytest.importorskip("resource", reason="Windows knows no such limit")
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    paths = [tmp_path / f"{number}.npy" for number in range(400)]
    for path in paths:
        np.save(path, np.zeros((2, 2, 2, 1), np.uint8))
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, limit[1]))
    try:
        assert sum(int(read(path).sum()) for path in paths) == 0
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)


def test_a_case_smaller_than_the_patch_is_refused_with_its_remedy(case: CaseFiles) -> None:
    with pytest.raises(InputError, match=r"a_image.*fewer than the patch.*Preprocess again"):
        check_cases([case], (6, 9, 7))


def test_a_label_of_another_shape_is_refused(case: CaseFiles) -> None:
    np.save(case.label, np.zeros((6, 8, 8, 1), np.uint8))
    with pytest.raises(InputError, match=r"a_label.*does not fit"):
        check_cases([case])


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((*SHAPE, 2), np.float64),
        np.zeros(SHAPE, np.float32),
        np.asfortranarray(np.zeros((*SHAPE, 2), np.float32)),
    ],
)
def test_an_image_of_another_kind_is_refused(case: CaseFiles, array: np.ndarray) -> None:
    np.save(case.image, array)
    with pytest.raises(InputError, match=r"a_image.*Preprocess this case again"):
        check_cases([case])


@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_a_label_of_another_kind_is_refused(case: CaseFiles, dtype: type[np.generic]) -> None:
    np.save(case.label, np.zeros((*SHAPE, 1), dtype))
    with pytest.raises(InputError, match=r"a_label.*not uint8.*Preprocess this case again"):
        check_cases([case])


def test_missing_and_broken_files_are_refused(case: CaseFiles) -> None:
    case.image.write_bytes(case.image.read_bytes()[:-4])
    with pytest.raises(InputError, match=r"a_image.*not a readable"):
        check_cases([case])
    case.image.unlink()
    with pytest.raises(InputError, match=r"a_image.*no such file"):
        check_cases([case])


def test_no_case_and_mixed_channels_are_refused(case: CaseFiles, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least one"):
        check_cases([])
    other = CaseFiles(tmp_path / "b_image.npy", case.label)
    np.save(other.image, np.zeros((*SHAPE, 1), np.float32))
    with pytest.raises(InputError, match="different numbers of channels"):
        check_cases([case, other])


def test_every_pass_of_an_order_meets_every_case_once_and_passes_differ() -> None:
    order = training_order(number=10, seed=0, epoch=0, shard_id=0, shards=1)
    passes = np.reshape(order, (-1, 10))
    assert len(passes) >= 100
    assert (np.sort(passes, axis=1) == np.arange(10)).all()
    assert len({tuple(row) for row in passes}) == len(passes)


def test_shards_of_every_pass_are_disjoint_and_cover() -> None:
    shards = [training_order(11, seed=5, epoch=2, shard_id=i, shards=3) for i in range(3)]
    sizes = (4, 4, 3)  # of a shard's part in a pass
    for number in range(100):
        parts = [
            order[number * size : (number + 1) * size]
            for order, size in zip(shards, sizes, strict=True)
        ]
        assert sorted(np.concatenate(parts)) == list(range(11))


@pytest.mark.parametrize(("number", "shards"), [(10, 1), (8, 8), (11, 8), (2000, 8)])
def test_no_shard_soon_meets_its_order_again(number: int, shards: int) -> None:
    orders = [training_order(number, 0, 0, shard, shards) for shard in range(shards)]
    assert min(map(len, orders)) >= SHORTEST_ORDER
    assert max(map(len, orders)) <= 2 * SHORTEST_ORDER + number


def test_order_and_seed_follow_seed_epoch_and_shard() -> None:
    orders = {tuple(training_order(10, seed, epoch, 0, 1)) for seed in (0, 1) for epoch in (0, 1)}
    assert len(orders) == 4
    triples = [(a, b, c) for a in (0, 1) for b in (0, 1) for c in (0, 1)]
    seeds = [pipeline_seed(*triple) for triple in triples]
    assert len(set(seeds)) == 8
    assert all(0 <= seed < 2**31 for seed in seeds)


@pytest.mark.parametrize(("shard_id", "shards"), [(2, 2), (-1, 2), (0, 11)])
def test_shards_that_cannot_be_are_refused(shard_id: int, shards: int) -> None:
    with pytest.raises(InputError):
        training_order(10, 0, 0, shard_id, shards)
