"""The ten tasks of the Medical Segmentation Decathlon (MSD).

Source of the names and checksums: Project-MONAI/MONAI, monai/apps/datasets.py, class
`DecathlonDataset`, which publishes an MD5 sum for each archive. Sizes are not published.
Antonelli et al., "The Medical Segmentation Decathlon", Nature Communications 13 (2022).
"""

from dataclasses import dataclass

from nnunet_lib.errors import InputError


@dataclass(frozen=True)
class DecathlonTask:
    """One task.

    Attributes:
        number: 1 to 10.
        name: of its folder, and of its archive without `.tar`.
        md5: of its archive, as 32 hexadecimal digits.
    """

    number: int
    name: str
    md5: str


TASKS = (
    DecathlonTask(1, "Task01_BrainTumour", "240a19d752f0d9e9101544901065d872"),
    DecathlonTask(2, "Task02_Heart", "06ee59366e1e5124267b774dbd654057"),
    DecathlonTask(3, "Task03_Liver", "a90ec6c4aa7f6a3d087205e23d4e6397"),
    DecathlonTask(4, "Task04_Hippocampus", "9d24dba78a72977dbd1d2e110310f31b"),
    DecathlonTask(5, "Task05_Prostate", "35138f08b1efaef89d7424d2bcc928db"),
    DecathlonTask(6, "Task06_Lung", "8afd997733c7fc0432f71255ba4e52dc"),
    DecathlonTask(7, "Task07_Pancreas", "4f7080cfca169fa8066d17ce6eb061e4"),
    DecathlonTask(8, "Task08_HepaticVessel", "641d79e80ec66453921d997fbf12a29c"),
    DecathlonTask(9, "Task09_Spleen", "410d4a301da4e5b2f6f86ec3ddba524e"),
    DecathlonTask(10, "Task10_Colon", "bad7a188931dc2f6acf72b08eb6202d0"),
)


def find_task(number: str) -> DecathlonTask:
    """The task that "4" or "04" means.

    Raises:
        InputError: if there is no such task.
    """
    for task in TASKS:
        if number in (f"{task.number}", f"{task.number:02d}"):
            return task
    known = ", ".join(task.name.removeprefix("Task") for task in TASKS)
    raise InputError(f"task {number} is none of the Decathlon's. Give the number of one: {known}.")
