"""``avatarpool gateway``, in a process of its own."""

import asyncio
import re
import resource
import shlex
import signal
import socket
import subprocess
import urllib.request
from uuid import uuid4

import pytest
from redis_server import redis_server

from avatarpool import AvatarSession, SessionConfig
from avatarpool.gateway.keys import key_hash, matches

NAMES = [
    "AVATAR_API_KEY",
    "AVATAR_APP_ID",
    "AVATAR_CONSOLE_ENDPOINT",
    "AVATAR_INGRESS_ENDPOINT",
    "AVATAR_SESSION_AVATAR_ID",
]
ANY_PORTS = ("--port", "0", "--ingress-port", "0")
READY = "Clients use these lines. Ctrl-C stops the gateway.\n"
WEB_KEY, BATCH_KEY = "key-of-web-that-stays-hidden", "key-of-batch-that-stays-hidden"
ADMIN_KEY = "key-of-admin-that-stays-hidden"


class Running:
    """A gateway that has printed its lines.

    Attributes:
        process: It.
        environment: What the lines set.
        remarks: Those that set nothing, by their names.
        said: What it said on standard error until then.
    """

    def __init__(self, process):
        self.process, self.environment, self.remarks = process, {}, {}
        while "Page" not in self.remarks:
            line = process.stdout.readline()
            assert line, process.stderr.read()
            if line.startswith("# "):
                name, _, text = line.removeprefix("# ").strip().partition(": ")
                self.remarks[name] = text
            else:
                export, assignment = shlex.split(line)
                assert export == "export"
                name, _, value = assignment.partition("=")
                self.environment[name] = value
        self.said = self.hear(READY)

    def hear(self, last):
        """Return what it says on standard error, up to this line."""
        lines = []
        for line in self.process.stderr:
            lines.append(line)
            if line == last or line.startswith(last):
                return lines
        raise AssertionError(f"it ended without {last!r}: {lines}")

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        stdout, stderr = self.process.communicate(timeout=60)
        assert stdout == ""
        assert "Traceback" not in stderr
        return stderr


@pytest.fixture
def start(command):
    def start(*options, env=None):
        return Running(command.start("gateway", *ANY_PORTS, *options, env=env))

    return start


def client(name, key, *lines):
    return "\n".join(
        [
            "[[clients]]",
            f'name = "{name}"',
            f'app_id = "{name}-app"',
            f'key_hash = "{key_hash(key)}"',
            *lines,
            "",
        ]
    )


@pytest.fixture
def write(tmp_path, running_service):
    """Writes a file of settings whose upstream is the running service."""

    def write(*parts):
        file = tmp_path / "gateway.toml"
        upstream = [
            f'{name.removeprefix("AVATAR_").lower()} = "{running_service[name]}"'
            for name in NAMES[:4]
        ]
        file.write_text("\n".join(["[upstream]", *upstream, *parts]))
        return file

    return write


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_with_nothing_configured_it_runs_and_says_so(command, start, number):
    gateway = start()
    assert list(gateway.environment) == NAMES
    assert gateway.environment["AVATAR_APP_ID"] == "demo"
    first, ready = gateway.said
    assert first == (
        'Nothing is configured: a local avatar service is the upstream, and "demo" the one '
        "client.\n"
    )
    assert ready == READY
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", gateway.remarks["Page"])
    result = command("doctor", env=gateway.environment)
    assert (result.returncode, "Everything works." in result.stdout) == (0, True)
    assert gateway.end(number).splitlines() == [
        "Requests under way have 30 s; another Ctrl-C cuts them off.",
        "Gateway stopped.",
    ]
    assert gateway.process.returncode == 0


FEW_FILES = """
import resource, runpy
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
runpy.run_module("avatarpool", run_name="__main__", alter_sys=True)
"""


