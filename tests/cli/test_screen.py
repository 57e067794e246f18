"""The bar on a terminal, beside what else the command says."""

import io
import sys

from rich.console import Console

from avatarpool.cli.screen import BarScreen


def test_what_goes_to_a_file_for_errors_is_not_shown_on_the_terminal(capsys):
    terminal = io.StringIO()
    with BarScreen(Console(file=terminal, force_terminal=True, width=80), total=1) as screen:
        sys.stderr.write("a warning\n")
        screen.line("a line")
    assert capsys.readouterr().err == "a warning\n"
    assert "a line" in terminal.getvalue()
    assert "a warning" not in terminal.getvalue()
