"""What works on this machine, and how to mend what does not.

Every check tries the thing itself rather than look whether it is installed. TensorFlow and all
that stands on it share one process and the others have one each, all at the same time.
"""

import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from nnunet_lib.deployment.probes import KERNEL, Answer, ask

Status = Literal["ok", "warning", "missing"]
Answers = dict[str, Answer]

TIME_LIMIT = 60.0
"""Seconds for each of the processes; importing TensorFlow alone takes several."""
TENSORFLOW = "2.14"
OLDEST_DRIVER = "450.80.02"
"""CUDA 11's minor version compatibility begins here (NVIDIA's CUDA compatibility guide)."""
NEEDED_DRIVER = "520.61.05"
"""Came with CUDA 11.8. TensorFlow 2.14 brings GPUs since Ampere (compute capability 8.0) its code
as PTX, which an older driver cannot compile."""
LITTLE_MEMORY = 2.0
LITTLE_DISK = 2.0

_TOGETHER = (
    ("tensorflow", "onednn", "gpu", "horovod", "dali_plugin"),
    ("dali",),
    ("kernel",),
    ("cuda_libraries",),
)
"""The probes that share a process, the one that the others need first."""

_MAKE = "Run 'make env', or see CONTRIBUTING.md for a machine without make."
_NEW_DRIVER = f"Install NVIDIA's driver {NEEDED_DRIVER} or later, and start the machine anew."
_GPU_LIBRARIES = "python -m pip install --require-hashes -r requirements/gpu.txt"


@dataclass(frozen=True)
class Check:
    """One thing that was tried.

    Attributes:
        name: what.
        status: `missing` is needed here and does not work; `warning` is slower or poorer than
            it could be, or not needed here.
        detail: what was found.
        fix: what to do about it; empty where there is nothing to do.
    """

    name: str
    status: Status
    detail: str
    fix: str = ""


