"""What only the notebooks need: profiles, claims, figures, data, and the runner.

The names listed in __init__.pyi are imported when they are first used: a notebook does not
load papermill, and the runner does not load Matplotlib.
"""

import os

import lazy_loader

from nnunet_lib.course import sources as sources  # at once: it looks at the library's files

# TensorFlow would take a GPU's whole memory, and leave none to the processes that lessons start.
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