def test_it_has_as_many_files_as_it_may(command):
    gateway = Running(command.start("gateway", *ANY_PORTS, program=("-c", FEW_FILES)))
    soft, hard = resource.prlimit(gateway.process.pid, resource.RLIMIT_NOFILE)
    assert soft == (65536 if hard == resource.RLIM_INFINITY else min(hard, 65536))
    gateway.end()


def test_its_lines_are_a_file_of_variables(command, start, tmp_path):
    gateway = start()
    file = tmp_path / "gateway.env"
    lines = [f"export {name}={value}" for name, value in gateway.environment.items()]
    file.write_text("\n".join([*lines, f"# Page: {gateway.remarks['Page']}"]))
    assert command("doctor", "--env-file", file).returncode == 0


def test_an_account_of_the_environment_is_the_upstream(command, start, running_service):
    gateway = start(env=running_service)
    assert gateway.said[0] == (
        'No clients are configured: "demo" is the one client, with a new key.\n'
    )
    avatar = gateway.environment["AVATAR_SESSION_AVATAR_ID"]
    assert avatar == running_service["AVATAR_SESSION_AVATAR_ID"]
    assert gateway.environment["AVATAR_API_KEY"] != running_service["AVATAR_API_KEY"]
    assert command("doctor", env=gateway.environment).returncode == 0


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "nowhere.invalid"])  # noqa: S104
def test_with_nothing_configured_it_stays_on_this_machine(command, host):
    result = command("gateway", *ANY_PORTS, "--host", host)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == (
        f'--host "{host}" is beyond loopback, and there are no clients: add [[clients]], '
        "or listen on 127.0.0.1\n"
    )


def test_a_configured_clients_key_is_not_known_here(command, start, write):
    gateway = start("--config", write(client("web", WEB_KEY, 'avatars = ["local-avatar"]')))
    assert gateway.said == [READY]
    assert gateway.remarks["AVATAR_API_KEY"] == (
        'the key of "web", which `avatarpool gateway hash-key` gave'
    )
    assert gateway.environment["AVATAR_APP_ID"] == "web-app"
    assert gateway.environment["AVATAR_SESSION_AVATAR_ID"] == "local-avatar"
    environment = {**gateway.environment, "AVATAR_API_KEY": WEB_KEY}
    assert command("doctor", env=environment).returncode == 0
    assert command("doctor", env={**environment, "AVATAR_API_KEY": BATCH_KEY}).returncode == 1


def test_an_avatar_that_nothing_names_is_left_to_the_client(start, write):
    gateway = start("--config", write(client("web", WEB_KEY)))
    assert gateway.remarks["AVATAR_SESSION_AVATAR_ID"] == "an avatar of the account"


# --- check --------------------------------------------------------------------------------


def test_check_prints_what_is_in_force_and_ends(command, write, running_service, tmp_path):
    secret = "token-secret-that-stays-hidden-" + "0" * 32
    (tmp_path / "gateway.env").write_text(f"TOKEN_SECRET={secret}")
    file = write('[tokens]\nsecrets = ["env:TOKEN_SECRET"]', client("web", WEB_KEY))
    result = command(
        *("gateway", "--config", file, "--env-file", tmp_path / "gateway.env"),
        *("--host", "0.0.0.0", "--port", 0, "--check"),  # noqa: S104
    )
    assert result.returncode == 0
    assert 'host = "0.0.0.0"\nport = 0\ningress_port = 8781\n' in result.stdout
    assert "# secrets: 1 set\n" in result.stdout
    assert 'name = "web"\n# key_hash: set\napp_id = "web-app"\nmax_concurrent = 4' in result.stdout
    assert result.stderr.startswith("Warning: 0.0.0.0 is beyond loopback and there is no TLS")
    for hidden in (running_service["AVATAR_API_KEY"], secret, key_hash(WEB_KEY)):
        assert hidden not in result.stdout + result.stderr


