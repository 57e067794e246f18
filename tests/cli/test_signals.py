"""Signals as the cancellation of one block."""

import asyncio
import signal

import pytest

from avatarpool.cli.signals import Interruptible


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_cancels_the_block_and_nothing_after_it(number):
    cleaned_up = False
    async with Interruptible() as scope:
        signal.raise_signal(number)
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            await asyncio.sleep(0)  # closing may wait, as in any cancellation
            cleaned_up = True
    assert scope.was_interrupted
    assert cleaned_up
    await asyncio.sleep(0)
    assert asyncio.current_task().cancelling() == 0


async def test_a_second_signal_while_closing_meets_the_handlers_from_before():
    before = signal.getsignal(signal.SIGINT)
    async with Interruptible():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_the_first_signal_after_a_block_that_is_told_of_passes(number):
    before = signal.getsignal(number)
    async with Interruptible(is_told=True) as scope:
        await asyncio.sleep(0)
    signal.raise_signal(number)
    await asyncio.sleep(0)
    assert not scope.was_interrupted
    assert signal.getsignal(number) is before


async def test_a_block_that_ends_by_itself_was_not_interrupted():
    async with Interruptible() as scope:
        await asyncio.sleep(0)
    assert not scope.was_interrupted


async def test_a_cancellation_from_elsewhere_is_passed_on():
    entered = asyncio.Event()

    async def block():
        async with Interruptible():
            entered.set()
            await asyncio.get_running_loop().create_future()

    task = asyncio.create_task(block())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_signal_beside_a_cancellation_from_elsewhere_does_not_hide_it():
    entered = asyncio.Event()

    async def block():
        async with Interruptible():
            entered.set()
            await asyncio.get_running_loop().create_future()

    task = asyncio.create_task(block())
    await entered.wait()
    signal.raise_signal(signal.SIGINT)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_error_of_the_block_is_passed_on_although_a_signal_came():
    async def block():
        async with Interruptible():
            signal.raise_signal(signal.SIGINT)
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        await block()
