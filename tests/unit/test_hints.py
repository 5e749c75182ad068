"""Every hint in the code is followed by a test, which sees it work; the ``test_hints_*`` files hold these, by room.

Whoever adds a hint adds the test that follows it: provoke it as a user would, take the code out of its text, run that.
"""

from __future__ import annotations

import ast
from collections import Counter
from pathlib import Path

import pytest
from support.hints import Hint, hints, hints_of

TESTS = Path(__file__).parent.parent

NOT_HINTS: dict[Hint, str] = {
    Hint("__main__.py", text): "printed by the tour, beside the result of that call"
    for text in (
        "What could not be read is kept, never dropped: orders.errors()",
        'orders.window(5): the latest row per order per five minutes; .agg(..., by="region")',
        'orders.window("1h", every="5m"): made of the same windows, nothing is read again',
        'ktframe.stream("clicks", start="-2h").session("30m", by="user_id"): visits of the last two hours',
    )
} | {
    Hint("config/sources.py", "the first argument and bootstrap="): "part of a fact",
    Hint("windows/aggregation.py", "by={}"): "part of a fact",
    Hint("fold/refused.py", "other reasons"): "what is not named any more",
    Hint("tables/named_fields.py", "{}={}: no record of {} has a field of that name."): "a fact",
    Hint("tables/named_fields.py", "where= names {}: no record of {} has a field of that name."): "a fact",
    Hint("tables/named_fields.py", "where= names {}: no record of {} has a header of that name."): "a fact",
    Hint("sync/status.py", "where= has left out {}"): "a fact",
    Hint("store/errors.py", "it can't be closed: after {} s it is still used by {}."): "a fact",
    **{
        Hint("explore/additions.py", text): "an argument that test_topics_zoo runs"
        for text in ('times="auto"', 'unnest={"{}": "{}"}', "headers={{}}")
    },
    Hint("sync/relearning.py", "relearn() was called"): "why a topic is read again",
    Hint("sync/resume.py", "start= has moved on to {}, the store ends at {}"): "why a store is built again",
    Hint("sync/resume.py", "start= is at {} now, the stored rows begin at {}"): "why a store is built again",
}
"""Texts that name an argument or a call without saying what to do."""

_RIGHTS = "rights of a user are a real cluster's"

NOT_FOLLOWED: dict[Hint, tuple[str, str]] = {
    Hint(
        "errors.py",
        "check sasl.mechanism, sasl.username and sasl.password (or the certificate) of this profile.",
    ): (
        _RIGHTS,
        "integration/test_bad_input.py::test_wrong_password",
    ),
    Hint(
        "errors.py",
        "ask for READ and DESCRIBE on the topic; reading needs no consumer group and no other right.",
    ): (
        _RIGHTS,
        "integration/test_bad_input.py::test_right_to_read_is_enough",
    ),
    Hint(
        "errors.py",
        "ask for WRITE and DESCRIBE on the topic (before Kafka 2.8 also for IDEMPOTENT_WRITE on the cluster); "
        'an atomic write needs WRITE and DESCRIBE on transactional ids with the prefix "ktframe-" as well.',
    ): (_RIGHTS, "integration/test_writer_refusals_kafka.py::test_transactions_need_a_right_of_their_own"),
    Hint(
        "errors.py",
        "have the disks of the brokers checked; start= at a later moment reads what came after them.",
    ): ("a disk is a real broker's", "inputs/test_resume.py::test_a_damaged_batch_is_not_shown"),
    Hint("process/forks.py", "{}, or call ktframe.connect(...) again in this one."): (
        "these tests are not to be forked",
        "unit/test_forks.py::test_a_forked_process_may_connect_again_where_nothing_was_read",
    ),
    Hint("store/errors.py", "make the same call again: it waits for that thread once more."): (
        "no user can hold a call of RocksDB up",
        "unit/test_store_manager.py::test_a_thread_that_does_not_leave_a_store_is_named",
    ),
    Hint("errors.py", "names are case-sensitive; ask for DESCRIBE on the topic if it should be there."): (
        _RIGHTS,
        "integration/test_bad_input.py::test_forbidden_topic",
    ),
}
"""Hints that these tests can't follow: why, and which test shows the same, as ``file::function``, where one does."""


def _named_by_tests() -> list[Hint]:
    """Return the hints that tests name, read from their code."""
    trees = [ast.parse(path.read_text()) for path in sorted(TESTS.rglob("test_hints_*.py"))]
    return [
        Hint(*(ast.literal_eval(each) for each in node.args))
        for tree in trees
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Hint"
    ]


@pytest.mark.slow
def test_every_hint_is_followed() -> None:
    """No hint in the code is without a test that follows it, or a reason why none can."""
    known = {*_named_by_tests(), *NOT_FOLLOWED, *NOT_HINTS}
    assert sorted(hints() - known) == []


def test_no_hint_is_followed_that_is_gone() -> None:
    """Tests and tables name only hints that are in the code, and the tables none that a test follows."""
    named = Counter([*set(_named_by_tests()), *NOT_FOLLOWED, *NOT_HINTS])
    assert sorted(set(named) - hints()) == []
    assert [hint for hint, times in named.items() if times > 1] == []


@pytest.mark.parametrize("test", sorted({test for _, test in NOT_FOLLOWED.values() if test}))
def test_the_tests_that_stand_in_exist(test: str) -> None:
    """A test that shows what a hint says is there under its name."""
    path, _, name = test.partition("::")
    functions = {
        node.name
        for node in ast.walk(ast.parse((TESTS / path).read_text()))
        if isinstance(node, ast.FunctionDef)
    }
    assert name in functions


ERRORS = """
class ConfigurationError(Exception):
    message: str
    hint: str | None = None

class SchemaError(ConfigurationError):
    pass

def did_you_mean(names):
    return f"did you mean {names}?" if names else None
"""

NEW_CODE = '''
from ktframe.errors import ConfigurationError, SchemaError, did_you_mean

_HELP = "read the manual."

class Reader:
    """Docstrings name value="json" freely."""

    @property
    def hint(self):
        return "open it again." if self.name else _other(self.name)

    def read(self, name):
        message = f"key={name!r} is wrong."
        raise SchemaError(message, f"leave {name} out.")

    def check(self, names):
        raise ConfigurationError("no such thing.", did_you_mean(names) or _HELP)

    def both(self):
        raise ConfigurationError(*self._pair())

    def _pair(self):
        return "it is so.", "do it so."

    def refuse(self, name):
        return Refusal(f"{name} bytes: pass value={name!r}")

def _other(name):
    advice = "turn it round."
    return advice + "!"

def _say(hint):
    print(hint)

_say(hint="sit down.")
_say("stand up.")
reason, hint = 1, "run away."
'''


def test_whatever_way_a_hint_is_made_it_is_found() -> None:
    """Arguments, properties, constants, functions, pairs and reasons of the code are read; facts and docstrings not."""
    found = {
        hint.text for hint in hints_of({"errors.py": ERRORS, "new.py": NEW_CODE}) if hint.module == "new.py"
    }
    assert found == {
        "read the manual.",
        "open it again.",
        "turn it round.",
        "leave {} out.",
        "did you mean {}?",
        "do it so.",
        "{} bytes: pass value={}",
        "sit down.",
        "stand up.",
        "run away.",
    }
