"""A teaching library for nnU-Net: from raw scans to segmentations, one package a stage.

Read the packages in the order in which data flows: `datasets`, `planning`, `preprocessing`,
`loading`, `model`, `evaluation`, `inference`, `training`, `deployment`.

Arrays are in spatial order (z, y, x) with channels last; spacing is in millimetres in the
same order. Importing this package imports neither TensorFlow nor any of its own stages.
"""

import importlib
import os
import sys
import warnings
from types import ModuleType

__version__ = "0.1.0"

_STAGES = {
    "datasets", "planning", "preprocessing", "loading", "model", "evaluation", "inference",
    "training", "deployment",
}  # fmt: skip
_ONEDNN = "TF_ENABLE_ONEDNN_OPTS"
_LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"


def _enable_onednn() -> None:
    """Switch TensorFlow's fast CPU kernels on, which it reads once, when it is loaded.

    Without them a training step of the 3D U-Net takes several times longer on most
    processors. A value that the user has set stays.
    """
    if _ONEDNN in os.environ:
        return
    if "tensorflow" in sys.modules:
        warnings.warn(
            "TensorFlow was imported before nnunet_lib, perhaps without its fast CPU kernels. "
            f"Import nnunet_lib first, or set {_ONEDNN}=1 before Python starts.",
            stacklevel=3,
        )
        return
    os.environ[_ONEDNN] = "1"


def _quieten() -> None:
    """Keep TensorFlow's start-up notes about CUDA off machines that have none.

    Errors that concern the user arrive as Python exceptions. A level that is set stays.
    """
    os.environ.setdefault(_LOG_LEVEL, "3")


def __getattr__(name: str) -> ModuleType:
    """A stage, imported when it is first asked for: `nnunet_lib.datasets`."""
    if name in _STAGES:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


_enable_onednn()
_quieten()
