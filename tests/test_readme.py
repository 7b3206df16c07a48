"""What the README tells people to type works as written."""

import os
import re
import subprocess
import sys
from pathlib import Path

import papermill
import pytest
from papermill.cli import papermill as papermill_command

from nnunet_lib.cli.main import make_parser
from nnunet_lib.datasets import make_phantom

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^python -m nnunet_lib (.+)$", README, flags=re.MULTILINE)


def test_there_are_commands_to_check() -> None:
    named = {command.split()[0] for command in COMMANDS}
    assert {"phantom", "plan", "preprocess", "train", "predict", "evaluate"} <= named


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_parses(command: str) -> None:
    assert make_parser().parse_args(command.split()).command == command.split()[0]


def test_every_link_to_a_file_leads_somewhere() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)", README) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_papermill_is_told_of_notebooks_and_parameters_that_exist() -> None:
    lines = re.findall(r"^papermill (.+)$", README, flags=re.MULTILINE)
    assert len(lines) == 2
    for line in lines:
        asked = papermill_command.make_context("papermill", line.split()).params
        notebook = ROOT / asked["notebook_path"]
        assert {name for name, _ in asked["parameters"]} <= papermill.inspect_notebook(
            str(notebook)
        ).keys()


@pytest.mark.slow
def test_the_script_runs_from_an_installed_wheel_outside_the_checkout(tmp_path: Path) -> None:
    installed, away = tmp_path / "installed", tmp_path / "away"
    python = [sys.executable, "-m"]
    build = [*python, "hatchling", "build", "-t", "wheel", "-d", tmp_path]
    subprocess.run(build, cwd=ROOT, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    subprocess.run([*python, "uv", "pip", "install", "--quiet", "--no-deps", "--offline",
                    "--target", installed, wheel], check=True)  # fmt: skip
    make_phantom(away / "data" / "phantom", cases=5)
    (script,) = re.findall(r"```python\n(.+?)```", README, flags=re.DOTALL)
    assert script.count("time_limit=15") == 1
    # The script as printed, but for how long it trains and how large its network is.
    script = script.replace("time_limit=15", "epochs=1, steps_per_epoch=2, base_filters=2")
    script += "\nimport nnunet_lib\nprint(nnunet_lib.__file__)\n"
    (away / "script.py").write_text(script)
    # The installed copy is not the one whose coverage is asked for.
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("COV")}
    environment = {**inherited, "PYTHONPATH": str(installed)}
    ran = subprocess.run([sys.executable, "script.py"], cwd=away, env=environment, check=False,
                         capture_output=True, text=True)  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert "Dice" in ran.stdout
    assert ran.stdout.splitlines()[-1].startswith(str(installed))
