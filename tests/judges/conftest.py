"""One line for all that the SDK for Node.js would have judged, where it cannot be had."""

from __future__ import annotations

from collections.abc import Generator

import javascript_client
import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Name the client as the place of such a skip: the summary joins those of one place."""
    report = yield
    callspec = getattr(item, "callspec", None)
    if report.skipped and callspec and callspec.params.get("client") == "javascript":
        assert isinstance(report.longrepr, tuple)
        line = javascript_client.install.__code__.co_firstlineno
        report.longrepr = (javascript_client.__file__, line, report.longrepr[2])
    return report
