"""What the doctor tries out, in processes of their own: no crash and no hang may end the doctor.

`python -m nnunet_lib.deployment.probes NAME ...` tries one after the other, and prints one line
of JSON for each. Nothing here is imported before it is tried.
"""

import ctypes
import importlib.util
import json
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

KERNEL = "nnunet-course"
"""The Jupyter kernel that `make env` registers."""

CUDA_LIBRARIES = (
    "libcudart.so.11.0",
    "libcublasLt.so.11",
    "libcublas.so.11",
    "libcufft.so.10",
    "libcusparse.so.11",
    "libcusolver.so.11",
    "libcudnn.so.8",
)
"""What TensorFlow 2.14 opens to use a GPU; a library comes after those that it needs."""

Facts = dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """What a probe found, or why it could not find out."""

    facts: Facts = field(default_factory=dict)
    error: str = ""


def ask(names: Sequence[str], time_limit: float) -> dict[str, Answer]:
    """Try these in a new process; the others need the first, and are not tried without it.

    A process that dies or hangs costs the probe at which it did; a new one goes on after that.

    Args:
        names: of `PROBES`.
        time_limit: seconds that one process gets.
    """
    answers: dict[str, Answer] = {}
    remaining = list(names)
    while remaining:
        given, ending = _run(remaining, time_limit)
        answers |= given
        remaining = [name for name in remaining if name not in answers]
        if remaining:
            answers[remaining.pop(0)] = Answer(error=ending)
        if answers[names[0]].error:
            untried = Answer(error=f"was not tried, because {names[0]} does not work")
            return {**dict.fromkeys(names, untried), names[0]: answers[names[0]]}
    return answers


def _run(names: Sequence[str], time_limit: float) -> tuple[dict[str, Answer], str]:
    """The answers that one process gave, and how it ended."""
    command = [sys.executable, "-m", "nnunet_lib.deployment.probes", *names]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=time_limit,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        return _read(error.stdout or b""), f"gave no answer within {time_limit:g} seconds"
    code = done.returncode
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return _read(done.stdout), f"ended its process ({how})"


def _read(output: bytes) -> dict[str, Answer]:
    """The answers, among whatever else libraries may have printed."""
    answers = {}
    for line in output.decode(errors="replace").splitlines():
        if line.startswith(_MARK):
            value = json.loads(line.removeprefix(_MARK))
            answers[value["probe"]] = Answer(**value["answer"])
    return answers


_MARK = "probe: "


def _answer(name: str) -> Facts:
    try:
        return {"facts": PROBES[name]()}
    except BaseException as error:  # of whatever kind: the next probe shall have its turn
        reason = textwrap.shorten(str(error), 200, placeholder=" ...") or "no reason given"
        return {"error": f"{type(error).__name__}: {reason}"}


def _tensorflow() -> Facts:
    import tensorflow as tf

    build = tf.sysconfig.get_build_info()
    cuda = {name: build.get(f"{name}_version") for name in ("cuda", "cudnn")}
    return {"version": tf.__version__, **cuda}


def _onednn() -> Facts:
    """Which convolution TensorFlow runs for a 3D one: oneDNN's own operators begin with _Mkl."""
    import tensorflow as tf

    v1 = tf.compat.v1
    options, ran = v1.RunOptions(output_partition_graphs=True), v1.RunMetadata()
    with tf.Graph().as_default(), tf.device("/cpu:0"), v1.Session() as session:
        image = v1.placeholder(tf.float32, (1, 4, 4, 4, 1))
        convolved = tf.nn.conv3d(image, tf.ones((3, 3, 3, 1, 1)), [1] * 5, "SAME")
        zeros = session.run(tf.zeros(image.shape))
        session.run(convolved, {image: zeros}, options=options, run_metadata=ran)
    operators = {node.op for graph in ran.partition_graphs for node in graph.node}
    return {"on": any(name.startswith("_Mkl") for name in operators)}


