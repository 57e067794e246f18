"""Puts one client through every case and prints what it gave, as JSON.

Run as ``python -W error judge.py NAME SHELL``, or ``javascript=DIRECTORY``: the official
packages register the same protobuf file and cannot be imported together, so each judges
in a process of its own, next to the service that it judges. What a client gave is told
as plain facts; what it should have given stands in test_judges.py.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import traceback

import case_misuse  # noqa: F401  # registers its cases
import case_refusals  # noqa: F401  # registers its cases
import case_requests  # noqa: F401  # registers its cases
from judging import CASES, DEADLINE, Facts, Judge, NotExpressible


async def judge(client: str, shell: str) -> dict[str, Facts]:
    """Run the cases one after another: what they give must not depend on load."""
    the_judge = Judge(client, shell)
    # A gateway tells its operator of what it cannot open; the clients' errors are judged here.
    logging.getLogger("avatarpool.pool").setLevel(logging.ERROR)
    given = {}
    for name, run in CASES.items():
        try:
            async with asyncio.timeout(DEADLINE):
                given[name] = await run(the_judge)
        except NotExpressible:
            given[name] = {"not_expressible": True}
        except Exception:  # noqa: BLE001  # told to the test of this case alone
            given[name] = {"failed": traceback.format_exc()}
    await the_judge.close()
    return given


if __name__ == "__main__":
    json.dump(asyncio.run(judge(*sys.argv[1:])), sys.stdout)
