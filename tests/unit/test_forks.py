"""Forked processes: what their parent has made is refused at once, never waits, and is not destroyed at their exit.

Each test is a program of its own: what a fork copies must be what a user's program has, not what the tests have.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here"),
]

HEAD = """
import faulthandler, multiprocessing, os, sys, threading, time, warnings
from concurrent.futures import ProcessPoolExecutor
import ktframe
from ktframe.testing import FakeBroker

warnings.simplefilter("ignore")

def refused(use):
    try:
        use()
    except ktframe.ForkedError as error:
        return str(error)
    raise AssertionError("it was not refused")

def check_child(work):
    "Run work in a forked process, which then ends as a program does, with 7."
    child = os.fork()
    if child == 0:
        faulthandler.dump_traceback_later(40, exit=True)  # a child that hangs says where
        work()
        sys.exit(7)
    status = os.waitpid(child, 0)[1]
    code = os.waitstatus_to_exitcode(status)
    assert code == 7, f"the child ended with {code}"
"""


def run(program: str) -> str:
    """Run a program and return what it prints."""
    command = [sys.executable, "-c", HEAD + textwrap.dedent(program)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def test_what_was_made_before_a_fork_is_refused_in_it() -> None:
    """Every use of tables, windows, streams and the connection raises at once; closing does nothing; the parent reads on."""
    run("""
        kt = ktframe.demo(rate=0, writable=True)
        orders, clicks = ktframe.table("orders"), ktframe.stream("clicks")
        windows, scratch = orders.window(5), ktframe.table("scratch")
        rows = orders.to_polars().height
        for each in (windows, clicks, scratch):
            each.to_polars()
        scratch.put({"key": "k", "a": 1})

        def work():
            uses = [use for each in (orders, windows, clicks, scratch) for use in (
                each.to_polars, each.readiness, each.status, each.position, each.wait_until_ready, each.relearn,
                each.errors, each.lazy, lambda e=each: repr(e), lambda e=each: len(e), lambda e=each: e.schema,
                lambda e=each: e.on_change(print), each._repr_html_, lambda e=each: e.to_polars(fresh=False))]
            uses += [lambda: orders.get("x"), lambda: orders.window(15), lambda: list(orders.items()),
                lambda: scratch.put({"key": "k", "a": 1}), lambda: scratch.delete("k"),
                lambda: ktframe.publish("scratch", [{"a": 1}])]
            uses += [lambda: ktframe.table("orders"), lambda: ktframe.stream("clicks"), ktframe.topics,
                lambda: ktframe.inspect("orders"), kt.tables, lambda: repr(kt), lambda: kt.configure(monitor_interval=1)]
            for use in uses:
                text = refused(use)
                assert "Hint: start processes by the method \\"spawn\\"" in text, text
            for use in (ktframe.demo, lambda: FakeBroker().connect()):
                assert "the threads of Polars and RocksDB are not in it" in refused(use)
            orders.close(); clicks.close(); kt.close()

        check_child(work)
        check_child(lambda: None)
        assert orders.to_polars().height == rows
        assert orders.window(5).to_polars().height > 0
        kt.close()
    """)


def test_a_forked_process_may_connect_again_where_nothing_was_read() -> None:
    """As the hint says: a parent that has connected, and read nothing, leaves a child that connects and reads."""
    run("""
        kt = ktframe.demo(rate=0)
        orders = ktframe.table("orders")

        def work():
            assert "or call ktframe.connect(...) again in this one" in refused(orders.to_polars)
            with ktframe.demo(rate=0) as own:
                assert own is not kt
                assert ktframe.table("orders").to_polars().height > 5000

        check_child(work)
        assert orders.to_polars().height > 5000
        kt.close()
    """)


def test_pools_of_processes_get_the_error() -> None:
    """Workers of ``multiprocessing`` and ``concurrent.futures`` that were forked say so."""
    printed = run("""
        kt = ktframe.demo(rate=0)
        orders = ktframe.table("orders")
        orders.to_polars()

        def height(_):
            return orders.to_polars().height

        context = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(2, mp_context=context) as pool:
            for found in [pool.submit(height, number) for number in range(4)]:
                refused(found.result)
        with context.Pool(2) as pool:
            refused(lambda: pool.map(height, range(4)))
        worker = context.Process(target=lambda: print(refused(orders.to_polars), flush=True))
        worker.start()
        worker.join(60)
        assert worker.exitcode == 0
        kt.close()
    """)
    assert "belongs to the process that this one was forked off" in printed or "can't be used" in printed


def test_locks_that_were_held_at_the_fork_hold_nothing_up() -> None:
    """Forked at any moment of busy threads, a child gets its error and ends."""
    run("""
        broker = FakeBroker()
        broker.produce("t", "a", {"n": 1})
        kt = broker.connect()
        table = kt.table("t")
        table.to_polars()
        ktframe._connect.CURRENT.connection = kt
        stop = threading.Event()

        def busy():
            number = 0
            while not stop.is_set():
                number += 1
                broker.produce("t", "a", {"n": number})
                ktframe.table("t").to_polars()
                repr(table), table.status(), kt.tables()

        threads = [threading.Thread(target=busy) for _ in range(3)]
        for thread in threads:
            thread.start()

        def work():
            for use in (table.to_polars, lambda: ktframe.table("t"), lambda: repr(table), kt.tables, ktframe.demo):
                refused(use)
            table.close(); kt.close()

        for _ in range(15):
            check_child(work)
        stop.set()
        for thread in threads:
            thread.join()
        kt.close()
    """)
