"""What stands in ``deploy/`` can be used."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from avatarpool.gateway.keys import key_hash
from avatarpool.gateway.reading import read_settings

DEPLOY = Path(__file__).parents[1] / "deploy"
UNIT = (DEPLOY / "avatarpool-gateway.service").read_text(encoding="utf-8")
VARIABLES = {
    "AVATAR_API_KEY": "upstream-key-that-stays-hidden",
    "AVATAR_APP_ID": "app",
    "AVATAR_CONSOLE_ENDPOINT": "https://console.example.com",
    "AVATAR_INGRESS_ENDPOINT": "wss://ingress.example.com",
    "GATEWAY_TOKEN_SECRET": "token-secret-that-stays-hidden-0000",
}


def test_the_example_of_settings_passes_its_own_check(tmp_path):
    variables = tmp_path / "gateway.env"
    variables.write_text("\n".join(f"{name}={value}" for name, value in VARIABLES.items()))
    inherited = {name: v for name, v in os.environ.items() if not name.startswith("AVATAR_")}
    result = subprocess.run(  # noqa: S603 - our own command
        [
            *(sys.executable, "-m", "avatarpool", "gateway", "--check"),
            *("--config", DEPLOY / "gateway.toml", "--env-file", variables),
        ],
        capture_output=True,
        text=True,
        check=False,
        env=inherited,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert "hidden" not in result.stdout


def test_what_the_example_comments_out_has_the_default_it_says(monkeypatch, tmp_path):
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    as_it_is = read_settings(DEPLOY / "gateway.toml")
    text = (DEPLOY / "gateway.toml").read_text(encoding="utf-8")
    places = ("ca_file", "tls_certificate", "tls_key", "proxy", "redis", "key_hash")
    defaults = re.compile(rf"^# (?!(?:{'|'.join(places)}) =)(?=\w+ = )", re.MULTILINE)
    shown, count = defaults.subn("", text)
    assert count > 10
    (tmp_path / "gateway.toml").write_text(shown, encoding="utf-8")
    assert read_settings(tmp_path / "gateway.toml") == as_it_is


def test_nobody_has_a_key_of_the_example():
    hashes = re.findall(r'^key_hash = "(.*)"', (DEPLOY / "gateway.toml").read_text(), re.MULTILINE)
    assert len(hashes) == len(set(hashes)) == 2
    assert all(len(set(each.removeprefix("sha256:"))) == 1 for each in hashes)
    assert key_hash("") not in hashes


def verified(unit, folder):
    """Return what systemd has to say of a unit, whose program is here."""
    if shutil.which("systemd-analyze") is None:
        missing = "systemd-analyze is not installed"
        (pytest.fail if os.environ.get("REQUIRE_SYSTEMD") else pytest.skip)(missing)
    program = folder / "avatarpool"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    file = folder / "avatarpool-gateway.service"
    file.write_text(unit.replace("/opt/avatarpool/bin/avatarpool", str(program)))
    result = subprocess.run(  # noqa: S603
        [shutil.which("systemd-analyze"), "verify", "--man=no", file],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SYSTEMD_LOG_LEVEL": "warning"},
    )
    return result.returncode, (result.stdout + result.stderr).strip()


def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path):
    assert verified(UNIT, tmp_path) == (0, "")


def test_systemd_would_find_something_wrong(tmp_path):
    _, said = verified(
        UNIT.replace("PrivateTmp=yes", "PrivateTmp=maybe\nNoSuchSetting=1"), tmp_path
    )
    assert "Failed to parse boolean" in said
    assert "NoSuchSetting" in said


def test_systemd_is_told_by_the_gateway_when_it_is_started():
    assert re.search(r"^Type=notify$", UNIT, re.MULTILINE)


def test_systemd_waits_longer_than_requests_under_way_may_take():
    timeout = int(re.search(r"^TimeoutStopSec=(\d+)$", UNIT, re.MULTILINE)[1])
    example = (DEPLOY / "gateway.toml").read_text(encoding="utf-8")
    shutdown_timeout = int(re.search(r"shutdown_timeout = (\d+)", example)[1])
    assert timeout >= shutdown_timeout + 10
