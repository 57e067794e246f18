"""A pool belongs to one event loop, in one process and one thread."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from threading import Event, Thread

import pytest
from clock import VirtualClockLoop, run_virtual
from scripted import Script, hold, new_pool

from avatarpool import PoolError


def test_a_pool_in_a_forked_process_says_so():
    program = Path(__file__).with_name("forked_pool.py")
    done = subprocess.run(  # noqa: S603
        [sys.executable, str(program)], capture_output=True, text=True, timeout=50, check=False
    )
    assert done.stderr == ""
    says_so = "pool 'eu' belongs to another event loop or process: "
    child, child_with_a_loop, parent = done.stdout.splitlines()
    assert child.startswith(f"child: {says_so}")
    assert child_with_a_loop.startswith(f"child of its own loop: {says_so}")
    assert parent == "parent: served"
    assert done.returncode == 0


def test_a_pool_of_another_event_loop_says_so():
    pool = new_pool(Script(), 1, name="eu")
    loop = VirtualClockLoop()
    loop.run_until_complete(pool.initialize())
    with pytest.raises(PoolError, match="'eu' belongs to another event loop or process"):
        run_virtual(hold(pool, 0.0))

    with pytest.raises(PoolError, match="'eu' belongs to another event loop or process"):
        run_virtual(pool.close())
    assert pool.total_count == 1
    loop.run_until_complete(pool.close())
    loop.close()


def test_a_pool_whose_loop_has_moved_to_another_thread_lends_nothing_in_the_first():
    is_inside, may_go_on = Event(), Event()

    async def block() -> None:
        is_inside.set()
        may_go_on.wait(10.0)

    pool = new_pool(Script(), 1, name="eu")
    loop = asyncio.new_event_loop()
    loop.run_until_complete(pool.initialize())
    thread = Thread(target=loop.run_until_complete, args=(block(),))
    thread.start()
    try:
        assert is_inside.wait(10.0)
        with pytest.raises(PoolError, match="'eu' belongs to another event loop or process"):
            run_virtual(hold(pool, 0.0))
    finally:
        may_go_on.set()
        thread.join()
        loop.run_until_complete(pool.close())
        loop.close()
