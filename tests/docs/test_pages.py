"""Every page: its commands are commands, its links lead somewhere, the README leads to it."""

import re
import sys
from pathlib import Path
from urllib.parse import urlparse

import pytest

from nnunet_lib.cli.main import make_parser

ROOT = Path(__file__).parents[2]
FOLDERS = (".", "docs", "benchmarks", "data", "exercises", "notebooks")
PAGES = sorted(
    path.relative_to(ROOT).as_posix() for folder in FOLDERS for path in (ROOT / folder).glob("*.md")
)
pytestmark = pytest.mark.parametrize("name", PAGES)


def test_every_command_of_ours_parses(name: str, page) -> None:
    for words in page(name).commands("python -m nnunet_lib "):
        parsed = make_parser().parse_args(words[3:])
        assert parsed.command == words[3]


def test_every_horovodrun_is_one(name: str, page, monkeypatch: pytest.MonkeyPatch) -> None:
    launch = pytest.importorskip("horovod.runner.launch", reason="Horovod exists for Linux only")
    for words in page(name).commands("horovodrun -np"):
        monkeypatch.setattr(sys, "argv", words)
        parsed = launch.parse_args()
        assert parsed.num_proc >= 2
        assert parsed.command[0] in ("python", "...")


def test_every_link_to_a_file_leads_somewhere(name: str, page) -> None:
    links = re.findall(r"\]\(([^)#]+)", page(name).text)
    files = [link for link in links if not urlparse(link).scheme]
    assert [link for link in files if not (ROOT / name).parent.joinpath(link).exists()] == []


def test_every_link_to_a_heading_leads_to_one(name: str, page) -> None:
    for link, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", page(name).text):
        leads_to = (ROOT / name).parent.joinpath(link) if link else ROOT / name
        assert anchor in anchors(leads_to.read_text(encoding="utf-8")), f"{link}#{anchor}"


def anchors(text: str) -> set[str]:
    """What GitHub calls the headings of a page: in small letters, with hyphens for spaces."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_it_names_no_package_index(name: str, page) -> None:
    for word in ("index-url", "pypi.org", "files.pythonhosted", "find-links", "trusted-host"):
        assert word not in page(name).text


def test_the_readme_leads_to_it_or_to_its_folder(name: str, page) -> None:
    links = re.findall(r"\]\(([^)#]+)", page("README.md").text)
    folder = f"{Path(name).parent}/"
    assert name == "README.md" or {name, folder} & set(links)
