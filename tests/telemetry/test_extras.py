from __future__ import annotations

import importlib
import sys

import pytest


@pytest.mark.parametrize(
    ("extra", "distribution", "module"),
    [
        ("prometheus", "prometheus-client", "prometheus_client"),
        ("opentelemetry", "opentelemetry-api", "opentelemetry"),
    ],
)
def test_a_missing_library_is_named_with_its_extra(
    extra: str, distribution: str, module: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, f"avatarpool.telemetry.{extra}", raising=False)
    with pytest.raises(ImportError, match=f"{distribution} is not installed.*extra '{extra}'"):
        importlib.import_module(f"avatarpool.telemetry.{extra}")
