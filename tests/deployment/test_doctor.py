"""What the doctor makes of what the probes found, and the command as a whole."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from nnunet_lib.cli import main
from nnunet_lib.deployment import Check, doctor
from nnunet_lib.deployment.probes import KERNEL, Answer

HEALTHY = {
    "tensorflow": Answer({"version": "2.14.1", "cuda": "11.8", "cudnn": "8"}),
    "onednn": Answer({"on": True}),
    "gpu": Answer({"names": ["Tesla T4"]}),
    "horovod": Answer({"version": "0.28.1", "built": ["gloo", "nccl"]}),
    "dali": Answer({"version": "1.34.0"}),
    "dali_plugin": Answer({}),
    "cuda_libraries": Answer({"missing": []}),
    "kernel": Answer({"version": "4", "command": sys.executable}),
}
BROKEN = Answer(error="ImportError: planted")


@pytest.fixture
def examine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The checks by name on a Linux machine with a GPU, but for what is said to differ."""

    def run(driver: str | None = "535.54.03", system: str = "linux", **planted: Answer):
        monkeypatch.setenv("PATH", str(tmp_path))
        if driver is not None:
            smi = tmp_path / "nvidia-smi"
            smi.write_text(f"#!/bin/sh\necho 'Tesla T4, {driver}'\n")
            smi.chmod(0o755)
        monkeypatch.setattr(doctor, "ask", lambda names, _: {n: found[n] for n in names})
        monkeypatch.setattr(sys, "platform", system)
        monkeypatch.setattr("platform.machine", lambda: "x86_64")
        found = {**HEALTHY, **planted}
        diagnosis = doctor.diagnose(tmp_path)
        return diagnosis, {check.name: check for check in diagnosis.checks}

    return run


def without_gpu(**others: Answer) -> dict[str, Any]:
    return {"driver": None, "gpu": Answer({"names": []}),
            "cuda_libraries": Answer({"missing": ["libcudnn.so.8"]}), **others}  # fmt: skip


def test_a_machine_with_everything_is_ok(examine) -> None:
    diagnosis, checks = examine()
    assert diagnosis.healthy
    assert {check.status for check in checks.values()} == {"ok"}
    assert "Tesla T4" in checks["GPU"].detail


@pytest.mark.parametrize(
    ("name", "planted", "status", "fix"),
    [
        ("TensorFlow", {"tensorflow": BROKEN}, "missing", "make env"),
        ("TensorFlow", {"tensorflow": Answer({"version": "2.16.1"})}, "missing", "make env"),
        ("oneDNN", {"onednn": Answer({"on": False})}, "warning", "TF_ENABLE_ONEDNN_OPTS=1"),
        ("oneDNN", {"onednn": BROKEN}, "missing", "TensorFlow"),
        ("GPU", {"gpu": Answer({"names": []})}, "missing", "gpu.txt"),
        ("GPU", {"gpu": BROKEN}, "missing", "driver"),
        ("GPU", without_gpu(), "warning", "Nothing to do"),
        ("GPU driver", without_gpu(), "warning", "520.61.05"),
        ("GPU driver", {"driver": "450.51.05"}, "missing", "520.61.05"),
        ("GPU driver", {"driver": "450.80.02"}, "warning", "520.61.05"),
        ("GPU driver", {"driver": "520.61.05"}, "ok", ""),
        ("GPU driver", {"driver": "1000.1"}, "ok", ""),
        ("CUDA libraries", without_gpu(), "warning", "gpu.txt"),
        ("CUDA libraries", {"cuda_libraries": Answer({"missing": ["libcudnn.so.8"]})},
         "missing", "gpu.txt"),
        ("DALI", {"dali": BROKEN}, "missing", "--loader tf"),
        ("DALI", {"dali": BROKEN, "system": "darwin"}, "warning", "--loader tf"),
        ("DALI plugin", {"dali_plugin": BROKEN}, "missing", "--loader tf"),
        ("Horovod", {"horovod": BROKEN}, "missing", "one process"),
        ("Horovod", {"horovod": BROKEN, "system": "darwin"}, "warning", "one process"),
        ("Horovod", {"horovod": Answer({"version": "1", "built": []})}, "missing", "make env"),
        ("Horovod", {"horovod": Answer({"version": "1", "built": ["gloo"]})}, "warning", "NCCL"),
        ("JupyterLab kernel", {"kernel": BROKEN}, "missing", "make env"),
        ("JupyterLab kernel", {"kernel": Answer({"version": "4", "command": ""})},
         "missing", "ipykernel install"),
        ("JupyterLab kernel", {"kernel": Answer({"version": "4", "command": "/nowhere/python"})},
         "missing", "ipykernel install"),
        ("JupyterLab kernel", {"kernel": Answer({"version": "4", "command": "/bin/sh"})},
         "warning", KERNEL),
    ],
)  # fmt: skip
def test_each_fault_is_named_with_its_fix(examine, name, planted, status, fix) -> None:
    diagnosis, checks = examine(**planted)
    assert checks[name].status == status
    assert fix in checks[name].fix
    assert diagnosis.healthy == all(check.status != "missing" for check in checks.values())
    assert (f"To be mended: {name}" in diagnosis.describe()) == (status == "missing")


