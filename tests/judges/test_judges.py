"""The official clients, unmodified, judge the local service and a second shell; ours does too.

``avatarkit``, ``spatius``, its twin for Node.js (their telemetry switched off) and
``spatialreal`` run against `LocalAvatarService`, against the second shell over the same
endpoint (`PicowsService`, in tests/endpoint), and against the gateway in front of a local
service (`GatewayService`, in tests/gateway), each in a process of its own. They tell
what they were given: the frames of every kind of request, and of every refusal the facts
that *their* error objects carry. Our own client is put through the same table.

They differ in what they can tell. ``avatarkit`` and the two of ``spatius`` classify alike,
by sentence, and know no word for a concurrency limit; code 3, and gRPC's other
codes, they take before the sentence. ``spatialreal`` goes by close codes and
shows neither a refused upgrade's body nor titles. What a client cannot express
at all, such as encoding Opus itself without libopus on the machine, is named in
the table as well.
"""

import fcntl
import json
import math
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import pytest
from javascript_client import install
from judging import SECONDS

from avatarpool.protocol.settings import OPUS_SAMPLE_RATES, PCM_SAMPLE_RATES

# For all that a client judges; nothing should come near it.
DEADLINE = 170.0
pytestmark = pytest.mark.timeout(DEADLINE + 10.0)

PYTHON_CLIENTS = ("avatarkit", "spatius", "spatialreal", "avatarpool")
CLIENTS = (*PYTHON_CLIENTS, "javascript")


@pytest.fixture(scope="session", params=["aiohttp", "picows", "gateway"])
def shell(request):
    return request.param


@pytest.fixture(scope="session")
def once(tmp_path_factory, worker_id):
    """Has one of pytest's processes find out what is dear, and the others wait for it."""

    def found(name, find):
        if worker_id == "master":
            return find()
        directory = tmp_path_factory.getbasetemp().parent  # the same for all
        with (directory / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            known = directory / f"{name}.json"
            if not known.exists():
                known.write_text(json.dumps(find()))
            return json.loads(known.read_text())

    return found


@pytest.fixture(scope="session")
def judgements(shell, once):
    """What each client gave, case by case; all of them judge at the same time."""

    def judge_all():
        with ThreadPoolExecutor(len(PYTHON_CLIENTS)) as threads:
            given = threads.map(partial(_judge, shell), PYTHON_CLIENTS)
            return dict(zip(PYTHON_CLIENTS, given, strict=True))

    return once(f"judges-{shell}", judge_all)


@pytest.fixture(scope="session")
def javascript(pytestconfig, once):
    """Where the SDK for Node.js is, if npm can install it."""
    directory = pytestconfig.cache.mkdir("javascript")
    if problem := once("npm", lambda: install(directory)):
        pytest.skip(problem)
    return directory


@pytest.fixture(scope="session")
def javascript_judgements(javascript, shell, once):
    """What it gave."""
    return once(f"javascript-{shell}", lambda: _judge(shell, f"javascript={javascript}"))


def _judge(shell, client):
    judge = Path(__file__).with_name("judge.py")
    environment = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    tests = judge.parents[1]
    paths = [str(tests / "endpoint"), str(tests / "gateway"), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, paths))
    done = subprocess.run(  # noqa: S603  # our own script
        [sys.executable, "-W", "error", str(judge), client, shell],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        env=environment,
        check=False,
    )
    # Warnings in finalizers cannot be raised: they show here.
    assert done.stderr == ""
    assert done.returncode == 0
    return json.loads(done.stdout)


@pytest.fixture(params=CLIENTS)
def client(request):
    return request.param


@pytest.fixture
def given(request, client, shell):
    is_javascript = client == "javascript"
    judgements = request.getfixturevalue("javascript_judgements" if is_javascript else "judgements")

    def by_case(case):
        facts = judgements[case] if is_javascript else judgements[client][case]
        assert "failed" not in facts, facts["failed"]
        return facts

    return by_case


# --- requests ------------------------------------------------------------------------

ANSWERED = {
    "keyframes": math.ceil(SECONDS * 25),
    "ends": 1,
    "end_is_last": True,
    "flags_agree": True,
    "names_avatar_and_connection": True,
}


def is_answered(facts):
    assert ANSWERED.items() <= facts.items()
    assert facts["jaw_opens"] > 0.05  # radians; a closed mouth would give 0
    return True


