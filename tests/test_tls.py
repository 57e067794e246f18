from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from proxying import Authority

from avatarpool.tls import default_context, reason


def knows_ours(context: ssl.SSLContext) -> bool:
    return any("trustme" in str(each["subject"]) for each in context.get_ca_certs())


def test_a_context_is_made_once_and_follows_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    before = default_context()
    assert default_context() is before
    assert not knows_ours(before)
    monkeypatch.setenv("SSL_CERT_FILE", str(Authority(tmp_path).file))
    assert knows_ours(default_context())
    monkeypatch.delenv("SSL_CERT_FILE")
    assert default_context() is before


def test_certificates_and_names_are_verified():
    assert default_context().verify_mode is ssl.CERT_REQUIRED
    assert default_context().check_hostname


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ConnectionResetError(), "the peer hung up"),
        (OSError(111, "refused"), "[Errno 111] refused"),
        (ssl.SSLCertVerificationError("odd"), "its certificate is not accepted: ('odd',)"),
    ],
)
def test_every_error_has_a_reason(error: Exception, expected: str):
    assert reason(error) == expected
