"""A vendor's session in the pool: routing, translation, the same guarantees."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from scripted import Script, ScriptedSession, no_options

from avatarpool import (
    AnimationCollector,
    AudioError,
    AvatarConnectionPool,
    AvatarSDKError,
    AvatarSDKErrorCode,
    ConfigurationError,
    LiveKitEgressConfig,
    PlaybackState,
    PoolError,
    RequestTimeout,
    SessionConfig,
    SessionStateError,
)
from avatarpool.client import vendors
from avatarpool.protocol.codec import encode

SILENCE = b"\0\0" * 640


def new_pool(script: Script, factory: Any = no_options, **options: Any) -> AvatarConnectionPool:
    return AvatarConnectionPool(1, factory, session_factory=script, **options)


@pytest.mark.parametrize("vendor", ["avatarkit", "spatius", "spatialreal"])
def test_an_official_sdks_sessions_get_the_pools_guarantees(vendor: str):
    """In a process of its own: two of the SDKs cannot be imported side by side."""
    program = Path(__file__).with_name("vendor_pool.py")
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-W", "error", str(program), vendor],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert json.loads(done.stdout) == {
        "mixed": 0,
        "answered": 30,
        "as_they_came": 30,
        "half_sent_joined_the_next": False,
        "busy": "SessionStateError",
        "wrong_audio": "AudioError",
        "refused": "PoolError",
        "replaced": True,
        "draining": 0,
    }


async def test_frames_that_come_before_send_audio_returns_are_not_lost():
    script = Script()
    async with new_pool(script) as pool, pool.borrow() as conn:
        [session] = script.sessions
        session.before_send_returns = lambda req_id: session.frame(req_id, end=True)
        await conn.session.send_audio(SILENCE, end=True)
        assert len(await conn.collector.wait()) == 1
    async with new_pool(script) as pool, pool.borrow() as conn:
        session = script.sessions[-1]

        def answer_early(req_id: str) -> None:
            session.frame(req_id)
            session.before_send_returns = lambda req_id: None

        session.before_send_returns = answer_early
        await conn.session.send_audio(SILENCE)
        session.frame(conn.collector.req_id or "", end=True)
        await conn.session.send_audio(SILENCE, end=True)
        assert len(await conn.collector.wait()) == 2
        assert pool.get_stats()["requests_num"] == 1


async def test_a_late_frame_is_not_taken_for_the_request_that_begins():
    script = Script()
    async with new_pool(script) as pool, pool.borrow() as conn:
        [session] = script.sessions
        old = await conn.session.send_audio(SILENCE, end=True)
        await conn.session.interrupt()
        session.before_send_returns = lambda req_id: session.frame(old)
        await conn.session.send_audio(SILENCE, end=True)
        assert conn.collector.frames == []
        assert pool.get_stats()["frames_dropped"] == 2


async def test_a_frame_of_a_request_that_was_never_made_fails_the_current_one():
    script = Script()
    async with new_pool(script) as pool:
        async with pool.borrow() as conn:
            await conn.session.send_audio(SILENCE, end=True)
            script.sessions[0].frame("of nobody", end=True)
            with pytest.raises(AvatarSDKError, match="never made") as caught:
                await conn.collector.wait()
            assert caught.value.code is AvatarSDKErrorCode.protocolError
        async with pool.borrow() as conn:
            assert conn.connection_id == "scripted-1"
        assert pool.get_stats()["protocol_errors"] == 1


async def test_a_session_that_such_a_frame_reaches_in_quarantine_is_not_lent():
    script = Script()
    async with new_pool(script) as pool:
        script.sessions[0].answers_abandoned = False
        async with pool.borrow() as conn:
            await conn.session.send_audio(SILENCE, end=True)
        waiting = pool.borrow()
        entering = asyncio.create_task(waiting.__aenter__())
        while not script.sessions[0].interrupted:
            await asyncio.sleep(0)
        script.sessions[0].frame("of nobody")
        async with asyncio.timeout(10):
            await entering
        assert waiting.connection_id == "scripted-1"
        await waiting.__aexit__(None, None, None)


async def test_frames_after_the_last_one_cost_a_vendors_session_and_no_request():
    script = Script()
    async with new_pool(script) as pool:
        async with pool.borrow() as conn:
            req_id = await conn.session.send_audio(SILENCE, end=True)
            script.sessions[0].frame(req_id, end=True)
            script.sessions[0].frame(req_id, end=True)
            assert len(await conn.collector.wait()) == 1
        async with pool.borrow() as conn:
            assert conn.connection_id == "scripted-1"


async def test_one_request_at_a_time_holds_for_a_vendors_session_too():
    script = Script()
    async with new_pool(script) as pool, pool.borrow() as conn:
        await conn.session.send_audio(SILENCE, end=True)
        with pytest.raises(SessionStateError, match="still being answered"):
            await conn.session.send_audio(SILENCE, end=True)
        assert len(script.sessions[0].sent) == 1


async def slow_sends(session: ScriptedSession) -> None:
    """Have a session take its time to send, and break if two sends meet."""
    plain, sending = session.send_audio, asyncio.Lock()

    async def send_audio(audio: bytes, end: bool = False) -> str:
        assert not sending.locked()
        async with sending:
            for _ in range(3):
                await asyncio.sleep(0)
            return await plain(audio, end)

    session.send_audio = send_audio  # type: ignore[method-assign]


async def test_sends_side_by_side_on_a_vendors_session_follow_each_other():
    script = Script(slow_sends)
    async with new_pool(script) as pool, pool.borrow() as conn:
        send = conn.session.send_audio
        req_ids = await asyncio.gather(send(SILENCE), send(SILENCE[:8]), send(SILENCE, end=True))
        assert len(set(req_ids)) == 1
        assert script.sessions[0].sent == [
            (req_ids[0], SILENCE, False),
            (req_ids[0], SILENCE[:8], False),
            (req_ids[0], SILENCE, True),
        ]


async def test_of_two_whole_requests_on_a_vendors_session_the_second_is_refused():
    script = Script(slow_sends)
    async with new_pool(script) as pool, pool.borrow() as conn:
        sending = [conn.session.send_audio(SILENCE, end=True) for _ in range(2)]
        first, second = await asyncio.gather(*sending, return_exceptions=True)
        assert isinstance(second, SessionStateError)
        assert f"request {first} is still being answered" in str(second)
        assert len(script.sessions[0].sent) == 1


async def test_audio_that_comes_too_late_for_its_request_becomes_none_of_its_own():
    script = Script(slow_sends)
    async with new_pool(script) as pool, pool.borrow() as conn:
        session = script.sessions[0]
        req_id = await conn.session.send_audio(SILENCE)
        session.before_send_returns = lambda req_id: session.frame(req_id, end=True)
        sending = [conn.session.send_audio(SILENCE, end=True) for _ in range(2)]
        first, second = await asyncio.gather(*sending, return_exceptions=True)
        assert first == req_id
        assert isinstance(second, SessionStateError)
        assert f"request {req_id} was over before more of its audio" in str(second)
        assert len(session.sent) == 2


async def test_wrong_audio_does_not_reach_a_vendors_session():
    script = Script()
    async with new_pool(script) as pool, pool.borrow() as conn:
        with pytest.raises(AudioError):
            await conn.session.send_audio(b"\0", end=True)
        assert script.sessions[0].sent == []


async def test_pcm_goes_to_a_vendors_own_encoder():
    script = Script()
    options = {"audio_format": "ogg_opus", "ogg_opus_encoder": object()}
    async with new_pool(script, lambda: options) as pool, pool.borrow() as conn:
        await conn.session.send_audio(SILENCE)
        assert len(script.sessions[0].sent) == 1


async def test_a_vendors_session_takes_audio_at_the_rate_that_its_options_say():
    for options, rate in ({}, 16000), ({"sample_rate": 24000}, 24000):
        async with new_pool(Script(), lambda given=options: given) as pool, pool.borrow() as conn:
            assert conn.session.sample_rate == rate
        with pytest.raises(SessionStateError, match="was returned"):
            conn.session.sample_rate  # noqa: B018


async def test_with_egress_a_request_is_over_when_its_audio_is_sent():
    script = Script()
    options = {"livekit_egress": LiveKitEgressConfig(url="wss://rooms.example")}
    async with new_pool(script, lambda: options) as pool:
        async with pool.borrow() as conn:
            await conn.session.send_audio(SILENCE, end=True)
            assert await conn.collector.wait() == []
        assert pool.available_count == 1
        assert pool.get_stats()["total_requests_served"] == 1


class VendorError(Exception):
    """As the SDKs' errors look."""

    class Code:
        value = "upstreamError"

    def __init__(self, **facts: Any) -> None:
        super().__init__("driven server request failed")
        self.code = self.Code
        self.message = "driven server request failed"
        self.phase = "websocket_runtime"
        for name, value in facts.items():
            setattr(self, name, value)