def _gpu() -> Facts:
    """The GPUs that TensorFlow sees; the first one convolves, which needs cuDNN."""
    import tensorflow as tf

    gpus = tf.config.list_physical_devices("GPU")
    details = [tf.config.experimental.get_device_details(gpu) for gpu in gpus]
    if gpus:
        image, kernel = tf.ones((1, 4, 4, 4, 1)), tf.ones((3, 3, 3, 1, 1))
        with tf.device("/gpu:0"):
            tf.nn.conv3d(image, kernel, [1] * 5, "SAME").numpy()
    return {"names": [item.get("device_name", "unknown") for item in details]}


def _horovod() -> Facts:
    """A sum over one process, and which back ends were built."""
    import horovod
    import horovod.tensorflow as hvd
    import tensorflow as tf

    hvd.init()
    if float(hvd.allreduce(tf.constant(3.0), op=hvd.Sum)) != 3.0 * hvd.size():
        raise RuntimeError("the sum over processes is wrong")
    built = {"gloo": hvd.gloo_built(), "mpi": hvd.mpi_built(), "nccl": hvd.nccl_built()}
    return {"version": horovod.__version__, "built": [name for name, yes in built.items() if yes]}


def _ones_pipeline() -> Any:
    """A DALI pipeline of one operator, on the CPU."""
    from nvidia.dali import fn, pipeline_def

    @pipeline_def(batch_size=1, num_threads=1, device_id=None)
    def graph() -> Any:
        return fn.random.coin_flip(probability=1.0, shape=[2])

    return graph()


def _dali() -> Facts:
    from nvidia import dali

    pipeline = _ones_pipeline()
    pipeline.build()
    _require_ones(pipeline.run()[0].as_array())
    return {"version": dali.__version__}


def _dali_plugin() -> Facts:
    import tensorflow as tf
    from nvidia.dali.plugin.tf import DALIDataset

    with tf.device("/cpu:0"):
        batches = DALIDataset(
            pipeline=_ones_pipeline(),
            batch_size=1,
            output_shapes=((1, 2),),
            output_dtypes=(tf.int32,),
            num_threads=1,
            device_id=None,
        )
    _require_ones(next(iter(batches))[0].numpy())
    return {}


def _require_ones(batch: Any) -> None:
    if batch.tolist() != [[1, 1]]:
        raise RuntimeError(f"a pipeline of ones gave {batch.tolist()}")


def _cuda_libraries() -> Facts:
    """Which of TensorFlow's CUDA libraries load, from pip's wheels or the system's places.

    These are the places that its RUNPATH names.
    """
    found = importlib.util.find_spec("tensorflow")
    root = Path(found.origin).parents[1] if found and found.origin else Path()
    wheels = {path.name: path for path in root.glob("nvidia/*/lib/*.so*")}
    missing = []
    for name in CUDA_LIBRARIES:
        try:
            ctypes.CDLL(str(wheels.get(name, name)), mode=ctypes.RTLD_GLOBAL)
        except OSError:
            missing.append(name)
    return {"missing": missing}


def _kernel() -> Facts:
    import jupyterlab
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    try:
        command = KernelSpecManager().get_kernel_spec(KERNEL).argv[0]
    except NoSuchKernel:
        command = ""
    return {"version": jupyterlab.__version__, "command": command}


PROBES: dict[str, Callable[[], Facts]] = {
    "tensorflow": _tensorflow,
    "onednn": _onednn,
    "gpu": _gpu,
    "horovod": _horovod,
    "dali": _dali,
    "dali_plugin": _dali_plugin,
    "cuda_libraries": _cuda_libraries,
    "kernel": _kernel,
}

if __name__ == "__main__":
    for asked in sys.argv[1:]:
        found = json.dumps({"probe": asked, "answer": _answer(asked)})
        print(f"\n{_MARK}{found}", flush=True)
