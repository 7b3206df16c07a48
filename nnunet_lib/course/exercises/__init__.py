"""Exercises: a learner's cell is run apart, judged against a reference, and met with a hint.

The contents stand in the checkout's `exercises/`, one folder a lesson; this is what runs them.

- `exercise` says what an exercise is, and finds those of each lesson.
- `notebooks` reads marked cells, and makes exercise.ipynb from solution.ipynb.
- `sandbox` runs a learner's code in a process of its own, with limits on time and memory.
- `judging` compares what came out with a reference, and picks the hint.
- `worker` is the process in which both happen, so that nothing in a notebook can touch them.
- `cells` is what a notebook calls: check, hint, solution, progress.
- `records` keeps what is solved, and `grading` goes through a class's notebooks.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
