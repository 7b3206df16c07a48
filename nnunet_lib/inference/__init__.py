"""From a trained network and a raw scan to a label map on the scan's own grid. Lesson 10.

The names listed in __init__.pyi are imported when they are first used, so that reading the
settings (as the command line does for `--help`) imports little.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
