"""Work over many cases at once, with a progress bar and bounded memory."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from nnunet_lib.errors import InputError

if TYPE_CHECKING:
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing.synchronize import Event

Task = TypeVar("Task")
Result = TypeVar("Result")
Advance = Callable[[], object]  # told once for every task that is done

_stop: Event | None = None  # of a worker process; see `_heed`


class _OneThread:
    """While anyone is inside, linear algebra uses one thread a call in all of this process.

    For work that runs in several threads itself. The number is the process's: who comes first
    lowers it, and who leaves last raises it again. `threadpool_limits` does not count who is
    inside, so that of two who overlap the last would leave it lowered.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._before: list[int] = []

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0:
                self._before = [library.get_num_threads() for library in _linear_algebra()]
                _set_threads([1] * len(self._before))
            self._inside += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0:
                _set_threads(self._before)


ONE_THREAD = _OneThread()


@cache
def _linear_algebra() -> list[Any]:
    """The libraries that are loaded at first: to look for them takes milliseconds."""
    from threadpoolctl import ThreadpoolController

    libraries: list[Any] = ThreadpoolController().select(user_api="blas").lib_controllers
    return libraries


def _set_threads(numbers: Sequence[int]) -> None:
    for library, number in zip(_linear_algebra(), numbers, strict=True):
        # For OpenBLAS threadpoolctl obeys one thread at a time, here whichever it is.
        free = getattr(library, "clear_controlling_thread", lambda force: None)
        free(force=True)
        library.set_num_threads(number)
        free(force=True)


def cores() -> int:
    """How many processor cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def require_workers(workers: int) -> None:
    """Refuse a number of workers that cannot do any work."""
    if workers < 1:
        raise InputError(f"workers is {workers}; give 1 or more.")


def run_all(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    workers: int,
    description: str,
    *,
    progress: bool = True,
) -> list[Result]:
    """Call `function` on every task and return the results in the tasks' order.

    With `workers` above 1 the calls run in that many fresh processes, at most twice as many
    tasks waiting as there are workers. `function` must be defined in an importable module. A
    script that asks for more than one worker needs `if __name__ == "__main__":` round its
    body, because each process imports the script. One thread a worker does the linear
    algebra, so that the number of workers cannot change a result.

    Raises:
        InputError: if `workers` is below 1, or a worker process dies.
    """
    from tqdm.auto import tqdm  # here: the list of commands should not wait for it

    require_workers(workers)
    with tqdm(total=len(tasks), desc=description, unit="case", disable=not progress) as shown:
        if workers == 1 or len(tasks) < 2:
            return _run_here(function, tasks, shown.update)
        return _run_in_processes(function, tasks, min(workers, len(tasks)), shown.update)


def _run_here(
    function: Callable[[Task], Result], tasks: Sequence[Task], advance: Advance
) -> list[Result]:
    results = []
    for task in tasks:
        results.append(_with_one_thread(function, task))
        advance()
    return results


def _run_in_processes(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    workers: int,
    advance: Advance,
) -> list[Result]:
    import multiprocessing
    from concurrent.futures.process import BrokenProcessPool, ProcessPoolExecutor

    # Forking a process that has loaded TensorFlow can hang it; a spawned one starts clean.
    context = multiprocessing.get_context("spawn")
    with _put_off():  # a semaphore that is made by half is never cleaned up
        stop = context.Event()
        pool = ProcessPoolExecutor(workers, context, initializer=_heed, initargs=(stop,))
    try:
        return _feed(pool, function, tasks, 2 * workers, advance)
    except BrokenProcessPool:
        raise InputError(
            "A worker process died. If memory ran out, ask for fewer workers. If this is a "
            'script, put its body under `if __name__ == "__main__":`, or ask for 1 worker.'
        ) from None
    finally:
        stop.set()  # a task that waits in a worker's queue cannot be cancelled
        pool.shutdown(cancel_futures=True)


def _feed(
    pool: ProcessPoolExecutor,
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    limit: int,
    advance: Advance,
) -> list[Result]:
    """Keep at most `limit` tasks submitted, and collect the results."""
    results: dict[int, Result] = {}
    running: dict[Future[Result], int] = {}
    for index, task in enumerate(tasks):
        if len(running) == limit:
            _collect(running, results, advance)
        # A process that starts here inherits the mask: Ctrl-C while it imports goes to us alone,
        # who must not leave it half-started.
        with _put_off(), _interrupts(blocked=True):
            running[pool.submit(_in_worker, function, task)] = index
    while running:
        _collect(running, results, advance)
    return [results[index] for index in range(len(tasks))]


def _collect(
    running: dict[Future[Result], int], results: dict[int, Result], advance: Advance
) -> None:
    """Wait until a task is done, and move what is done from `running` to `results`."""
    done, _ = wait(running, return_when=FIRST_COMPLETED)
    for future in done:
        results[running.pop(future)] = future.result()
        advance()


def _heed(stop: Event) -> None:
    """What a worker process does first: keep what says that nothing more is to be begun."""
    global _stop
    _stop = stop


def _in_worker(function: Callable[[Task], Result], task: Task) -> Result:
    """Call `function` in a worker process, where Ctrl-C ends the task and not the process."""
    if _stop is not None and _stop.is_set():
        raise KeyboardInterrupt
    try:
        with _interrupts(blocked=False):
            return _with_one_thread(function, task)
    except KeyboardInterrupt:
        if _stop is not None:
            _stop.set()  # the parent may be slow to say so, and this process begin its next task
        raise


@contextmanager
def _put_off() -> Iterator[None]:
    """Let Ctrl-C wait until the end. To block it is not enough: any other thread may take it.

    Where this process ignores it, as in the background of a script, its workers inherit that.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()  # no other acts on it
    if not in_main_thread or signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        yield
        return
    late: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: late.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        for number in late[:1]:
            signal.raise_signal(number)


@contextmanager
def _interrupts(*, blocked: bool) -> Iterator[None]:
    """Block Ctrl-C, or let it through; one that comes while it is blocked waits."""
    if sys.platform == "win32":  # which knows nothing of the kind
        yield
        return
    how = signal.SIG_BLOCK if blocked else signal.SIG_UNBLOCK
    before = signal.pthread_sigmask(how, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _with_one_thread(function: Callable[[Task], Result], task: Task) -> Result:
    """Call `function` with linear algebra on one thread: more would change the last bits."""
    from threadpoolctl import threadpool_limits

    # Here and not once a process: the limit holds for libraries that are loaded by now.
    with threadpool_limits(limits=1):
        return function(task)
