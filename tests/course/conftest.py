"""What the tests of the course share."""

import pytest

from nnunet_lib.course import keeping, output


@pytest.fixture
def shown(monkeypatch):
    """What a notebook would show: a list of (bundle, metadata), filled while the test runs."""
    outputs = []
    monkeypatch.setattr(output, "in_notebook", lambda: True)
    monkeypatch.setattr(
        output, "display", lambda bundle, raw, metadata: outputs.append((bundle, metadata))
    )
    return outputs


@pytest.fixture
def work(tmp_path, monkeypatch):
    """The folder in which lessons keep what they make: the test's own."""
    monkeypatch.setenv(keeping.WORK_VARIABLE, str(tmp_path / "work"))
    return tmp_path / "work"
