"""What a device can do is found out before the work, and said in one sentence each."""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import tensorflow as tf

from nnunet_lib.errors import InputError
from nnunet_lib.model import ComputeSettings, Precision, compute, prepare

Capabilities = dict[str, tuple[int, int]]

CPU: Capabilities = {}
P100, V100, A100 = {"P100": (6, 0)}, {"V100": (7, 0)}, {"A100": (8, 0)}


@pytest.fixture(autouse=True)
def _tf32_as_it_was() -> Iterator[None]:
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    yield
    tf.config.experimental.enable_tensor_float_32_execution(before)


def notes(
    settings: ComputeSettings, devices: Capabilities, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, ...]:
    monkeypatch.setattr(compute, "_capabilities", lambda: devices)
    return prepare(settings)


@pytest.mark.parametrize("tf32", [False, True])
def test_the_tf32_switch_reaches_tensorflow(tf32: bool) -> None:
    prepare(ComputeSettings(tf32=tf32))
    assert tf.config.experimental.tensor_float_32_execution_enabled() == tf32


@pytest.mark.parametrize("devices", [CPU, P100], ids=["CPU", "GPU"])
def test_float32_works_everywhere(devices: Capabilities, monkeypatch: pytest.MonkeyPatch) -> None:
    assert notes(ComputeSettings(), devices, monkeypatch) == ()


@pytest.mark.parametrize(
    ("settings", "word"),
    [(ComputeSettings("float16"), "80 times"), (ComputeSettings(xla=True), "10 times")],
)
def test_a_cpu_says_in_one_line_what_it_is_slow_at(
    settings: ComputeSettings, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (note,) = notes(settings, CPU, monkeypatch)
    assert word in note
    assert "\n" not in note


@pytest.mark.parametrize(
    ("precision", "devices", "slow"),
    [
        ("float16", P100 | V100, ["P100"]),
        ("float16", A100, []),
        ("bfloat16", V100 | A100, ["V100"]),
        ("bfloat16", A100, []),
    ],
)
def test_a_gpu_without_tensor_cores_for_the_precision_is_named(
    precision: Precision,
    devices: Capabilities,
    slow: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(compute, "_try_convolution", lambda _: None)  # these GPUs are not here
    found = notes(ComputeSettings(precision, xla=True), devices, monkeypatch)
    assert [note.split()[0] for note in found] == slow


def test_a_gpu_that_does_not_tell_its_capability_is_passed_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    details = {"old": {"device_name": "P100", "compute_capability": (6, 0)}, "other": {}}
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: list(details))
    monkeypatch.setattr(tf.config.experimental, "get_device_details", details.get)
    monkeypatch.setattr(compute, "_try_convolution", lambda _: None)
    (note,) = prepare(ComputeSettings("float16"))
    assert note == "P100 has compute capability 6.0: float16 gains speed only from 7.0 on."


def test_tensorflow_warns_of_other_things_as_before(caplog: pytest.LogCaptureFixture) -> None:
    logger = tf.get_logger()
    caplog.set_level(logging.INFO, logger.name)  # whatever earlier tests left
    prepare(ComputeSettings("float16"))
    assert logger.level == logging.INFO


def test_a_precision_without_convolutions_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def unimplemented(*_: object) -> None:
        raise tf.errors.UnimplementedError(None, None, "no such kernel")

    monkeypatch.setattr(tf.nn, "conv3d", unimplemented)
    with pytest.raises(InputError, match=r"bfloat16.*TF_ENABLE_ONEDNN_OPTS=0"):
        prepare(ComputeSettings("bfloat16"))


def prepared(settings: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`prepare` in a process of its own, whose kernels the environment chooses."""
    code = (
        "from nnunet_lib.model import ComputeSettings, prepare; "
        f"print(prepare(ComputeSettings({settings})))"
    )
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.skipif(
    not compute.has_avx512(),
    reason="only with AVX-512 does TensorFlow take oneDNN's bfloat16, which can then be missing",
)
def test_kernels_that_are_missing_are_found_by_trying() -> None:
    """oneDNN told to use no AVX-512: it has no bfloat16 then, and TensorFlow does not know."""
    old = {"ONEDNN_MAX_CPU_ISA": "AVX2", "CUDA_VISIBLE_DEVICES": ""}
    refused = prepared("'bfloat16'", **old)
    assert refused.returncode == 1
    assert "InputError: bfloat16" in refused.stderr
    assert prepared("'bfloat16'", TF_ENABLE_ONEDNN_OPTS="0", **old).stdout == "()\n"
    assert "10 times" in prepared("'bfloat16', xla=True", **old).stdout


@pytest.mark.slow
def test_keras_does_not_repeat_our_sentence() -> None:
    told = prepared("'float16'", CUDA_VISIBLE_DEVICES="")
    assert "80 times" in told.stdout
    assert told.stderr == ""
