"""Segment scans: python predict_my_scans.py RUN [RUN ...] SCANS OUTPUT."""

import sys
from pathlib import Path

from nnunet_lib.inference import predict

*runs, scans, output = map(Path, sys.argv[1:])
for label_map in predict(runs, scans, output):
    print("written:", label_map)