def test_no_gpu_is_no_fault(examine) -> None:
    diagnosis, _ = examine(**without_gpu())
    assert diagnosis.healthy


@pytest.mark.parametrize(
    ("says", "told"),
    [("echo NVIDIA-SMI has failed", "NVIDIA-SMI has failed"), ("", "exit code 9")],
    ids=["in its own words", "in silence"],
)
def test_a_driver_that_fails_is_reported(examine, tmp_path: Path, says: str, told: str) -> None:
    smi = tmp_path / "nvidia-smi"
    smi.write_text(f"#!/bin/sh\n{says}\nexit 9\n")
    smi.chmod(0o755)
    _, checks = examine(driver=None)
    assert checks["GPU driver"].status == "missing"
    assert told in checks["GPU driver"].detail


@pytest.mark.parametrize(("free", "status"), [(1.9, "warning"), (2.1, "ok")])
def test_little_disk_and_memory_are_told(examine, monkeypatch, free: float, status: str) -> None:
    import psutil

    usage = shutil.disk_usage("/")._replace(free=int(free * 2**30))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    memory = psutil.virtual_memory()._replace(available=int(free * 2**30))
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    _, checks = examine()
    for name in ("disk", "memory"):
        assert checks[name].status == status
        assert f"{free} " in checks[name].detail


def test_the_fuller_of_two_disks_is_told(examine, monkeypatch, tmp_path: Path) -> None:
    free = {tmp_path / "data": 50, tmp_path / "build": 1, tmp_path: 9}
    (tmp_path / "data").mkdir()
    (tmp_path / "build").mkdir()
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=free[path] * 2**30))
    _, checks = examine()
    assert checks["disk"].status == "warning"
    assert checks["disk"].detail == f"1.0 GiB free in {(tmp_path / 'build').resolve()}"


@pytest.mark.parametrize(
    ("version", "status"), [("3.11.0", "ok"), ("3.10.9", "missing"), ("3.12.1", "missing")]
)
def test_a_python_that_tensorflow_does_not_take_is_told(
    examine, monkeypatch, version: str, status: str
) -> None:
    monkeypatch.setattr("platform.python_version", lambda: version)
    diagnosis, checks = examine()
    assert checks["Python"].status == status
    assert diagnosis.healthy == (status == "ok")
    assert version in checks["Python"].detail


def test_what_an_arm_processor_cannot_have_is_no_fault_there(examine, monkeypatch) -> None:
    monkeypatch.setattr(doctor, "_processor", lambda: "aarch64")
    native = {"dali": BROKEN, "dali_plugin": BROKEN, "horovod": BROKEN}
    diagnosis, checks = examine(onednn=Answer({"on": False}), **native)
    assert diagnosis.healthy
    assert {checks[name].status for name in ("DALI", "DALI plugin", "Horovod")} == {"warning"}
    assert not checks["oneDNN"].fix


def test_a_missing_psutil_does_not_end_the_doctor(examine, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "psutil", None)
    _, checks = examine()
    assert checks["memory"].status == "missing"


def test_the_command_prints_a_table_or_nothing_but_json(monkeypatch, capsys) -> None:
    checks = (Check("A", "ok", "fine"), Check("Long name", "missing", "gone", "Put it back."))
    monkeypatch.setattr(doctor, "diagnose", lambda: doctor.Diagnosis(checks))
    monkeypatch.setattr("nnunet_lib.deployment.diagnose", doctor.diagnose, raising=False)
    assert main(["doctor", "--json"]) == 1
    assert json.loads(capsys.readouterr().out) == {
        "healthy": False,
        "checks": [
            {"name": "A", "status": "ok", "detail": "fine", "fix": ""},
            {"name": "Long name", "status": "missing", "detail": "gone", "fix": "Put it back."},
        ],
    }
    assert main(["doctor"]) == 1
    table = capsys.readouterr().out.splitlines()
    assert table[0].split() == ["A", "ok", "fine"]
    assert table[2].strip() == "-> Put it back."
    assert table[-1] == "To be mended: Long name."


@pytest.mark.slow  # asks the real libraries
def test_this_environment_is_healthy() -> None:
    done = run_doctor()
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert done.returncode == 0, checks
    for name in ("Python", "TensorFlow", "oneDNN", "DALI", "DALI plugin", "Horovod"):
        assert checks[name]["status"] == "ok", checks[name]
    assert "gloo" in checks["Horovod"]["detail"]


@pytest.mark.slow  # imports JupyterLab
def test_it_works_where_tensorflow_does_not(tmp_path: Path) -> None:
    (tmp_path / "tensorflow.py").write_text("raise ImportError('planted')")
    done = run_doctor(str(tmp_path))
    checks = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert done.returncode == 1
    assert checks["TensorFlow"]["detail"] == "ImportError: planted"
    assert checks["DALI"]["status"] == "ok"
    assert "not tried" in checks["Horovod"]["detail"]


def run_doctor(*first_on_the_path: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([*first_on_the_path, *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, "-m", "nnunet_lib", "doctor", "--json"],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
