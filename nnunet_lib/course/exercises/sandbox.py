"""Runs a learner's code in a process of its own, within limits, and says what came of it.

The process is a fork of the one that asks, which never runs such code itself. All that comes back
is data: results, or how the code failed. The limits keep a mistake from harming the computer;
they are no jail for code that means harm.
"""

import importlib.util
import os
import re
import select
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import psutil

from nnunet_lib.course.exercises.exercise import Exercise, Inputs
from nnunet_lib.course.exercises.values import pack, plain, unpack
from nnunet_lib.errors import InputError

_LARGEST_RESULT = 2**28  # bytes
_LARGEST_FILE = 2**26
_ADDRESSES = 8 * 2**30  # bytes that an imported library may reserve and not use
_SECONDS_BETWEEN_LOOKS = 0.02
_MODULE = "exercise_cell"
_CALL = re.compile(r"takes .*arguments?|required .*argument|unexpected keyword|multiple values for")
"""What Python says of arguments that a function does not take."""


@dataclass(frozen=True)
class Fault:
    """Why there are no results.

    Attributes:
        kind: "syntax", "missing" (the function), "call" (it does not take the arguments), "error",
            "unusable" (what the check does with its result fails), "strange" (its result is not
            data), "time", "memory", or "ended".
        message: the exception's own words, or what is strange.
        exception: the exception's name.
        line: in the learner's cell, from 1; 0 if it is not known.
        code: what stands on that line.
        call: which call it was, from 0; -1 before the first.
    """

    kind: str
    message: str = ""
    exception: str = ""
    line: int = 0
    code: str = ""
    call: int = -1


@dataclass(frozen=True)
class Outcome:
    """One plain result a call, and which inputs were changed; or the fault."""

    results: tuple[Any, ...] = ()
    changed: tuple[str, ...] = ()
    fault: Fault | None = None


def run_apart(exercise: Exercise, source: str, calls: Sequence[Inputs]) -> Outcome:
    """Run a learner's source in a process of its own and call its function.

    Where a system cannot fork, as Windows, it runs in this process, which must then be thrown away.
    """
    with tempfile.TemporaryDirectory(prefix="exercise-", ignore_cleanup_errors=True) as folder:
        path = Path(folder) / f"{_MODULE}.py"
        path.write_text(source, encoding="utf-8", errors="replace")
        if not hasattr(os, "fork"):
            return _outcome(unpack(_reply(exercise, path, calls)))
        reading, writing = os.pipe()
        process = os.fork()
        if process == 0:
            _child(exercise, path, calls, writing)
        os.close(writing)
        try:
            return _collect(process, reading, exercise)
        finally:
            os.close(reading)


# In the learner's process ---------------------------------------------------------------------


def _child(exercise: Exercise, path: Path, calls: Sequence[Inputs], writing: int) -> NoReturn:
    """Confine this process, run the learner's code, send what came of it, and end."""
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        os.setsid()
        _silence(writing)
        os.chdir(path.parent)
        _confine(exercise)
        data = memoryview(_reply(exercise, path, calls))
        while data:
            data = data[os.write(writing, data) :]
    finally:
        os._exit(0)


def _silence(writing: int) -> None:
    """Nothing to read, nowhere to print, and no open file but the one for the result."""
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(nothing, standard)
    os.closerange(3, writing)
    os.closerange(writing + 1, 1024)
    sys.stdin = os.fdopen(0, closefd=False)  # the old one may hold what was read ahead


def _confine(exercise: Exercise) -> None:
    """Limits of the system itself; `_collect` watches time and resident memory besides."""
    import resource  # there is none on Windows

    _limit(resource.RLIMIT_CORE, 0)
    _limit(resource.RLIMIT_FSIZE, _LARGEST_FILE)
    _limit(resource.RLIMIT_CPU, int(exercise.seconds * (os.cpu_count() or 1)) + 5)
    if not exercise.tensorflow:  # which may reserve even more
        now = psutil.Process().memory_info().vms
        _limit(resource.RLIMIT_AS, now + _ADDRESSES + exercise.memory)


def _limit(what: int, most: int) -> None:
    import resource

    hard = resource.getrlimit(what)[1]
    most = most if hard == resource.RLIM_INFINITY else min(most, hard)
    with suppress(ValueError, OSError):  # macOS knows some limits by name only
        resource.setrlimit(what, (most, most))


def _reply(exercise: Exercise, path: Path, calls: Sequence[Inputs]) -> bytes:
    """The results or the fault, packed."""
    try:
        return pack(_perform(exercise, path, calls))
    except MemoryError:
        return pack({"fault": asdict(Fault("memory"))})


def _perform(exercise: Exercise, path: Path, calls: Sequence[Inputs]) -> dict[str, Any]:
    try:
        module = _imported(path)
    except BaseException as error:  # whatever a learner's code raises, SystemExit too
        return {"fault": asdict(_fault(error, path, call=-1))}
    function = getattr(module, exercise.function, None)
    if not callable(function):
        return {"fault": asdict(Fault("missing", exercise.function))}
    results, changed = [], set()
    for number, inputs in enumerate(calls):
        before = {name: _fingerprint(value) for name, value in inputs.items()}
        try:
            results.append(plain(_called(function, exercise.probe, inputs)))
        except BaseException as error:
            return {"fault": asdict(_fault(error, path, number))}
        changed |= {name for name, value in inputs.items() if _fingerprint(value) != before[name]}
    return {"results": results, "changed": sorted(changed)}