@dataclass(frozen=True)
class Diagnosis:
    """All checks; `describe` tells them to people, `to_json` to programs."""

    checks: tuple[Check, ...]

    @property
    def healthy(self) -> bool:
        """Whether everything works that is needed on this platform."""
        return all(check.status != "missing" for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values: `healthy`, and one object a check."""
        return {"healthy": self.healthy, "checks": [asdict(check) for check in self.checks]}

    def describe(self) -> str:
        """A table, each fix below its line, and the sum of it."""
        width = max(len(check.name) for check in self.checks)
        lines = []
        for check in self.checks:
            lines.append(f"{check.name:<{width}}  {check.status:<7}  {check.detail}")
            if check.fix:
                lines.append(f"{'':<{width}}           -> {check.fix}")
        broken = [check.name for check in self.checks if check.status == "missing"]
        verdict = f"To be mended: {', '.join(broken)}." if broken else "All that is needed works."
        return "\n".join([*lines, "", verdict])


def diagnose(folder: Path = Path()) -> Diagnosis:
    """Try everything that the library stands on.

    Args:
        folder: where data/ and build/ are or will be.
    """
    with ThreadPoolExecutor(len(_TOGETHER)) as pool:
        asked = [pool.submit(ask, names, TIME_LIMIT) for names in _TOGETHER]
        answers = {name: answer for one in asked for name, answer in one.result().items()}
    driver = _read_driver()
    return Diagnosis(
        (
            _python(),
            _tensorflow(answers["tensorflow"]),
            _onednn(answers["onednn"]),
            _driver(driver),
            _gpu(answers["gpu"], driver),
            _cuda_libraries(answers, driver),
            _dali(answers["dali"]),
            _dali_plugin(answers["dali_plugin"]),
            _horovod(answers),
            _here("cores", _cores),
            _here("memory", _memory),
            _here("disk", lambda: _disk(folder)),
            _kernel(answers["kernel"]),
        )
    )


def _python() -> Check:
    version, place = platform.python_version(), sys.executable
    if version.startswith("3.11."):
        return Check("Python", "ok", f"{version}, {place}")
    fix = f"Install Python 3.11, which TensorFlow {TENSORFLOW} needs, then: {_MAKE}"
    return Check("Python", "missing", f"{version}, {place}", fix)


def _tensorflow(answer: Answer) -> Check:
    if answer.error:
        return Check("TensorFlow", "missing", answer.error, _MAKE)
    version = answer.facts["version"]
    if not version.startswith(f"{TENSORFLOW}."):
        detail = f"{version}, but the library is written for {TENSORFLOW}"
        return Check("TensorFlow", "missing", detail, _MAKE)
    return Check("TensorFlow", "ok", version)


def _onednn(answer: Answer) -> Check:
    name = "oneDNN"
    if answer.error:
        return Check(name, "missing", answer.error, "Mend TensorFlow first.")
    if answer.facts["on"]:
        return Check(name, "ok", "on: TensorFlow runs its convolutions")
    if _processor() not in ("x86_64", "amd64"):
        return Check(name, "warning", "off: this processor's TensorFlow does without")
    fix = "Set TF_ENABLE_ONEDNN_OPTS=1, or unset it: nnunet_lib then sets it."
    return Check(name, "warning", "off: convolutions are several times slower", fix)


@dataclass(frozen=True)
class _Driver:
    """What nvidia-smi says: one (name, version) a GPU, or why there is none."""

    gpus: tuple[tuple[str, str], ...] = ()
    error: str = ""


def _read_driver() -> _Driver:
    program = shutil.which("nvidia-smi")
    if program is None:
        return _Driver()
    command = [program, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return _Driver(error=str(error))
    if done.returncode:
        said = (done.stdout + done.stderr).strip().splitlines()
        return _Driver(error=said[0] if said else f"ended with exit code {done.returncode}")
    rows = [line.rsplit(", ", 1) for line in done.stdout.splitlines() if ", " in line]
    return _Driver(tuple((name, version) for name, version in rows))


def _driver(driver: _Driver) -> Check:
    name = "GPU driver"
    if driver.error:
        return Check(name, "missing", f"nvidia-smi: {driver.error}", _NEW_DRIVER)
    if not driver.gpus:
        fix = f"Nothing to do without an NVIDIA GPU; with one: {_NEW_DRIVER}"
        return Check(name, "warning", "none: there is no nvidia-smi", fix)
    version = driver.gpus[0][1]
    if sys.platform == "linux" and _numbers(version) < _numbers(OLDEST_DRIVER):
        return Check(name, "missing", f"{version} is too old for CUDA 11", _NEW_DRIVER)
    if sys.platform == "linux" and _numbers(version) < _numbers(NEEDED_DRIVER):
        detail = f"{version} is older than CUDA 11.8: not enough for GPUs since Ampere, nor for XLA"
        return Check(name, "warning", detail, _NEW_DRIVER)
    return Check(name, "ok", version)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version))


def _gpu(answer: Answer, driver: _Driver) -> Check:
    there = ", ".join(name for name, _ in driver.gpus)
    if answer.error:
        return Check("GPU", "missing", answer.error, "Mend TensorFlow and the driver first.")
    if answer.facts["names"]:
        return Check("GPU", "ok", ", ".join(answer.facts["names"]))
    if there:
        detail = f"{there} is there, but TensorFlow does not see it"
        return Check("GPU", "missing", detail, f"Look at the driver, then run: {_GPU_LIBRARIES}")
    fix = "Nothing to do: plans are made for a processor unless told otherwise."
    return Check("GPU", "warning", "none: TensorFlow computes on the processor", fix)


def _cuda_libraries(answers: Answers, driver: _Driver) -> Check:
    name, answer = "CUDA libraries", answers["cuda_libraries"]
    if answer.error:
        return Check(name, "missing", answer.error, _MAKE)
    missing = answer.facts["missing"]
    built = answers["tensorflow"].facts
    wanted = f"CUDA {built.get('cuda') or '11.8'}, cuDNN {built.get('cudnn') or '8'}"
    if not missing:
        return Check(name, "ok", wanted)
    detail = f"{wanted} wanted; do not load: {', '.join(missing)}"
    if driver.gpus:
        return Check(name, "missing", detail, f"Run: {_GPU_LIBRARIES}")
    return Check(
        name, "warning", "not here: only a GPU needs them", f"For a GPU, run: {_GPU_LIBRARIES}"
    )


def _dali(answer: Answer) -> Check:
    if not answer.error:
        return Check("DALI", "ok", f"{answer.facts['version']}, ran a pipeline on the processor")
    return _native("DALI", answer.error, "Load data with --loader tf instead.")


def _dali_plugin(answer: Answer) -> Check:
    name = "DALI plugin"
    if not answer.error:
        return Check(name, "ok", "TensorFlow read a batch from DALI")
    return _native(name, answer.error, "Load data with --loader tf instead.")


def _horovod(answers: Answers) -> Check:
    name, answer = "Horovod", answers["horovod"]
    if answer.error:
        return _native(name, answer.error, "Train in one process.")
    built = answer.facts["built"]
    detail = f"{answer.facts['version']}, back ends: {', '.join(built) or 'none'}"
    if not built:
        return _native(name, detail, "Train in one process.")
    if answers["gpu"].facts.get("names") and "nccl" not in built:
        fix = "Build it again with HOROVOD_GPU_OPERATIONS=NCCL."
        return Check(name, "warning", f"{detail}: GPUs exchange through the processor", fix)
    return Check(name, "ok", detail)


def _native(name: str, detail: str, instead: str) -> Check:
    """Something that exists for Linux on x86-64 only, and does not work here."""
    if sys.platform == "linux" and _processor() == "x86_64":
        return Check(name, "missing", detail, f"{_MAKE} Until then: {instead}")
    return Check(name, "warning", "for Linux on x86-64 only", instead)


def _processor() -> str:
    return platform.machine().lower()


def _here(name: str, check: Callable[[], Check]) -> Check:
    """A check in this process, whose libraries may be missing too."""
    try:
        return check()
    except (ImportError, OSError) as error:
        return Check(name, "missing", f"{type(error).__name__}: {error}", _MAKE)


def _cores() -> Check:
    from nnunet_lib.parallel import cores

    return Check("cores", "ok", f"{cores()} that this process may use")


def _memory() -> Check:
    import psutil

    memory = psutil.virtual_memory()
    free, whole = memory.available / 2**30, memory.total / 2**30
    detail = f"{free:.1f} of {whole:.1f} GiB free"
    if free >= LITTLE_MEMORY:
        return Check("memory", "ok", detail)
    return Check("memory", "warning", detail, "Close other programs before you train.")


def _disk(folder: Path) -> Check:
    """The least free of the file systems that data/ and build/ are on."""
    places = [folder / name if (folder / name).exists() else folder for name in ("data", "build")]
    place = min(places, key=lambda path: shutil.disk_usage(path).free)
    free = shutil.disk_usage(place).free / 2**30
    detail = f"{free:.1f} GiB free in {place.resolve()}"
    if free >= LITTLE_DISK:
        return Check("disk", "ok", detail)
    return Check("disk", "warning", detail, "Free some, or work in another folder.")


def _kernel(answer: Answer) -> Check:
    name = "JupyterLab kernel"
    if answer.error:
        return Check(name, "missing", answer.error, _MAKE)
    register = (
        f"{sys.executable} -m ipykernel install --sys-prefix --name {KERNEL} "
        '--display-name "nnU-Net course"'
    )
    command = answer.facts["command"]
    if not command:
        return Check(name, "missing", f"{KERNEL} is not registered", f"Run: {register}")
    if shutil.which(command) is None:
        detail = f"{KERNEL} names a Python that is not there: {command}"
        return Check(name, "missing", detail, f"Run: {register}")
    if Path(command).name != command and not _same_folder(command, sys.executable):
        detail = f"{KERNEL} runs another Python: {command}"
        return Check(name, "warning", detail, f"If that is not meant, run: {register}")
    return Check(name, "ok", f"{KERNEL} in JupyterLab {answer.facts['version']}")


def _same_folder(one: str, other: str) -> bool:
    """Whether two programs lie in one environment, however the way there is written."""
    return Path(one).parent.resolve() == Path(other).parent.resolve()
