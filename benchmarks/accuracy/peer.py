"""nnU-Net's side of the comparison. Runs in the peers' environment; imports nothing of ours.

    python -m benchmarks.accuracy.peer prepare  nnU-Net's fingerprint, plans and preprocessed cases
    python -m benchmarks.accuracy.peer train MINUTES [--batch-size N]

Its folders are told by its own environment variables, nnUNet_raw and so on. What is trained is
its own trainer with its own network, loss, loader and augmentation. Only its schedule is fitted:
the learning rate follows its polynomial over wall time in place of 1000 epochs, and it trains
without its pseudo-validation until the time is over. The validation cases are predicted as it
does after a training, with its test-time augmentation; that is not part of the time.
"""

import argparse
import json
import os
import time
from pathlib import Path

import torch
from nnunetv2.experiment_planning.plan_and_preprocess_api import (
    extract_fingerprints,
    plan_experiments,
    preprocess,
)
from nnunetv2.paths import nnUNet_preprocessed
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

DATASET_ID, CONFIGURATION, FOLD = 4, "3d_fullres", 0


class TimedTrainer(nnUNetTrainer):
    """nnU-Net's trainer, whose schedule ends with the time and not with an epoch."""

    minutes: float = 15.0

    def run_training(self) -> None:
        """Train until the time is over; `steps` says how often."""
        began, limit, self.steps = time.monotonic(), 60 * self.minutes, 0
        self.on_train_start()
        self.network.train()
        while (passed := time.monotonic() - began) < limit:
            self.lr_scheduler.step(self.num_epochs * passed / limit)
            self.train_step(next(self.dataloader_train))
            self.steps += 1
        self.on_train_end()


def prepare() -> None:
    """Fingerprint, plans and preprocessed cases."""
    extract_fingerprints([DATASET_ID], num_processes=2, show_progress_bar=False)
    plan_experiments([DATASET_ID])
    preprocess(
        [DATASET_ID], configurations=(CONFIGURATION,), num_processes=(2,), show_progress_bar=False
    )


def train(minutes: float, batch_size: int | None) -> None:
    """Train for that long, predict the validation cases, and write `steps.json`."""
    torch.set_num_threads(os.cpu_count() or 1)
    torch.manual_seed(0)
    prepared = Path(nnUNet_preprocessed.require())
    folder = next(prepared.glob(f"Dataset{DATASET_ID:03d}_*"))
    plans = json.loads((folder / "nnUNetPlans.json").read_text())
    plans["continue_training"] = False
    if batch_size is not None:
        plans["configurations"][CONFIGURATION]["batch_size"] = batch_size
    dataset = json.loads((folder / "dataset.json").read_text())
    trainer = TimedTrainer(plans, CONFIGURATION, FOLD, dataset, device=torch.device("cpu"))
    trainer.minutes = minutes
    trainer.run_training()
    trainer.perform_actual_validation()
    found = {"steps": trainer.steps, "batch_size": trainer.batch_size}
    Path(trainer.output_folder, "steps.json").write_text(json.dumps(found))


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description="nnU-Net's side of the accuracy comparison")
    parser.add_argument("work", choices=("prepare", "train"))
    parser.add_argument("minutes", type=float, nargs="?", default=15.0)
    parser.add_argument("--batch-size", type=int)
    chosen = parser.parse_args()
    if chosen.work == "prepare":
        prepare()
    else:
        train(chosen.minutes, chosen.batch_size)


if __name__ == "__main__":  # its workers are started anew and import this file
    main()
