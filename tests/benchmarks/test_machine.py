"""What figures are said to be measured on."""

import platform

from benchmarks import machine


def test_processors_of_one_name_are_told_apart(monkeypatch):
    about = {"model name": "AMD EPYC", "cpu family": "25", "model": "17"}
    monkeypatch.setattr(machine, "_about_the_processor", lambda: about)
    assert machine.machine().startswith("AMD EPYC (family 25, model 17) with")


def test_a_system_that_says_nothing_has_its_platform_s_name(monkeypatch):
    monkeypatch.setattr(machine, "_about_the_processor", dict)
    monkeypatch.setattr(platform, "processor", lambda: "arm")
    assert machine.machine().startswith("arm with")