async def test_a_vendors_error_keeps_its_facts_in_our_words():
    script = Script()
    async with new_pool(script) as pool:
        async with pool.borrow() as conn:
            req_id = await conn.session.send_audio(SILENCE, end=True)
            script.sessions[0].fail(VendorError(req_id=req_id, server_code="13"))
            with pytest.raises(AvatarSDKError, match="driven server") as caught:
                await conn.collector.wait()
        error = caught.value
        assert error.code is AvatarSDKErrorCode.upstreamError
        assert (error.server_code, error.req_id) == ("13", req_id)
        assert pool.available_count == 1
        script.sessions[0].fail(VendorError())  # nobody's: nothing happens


async def test_an_error_while_audio_is_sent_ends_the_request():
    script = Script()
    async with new_pool(script) as pool, pool.borrow() as conn:
        await conn.session.send_audio(SILENCE)
        [session] = script.sessions
        session.before_send_returns = lambda req_id: session.fail(VendorError(req_id=req_id))
        with pytest.raises(AvatarSDKError, match="driven server"):
            await conn.session.send_audio(SILENCE, end=True)
            await conn.collector.wait()


async def test_garbage_fails_the_request():
    script = Script()
    async with new_pool(script) as pool, pool.borrow() as conn:
        await conn.session.send_audio(SILENCE, end=True)
        script.sessions[0].options["transport_frames"](b"\xff\xff", False)
        with pytest.raises(AvatarSDKError, match="protocolError"):
            await conn.collector.wait()


