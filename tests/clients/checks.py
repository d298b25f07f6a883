"""Owns what a check is: a name, something that is tried, and a sentence when it is not so."""

import asyncio
import inspect
import signal
import time

SECONDS_MAX = 120

ALL = []


class Failed(Exception):
    """What was expected and what was seen."""


def check(name):
    """Marks a function, plain or async, that is handed the stage."""

    def mark(function):
        ALL.append((name, function))
        return function

    return mark


def expect(what, seen, expected):
    """Fails unless both are the same."""
    if seen != expected:
        raise Failed(f"{what}: expected {short(expected)}, saw {short(seen)}")


def expect_that(holds, what, seen=None):
    """Fails unless it holds."""
    if not holds:
        raise Failed(what if seen is None else f"{what}; saw {short(seen)}")


def clipped(text, most=1000):
    return text if len(text) <= most else f"{text[:most]}... ({len(text)} characters)"


def short(value):
    return clipped(repr(value), 300)


def wait_for(what, condition, seconds=20):
    """Waits until the condition gives something true, and gives it back."""
    patience = time.monotonic() + seconds
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > patience:
            raise Failed(f"waited {seconds} s in vain for {what}")
        time.sleep(0.01)


async def wait_for_async(what, condition, seconds=20):
    """The same for a condition that awaits."""
    patience = time.monotonic() + seconds
    while True:
        found = await condition()
        if found:
            return found
        if time.monotonic() > patience:
            raise Failed(f"waited {seconds} s in vain for {what}")
        await asyncio.sleep(0.01)


def too_late(_signal, _frame):
    raise Failed(f"took more than {SECONDS_MAX} s")


def run(stage, words):
    """Runs what the words choose; gives back how many did not hold."""
    signal.signal(signal.SIGALRM, too_late)
    chosen = [(n, f) for n, f in ALL if all(word.lower() in n.lower() for word in words)]
    failed = 0
    for name, function in chosen:
        start = time.monotonic()
        signal.alarm(SECONDS_MAX)
        try:
            outcome = function(stage)
            if inspect.iscoroutine(outcome):
                outcome = asyncio.run(outcome)
            word, why = "ok    ", f" ({outcome})" if outcome else ""
        except Exception as error:  # Whatever a client raises is a finding.
            failed += 1
            kind = "" if isinstance(error, Failed) else f"{type(error).__name__}: "
            word, why = "FAILED", f": {kind}{clipped(str(error))}"
        finally:
            signal.alarm(0)
        print(f"{word} {name}{why} [{time.monotonic() - start:.2f} s]", flush=True)
        if stage.fell():
            print("FAILED the proxy has ended; its log:\n" + stage.log(), flush=True)
            return failed + 1
    print(f"clients: {len(chosen) - failed} of {len(chosen)} checks hold", flush=True)
    return failed
