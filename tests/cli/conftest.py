"""The real command in a process of its own, with an environment of its own."""

import os
import shlex
import subprocess
import sys
import wave

import pytest


class Command:
    """Starts ``python -m avatarpool`` and ends whatever is left of it."""

    def __init__(self, original):
        self._original = original
        self._processes = []

    def start(self, *arguments, env=None, program=None, **options):
        """Start it from where it has been imported; a program of its own from its beginning."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("AVATAR_")}
        options = {
            # Help text is as wide as the terminal says; the tests read whole lines.
            "env": {**inherited, "COLUMNS": "100", **(env or {})},
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
            **options,
        }
        arguments = map(str, arguments)
        if program is None:
            process = self._original.start("-m", "avatarpool", *arguments, **options)
        else:
            started = [sys.executable, "-W", "error", *program, *arguments]
            process = subprocess.Popen(started, **options)  # noqa: S603 - our own command
        self._processes.append(process)
        return process

    def __call__(self, *arguments, env=None):
        process = self.start(*arguments, env=env)
        stdout, stderr = process.communicate(timeout=50)
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    def start_service(self, *options, env=None):
        """Start the service on a free port and read the five lines that it prints, as a shell."""
        process = self.start("service", "--port", 0, *options, env=env)
        environment = {}
        for _ in range(5):
            export, assignment = shlex.split(process.stdout.readline())
            assert export == "export"
            name, _, value = assignment.partition("=")
            environment[name] = value
        return process, environment

    def close(self):
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.communicate()


@pytest.fixture
def command(original):
    command = Command(original)
    yield command
    command.close()


@pytest.fixture(scope="module")
def command_factory(original):
    """Makes commands that live as long as the module's tests."""
    commands = []

    def make():
        commands.append(Command(original))
        return commands[-1]

    yield make
    for command in commands:
        command.close()


@pytest.fixture
def says_local():
    """What a command says that finds no service in the environment."""
    return "No AVATAR_* account is set: using a local avatar service.\n"


@pytest.fixture(scope="module")
def running_service(command_factory):
    """The variables of an ``avatarpool service`` that runs while the module's tests do."""
    return command_factory().start_service()[1]


@pytest.fixture
def folder(tmp_path, speech):
    """A folder of three clips of ten keyframes, one of them in a folder of its own."""
    made = tmp_path / "clips"
    (made / "more").mkdir(parents=True)
    for number, name in enumerate(("a.wav", "b.wav", "more/c.wav")):
        begin = 16000 + 3200 * number
        with wave.open(str(made / name), "wb") as file:
            file.setparams((1, 2, 16000, 0, "NONE", ""))
            file.writeframes(speech[begin : begin + 12800])
    return made
