"""What holds for the twin alone; what both loaders promise stands in test_batches.py."""

import subprocess
import sys

from nnunet_lib.loading import CaseFiles

TRAIN_WITHOUT_DALI = """
import sys; sys.modules["nvidia"] = None
from pathlib import Path
from nnunet_lib.loading import CaseFiles, LoaderSettings, training_batches
case = CaseFiles(Path(sys.argv[1]), Path(sys.argv[2]))
batches = training_batches([case], LoaderSettings(2, (4, 5, 6)), loader="tf")
print(next(iter(batches))[0].shape)
"""


def test_the_twin_needs_no_dali(random_cases: list[CaseFiles]) -> None:
    case = random_cases[0]
    command = [sys.executable, "-c", TRAIN_WITHOUT_DALI, str(case.image), str(case.label)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "(2, 4, 5, 6, 1)" in printed