async def test_messages_that_are_no_frames_are_ignored():
    script = Script()
    async with new_pool(script) as pool, pool.borrow() as conn:
        await conn.session.send_audio(SILENCE, end=True)
        script.sessions[0].options["transport_frames"](encode(PlaybackState("x", "paused")), False)
        assert conn.collector.frames == []


async def test_a_vendors_session_that_dies_in_a_request_fails_it_at_once():
    script = Script()
    async with new_pool(script) as pool:
        async with pool.borrow() as conn:
            await conn.session.send_audio(SILENCE, end=True)
            await script.sessions[0].close()
            script.sessions[0].options["on_close"]()  # the SDKs may tell it twice
            with pytest.raises(AvatarSDKError, match="connectionClosed"):
                await conn.collector.wait()
        assert pool.get_stats()["connections_lost"] == 1


async def test_a_send_on_a_vendors_dead_session_is_an_error_of_ours():
    script = Script()
    async with new_pool(script) as pool, pool.borrow() as conn:
        script.sessions[0].is_closed = True  # and it has not told anybody
        with pytest.raises(AvatarSDKError, match="connectionFailed"):
            await conn.session.send_audio(SILENCE)


async def test_a_vendors_configuration_error_is_one_of_ours():
    with pytest.raises(ConfigurationError, match="Missing avatar ID"):
        await new_pool(Script(ValueError("Missing avatar ID"))).initialize()


async def test_a_vendors_timeout_is_tried_again():
    script = Script(TimeoutError())
    pool = new_pool(script)
    await pool.initialize()
    assert script.attempts == 2
    await pool.close()


async def test_cancelling_a_vendors_start_closes_its_session():
    async def never(session: ScriptedSession) -> None:
        await asyncio.sleep(60)

    script = Script(never)
    with pytest.raises(PoolError):
        await new_pool(script).initialize(timeout=0.01)
    assert script.sessions[0].is_closed


