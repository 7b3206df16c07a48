"""docs/from-nvidia.md names every option of NVIDIA's nnU-Net, and only what exists here."""

import ast
import re
from pathlib import Path

import pytest

from nnunet_lib.cli.main import make_parser
from nnunet_lib.cli.options import settings_from
from nnunet_lib.loading import AugmentationSettings

ROOT = Path(__file__).parents[2]
# The options of its scripts, from its source (runtime/args.py for main.py), in their order.
NVIDIA = {
    "main.py": (
        "--exec-mode --gpus --data --task --dim --seed --benchmark --tta --save-preds --results "
        "--logname --quiet --use-dllogger --amp --xla --batch-size --learning-rate --momentum "
        "--scheduler --end-learning-rate --cosine-annealing-first-cycle-steps "
        "--cosine-annealing-peak-decay --optimizer --deep-supervision --lookahead --weight-decay "
        "--loss-batch-reduction --loss-include-background --negative-slope --norm "
        "--ckpt-strategy --ckpt-dir --saved-model-dir --resume-training --load_sm --validate "
        "--nvol --oversampling --num-workers --overlap --blend --blend-mode --nfolds --fold "
        "--epochs --skip-eval --steps-per-epoch --bench-steps --warmup-steps"
    ),
    "preprocess.py": "--data --results -f --force --exec_mode --task --dim --n_jobs",
    "download.py": "--task --results",
    "evaluate.py": "--preds --lbls",
    "scripts/train.py": (
        "--task --dim --gpus --seed --learning_rate --fold --amp --tta --horovod --bind "
        "--results --logname"
    ),
    "scripts/inference.py": (
        "--data --task --dim --batch-size --fold --amp --tta --save-preds --results --ckpt-dir "
        "--saved-model-dir"
    ),
    "scripts/benchmark.py": (
        "--mode --task --dim --gpus --batch-size --amp --bind --horovod --xla --bench-steps "
        "--warmup-steps --results --logname"
    ),
}
TRAPS = 18


@pytest.fixture
def sections(page) -> dict[str, list[list[str]]]:
    """The rows of the table under each heading."""
    parts = re.split(r"^## (.+)$", page("docs/from-nvidia.md").text, flags=re.MULTILINE)
    return {name: list(type(page("docs/from-nvidia.md"))(text).rows())[1:]
            for name, text in zip(parts[1::2], parts[2::2], strict=True)}  # fmt: skip


@pytest.mark.parametrize("script", NVIDIA)
def test_every_option_has_a_row_and_every_row_an_option(script: str, sections) -> None:
    rows = sections[script]
    named = [option for row in rows for option in re.findall(r"`(-[\w-]+)`", row[0])]
    assert named == NVIDIA[script].split()


@pytest.mark.parametrize("script", NVIDIA)
def test_every_row_has_our_option_or_a_reason(script: str, sections) -> None:
    for option, ours in sections[script]:
        assert "`" in ours or re.match(r"(none: .{10,}|see .+\.py)", ours), option


def test_what_the_page_calls_ours_exists(page, check_ours) -> None:
    rows = [row[1] for row in page("docs/from-nvidia.md").rows()]
    assert check_ours(rows) >= 60


def test_their_augmentation_is_one_list_on_the_command_line_and_in_python(page) -> None:
    (line,) = re.findall(
        r"Their list of augmentations.* is `(train .*?)`", page("docs/from-nvidia.md").text
    )
    arguments = make_parser().parse_args([*line.split(), "--data", "d", "--results", "r"])
    assert settings_from(arguments, AugmentationSettings()) == AugmentationSettings.nvidia()


def test_every_trap_has_a_test_that_is_there(sections) -> None:
    traps = sections["Traps that are not here"]
    assert len(traps) >= TRAPS
    for there, _, test in traps:
        (path, name) = test.strip("`").split("::")
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        names = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert name in names, there
