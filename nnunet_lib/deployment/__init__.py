"""What surrounds a trained network: is this machine fit, and how does it look elsewhere.

The names listed in __init__.pyi are imported when they are first used: the doctor has to work
where TensorFlow does not.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