async def test_a_users_callback_may_pass_calls_on_or_not():
    script = Script()
    seen: list[str] = []

    def factory(collector: AnimationCollector) -> dict[str, Any]:
        def on_error(error: Exception) -> None:
            seen.append("error")
            collector.on_error(error)

        return {
            "transport_frames": lambda data, is_last: seen.append("frame"),
            "on_error": on_error,
            "on_close": collector.on_close,
        }

    async with new_pool(script, factory) as pool, pool.borrow() as conn:
        req_id = await conn.session.send_audio(SILENCE, end=True)
        script.sessions[0].frame(req_id)
        script.sessions[0].fail(VendorError(req_id=req_id))
        with pytest.raises(AvatarSDKError):
            await conn.collector.wait()
        assert len(conn.collector.frames) == 1
    assert seen == ["frame", "error"]


async def test_our_configuration_becomes_the_vendors_keywords():
    script = Script()
    config = SessionConfig(avatar_id="a", api_key="k", sample_rate=24000)
    async with new_pool(script, lambda: config):
        options = script.sessions[0].options
        assert {"avatar_id", "api_key", "sample_rate", "expire_at"} < set(options)
        assert "handshake_timeout" not in options
        adapter = options["on_close"].__self__.sink
        assert repr(adapter) == "<ForeignSession scripted-0 over scripted>"


async def test_a_send_that_is_cancelled_costs_a_vendors_session():
    """The SDK may hold a request open whose id nobody knows: it must not be joined."""
    script = Script()
    async with new_pool(script) as pool:
        async with pool.borrow() as conn:
            sending = asyncio.create_task(conn.session.send_audio(SILENCE))
            await asyncio.sleep(0)
            sending.cancel()
            await asyncio.wait([sending])
            with pytest.raises(AvatarSDKError, match="a send was cut off"):
                await conn.session.send_audio(SILENCE)  # it would join the unknown one
        async with pool.borrow() as conn:
            assert conn.connection_id == "scripted-1"
            with pytest.raises(AvatarSDKError, match="a send was cut off"):
                await adapter(script).abandon()


def adapter(script: Script) -> Any:
    return script.sessions[0].options["on_close"].__self__.sink


async def test_a_return_during_a_vendors_first_send_keeps_the_session_from_others():
    script = Script()
    async with new_pool(script) as pool:
        async with pool.borrow() as conn:
            sending = asyncio.create_task(conn.session.send_audio(SILENCE))
            await asyncio.sleep(0)
        await sending
        assert pool.available_count == 0
        async with pool.borrow() as conn:
            assert script.sessions[0].sent[-1][1:] == (b"", True)
            assert script.sessions[0].interrupted == [conn.connection_id + "/1"]


@pytest.mark.parametrize("is_half_sent", [True, False])
async def test_half_sent_audio_of_a_vendors_session_is_ended_before_its_interrupt(
    *, is_half_sent: bool
):
    script = Script()
    async with new_pool(script) as pool, pool.borrow() as conn:
        [session] = script.sessions
        sent_before: list[tuple[bytes, bool]] = []
        interrupt = session.interrupt

        async def noted() -> str:
            sent_before.extend((audio, end) for _, audio, end in session.sent)
            return await interrupt()

        session.interrupt = noted  # type: ignore[method-assign]
        req_id = await conn.session.send_audio(SILENCE, end=not is_half_sent)
        assert await conn.session.interrupt() == req_id
        assert sent_before == (
            [(SILENCE, False), (b"", True)] if is_half_sent else [(SILENCE, True)]
        )
        assert await conn.session.send_audio(SILENCE) != req_id


async def test_a_vendors_error_that_names_nobody_while_one_fades_fails_nobody():
    script = Script()
    async with new_pool(script) as pool, pool.borrow() as conn:
        [session] = script.sessions
        session.answers_abandoned = False
        await conn.session.send_audio(SILENCE, end=True)
        await conn.session.interrupt()
        req_id = await conn.session.send_audio(SILENCE, end=True)
        session.fail(doubted := VendorError())
        assert not conn.collector.is_done
        with pytest.raises(RequestTimeout) as caught:
            await conn.collector.wait(0.0)
        assert str(doubted) in str(caught.value.__cause__)
        session.frame(req_id, end=True)
        assert len(await conn.collector.wait()) == 1