@pytest.mark.parametrize("rate", PCM_SAMPLE_RATES)
def test_pcm_of_every_rate_is_animated(given, rate):
    facts = given(f"pcm_{rate}")
    assert is_answered(facts)
    assert facts["connection_id"]


@pytest.mark.parametrize("rate", OPUS_SAMPLE_RATES)
def test_ogg_opus_of_every_rate_is_animated(given, rate):
    assert is_answered(given(f"ogg_opus_{rate}"))


def test_a_client_may_encode_opus_itself(given, client):
    facts = given("own_opus_encoder")
    if client == "avatarpool":
        assert is_answered(facts)
    else:
        assert facts == {"not_expressible": True}


def test_credentials_may_come_in_the_query(given):
    assert is_answered(given("query_authentication"))


def test_frames_come_before_the_audio_ends(given):
    facts = given("frames_before_the_audio_ends")
    assert is_answered(facts)
    assert not facts["ended_early"]


def test_requests_one_after_another_get_the_same_answer_each(given):
    facts = given("one_request_after_another")
    assert is_answered(facts)
    assert facts["answers_equal"]
    assert facts["request_ids"] == 3
    assert facts["ended_ids"] == [3, 3]
    assert facts["errors"] == 0


@pytest.mark.parametrize("case", ["interrupt_half_sent", "interrupt_after_end"])
def test_an_interrupted_request_ends_and_the_next_one_is_answered(given, client, case):
    facts = given(case)
    if client == "javascript":
        assert facts == {"not_expressible": True}
        return
    assert is_answered(facts)
    assert facts["same_id"]
    assert facts["errors"] == 0
    assert facts["nothing_after_its_end"]
    # Ours drops what still comes for an interrupted request.
    assert facts["ends_of_the_interrupted"] == (0 if client == "avatarpool" else 1)


def test_every_client_gets_the_same_face_for_the_same_audio(given, judgements):
    digests = {judgements[client]["pcm_16000"]["digest"] for client in PYTHON_CLIENTS}
    assert digests == {given("pcm_16000")["digest"]}


def test_endpoints_may_be_written_in_several_ways(given, client):
    facts = given("endpoint_variants")
    assert facts == {
        "slashes": True,
        "http": True,
        "ws": True,
        "origin": True,
    }


# --- refusals ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Said:
    """What the service says, and what the clients call it.

    Attributes:
        phase: Where the clients place it.
        codes: The stable code of avatarkit and spatius, of spatialreal, of ours.
        http_status: The refusal's status.
        server_code: The code in its body, or of the ServerError.
        server_title: The title in its body.
        server_detail: The sentence.
        close_code: How the connection was closed.
        close_reason: The sentence beside that.
        names_request: Whether it is about one request.
    """

    phase: str
    codes: tuple[str, str, str]
    http_status: int | None = None
    server_code: str | None = None
    server_title: str | None = None
    server_detail: str | None = None
    close_code: int | None = None
    close_reason: str | None = None
    names_request: bool = False


def token_refused(status, code, title, detail, codes):
    return Said("session_token", codes, status, code, title, detail)


def upgrade_refused(status, detail, *codes):
    return Said("websocket_connect", codes, status, server_detail=detail)


def server_error(code, detail, codes, phase="websocket_handshake", *, names_request=False):
    return Said(
        phase, codes, server_code=str(code), server_detail=detail, names_request=names_request
    )


def closed(code, reason, codes):
    return Said("websocket_runtime", codes, close_code=code, close_reason=reason)


def heard(said, client):
    """The facts that this client's error object carries of what was said."""
    facts = asdict(said)
    facts["code"] = facts.pop("codes")[{"spatialreal": 1, "avatarpool": 2}.get(client, 0)]
    facts["names_connection"] = said.server_code is not None and said.http_status is None
    if said.server_code is not None and said.server_code.startswith("4"):
        # The close-code contract holds for a ServerError's code as well.
        older = client in ("avatarkit", "spatius", "javascript")
        facts["close_code"] = None if older else int(said.server_code)
    if client == "spatialreal":
        facts["server_title"] = None
        if said.phase == "websocket_connect":
            facts["server_detail"] = None
    if client == "avatarpool" and said.phase == "websocket_runtime":
        facts["names_connection"] = True
    return facts


def same_facts(given, said, client):
    expected = heard(said, client)
    assert {name: given[name] for name in expected} == expected
    return True