def test_check_says_that_a_local_service_would_be_started(command):
    result = command("gateway", "--check")
    assert result.returncode == 0
    assert "[upstream]\n# a local avatar service, started with the gateway\n" in result.stdout


@pytest.mark.parametrize("check", [["--check"], []])
def test_settings_that_cannot_work_are_a_line_each_and_exit_2(command, tmp_path, check):
    file = tmp_path / "gateway.toml"
    file.write_text('[listen]\nport = 70000\n[tokens]\nsecrets = ["short-secret"]\n[wat]')
    result = command("gateway", "--config", file, *check, env={"AVATAR_APP_ID": "app"})
    assert (result.returncode, result.stdout) == (2, "")
    lines = result.stderr.splitlines()
    assert {line.split()[1] for line in lines} == {
        "wat",
        "listen.port",
        "tokens.secrets.#1",
        "upstream.api_key",
        "upstream.console_endpoint",
        "upstream.ingress_endpoint",
    }
    assert all(line.startswith(f"{file}: ") for line in lines)
    assert "short-secret" not in result.stderr


# --- listening ----------------------------------------------------------------------------


@pytest.mark.parametrize("option", ["--port", "--ingress-port"])
def test_a_port_that_is_taken_is_one_sentence_and_exit_1(command, option):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = command("gateway", *ANY_PORTS, option, port)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.splitlines()[-1] == (
        f"Port {port} of 127.0.0.1 is taken: choose another with {option}; "
        f"{option} 0 takes any free one."
    )


def test_an_output_that_takes_no_lines_is_one_sentence_and_exit_1(command):
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        process = command.start("gateway", *ANY_PORTS, stdout=full)
        _, stderr = process.communicate(timeout=50)
    assert process.returncode == 1
    assert stderr.splitlines()[-1] == (
        "The lines for clients cannot be written: No space left on device."
    )


def test_settings_that_cannot_be_written_are_one_sentence_and_exit_1(command):
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        process = command.start("gateway", "--check", stdout=full)
        _, stderr = process.communicate(timeout=50)
    assert (process.returncode, stderr) == (1, "avatarpool: [Errno 28] No space left on device\n")


# --- reading again ------------------------------------------------------------------------


def test_a_hangup_takes_over_what_can_be_and_says_what_cannot(command, start, write):
    file = write(client("web", WEB_KEY))
    gateway = start("--config", file)
    batch = {
        **gateway.environment,
        "AVATAR_API_KEY": BATCH_KEY,
        "AVATAR_APP_ID": "batch-app",
        "AVATAR_SESSION_AVATAR_ID": "local-avatar",
    }
    assert command("doctor", env=batch).returncode == 1

    write("[listen]\nidle_timeout = 60", client("web", WEB_KEY), client("batch", BATCH_KEY))
    gateway.process.send_signal(signal.SIGHUP)
    (said,) = gateway.hear("Settings read again")
    assert said.removeprefix("Settings read again: ") == (
        "took over clients.batch; a restart is needed for listen.idle_timeout.\n"
    )
    assert command("doctor", env=batch).returncode == 0

    write("[listen]\nidle_timeout = 0", client("web", WEB_KEY))
    gateway.process.send_signal(signal.SIGHUP)
    assert gateway.hear("Settings read again") == [
        f"{file}: listen.idle_timeout 0 must be above 0, at most 86400\n",
        "Settings read again: nothing was changed.\n",
    ]
    assert command("doctor", env=batch).returncode == 0

    write("[listen]\nidle_timeout = 60", client("batch", BATCH_KEY))
    gateway.process.send_signal(signal.SIGHUP)
    assert gateway.hear("Settings read again") == [
        "Settings read again: took over clients.web; a restart is needed for listen.idle_timeout.\n"
    ]
    web = {**batch, "AVATAR_API_KEY": WEB_KEY, "AVATAR_APP_ID": "web-app"}
    assert command("doctor", env=web).returncode == 1
    gateway.end()
    assert gateway.process.returncode == 0


