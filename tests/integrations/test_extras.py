"""What an integration says whose framework is not there."""

import importlib
import sys

import pytest


@pytest.mark.parametrize(
    ("extra", "distribution", "module"),
    [
        ("livekit", "livekit-agents", "livekit.agents"),
        ("pipecat", "pipecat-ai", "pipecat.frames.frames"),
    ],
)
def test_a_missing_framework_is_named_with_its_extra(extra, distribution, module, monkeypatch):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, f"avatarpool.integrations.{extra}", raising=False)
    with pytest.raises(ImportError, match=f"{distribution} is not installed.*extra '{extra}'"):
        importlib.import_module(f"avatarpool.integrations.{extra}")
