"""Importing the library: it switches TensorFlow's fast kernels on and loads no TensorFlow."""

import os
import subprocess
import sys

import pytest

SWITCH = "TF_ENABLE_ONEDNN_OPTS"
WITHOUT_TENSORFLOW = ("", ".datasets", ".planning", ".preprocessing", ".evaluation")


def python(code, **variables):
    """What a fresh Python prints that runs `code`, with every warning shown."""
    environment = {name: value for name, value in os.environ.items() if name != SWITCH}
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", code],
        env=environment | variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


@pytest.mark.parametrize("package", WITHOUT_TENSORFLOW)
def test_importing_loads_no_tensorflow(package):
    heavy, _ = python(
        f"import sys, nnunet_lib{package}\n"
        "print({'tensorflow', 'keras', 'horovod', 'nvidia.dali'} & set(sys.modules))"
    )
    assert heavy == "set()\n"


def test_a_stage_is_at_hand_without_an_import_of_its_own():
    said, _ = python("import nnunet_lib; print(nnunet_lib.datasets.Dataset.__name__)")
    assert said == "Dataset\n"
    said, _ = python("import nnunet_lib; print(hasattr(nnunet_lib, 'nothing'))")
    assert said == "False\n"


def test_importing_switches_the_fast_kernels_on():
    output, warnings = python(f"import nnunet_lib, os; print(os.environ['{SWITCH}'])")
    assert (output, warnings) == ("1\n", "")


def test_the_users_own_choice_stays():
    output, _ = python(f"import nnunet_lib, os; print(os.environ['{SWITCH}'])", **{SWITCH: "0"})
    assert output == "0\n"


# A stand-in for TensorFlow, which takes seconds to load: only its name in sys.modules counts.
TENSORFLOW_FIRST = "import sys; sys.modules['tensorflow'] = object(); import nnunet_lib"


def test_tensorflow_first_gives_one_warning_that_names_the_fix():
    _, warnings = python(f"{TENSORFLOW_FIRST}; import nnunet_lib.planning")
    assert warnings.count("UserWarning") == 1
    assert f"set {SWITCH}=1 before Python starts" in warnings


def test_tensorflow_first_is_fine_with_the_switch_set():
    assert python(TENSORFLOW_FIRST, **{SWITCH: "1"}) == ("", "")
