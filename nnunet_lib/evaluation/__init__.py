"""Scores: Dice and volumes a case and class, their means and intervals. Needs no TensorFlow."""

from nnunet_lib.evaluation.dice import EmptyAs, Overlap, dice, dice_of, overlap_of

__all__ = ["EmptyAs", "Overlap", "dice", "dice_of", "overlap_of"]
