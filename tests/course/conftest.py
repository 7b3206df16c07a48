"""What the tests of the course share."""

import pytest

from nnunet_lib.course import output


@pytest.fixture
def shown(monkeypatch):
    """What a notebook would show: a list of (bundle, metadata), filled while the test runs."""
    outputs = []
    monkeypatch.setattr(output, "in_notebook", lambda: True)
    monkeypatch.setattr(
        output, "display", lambda bundle, raw, metadata: outputs.append((bundle, metadata))
    )
    return outputs
