"""Completion, in a real bash."""

import os
import shutil
import subprocess
import sys

import pytest

# What the Tab key does: the words so far, and the function that `complete` was given for them.
TAB = r"""
tab() {
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
    [[ $(complete -p "$1") =~ -F\ ([^ ]+) ]] && "${BASH_REMATCH[1]}" "$1"
    printf '%s\n' "${COMPREPLY[@]}"
}
"""


@pytest.fixture
def bash(tmp_path):
    """Runs a script in a bash that has the command, and a home of its own."""
    if not shutil.which("bash"):
        pytest.skip("no bash is here")
    script = tmp_path / "bin" / "avatarpool"
    script.parent.mkdir()
    script.write_text(f"#!{sys.executable}\nfrom avatarpool.cli.start import main\nmain()\n")
    script.chmod(0o755)
    path = f"{script.parent}{os.pathsep}{os.environ['PATH']}"

    def run(text):
        result = subprocess.run(  # noqa: S603 - our own command
            [shutil.which("bash"), "--norc", "-c", text],
            env={**os.environ, "PATH": path, "HOME": str(tmp_path)},
            capture_output=True,
            text=True,
            timeout=50,
            check=False,
        )
        assert (result.returncode, result.stderr) == (0, "")
        return result.stdout.split()

    return run


def test_commands_options_and_their_values_are_completed(bash):
    assert bash(
        f"""eval "$(avatarpool --show-completion)"; {TAB}
        tab avatarpool ""; echo .; tab avatarpool s; echo .
        tab avatarpool run --r; echo .; tab avatarpool service --driver ""; echo .
        tab avatarpool doctor --env"""
    ) == [
        *("run", "service", "soak", "view", "animate", "fleet", "doctor", "plan", "gateway", "."),
        *("service", "soak", ".", "--rounds", "--requests", "."),
        *("model", "dsp", "visemes", ".", "--env-file"),
    ]


def test_once_installed_every_new_bash_has_it(bash):
    said = bash("avatarpool --install-completion; exit $?")
    assert said[:3] == ["bash", "completion", "installed"]
    assert bash(f"source ~/.bashrc; {TAB} tab avatarpool do") == ["doctor"]
