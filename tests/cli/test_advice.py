"""What the doctor advises for faults of the way, made by real peers."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from proxying import Authority

from avatarpool import AvatarSDKError, AvatarSession, SessionConfig
from avatarpool.cli.advice import advice
from avatarpool.client.console import ConsoleClient

Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

NOW = datetime.now(timezone.utc)
DAY = timedelta(days=1)

NGINX = (
    b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/html\r\nContent-Length: 64\r\n\r\n"
    b"<center>The plain HTTP request was sent to HTTPS port</center>\r\n"
)
GO = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"


class WithToken(ConsoleClient):
    """Gives a token without asking anybody."""

    async def request_token(self, config: SessionConfig) -> str:
        return "token"


def says(answer: bytes) -> Talk:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        writer.write(answer)

    return talk


async def hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)


@asynccontextmanager
async def peer(talk: Talk, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await talk(reader, writer)
        except OSError:
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls) as server:
        yield server.sockets[0].getsockname()[1]


async def advised(port: int, *, is_tls: bool, trusted: ssl.SSLContext | None = None) -> list[str]:
    """Ask for a token and for a connection; return what to do about each, without its name."""
    suffix = "s" if is_tls else ""
    config = SessionConfig(
        avatar_id="a",
        api_key="k",
        app_id="a",
        console_endpoint_url=f"http{suffix}://127.0.0.1:{port}/v1",
        ingress_endpoint_url=f"ws{suffix}://127.0.0.1:{port}/v1",
        ssl_context=trusted,
        token_request_timeout=5.0,
        connect_timeout=5.0,
    )
    session = AvatarSession(config, console=WithToken())
    await session.init()
    sentences = []
    async with ConsoleClient() as client:
        for attempt in (client.request_token(config), session.start()):
            with pytest.raises(AvatarSDKError) as caught:
                await attempt
            assert not caught.value.message.endswith(": ")
            sentences.append(advice(caught.value))
    assert "AVATAR_INGRESS_ENDPOINT" not in sentences[0]
    assert "AVATAR_CONSOLE_ENDPOINT" not in sentences[1]
    return [re.sub("AVATAR_[A-Z]+_ENDPOINT", "it", sentence) for sentence in sentences]


@pytest.mark.parametrize(
    ("names", "options", "is_trusted", "expected"),
    [
        (["127.0.0.1"], {}, False, "Name the authority of it in SSL_CERT_FILE"),
        (["other.example"], {}, True, "Check the host in it: the certificate"),
        (["127.0.0.1"], {"not_after": NOW - DAY}, True, "no longer valid by it"),
        (["127.0.0.1"], {"not_before": NOW + DAY}, True, "not valid yet by it"),
    ],
)
async def test_a_certificate_that_is_not_accepted_says_why(
    tmp_path: Path, names: list[str], options: dict[str, object], is_trusted: bool, expected: str
):
    authority = Authority(tmp_path)
    trusted = authority.trusting() if is_trusted else None
    async with peer(hangs_up, authority.serving(*names, **options)) as port:
        for sentence in await advised(port, is_tls=True, trusted=trusted):
            assert expected in sentence
            if options:
                assert sentence.startswith(f"Check this machine's clock, which says {NOW:%Y-%m-%d}")


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad\r\n\r\n", b"SSH-2.0-nothing\r\n"])
async def test_tls_on_a_plain_port_is_told(answer: bytes):
    async with peer(says(answer)) as port:
        for sentence in await advised(port, is_tls=True):
            assert sentence.startswith("Check the scheme and port of it: no TLS is spoken there")


@pytest.mark.parametrize("answer", [NGINX, GO], ids=["nginx", "Go"])
async def test_plain_text_on_a_tls_port_that_says_so_is_told(answer: bytes):
    async with peer(says(answer)) as port:
        for sentence in await advised(port, is_tls=False):
            assert sentence.startswith(
                ("Write https:// or wss:// in it", "Check the scheme and port")
            )
            assert "TLS" in sentence


@pytest.mark.parametrize("is_tls_there", [True, False])
async def test_a_peer_that_hangs_up_may_be_of_the_other_kind(is_tls_there: bool, tmp_path: Path):
    tls = Authority(tmp_path).serving("127.0.0.1") if is_tls_there else None
    async with peer(hangs_up, tls) as port:
        for sentence in await advised(port, is_tls=not is_tls_there):
            assert sentence.startswith("Check the scheme and port of it: what listens there")


async def test_a_page_where_the_console_should_be_is_told():
    page = b"HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\npage"
    async with peer(says(page)) as port:
        for sentence in await advised(port, is_tls=False):
            assert sentence == "Check the path of it: nothing answers there."


@pytest.mark.parametrize("status", [200, 301, 400, 404, 405, 426])
async def test_what_is_no_ingress_at_its_path_is_told(status: int):
    page = f"HTTP/1.1 {status} Something\r\nContent-Length: 4\r\n\r\npage".encode()
    async with peer(says(page)) as port:
        _, sentence = await advised(port, is_tls=False)
        assert sentence == "Check the path of it: nothing answers there."