def test_a_hangup_changes_nothing_that_contradicts_what_stays(start, write):
    gateway = start("--config", write('[pools]\nwarm = [{avatar = "local-avatar", sessions = 3}]'))
    write("[budget]\nsessions = 2")
    gateway.process.send_signal(signal.SIGHUP)
    problem, end = gateway.hear("Settings read again")
    assert problem.startswith(
        "pools.warm keeps 3 sessions, which leaves none of budget.sessions (2"
    )
    assert end == "Settings read again: nothing was changed.\n"
    write('[pools]\nwarm = [{avatar = "local-avatar", sessions = 3}]')
    gateway.process.send_signal(signal.SIGHUP)
    assert gateway.hear("Settings read again") == ["Settings read again: nothing has changed.\n"]


@pytest.mark.parametrize("is_abstract", [False, True])
def test_a_supervisor_is_told_once_a_hangup_reads_the_settings_again(
    command, write, tmp_path, is_abstract
):
    name = f"avatarpool-{uuid4().hex}"
    address, told = (f"\0{name}", f"@{name}") if is_abstract else [str(tmp_path / "notify")] * 2
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as supervisor:
        supervisor.bind(address)
        supervisor.settimeout(60)
        options = ("--config", write(), *ANY_PORTS)
        process = command.start("gateway", *options, env={"NOTIFY_SOCKET": told})
        assert supervisor.recv(100) == b"READY=1"
        process.send_signal(signal.SIGHUP)
        gateway = Running(process)
        assert gateway.hear("Settings read") == ["Settings read again: nothing has changed.\n"]


@pytest.mark.parametrize("where", ["nowhere", "/nowhere/notify", "vsock:2:1234"])
def test_a_supervisor_that_hears_nothing_keeps_nobody_from_serving(start, where):
    gateway = start(env={"NOTIFY_SOCKET": where})
    assert gateway.end().splitlines()[-1] == "Gateway stopped."


HUNG_UP_AT_THE_START = """
import os, runpy, signal
from avatarpool.gateway.gateway import Gateway

start = Gateway.start

async def hung_up(gateway):
    os.kill(os.getpid(), signal.SIGHUP)
    await start(gateway)

Gateway.start = hung_up
runpy.run_module("avatarpool", run_name="__main__", alter_sys=True)
"""


def test_a_hangup_at_the_start_is_taken_over_once_it_runs(command, write):
    options = ("gateway", *ANY_PORTS, "--config", write(client("web", WEB_KEY)))
    gateway = Running(command.start(*options, program=("-c", HUNG_UP_AT_THE_START)))
    told = gateway.process.stderr.readline()
    assert told == "Settings read again: nothing has changed.\n"
    assert gateway.end().splitlines()[-1] == "Gateway stopped."


def test_where_there_is_nothing_to_read_again_a_hangup_ends_it(start):
    gateway = start()
    gateway.process.send_signal(signal.SIGHUP)
    assert gateway.process.wait(timeout=50) == -signal.SIGHUP


# --- what the journal has -----------------------------------------------------------------


@pytest.mark.parametrize("verb", ["pause", "resume", "drain"])
def test_what_its_administrator_does_is_in_the_journal(start, write, verb):
    gateway = start("--config", write("[admin]", f'key_hash = "{key_hash(ADMIN_KEY)}"'))
    url = f"{gateway.remarks['Page']}v1/admin/{verb}"
    request = urllib.request.Request(url, method="POST", headers={"X-Api-Key": ADMIN_KEY})  # noqa: S310
    with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310 - an own one's
        assert response.status == 204
    said = gateway.end()
    assert re.search(rf"^gateway {verb}e?d by its administrator$", said, re.MULTILINE)
    assert ADMIN_KEY not in said


