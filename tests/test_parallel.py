"""Many cases at once."""

import multiprocessing
import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from typing import Any

import pytest

from nnunet_lib import parallel
from nnunet_lib.errors import InputError
from nnunet_lib.parallel import ONE_THREAD, _feed, run_all


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_results_keep_the_tasks_order(workers: int) -> None:
    assert run_all(abs, range(-9, 0), workers, "test") == list(range(9, 0, -1))


@pytest.mark.slow  # two worker processes start
def test_each_worker_is_a_process_of_its_own() -> None:
    processes = run_all(_process_after, [0.2] * 4, 2, "test")
    assert len(set(processes)) == 2
    assert os.getpid() not in processes


def _process_after(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def test_no_tasks_give_no_results() -> None:
    assert run_all(abs, [], 4, "test") == []


def test_too_few_workers_are_refused() -> None:
    with pytest.raises(InputError, match="workers is 0"):
        run_all(abs, [1], 0, "test")


@pytest.mark.slow  # two worker processes start
def test_a_dead_worker_is_explained() -> None:
    with pytest.raises(InputError, match="worker process died"):
        run_all(os._exit, [3, 3, 3], 2, "test")


@pytest.mark.parametrize("progress", [True, False])
def test_progress_is_shown_to_who_asks_for_it(
    progress: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    run_all(abs, [1, 2], 1, "Counting", progress=progress)
    assert ("Counting: 100%" in capsys.readouterr().err) is progress


class _CountingPool:
    """Runs a task when its result is asked for, and notes how many were waiting."""

    def __init__(self) -> None:
        self.waiting = 0
        self.most = 0

    def submit(self, call: object, function: object, task: object) -> "Future[object]":
        self.waiting += 1
        self.most = max(self.most, self.waiting)
        future: Future[object] = Future()
        future.set_result(task)
        return future


def test_few_tasks_wait_at_a_time() -> None:
    pool = _CountingPool()

    def one_is_done() -> None:
        pool.waiting -= 1

    results = _feed(pool, abs, range(20), 4, one_is_done)  # type: ignore[arg-type]  # a stand-in
    assert results == list(range(20))
    assert pool.most == 4


def test_only_the_cores_that_this_process_may_use_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 5, 7}, raising=False)
    assert parallel.cores() == 3
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS and Windows
    assert parallel.cores() == 64


class _FailingPool:
    """Its second task fails."""

    def submit(self, call: object, function: object, task: int) -> "Future[int]":
        future: Future[int] = Future()
        if task == 1:
            future.set_exception(InputError("case_1 is damaged."))
        else:
            future.set_result(task)
        return future


def test_what_a_task_refuses_is_raised() -> None:
    pool: Any = _FailingPool()
    with pytest.raises(InputError, match=r"^case_1 is damaged\.$"):
        _feed(pool, abs, range(3), 4, lambda: None)


def test_twice_as_many_tasks_wait_as_there_are_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = []
    monkeypatch.setattr(parallel, "_feed", lambda *arguments: limits.append(arguments[3]))
    run_all(abs, range(20), 3, "test")
    run_all(abs, range(2), 64, "test")  # no more workers than tasks
    assert limits == [6, 4]


def test_workers_are_spawned_and_not_forked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, real = [], multiprocessing.get_context

    def get_context(method: str | None = None) -> object:
        asked.append(method)
        return real(method)

    monkeypatch.setattr(multiprocessing, "get_context", get_context)
    monkeypatch.setattr(parallel, "_feed", lambda *arguments: [])
    run_all(abs, range(20), 3, "test")
    assert asked == ["spawn"]


def _threads() -> list[int]:
    return [library.num_threads for library in parallel._linear_algebra()]


@pytest.fixture
def two_threads() -> Iterator[list[int]]:
    """Linear algebra that uses two, whatever this machine has."""
    before = _threads()
    twos = [2] * len(before)
    parallel._set_threads(twos)
    yield twos
    parallel._set_threads(before)


def test_linear_algebra_uses_one_thread_until_the_last_has_left(two_threads: list[int]) -> None:
    """Of two that overlap, who came first leaves first: `threadpool_limits` would restore then."""
    second_is_in, first_is_out = threading.Event(), threading.Event()
    seen: dict[str, list[int]] = {}

    def second() -> None:
        with ONE_THREAD:
            second_is_in.set()
            assert first_is_out.wait(10)
            seen["the second alone"] = _threads()
        seen["nobody"] = _threads()

    other = threading.Thread(target=second)
    with ONE_THREAD:
        other.start()
        assert second_is_in.wait(10)
        seen["both"] = _threads()
    first_is_out.set()
    other.join()
    ones = [1] * len(two_threads)
    assert ones  # NumPy's at least
    assert seen == {"both": ones, "the second alone": ones, "nobody": two_threads}


def test_a_task_has_one_thread_here_and_in_a_worker(two_threads: list[int]) -> None:
    ones = [1] * len(two_threads)
    assert run_all(lambda _: _threads(), [None], 1, "test") == [ones]
    assert parallel._in_worker(lambda _: _threads(), None) == ones
    assert _threads() == two_threads
