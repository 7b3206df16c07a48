"""What only the notebooks need: profiles, claims, figures, data, and the runner.

The names listed in __init__.pyi are imported when they are first used: a notebook does not
load papermill, and the runner does not load Matplotlib.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
