"""Whatever a library does to its process, the probes after it are tried and an answer comes."""

import os
from pathlib import Path

import pytest

from nnunet_lib.deployment.probes import KERNEL, ask

TENSORFLOW = """
__version__ = "2.14.9"
class sysconfig:
    get_build_info = staticmethod(dict)
"""


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Put a module of that name and content before the real one, for the probes' processes."""
    inherited = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(tmp_path), inherited])))

    def write(name: str, content: str) -> None:
        (tmp_path / f"{name}.py").write_text(content)

    return write


def test_a_broken_import_is_named_with_its_reason(plant) -> None:
    plant("jupyterlab", "raise ImportError('libfoo.so: no such file\\n')")
    answer = ask(["kernel"], 60)["kernel"]
    assert answer.error == "ImportError: libfoo.so: no such file"


def test_a_library_that_exits_or_prints_spoils_nothing(plant) -> None:
    plant("tensorflow", TENSORFLOW + "print('loading ...', end='')")
    plant("horovod", "raise SystemExit('enough')")
    answers = ask(["tensorflow", "horovod"], 60)
    assert answers["tensorflow"].facts["version"] == "2.14.9"
    assert answers["horovod"].error == "SystemExit: enough"


def test_a_crash_costs_only_the_probe_that_crashed(plant) -> None:
    plant("tensorflow", TENSORFLOW)
    plant("horovod", "import os; os.abort()")
    plant("nvidia", "raise ImportError('not here')")
    answers = ask(["tensorflow", "horovod", "dali_plugin"], 60)
    assert not answers["tensorflow"].error
    assert answers["horovod"].error == "ended its process (SIGABRT)"
    assert answers["dali_plugin"].error == "ImportError: not here"


def test_a_hang_ends_at_the_time_limit(plant) -> None:
    plant("tensorflow", TENSORFLOW)
    plant("horovod", "import time; time.sleep(600)")
    answers = ask(["tensorflow", "horovod"], 3)
    assert not answers["tensorflow"].error
    assert answers["horovod"].error == "gave no answer within 3 seconds"


def test_what_needs_a_broken_library_is_not_tried(plant) -> None:
    plant("tensorflow", "import time; time.sleep(600)")
    answers = ask(["tensorflow", "onednn", "horovod"], 1)
    assert answers["tensorflow"].error == "gave no answer within 1 seconds"
    for name in ("onednn", "horovod"):
        assert answers[name].error == "was not tried, because tensorflow does not work"


def test_the_kernel_is_the_one_that_jupyter_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "kernels" / KERNEL
    folder.mkdir(parents=True)
    (folder / "kernel.json").write_text('{"argv": ["/nowhere/python"], "display_name": "x"}')
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    assert ask(["kernel"], 60)["kernel"].facts["command"] == "/nowhere/python"


@pytest.mark.slow  # imports TensorFlow
@pytest.mark.parametrize(("value", "on"), [("0", False), ("1", True)])
def test_onednn_is_seen_in_the_graph_that_ran(
    value: str, on: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", value)
    assert ask(["onednn"], 120)["onednn"].facts == {"on": on}