OPENING = {
    "bad_key": token_refused(
        401,
        "invalidApiKey",
        "Invalid API key",
        "this service does not know the API key",
        ("sessionTokenExpired", "sessionTokenInvalid", "sessionTokenExpired"),
    ),
    "expiry_too_far": token_refused(
        400,
        "invalidRequest",
        "Invalid request",
        "expireAt is not within the next 24 h",
        ("invalidRequest", "invalidRequest", "invalidRequest"),
    ),
    "expiry_in_the_past": token_refused(
        400,
        "invalidRequest",
        "Invalid request",
        "expireAt is not within the next 24 h",
        ("invalidRequest", "invalidRequest", "invalidRequest"),
    ),
    "console_unreachable": Said("session_token", ("connectionFailed",) * 3),
    "ingress_unreachable": Said("websocket_connect", ("connectionFailed",) * 3),
    "used_token": upgrade_refused(
        400,
        "Invalid session token",
        "sessionTokenInvalid",
        "connectionFailed",
        "sessionTokenInvalid",
    ),
    "forged_token": upgrade_refused(
        400,
        "Invalid session token",
        "sessionTokenInvalid",
        "connectionFailed",
        "sessionTokenInvalid",
    ),
    "expired_token": upgrade_refused(
        401,
        "Session token is expired",
        "sessionTokenExpired",
        "sessionTokenInvalid",
        "sessionTokenExpired",
    ),
    "app_mismatch": upgrade_refused(
        400, "app id mismatch", "appIDMismatch", "connectionFailed", "appIDMismatch"
    ),
    "app_unknown": upgrade_refused(
        404, "app id unrecognized", "appIDUnrecognized", "connectionFailed", "appIDUnrecognized"
    ),
    "avatar_unknown": upgrade_refused(
        404, "Avatar not found: nobody", "avatarNotFound", "connectionFailed", "avatarNotFound"
    ),
    "billing": upgrade_refused(
        402,
        "session denied: no credits are left on this account",
        "billingRequired",
        "connectionFailed",
        "billingRequired",
    ),
    "unsupported_rate": server_error(
        0,
        "unsupported sample rate 11025: none of 8000, 16000, 22050, 24000, 32000, 44100, 48000",
        ("unsupportedSampleRate", "serverError", ""),
    ),
    "concurrency": server_error(
        4003,
        "too many concurrent connections: the limit is 1",
        ("serverError", "concurrencyLimit", "concurrencyLimit"),
    ),
    "livekit_token_no_jwt": server_error(
        16,
        "unauthorized: livekit_egress.api_token is no JWT",
        ("invalidEgressConfig", "serverError", "invalidEgressConfig"),
    ),
    "livekit_token_jwt": server_error(
        14,
        "egress client is not configured on server",
        ("egressUnavailable", "serverError", "egressUnavailable"),
    ),
    "livekit_without_credentials": server_error(
        3,
        "invalid egress configuration: missing LiveKit credentials: provide api_token or both "
        "api_key and api_secret",
        ("invalidEgressConfig", "serverError", "invalidEgressConfig"),
    ),
    "livekit_without_room": server_error(
        3,
        "invalid egress configuration: livekit_egress.room_name is missing",
        ("invalidEgressConfig", "serverError", "invalidEgressConfig"),
    ),
    "agora": server_error(
        14,
        "egress client is not configured on server",
        ("egressUnavailable", "serverError", "egressUnavailable"),
    ),
    "agora_without_channel": server_error(
        3,
        "invalid egress configuration: agora_egress.channel_name is missing",
        ("invalidEgressConfig", "serverError", "invalidEgressConfig"),
    ),
}

# What our client refuses by itself, before anything is sent.
OURS_BEFORE_SENDING = {
    "unsupported_rate": "ConfigurationError",
    "pcm_in_an_ogg_session": "AudioError",
    "half_a_sample": "AudioError",
    "empty_request": "AudioError",
}


@pytest.mark.parametrize("case", OPENING)
def test_a_refused_opening_is_heard_with_all_its_facts(given, client, case):
    facts, said = given(case), OPENING[case]
    if client == "avatarpool" and case in OURS_BEFORE_SENDING:
        assert facts["type"] == OURS_BEFORE_SENDING[case]
        return
    assert facts["type"] == (
        "SessionTokenError" if said.phase == "session_token" else "AvatarSDKError"
    )
    assert same_facts(facts, said, client)


def test_a_token_may_be_used_again_unless_the_service_is_strict(given):
    assert given("token_used_again") == {"opened": True}


@pytest.mark.parametrize("client", ["spatius", "javascript"])
def test_one_token_serves_a_process_that_prefetches_it(given):
    facts = given("prefetched_token")
    assert facts == {"prefetched": True, "opened": True, "tokens_issued": 1}