def _fingerprint(value: Any) -> bytes:
    """What tells an input that was changed; nothing for what is no data, such as a function."""
    try:
        return pack(plain(value))
    except InputError:
        return b""


def _imported(path: Path) -> ModuleType:
    """The learner's code as a module, whose source TensorFlow's AutoGraph can look up."""
    sys.dont_write_bytecode = True
    spec = importlib.util.spec_from_file_location(_MODULE, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[_MODULE] = module
    spec.loader.exec_module(module)
    return module


def _called(function: Callable[..., Any], probe: Callable[..., Any] | None, inputs: Inputs) -> Any:
    return probe(function, **inputs) if probe else function(*inputs.values())


def _fault(error: BaseException, path: Path, call: int) -> Fault:
    """An exception as a fault, with the last line of the learner's own code that it came from."""
    line, code = _place(error, path)
    kind = "error"
    if isinstance(error, SyntaxError) and call < 0 and error.filename == str(path):
        kind, line, code = "syntax", error.lineno or 0, (error.text or "").strip()
    elif type(error).__name__ in (
        "MemoryError",
        "ResourceExhaustedError",
    ):  # the latter: TensorFlow
        kind = "memory"
    elif isinstance(error, InputError) and not line:  # from `plain`
        kind = "strange"
    elif isinstance(error, TypeError) and not line:
        kind = "call" if _CALL.search(str(error)) else "unusable"
    words = error.msg if isinstance(error, SyntaxError) else _words(error)
    return Fault(kind, words, type(error).__name__, line, code, call)


def _words(error: BaseException) -> str:
    """The first line of its message, or the last where TensorFlow's AutoGraph puts a traceback."""
    try:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
        words = lines[-1] if lines[0].startswith("in user code") else lines[0]
        return words.rstrip(".")[:300]
    except Exception:  # a learner's own exception may fail even at this
        return ""


def _place(error: BaseException, path: Path) -> tuple[int, str]:
    """The last line of the cell in the traceback, and what stands there."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
    return (frames[-1].lineno or 0, frames[-1].line or "") if frames else (0, "")


# In the process that watches ------------------------------------------------------------------


def _collect(process: int, reading: int, exercise: Exercise) -> Outcome:
    """Read the reply until the process ends; end it when it takes too much time or memory."""
    most = psutil.Process().memory_info().rss + exercise.memory
    deadline = time.monotonic() + exercise.seconds
    data = bytearray()
    fault = None
    try:
        for chunk in _chunks(process, reading):
            data += chunk
            if time.monotonic() > deadline:
                fault = Fault("time")
            elif len(data) > _LARGEST_RESULT or _resident(process) > most:
                fault = Fault("memory")
            if fault:
                break
    finally:
        status = _end(process)
    if fault:
        return Outcome(fault=fault)
    if not data:  # out of memory, Linux kills
        kind = "memory" if status == signal.SIGKILL else "ended"
        return Outcome(fault=Fault(kind, _ending(status)))
    try:
        return _outcome(unpack(bytes(data)))
    except InputError as error:
        return Outcome(fault=Fault("strange", str(error)))


def _chunks(process: int, reading: int) -> Iterator[bytes]:
    """What the process writes, piece by piece, and nothing now and then while it does not."""
    ended = False
    while True:
        ready, _, _ = select.select([reading], [], [], 0 if ended else _SECONDS_BETWEEN_LOOKS)
        chunk = os.read(reading, 2**20) if ready else b""
        if (ready and not chunk) or (ended and not ready):
            return
        yield chunk
        ended = ended or not _is_running(process)


def _is_running(process: int) -> bool:
    """Whether a child is; it is not reaped by asking."""
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def _resident(process: int) -> int:
    """Bytes of resident memory of a process and those that it has started."""
    try:
        parent = psutil.Process(process)
        family = [parent, *parent.children(recursive=True)]
        return sum(member.memory_info().rss for member in family)
    except psutil.Error:  # one ended just now
        return 0


def _end(process: int) -> int:
    """End a process and all that it has started; the number of the signal that it died of."""
    with suppress(psutil.Error):
        for child in psutil.Process(process).children(recursive=True):
            with suppress(psutil.Error):
                child.kill()
    with suppress(ProcessLookupError, PermissionError):  # it may not have a group of its own yet
        os.killpg(process, signal.SIGKILL)
    if _is_running(process):
        with suppress(ProcessLookupError):
            os.kill(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    return os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0


def _ending(status: int) -> str:
    return f"by signal {status} ({signal.Signals(status).name})" if status else "by itself"


def _outcome(reply: Any) -> Outcome:
    """The outcome that a reply tells of; it may be anything, for the learner's process wrote it."""
    try:
        if "fault" in reply:
            return Outcome(fault=Fault(**reply["fault"]))
        return Outcome(tuple(reply["results"]), tuple(map(str, reply["changed"])))
    except (TypeError, KeyError):
        raise InputError("something that is no result") from None
