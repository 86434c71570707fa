"""Every test here runs with the fake ``nuke`` in place of the real one."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from tests.nuke import fake_roto
from tests.nuke.fake_nuke import FakeNuke

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
_FAKE = FakeNuke()
_FAKE.rotopaint = fake_roto
sys.modules["nuke"] = _FAKE
sys.modules["nuke.rotopaint"] = fake_roto

PLUGIN = Path(__file__).parents[2] / "nuke_plugin"


@pytest.fixture
def nuke():
    """An empty script in a Nuke with our gizmos."""
    _FAKE.reset()
    _FAKE.GUI = True
    _FAKE.gizmo_path.append(PLUGIN / "gizmos")
    return _FAKE
