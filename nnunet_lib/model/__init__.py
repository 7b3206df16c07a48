"""The U-Net in 2D and 3D, and its checkpoint files. Taught in lessons 04 and 06.

The names listed in __init__.pyi are imported when they are first used, so that reading the
settings (as the command line does for `--help`) does not import TensorFlow.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