def test_that_redis_gives_no_leases_yet_is_in_the_journal(command, write):
    with redis_server() as redis:
        options = ("--config", write("[budget]", f'redis = "{redis.url}"'), *ANY_PORTS)
        gateway = Running(command.start("gateway", *options))
        assert "redis knows no leases yet" in "".join(gateway.said)


# --- ending -------------------------------------------------------------------------------


async def begin(environment, syllable):
    """Send the beginning of a request, and return when it is under way."""
    session = AvatarSession(
        SessionConfig(
            api_key=environment["AVATAR_API_KEY"],
            app_id=environment["AVATAR_APP_ID"],
            console_endpoint_url=environment["AVATAR_CONSOLE_ENDPOINT"],
            ingress_endpoint_url=environment["AVATAR_INGRESS_ENDPOINT"],
            avatar_id=environment["AVATAR_SESSION_AVATAR_ID"],
            transport_frames=lambda message, is_last: frames.put_nowait(is_last),
        )
    )
    frames = asyncio.Queue()
    await session.init()
    await session.start()
    await session.send_audio(syllable)
    assert await asyncio.wait_for(frames.get(), 60) is False
    return session, frames


async def heard(gateway, last):
    return await asyncio.to_thread(gateway.hear, last)


async def test_a_signal_lets_requests_under_way_finish(start, syllable):
    gateway = await asyncio.to_thread(start)
    session, frames = await begin(gateway.environment, syllable)
    gateway.process.send_signal(signal.SIGTERM)
    await heard(gateway, "Requests under way have 30 s")
    assert gateway.process.poll() is None
    await session.send_audio(syllable, end=True)
    while not await asyncio.wait_for(frames.get(), 60):
        pass
    assert await asyncio.to_thread(gateway.process.wait, 60) == 0
    await session.close()


async def test_a_second_signal_cuts_them_off(start, syllable):
    gateway = await asyncio.to_thread(start)
    session, _ = await begin(gateway.environment, syllable)
    gateway.process.send_signal(signal.SIGINT)
    await heard(gateway, "Requests under way have 30 s")
    gateway.process.send_signal(signal.SIGINT)
    _, stderr = await asyncio.to_thread(gateway.process.communicate, timeout=60)
    assert stderr == "Gateway cut off.\n"
    assert gateway.process.returncode == 130
    await session.close()


# --- keys ---------------------------------------------------------------------------------


def test_a_key_is_made_with_its_hash(command):
    results = [command("gateway", "hash-key") for _ in range(2)]
    keys = set()
    for result in results:
        assert result.returncode == 0
        key, line = result.stdout.splitlines()
        assert matches(key, re.fullmatch(r'key_hash = "(.*)"', line)[1])
        assert key not in result.stderr
        keys.add(key)
    assert len(keys) == 2


def hash_given(command, given):
    process = command.start("gateway", "hash-key", "-", stdin=subprocess.PIPE)
    stdout, stderr = process.communicate(given, timeout=50)
    return process.returncode, stdout, stderr


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_given_key_is_hashed_without_its_line_break_and_not_shown(command, end):
    expected = f'key_hash = "{key_hash(WEB_KEY)}"\n'
    assert hash_given(command, WEB_KEY + end) == (0, expected, "")


@pytest.mark.parametrize(
    "given",
    ["", "short-secret", f" {WEB_KEY}", f"{WEB_KEY}\n\n", "ö" * 20, "x" * 4097, "x" * 10**6],
)
def test_a_key_that_no_client_can_send_or_that_is_found_by_trying_is_refused(command, given):
    code, stdout, stderr = hash_given(command, given)
    assert (code, stdout) == (2, "")
    assert "a key has 16 to 4096 printable ASCII characters, in one line" in stderr
    assert not given.strip() or given.strip() not in stderr


def test_a_key_on_the_command_line_is_refused(command):
    result = command("gateway", "hash-key", WEB_KEY)
    assert (result.returncode, result.stdout) == (2, "")
    assert "give the key on standard input" in result.stderr
    assert WEB_KEY not in result.stderr
