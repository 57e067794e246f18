"""What leaves for one client, until it is cut: in order, and without a hole."""

from __future__ import annotations

from raw_upgrades import met

from avatarpool.endpoint.roster import Counts
from avatarpool.gateway.writing import Onward


async def test_nothing_leaves_for_a_client_that_was_cut(shell):
    async with met(shell) as peer:
        (connection,) = shell.gateway.ingress._downstreams
        onward = Onward(connection.writing, Counts())
        onward.exchange(b"", cut=0)
        onward.send(b"the first", is_alone=True)
        await peer.until(lambda: peer._heard.endswith(b"the first"))
        shell.gateway.ingress.cut()
        # In the same turn of the event loop, as they come in one read.
        onward.send(b"the second", is_alone=False)
        connection.writing.flush()
        onward.send(b"the third", is_alone=True)
        await peer.until(lambda: peer.is_gone)
        assert peer._heard.endswith(b"the first")
