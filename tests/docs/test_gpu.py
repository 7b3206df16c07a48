"""docs/gpu.md and the Dockerfile: what can be checked without a GPU."""

import mmap
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import tensorflow as tf
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
BUILD = tf.sysconfig.get_build_info()
CUDA_WHEELS = {
    requirement.name: str(requirement.specifier).removeprefix("==")
    for requirement in map(Requirement, PROJECT["optional-dependencies"]["gpu"])
}
# Not among what TensorFlow 2.14 opens: it has its own NCCL and draws its own random numbers.
NOT_OPENED = {"nvidia-curand-cu11", "nvidia-nccl-cu11"}


def versions(lock: str) -> dict[str, str]:
    text = (ROOT / "requirements" / f"{lock}.txt").read_text()
    return dict(re.findall(r"^([\w-]+)==([^ ;]+)", text, re.MULTILINE))


def test_the_page_names_the_locked_versions(page) -> None:
    locked = versions("gpu") | {"horovod": versions("native")["horovod"]}
    named = {row[0]: row[1] for row in page("docs/gpu.md").rows() if row[0] in locked}
    assert len(named) >= 7
    assert named == {name: locked[name] for name in named}


def test_the_options_that_the_page_explains_exist(page, check_ours) -> None:
    assert check_ours(row[0] for row in page("docs/gpu.md").rows() if row[0].startswith("`--")) == 4


def test_the_page_says_that_it_was_not_run(page) -> None:
    assert page("docs/gpu.md").text.splitlines()[2].startswith("**Not run here.**")
    assert "Not run here" in DOCKERFILE


def test_image_locks_and_tensorflow_are_of_the_same_cuda() -> None:
    (image,) = re.findall(r"^FROM nvidia/cuda:(\d+\.\d+)\.\d+-devel-", DOCKERFILE, re.MULTILINE)
    wheel = CUDA_WHEELS["nvidia-cuda-runtime-cu11"].rsplit(".", 1)[0]
    assert image == wheel == BUILD["cuda_version"] == "11.8"
    assert CUDA_WHEELS["nvidia-cudnn-cu11"].split(".")[0] == BUILD["cudnn_version"]


def test_tensorflow_has_the_kernels_that_the_page_names() -> None:
    capabilities = BUILD["cuda_compute_capabilities"]
    assert (capabilities[0], capabilities[-2:]) == ("sm_35", ["sm_75", "compute_80"])


@pytest.mark.skipif(sys.platform != "linux", reason="the CUDA wheels are for Linux")
def test_tensorflow_looks_for_each_library_in_its_wheel() -> None:
    folder = Path(tf.sysconfig.get_lib())
    with (folder / "libtensorflow_cc.so.2").open("rb") as file:
        library = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        (path,) = re.findall(rb"\$ORIGIN[^\0]*nvidia/cudnn/lib[^\0]*", library)
        knows_nvcc = library.find(b"/../nvidia/cuda_nvcc") >= 0
    for wheel in CUDA_WHEELS.keys() - NOT_OPENED - {"nvidia-cuda-nvcc-cu11"}:
        part = wheel.removeprefix("nvidia-").removesuffix("-cu11").replace("-", "_")
        assert f"$ORIGIN/../nvidia/{part}/lib".encode() in path.split(b":"), wheel
    assert knows_nvcc


@pytest.mark.slow
def test_the_gpu_lock_resolves() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "uv", "pip", "install", "--no-config", "--dry-run",
         "--require-hashes", "--python", sys.executable,
         "--python-platform", "x86_64-manylinux_2_28",
         *(f"-rrequirements/{name}.txt" for name in ("build", "gpu", "dev"))],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if "error sending request" in done.stderr:
        pytest.skip("no package index can be reached")
    assert done.returncode == 0, done.stderr
    wanted = {f" + {name}=={version}" for name, version in CUDA_WHEELS.items()}
    assert wanted <= set(done.stderr.splitlines())


# The build ---------------------------------------------------------------------------------------


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A folder with what make reads, and no environment."""
    shutil.copy(ROOT / "Makefile", tmp_path)
    shutil.copytree(ROOT / "requirements", tmp_path / "requirements")
    (tmp_path / "pyproject.toml").touch()
    return tmp_path


def dry_run(folder: Path, *words: str) -> list[str]:
    """What make would run, as words."""
    command = ["make", "--no-print-directory", "--dry-run", *words]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_the_build_is_the_one_for_cpus_but_for_its_switch_and_lock(copy: Path) -> None:
    plain, gpu = dry_run(copy, "env"), dry_run(copy, "env", "GPU=yes")
    assert "HOROVOD_WITH_GLOO=1" in plain
    gpu.remove("HOROVOD_GPU_OPERATIONS=NCCL")
    gpu = [re.sub(r"requirements/gpu\.txt", "requirements/course.txt", word) for word in gpu]
    assert [re.sub(r"/(locked|native)-gpu\b", r"/\1", word) for word in gpu] == plain


def test_the_environment_remembers_that_it_is_for_gpus(copy: Path) -> None:
    (copy / ".venv" / ".stamps").mkdir(parents=True)
    (copy / ".venv" / ".stamps" / "native-gpu").touch()
    assert "HOROVOD_GPU_OPERATIONS=NCCL" in dry_run(copy, "env")
    assert "HOROVOD_GPU_OPERATIONS=NCCL" not in dry_run(copy, "env", "GPU=no")


def test_the_image_is_built_by_that_build(copy: Path) -> None:
    assert re.search(r"^ENV GPU=yes ", DOCKERFILE, re.MULTILINE)
    (target,) = re.findall(r"^RUN make (\S+native\S+) PYTHON=", DOCKERFILE, re.MULTILINE)
    whole, layer = dry_run(copy, "env", "GPU=yes"), dry_run(copy, target, "GPU=yes")
    assert layer == whole[: len(layer)]
    assert "HOROVOD_GPU_OPERATIONS=NCCL" in layer


def test_what_the_image_copies_is_there() -> None:
    sources = re.findall(r"^COPY (\S+) \S+$", DOCKERFILE, re.MULTILINE)
    assert len(sources) >= 3
    assert [source for source in sources if not (ROOT / source).exists()] == []


def test_the_images_python_is_one_that_the_locked_uv_can_fetch() -> None:
    (version,) = set(re.findall(r"uv python (?:install|find) (\S+?)[)\"]*$", DOCKERFILE, re.M))
    listed = subprocess.run(
        [sys.executable, "-m", "uv", "python", "list", "--all-versions", "--only-downloads",
         "--offline", version],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert f"cpython-{version}-" in listed
    assert version in SpecifierSet(PROJECT["requires-python"])


def test_the_image_names_no_package_index() -> None:
    assert not re.search(r"https?://|index-url|find-links|trusted-host", DOCKERFILE)


def test_an_image_is_made_of_nothing_that_git_leaves_out() -> None:
    ignored, left_out = (
        [line for line in (ROOT / name).read_text().splitlines() if line and line[0] != "#"]
        for name in (".gitignore", ".dockerignore")
    )
    assert ".git" in left_out
    assert [line for line in ignored if in_docker_s_words(line) not in left_out] == []


def in_docker_s_words(line: str) -> str:
    """A line of .gitignore for .dockerignore, where a name alone is one at the root alone."""
    name = line.rstrip("/")
    return name.replace("/", "", 1) if name.lstrip("!").startswith("/") else f"**/{name}"
