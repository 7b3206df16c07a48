from .benchmark import run_benchmark as run_benchmark
from .doctor import Check as Check
from .doctor import Diagnosis as Diagnosis
from .doctor import diagnose as diagnose
from .export import export as export
from .published import Published as Published
from .report import BenchmarkReport as BenchmarkReport
from .settings import BenchmarkSettings as BenchmarkSettings
