from .doctor import Check as Check
from .doctor import Diagnosis as Diagnosis
from .doctor import diagnose as diagnose
