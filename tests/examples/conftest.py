"""The examples as modules, each under a name of its own."""

import importlib.util
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

VARIABLES = (
    "AVATAR_API_KEY",
    "AVATAR_APP_ID",
    "AVATAR_CONSOLE_ENDPOINT",
    "AVATAR_INGRESS_ENDPOINT",
    "AVATAR_SESSION_AVATAR_ID",
    "AVATAR_USE_QUERY_AUTH",
)


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def load_example(monkeypatch):
    def load(name):
        spec = importlib.util.spec_from_file_location(
            f"example_{name}", EXAMPLES / name / "main.py"
        )
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, spec.name, module)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def speech():
    return EXAMPLES.parent.joinpath("src/avatarpool/assets/speech.wav").read_bytes()
