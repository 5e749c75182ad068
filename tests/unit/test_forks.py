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
import multiprocessing, os, signal, sys, threading, time, warnings
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
        signal.alarm(40)  # a child that hangs is ended; a thread that watched would keep it from ending by itself
        work()
        sys.exit(7)
    code = code_of(child)
    assert code == 7, f"the child ended with {code}"

def code_of(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
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
                assert "threads that these need are not in it" in refused(use)
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


@pytest.mark.parametrize(
    ("ending", "code"), [("sys.exit(7)", 7), ("pass", 0), ("sys.stderr = None; 1 / 0", 1)]
)
def test_a_process_that_a_callback_forks_off_ends_with_it(ending: str, code: int) -> None:
    """The thread that it is does not go on to read the topic and to write the store of its parent."""
    printed = run(f"""
        kt = ktframe.demo(rate=20)
        orders = ktframe.table("orders")
        codes = []

        def fork(_):
            if not codes:
                child = os.fork()
                if child == 0:
                    signal.alarm(40)
                    print("it was forked off")
                    {ending}
                else:
                    codes.append(code_of(child))

        orders.on_change(fork)
        orders.to_polars()
        deadline = time.monotonic() + 60
        while not codes and time.monotonic() < deadline:
            time.sleep(0.01)  # callbacks run after waiting reads were told
        assert codes == [{code}], codes
        assert orders.to_polars().height > 5000
        kt.close()
    """)
    assert printed == "it was forked off\n"


def test_a_handler_of_signals_that_forks_during_a_read_is_not_waited_for() -> None:
    """In the child nobody reads: the read raises there, and goes on in the parent."""
    run("""
        broker = FakeBroker()
        broker.produce("t", "a", {"n": 1})
        kt = broker.connect()
        table = kt.table("t")
        table.to_polars()
        broker.hold()
        broker.produce("t", "b", {"n": 2})
        parent, children = os.getpid(), []

        def fork(*_):
            children.append(os.fork())
            if children == [0]:
                signal.alarm(40)
            else:
                broker.release()

        signal.signal(signal.SIGUSR1, fork)
        threading.Timer(0.2, lambda: os.kill(parent, signal.SIGUSR1)).start()
        try:
            assert table.to_polars().height == 2
        except ktframe.ForkedError:
            os._exit(7 if children == [0] else 1)
        assert code_of(children[0]) == 7
        kt.close()
    """)


def test_a_process_that_is_forked_off_on_a_thread_ends_with_its_thread() -> None:
    """There Python waits for every other thread, and ours would wait a minute for more work."""
    run("""
        kt = ktframe.demo(rate=20)
        orders = ktframe.table("orders")
        orders.to_polars()
        codes = []

        def fork():
            child = os.fork()
            if child == 0:
                signal.alarm(40)
                refused(orders.to_polars)
            else:
                codes.append(code_of(child))

        thread = threading.Thread(target=fork)
        thread.start()
        thread.join()
        assert codes == [0], codes
        kt.close()
    """)


@pytest.mark.parametrize("seen", [True, False])
def test_a_fork_of_a_process_that_has_used_polars_is_told_so(*, seen: bool) -> None:
    """Its threads are missing as well when the user's own code has started them, whether the system tells of them or not."""
    run(f"""
        import polars as pl
        from ktframe.process import forks
        pl.DataFrame({{"a": range(10)}}).lazy().filter(pl.col("a") > 3).collect()
        if not {seen}:
            forks._polars_runs = bool
            forks._POLARS_SECONDS = 1.0
        elif not forks._polars_runs():
            assert sys.platform != "linux"
        check_child(lambda: refused(ktframe.demo))
    """)


def test_locks_of_panels_and_of_completion_that_were_held_at_the_fork_are_free() -> None:
    """A forked process has no panel to close at its exit, and offers the topics of its own connection."""
    run("""
        from ktframe.context import completion
        from ktframe.widgets.open_panels import PANELS
        are_held = threading.Event()

        def hold():
            with PANELS._lock, completion._topics._lock:
                are_held.set()
                time.sleep(600)

        threading.Thread(target=hold, daemon=True).start()
        assert are_held.wait(60)

        def work():
            PANELS.close()
            with ktframe.demo(rate=0) as kt:
                assert "orders" in completion._topics.known(kt)

        check_child(work)
    """)


def test_what_has_an_owner_is_not_sent_to_another_process() -> None:
    """Pools that start new processes pickle what they are given: the error says what can be sent instead."""
    run("""
        import pickle
        kt = ktframe.demo(rate=0)
        orders = ktframe.table("orders")
        for thing in (orders, orders.window(5), ktframe.stream("clicks"), ktframe.stream("clicks").last("1h"), kt):
            try:
                pickle.dumps(thing)
            except pickle.PicklingError as error:
                assert "can't be sent to another process: send a frame of its rows" in str(error)
            else:
                raise AssertionError(thing)
        assert pickle.loads(pickle.dumps(orders.to_polars())).equals(orders.to_polars())
        kt.close()
    """)
