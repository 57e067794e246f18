"""The real command in a process of its own, with an environment of its own."""

import os
import shlex
import subprocess
import sys

VARIABLES = (
    "AVATAR_API_KEY",
    "AVATAR_APP_ID",
    "AVATAR_CONSOLE_ENDPOINT",
    "AVATAR_INGRESS_ENDPOINT",
    "AVATAR_SESSION_AVATAR_ID",
)


class Command:
    """Starts ``python -m avatarpool`` and ends whatever is left of it."""

    def __init__(self):
        self._processes = []

    def start(self, *arguments, env=None, **options):
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("AVATAR_")}
        # Help text is as wide as the terminal says; the tests read whole lines.
        process = subprocess.Popen(  # noqa: S603 - our own command
            [sys.executable, "-W", "error", "-m", "avatarpool", *map(str, arguments)],
            env={**inherited, "COLUMNS": "100", **(env or {})},
            **{
                "stdin": subprocess.DEVNULL,
                "stdout": subprocess.PIPE,
                "stderr": subprocess.PIPE,
                "text": True,
                **options,
            },
        )
        self._processes.append(process)
        return process

    def __call__(self, *arguments, env=None):
        process = self.start(*arguments, env=env)
        stdout, stderr = process.communicate(timeout=50)
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def close(self):
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.communicate()


def read_exports(process):
    """Read the five lines that ``avatarpool service`` prints, as a shell would."""
    environment = {}
    for _ in VARIABLES:
        export, assignment = shlex.split(process.stdout.readline())
        assert export == "export"
        name, _, value = assignment.partition("=")
        environment[name] = value
    return environment
