"""Scores: Dice, volumes, surface distances, their means and intervals. Needs no TensorFlow."""

from nnunet_lib.evaluation.folder import PROBABILITIES, evaluate_folder, predicted_cases
from nnunet_lib.evaluation.overlap import EmptyAs, Overlap, dice
from nnunet_lib.evaluation.report import (
    CaseScores,
    ClassScore,
    EvaluationReport,
    SurfaceSummary,
    check_results_path,
)
from nnunet_lib.evaluation.statistics import Summary, class_means, confidence_interval, mean_dice
from nnunet_lib.evaluation.surface import TOLERANCE, SurfaceScores, surface_scores

__all__ = [
    "PROBABILITIES",
    "TOLERANCE",
    "CaseScores",
    "ClassScore",
    "EmptyAs",
    "EvaluationReport",
    "Overlap",
    "Summary",
    "SurfaceScores",
    "SurfaceSummary",
    "check_results_path",
    "class_means",
    "confidence_interval",
    "dice",
    "evaluate_folder",
    "mean_dice",
    "predicted_cases",
    "surface_scores",
]