async def test_an_error_that_names_nobody_fails_a_vendors_request_if_none_fades():
    script = Script()
    async with new_pool(script) as pool, pool.borrow() as conn:
        await conn.session.send_audio(SILENCE, end=True)
        await conn.session.interrupt()  # which the session answers
        await conn.session.send_audio(SILENCE, end=True)
        script.sessions[0].fail(VendorError())
        with pytest.raises(AvatarSDKError, match="driven server"):
            await conn.collector.wait()


async def test_whether_a_vendors_peer_lives_is_not_known():
    script = Script()
    async with new_pool(script):
        assert await adapter(script).proves_alive(1.0) is None


async def test_an_error_that_ends_a_request_makes_room_for_the_next():
    script = Script()
    async with new_pool(script) as pool:
        async with pool.borrow() as conn:
            req_id = await conn.session.send_audio(SILENCE)
        # In quarantine: the error is about a request that nobody waits for.
        script.sessions[0].fail(VendorError(req_id=req_id))
        async with pool.borrow() as conn:
            assert conn.connection_id == "scripted-0"


async def test_a_vendors_dataclass_is_taken_as_its_keywords():
    @dataclass
    class TheirConfig:
        avatar_id: str = ""
        sample_rate: int = 16000

    script = Script()
    async with new_pool(script, lambda: TheirConfig(avatar_id="a")):
        options = script.sessions[0].options
        assert options["avatar_id"] == "a"
        assert "sample_rate" not in options
    with pytest.raises(ConfigurationError, match="api_key is missing") as caught:
        await AvatarConnectionPool(1, lambda: TheirConfig(avatar_id="a")).initialize()
    assert "avatar_id is missing" not in caught.value.problems


async def test_an_error_that_comes_before_a_vendors_first_send_returns_fails_the_request():
    script = Script()
    async with new_pool(script) as pool, pool.borrow() as conn:
        [session] = script.sessions
        session.before_send_returns = lambda req_id: session.fail(VendorError(req_id=req_id))
        await conn.session.send_audio(SILENCE, end=True)
        with pytest.raises(AvatarSDKError, match="driven server"):
            await conn.collector.wait()


async def test_a_vendors_opening_is_bounded(monkeypatch: pytest.MonkeyPatch):
    async def never(session: ScriptedSession) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(vendors, "_STEP_TIMEOUT", 0.02)
    script = Script(never)
    pool = new_pool(script)
    await pool.initialize()
    assert script.attempts == 2
    await pool.close()


async def test_a_vendors_close_is_bounded(monkeypatch: pytest.MonkeyPatch):
    async def never() -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(vendors, "_CLOSE_TIMEOUT", 0.02)
    script = Script()
    async with new_pool(script):
        script.sessions[0].close = never  # type: ignore[method-assign]


async def test_a_session_factory_that_makes_no_session_is_told():
    pool = AvatarConnectionPool(1, no_options, session_factory=lambda **options: None)
    with pytest.raises(ConfigurationError, match="it returned NoneType, no session"):
        await pool.initialize()


async def test_a_session_that_ends_in_its_opening_is_no_member():
    script = Script(lambda session: session.close())
    pool = new_pool(script)
    await pool.initialize()
    assert script.attempts == 2
    await pool.close()


async def test_with_egress_a_failed_request_is_not_served():
    script = Script()
    options = {"agora_egress": object()}
    async with new_pool(script, lambda: options) as pool, pool.borrow() as conn:
        req_id = await conn.session.send_audio(SILENCE)
        script.sessions[0].fail(VendorError(req_id=req_id))
        with pytest.raises(AvatarSDKError):
            await conn.session.send_audio(SILENCE, end=True)
        assert pool.get_stats()["total_requests_served"] == 0


async def test_optional_parameters_of_a_factory_are_left_alone():
    script = Script()
    seen: list[str] = []

    def factory(region: str = "eu") -> dict[str, Any]:
        seen.append(region)
        return {}

    async with new_pool(script, factory):
        assert seen == ["eu"]
