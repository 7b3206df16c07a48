from .doctor import Check as Check
from .doctor import Diagnosis as Diagnosis
from .doctor import diagnose as diagnose
from .export import export as export
