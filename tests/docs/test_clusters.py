"""docs/clusters.md: the batch script and the manifest do what the page says, as far as one sees
without a cluster."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from nnunet_lib.cli.main import make_parser


@pytest.fixture
def script(page, tmp_path: Path) -> Path:
    """The batch script, in a folder whose `bin` has what it calls, which log their arguments."""
    (block,) = page("docs/clusters.md").blocks("bash")
    path = tmp_path / "train.sh"
    path.write_text(block)
    (tmp_path / "bin").mkdir()
    pretend(tmp_path, "scontrol", 'if [ "$1 $2" = "show hostnames" ]; then printf "n1\\nn2\\n"; fi')
    pretend(tmp_path, "horovodrun", "")
    return path


def pretend(folder: Path, name: str, does: str) -> None:
    command = folder / "bin" / name
    command.write_text(f'#!/bin/bash\necho "{name} $*" >> "{folder}/log"\n{does}\n')
    command.chmod(0o755)


def start(script: Path) -> subprocess.Popen:
    slurm = {"SLURM_JOB_ID": "17", "SLURM_JOB_NODELIST": "n[1-2]", "SLURM_JOB_NUM_NODES": "2"}
    path = f"{script.parent / 'bin'}:{os.environ['PATH']}"
    return subprocess.Popen(["bash", script], env=os.environ | slurm | {"PATH": path})


def logged(script: Path) -> list[str]:
    log = script.parent / "log"
    return log.read_text().splitlines() if log.exists() else []


def test_the_batch_script_starts_a_process_for_each_gpu_of_each_node(script: Path) -> None:
    assert start(script).wait(60) == 0
    asked, ran = logged(script)
    assert asked == "scontrol show hostnames n[1-2]"
    launcher, ours = ran.split(" python -m nnunet_lib ")
    assert launcher == "horovodrun -np 8 -H n1:4,n2:4"
    assert make_parser().parse_args(ours.split()).resume


def test_the_batch_script_fails_if_training_does(script: Path) -> None:
    pretend(script.parent, "horovodrun", "exit 3")
    assert start(script).wait(60) == 3


def test_slurms_warning_puts_the_job_back_into_the_queue(script: Path) -> None:
    pretend(script.parent, "horovodrun", "exec sleep 60")
    job = start(script)
    until = time.monotonic() + 60
    while len(logged(script)) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    job.send_signal(signal.SIGUSR1)
    job.wait(60)
    assert logged(script)[-1] == "scontrol requeue 17"


def test_the_batch_script_asks_slurm_for_the_gpus_that_it_uses(script: Path) -> None:
    lines = script.read_text().splitlines()
    assert "#SBATCH --gpus-per-node=4" in lines
    assert "gpus=4" in lines
    assert {"#SBATCH --requeue", "#SBATCH --signal=B:USR1@120"} <= set(lines)


def test_the_manifest_starts_as_many_processes_as_its_workers_have_gpus(page) -> None:
    (block,) = page("docs/clusters.md").blocks("yaml")
    job = yaml.safe_load(block)
    launcher, worker = (job["spec"]["mpiReplicaSpecs"][name] for name in ("Launcher", "Worker"))
    (starts,) = launcher["template"]["spec"]["containers"]
    (works,) = worker["template"]["spec"]["containers"]
    words = [*starts["command"], *starts["args"]]
    processes = int(words[words.index("-np") + 1])
    assert job["spec"]["slotsPerWorker"] == works["resources"]["limits"]["nvidia.com/gpu"]
    assert processes == job["spec"]["slotsPerWorker"] * worker["replicas"]
    assert make_parser().parse_args(words[words.index("nnunet_lib") + 1 :]).resume
    for role, container in ((launcher, starts), (worker, works)):
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in role["template"]["spec"]["volumes"]}
