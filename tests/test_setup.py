"""The environment: wants, locks, conda's file and what was built agree and work."""

import ast
import importlib.metadata
import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

CHECKOUT = Path(__file__).resolve().parent.parent
LOCKS = sorted((CHECKOUT / "requirements").glob("*.txt"))
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
# Which lock answers which wants of pyproject.toml.
WANTS = {
    "course": PROJECT["dependencies"],
    "dev": PROJECT["dependencies"] + EXTRAS["lint"] + EXTRAS["test"],
    "gpu": PROJECT["dependencies"] + EXTRAS["gpu"],
    "native": EXTRAS["native"],
}
HAS_NATIVE = sys.platform == "linux" and "x86_64" in importlib.metadata.distribution(
    "numpy"
).read_text("WHEEL")
needs_native = pytest.mark.skipif(
    not HAS_NATIVE, reason="Horovod and DALI exist for Linux on x86-64 only"
)


def entries(lock):
    """The requirements of one lock: (requirement, its hashes)."""
    text = re.sub(r"^\s*#.*\n", "", lock.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    for line in text.splitlines():
        requirement, *hashes = re.split(r"\s+--hash=", line.strip())
        yield Requirement(requirement), hashes


def pins(lock):
    """What a lock pins: name -> the set of its versions (more than one where markers differ)."""
    found = {}
    for requirement, _ in entries(lock):
        (specifier,) = requirement.specifier
        found.setdefault(canonicalize_name(requirement.name), set()).add(specifier.version)
    return found


def lock(name):
    return CHECKOUT / "requirements" / f"{name}.txt"


def run(*command, **options):
    """Run a command and return what it printed, both streams; fail with that if it failed."""
    done = subprocess.run(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=options.pop("timeout", 120),
        **options,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


# Locks -------------------------------------------------------------------------------------------


def test_the_locks_are_there():
    names = {"build", "course", "dev", "gpu", "native", "peers", "uv"}
    assert {path.stem for path in LOCKS} == names


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.stem)
class TestLock:
    def test_holds_no_address(self, path):
        text = path.read_text()
        for word in ("://", "file:", "index-url", "find-links", " @ ", "--trusted-host"):
            assert word not in text

    def test_pins_every_requirement_to_a_public_version(self, path):
        for requirement, _ in entries(path):
            (specifier,) = requirement.specifier
            assert specifier.operator == "=="
            assert not set("*+") & set(specifier.version), requirement

    def test_hashes_every_requirement(self, path):
        for requirement, hashes in entries(path):
            assert hashes, requirement
            assert all(re.fullmatch("sha256:[0-9a-f]{64}", digest) for digest in hashes)

    def test_agrees_with_the_course_lock(self, path):
        if path == lock("peers"):
            return  # an environment of its own, with a newer NumPy
        course = pins(lock("course"))
        for name, versions in pins(path).items():
            assert versions == course.get(name, versions), name


@pytest.mark.parametrize("name", WANTS)
def test_a_lock_answers_what_pyproject_wants(name):
    locked = pins(lock(name))
    for want in map(Requirement, WANTS[name]):
        versions = locked[canonicalize_name(want.name)]
        assert all(want.specifier.contains(version) for version in versions), want


def test_the_build_tools_are_old_enough_for_horovod():
    tools = pins(lock("build"))
    assert {tool: int(max(tools[tool]).split(".")[0]) for tool in ("setuptools", "cmake")} == {
        "setuptools": 69,
        "cmake": 3,
    }


def test_conda_gets_the_same_pins():
    environment = yaml.safe_load((CHECKOUT / "environment.yml").read_text())
    *conda, pip = environment["dependencies"]
    (python,) = (name.split("=")[1] for name in conda if name.startswith("python="))
    listed = [CHECKOUT / line.removeprefix("-r ") for line in pip["pip"]]

    assert environment["name"] == "nnunet-course"
    assert PROJECT["requires-python"] == f">={python},<3.12"
    assert {"gxx", "make", "pip"} <= {name.split("=")[0] for name in conda}
    assert listed == [lock("course")]


def test_what_is_installed_is_what_is_locked():
    wanted = {
        requirement.name: str(requirement.specifier).removeprefix("==")
        for requirement, _ in (*entries(lock("dev")), *entries(lock("native")))
        if requirement.marker is None or requirement.marker.evaluate()
    }
    assert {name: importlib.metadata.version(name) for name in wanted} == wanted


def test_pyproject_names_everything_that_the_library_imports():
    imported = set()
    for path in (CHECKOUT / "nnunet_lib").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(node.module.split(".")[0])
    distributions = importlib.metadata.packages_distributions()
    declared = {
        canonicalize_name(Requirement(want).name)
        for want in PROJECT["dependencies"] + EXTRAS["native"]
    }
    ours_or_pythons = {"nnunet_lib", "_typeshed", *sys.stdlib_module_names}  # _typeshed: mypy's
    for module in imported - ours_or_pythons:
        owners = {canonicalize_name(owner) for owner in distributions[module]}
        assert owners & declared, f"nnunet_lib imports {module}; name it in pyproject.toml"


# What is built -----------------------------------------------------------------------------------


TWO_RANKS = """
import horovod.tensorflow as hvd
import tensorflow as tf
hvd.init()
assert hvd.gloo_built() and not hvd.mpi_built()
total = hvd.allreduce(tf.constant([hvd.rank() + 1.0, 10.0]), op=hvd.Sum)
print("rank", hvd.rank(), "of", hvd.size(), total.numpy().tolist())
"""


@pytest.mark.slow
@needs_native
def test_two_horovod_processes_add_their_tensors(tmp_path):
    script = tmp_path / "two_ranks.py"
    script.write_text(TWO_RANKS)
    horovodrun = Path(sys.executable).with_name("horovodrun")
    output = run(horovodrun, "-np", "2", "--gloo", sys.executable, script, timeout=300)
    for rank in (0, 1):
        assert f"rank {rank} of 2 [3.0, 20.0]" in output


@pytest.mark.slow
@needs_native
def test_dali_feeds_tensorflow_without_a_gpu():
    output = run(
        sys.executable,
        "-c",
        "import tensorflow as tf\n"
        "from nvidia.dali import fn, pipeline_def\n"
        "from nvidia.dali.plugin.tf import DALIDataset\n"
        "@pipeline_def(batch_size=2, num_threads=1, device_id=None)\n"
        "def constant():\n"
        "    return fn.constant(fdata=[1.0, 2.0], shape=[2])\n"
        "with tf.device('/cpu:0'):\n"
        "    batches = DALIDataset(constant(), batch_size=2, output_shapes=((2, 2),),\n"
        "                          output_dtypes=(tf.float32,), device_id=None)\n"
        "    (batch,) = next(iter(batches))\n"
        "print(batch.numpy().tolist())",
    )
    assert "[[1.0, 2.0], [1.0, 2.0]]" in output


def test_jupyter_knows_the_kernel():
    spec = Path(sys.prefix, "share", "jupyter", "kernels", "nnunet-course", "kernel.json")
    kernel = json.loads(spec.read_text())
    assert kernel["display_name"] == "nnU-Net course"
    assert Path(kernel["argv"][0]).samefile(sys.executable)


def test_the_wheel_holds_the_whole_library(tmp_path):
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path, cwd=CHECKOUT)
    (path,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(path) as wheel:
        packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert packed == {
        path.relative_to(CHECKOUT).as_posix()
        for path in (CHECKOUT / "nnunet_lib").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }


# make --------------------------------------------------------------------------------------------


@pytest.fixture
def copy(tmp_path):
    """A folder with what make reads, and no environment."""
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(CHECKOUT / name, tmp_path)
    shutil.copytree(CHECKOUT / "requirements", tmp_path / "requirements")
    return tmp_path


def with_pretended_environment(folder):
    """Add an environment that is up to date, whose python prints its arguments, one a line."""
    python = folder / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text("#!/bin/sh\nprintf '%s\\n' \"$@\"\n")
    python.chmod(0o755)
    stamps = folder / ".venv" / ".stamps"
    stamps.mkdir()
    for stamp in ("venv", "locked", "native", "package"):
        (stamps / stamp).touch()


def make(folder, *arguments):
    """What make prints; quiet about folders, which it names when `make test` has called it."""
    return run("make", "--no-print-directory", *arguments, cwd=folder)


def refused(folder, *arguments, **options):
    """What make says when it refuses."""
    done = subprocess.run(
        ["make", *arguments], cwd=folder, capture_output=True, text=True, check=False, **options
    )
    assert done.returncode != 0
    return done.stderr


def test_make_alone_lists_the_commands():
    listed = make(CHECKOUT)
    for target in ("env", "bundle", "course", "test", "lint", "lab", "native", "lock", "clean"):
        assert f"make {target} " in listed


def test_make_says_which_python_it_needs(copy):
    said = refused(copy, "env", "PYTHON=/no/such/python")
    assert "needs Python 3.11" in said
    assert not (copy / ".venv").exists()


@needs_native
def test_make_says_how_to_get_a_compiler(copy):
    tools = copy / "bin"
    tools.mkdir()
    for tool in ("make", "sh", "uname", "grep", "cat"):
        (tools / tool).symlink_to(shutil.which(tool))
    said = refused(copy, "env", f"PYTHON={sys.executable}", env={"PATH": str(tools)})
    assert "there is no g++" in said
    assert not (copy / ".venv").exists()


def test_a_failed_step_leaves_no_stamp(copy):
    with_pretended_environment(copy)
    (copy / ".venv" / "bin" / "python").write_text("#!/bin/sh\nexit 1\n")
    (copy / ".venv" / ".stamps" / "locked").unlink()
    refused(copy, "env")
    assert not (copy / ".venv" / ".stamps" / "locked").exists()


def test_make_course_hands_its_variables_over_as_they_are(copy):
    with_pretended_environment(copy)
    path = "my data/a'b $(shell touch expanded) `touch run`; touch run"
    lines = make(copy, "course", f"DATASET={path}", "PROFILE=laptop").splitlines()
    assert lines[-4:] == ["--dataset", path, "--profile", "laptop"]
    assert not (copy / "expanded").exists()
    assert not (copy / "run").exists()


# `make bundle` was also run in full, and `make env` from what it made, without a network.


def test_make_bundle_fetches_every_lock_by_its_hashes_and_copies_the_dataset(copy):
    with_pretended_environment(copy)
    (copy / "my scans" / "imagesTr").mkdir(parents=True)
    (copy / "my scans" / "dataset.json").touch()
    said = make(copy, "bundle", "DATASET=my scans").splitlines()
    fetched = [following for word, following in itertools.pairwise(said) if word == "-r"]
    fetches = [f"requirements/{name}.txt" for name in ("uv", "build", "course", "dev")]
    assert fetched[:4] == fetches
    assert said.count("--require-hashes") == len(fetched)
    assert (copy / "build" / "bundle" / "data" / "my scans" / "dataset.json").exists()
    assert not (copy / "build" / "bundle.partial").exists()


def test_a_bundle_that_could_not_be_finished_is_not_there(copy):
    with_pretended_environment(copy)
    refused(copy, "bundle", "DATASET=absent")
    assert not (copy / "build" / "bundle").exists()


def test_make_env_from_a_bundle_asks_no_network_and_needs_no_compiler(copy):
    commands = make(copy, "--dry-run", "env", "BUNDLE=a stick")
    installs = [line for line in commands.splitlines() if "pip install" in line]
    locked = [line for line in installs if "-r requirements/" in line]
    assert len(locked) == 3  # uv; the packages; Horovod and the plugin, if they must be built
    assert all('--no-index --find-links "$BUNDLE/wheels"' in line for line in locked)
    assert '--offline --no-deps --reinstall "$BUNDLE"/native/*.whl' in commands
    assert "find-links" not in make(copy, "--dry-run", "env")
    said = refused(copy, "env", "BUNDLE=a stick", f"PYTHON={sys.executable}")
    assert "no folder of wheels" in said
    assert not (copy / ".venv").exists()


def test_make_course_names_no_dataset_unless_told(copy):
    with_pretended_environment(copy)
    lines = make(copy, "course").splitlines()
    assert lines[2:] == ["course", "--output", "build/course"]


def test_make_course_runs_the_notebooks_that_it_is_told(copy):
    with_pretended_environment(copy)
    lines = make(copy, "course", "NOTEBOOKS=notebooks/00_a.ipynb $(touch run)", "DATASET=d")
    told = ["--notebooks", "notebooks/00_a.ipynb", "$(touch", "run)", "--dataset", "d"]
    assert lines.splitlines()[-6:] == told
    assert not (copy / "run").exists()


@pytest.mark.skipif(
    Path(sys.prefix) != CHECKOUT / ".venv", reason="these tests run in another environment"
)
def test_a_second_make_finds_nothing_to_do():
    run("make", "--question", "env", cwd=CHECKOUT)


# CI ----------------------------------------------------------------------------------------------


def pretended_ci(folder, broken="", scans="absent"):
    """Run .ci/run with a make that pretends, and fails at one target; its exit code and lines."""
    (folder / ".ci").mkdir()
    shutil.copy(CHECKOUT / ".ci" / "run", folder / ".ci")
    (folder / "bin").mkdir()
    make = folder / "bin" / "make"
    make.write_text(
        '#!/bin/sh\necho "did $*"\n'
        "[ $1 != test ] || echo '===== 3 passed, 1 skipped in 61.00s (0:01:01) ====='\n"
        f"[ $1 != '{broken}' ]\n"
    )
    make.chmod(0o755)
    environment = os.environ | {"PATH": f"{make.parent}:{os.environ['PATH']}"}
    environment["NNUNET_COURSE_REAL_DATA"] = str(folder / scans)
    done = subprocess.run(
        ["bash", folder / ".ci" / "run"], env=environment, capture_output=True, text=True
    )
    return done.returncode, done.stdout.splitlines()


def test_ci_closes_with_what_pytest_counted(tmp_path):
    code, lines = pretended_ci(tmp_path)
    assert code == 0
    assert [line for line in lines if line.startswith("did")] == [
        f"did {target}" for target in ("env", "lint", "test", "course")
    ]
    assert "3 passed, 1 skipped" in lines[-1]


def test_ci_runs_the_lessons_on_whole_scans_on_real_ones_too(tmp_path):
    for name in ("notebooks/01_b.ipynb", "notebooks/03_d.ipynb", "notebooks/10_k.ipynb"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "scans").mkdir()
    (tmp_path / "scans" / "dataset.json").touch()
    code, lines = pretended_ci(tmp_path, scans="scans")
    assert code == 0
    assert [line for line in lines if line.startswith("did course")] == [
        "did course",
        "did course NOTEBOOKS=notebooks/01_b.ipynb notebooks/10_k.ipynb "
        f"DATASET={tmp_path / 'scans'} OUTPUT=build/course-real",
    ]


@pytest.mark.parametrize(
    ("target", "step", "begun"),
    [("env", "environment", 1), ("lint", "lint", 2), ("test", "test", 4), ("course", "lessons", 4)],
)
def test_ci_fails_where_a_step_does(tmp_path, target, step, begun):
    code, lines = pretended_ci(tmp_path, broken=target)
    assert code == 1
    assert "CI failed (exit code 1)." in lines
    assert any(line.startswith(f"{step:12} ") and line.endswith(" failed") for line in lines)
    did = [line for line in lines if line.startswith("did")]
    assert did == ["did env", "did lint", "did test", "did course"][:begun]


# What is committed -------------------------------------------------------------------------------


def test_no_committed_file_names_a_path_of_one_machine():
    if not (CHECKOUT / ".git").exists():
        pytest.skip("this is not a git checkout, so nothing says what is committed")
    listed = run("git", "-C", CHECKOUT, "ls-files", "-z").split("\0")
    private = re.compile(r"(?<![\w.])/(?:work|root|home|Users)/\w")
    for name in filter(None, listed):
        path = CHECKOUT / name
        if path.suffix in {".png", ".npy", ".npz", ".gz"} or not path.is_file():
            continue
        assert not private.search(path.read_text(encoding="utf-8")), name


def test_jupyterlab_asks_nobody_about_news():
    """A question that each newcomer would get; with a yes, the lab would ask a server every day."""
    config = Path(sys.prefix) / "etc/jupyter/labconfig/page_config.json"
    disabled = json.loads(config.read_text())["disabledExtensions"]
    assert disabled["@jupyterlab/apputils-extension:announcements"] is True