@pytest.mark.parametrize(
    "case", [case for case, said in OPENING.items() if said.phase == "websocket_connect"]
)
def test_a_refused_upgrade_has_the_services_compact_body(given, client, case):
    body = given(case)["raw_body"]
    if client == "spatialreal" or case == "ingress_unreachable":
        assert body is None
    else:
        message = OPENING[case].server_detail
        assert body == json.dumps({"message": message}, separators=(",", ":")) + "\n"


RUNNING = {
    "idle_timeout": [
        server_error(
            0,
            "no audio input for 0.1 s",
            ("idleTimeout", "serverError", "idleTimeout"),
            "websocket_runtime",
        ),
        closed(1000, "no audio input for 0.1 s", (None, None, "idleTimeout")),
    ],
    "maximum_duration": [
        server_error(
            4002,
            "maximum session duration of 0.5 s reached",
            ("sessionDurationExceeded",) * 3,
            "websocket_runtime",
        ),
        closed(
            4002,
            "maximum session duration of 0.5 s reached",
            ("connectionClosed", "sessionDurationExceeded", "sessionDurationExceeded"),
        ),
    ],
    "credits_run_out": [
        server_error(4001, "credits exhausted", ("creditsExhausted",) * 3, "websocket_runtime"),
        closed(
            4001,
            "credits exhausted",
            ("connectionClosed", "creditsExhausted", "creditsExhausted"),
        ),
    ],
    "service_closes": [closed(1001, "the service is closing", (None, None, "connectionClosed"))],
    "message_too_large": [closed(1009, "a message is over 1024 bytes", ("connectionClosed",) * 3)],
}


@pytest.mark.parametrize("case", RUNNING)
def test_the_end_of_a_session_is_heard_with_all_its_facts(given, client, case):
    facts = given(case)
    assert facts["closed"]
    # To the official clients the closes 1000 and 1001 are no errors.
    said = [one for one in RUNNING[case] if heard(one, client)["code"] is not None]
    assert len(facts["errors"]) == len(said)
    for error, one in zip(facts["errors"], said, strict=True):
        assert same_facts({**error, "names_request": False}, one, client)


def test_what_is_no_message_is_a_protocol_error(given, client):
    facts = given("text_message")
    if client == "avatarpool":
        assert facts == {"not_expressible": True}
        return
    said = server_error(
        0,
        "unexpected message type: every message is one binary protobuf message",
        ("protocolError", "serverError", ""),
        "websocket_runtime",
    )
    assert same_facts(facts["errors"][0], said, client)
    assert facts["closed"]


# --- misuse --------------------------------------------------------------------------


@pytest.mark.parametrize("client", PYTHON_CLIENTS)
def test_what_a_session_forbids_is_a_value_error_for_every_client_in_python(given):
    facts = given("forbidden_calls")
    assert facts == dict.fromkeys(
        (
            "start before init",
            "send before start",
            "interrupt before start",
            "start twice",
            "interrupt nothing",
            "send after the service has gone",
            "interrupt after the service has gone",
            "send after close",
            "interrupt after close",
        ),
        True,
    )


@pytest.mark.parametrize("case", ["idle_timeout", "maximum_duration"])
def test_a_session_is_not_kept_past_its_limit(given, case):
    assert given(case)["seconds"] < 15  # of a tenth and a half; the rest is a busy machine


FAILED_REQUESTS = {
    "request_too_long": "request audio is longer than 1 s",
    "half_a_sample": "s16le audio has an odd number of bytes",
    "pcm_in_an_ogg_session": "audio is no ogg stream, or its pages do not meet",
}


@pytest.mark.parametrize("case", FAILED_REQUESTS)
def test_a_failed_request_is_told_under_its_own_id(given, client, case):
    facts = given(case)
    if client == "avatarpool" and case in OURS_BEFORE_SENDING:
        assert facts["type"] == OURS_BEFORE_SENDING[case]
        return
    said = server_error(
        3,
        FAILED_REQUESTS[case],
        ("invalidRequest", "serverError", "invalidRequest"),
        "websocket_runtime",
        names_request=True,
    )
    assert same_facts(facts, said, client)


def test_a_request_without_audio_is_answered_without_keyframes(given, client):
    facts = given("empty_request")
    if client == "avatarpool":
        assert facts["type"] == OURS_BEFORE_SENDING["empty_request"]
    else:
        assert facts["ends"] == 1
        assert facts["keyframes"] == 0
