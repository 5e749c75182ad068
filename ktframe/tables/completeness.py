"""What a read says of the records and rows that it lacks: a warning, once for each cause, or an error."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock
from typing import Final, NamedTuple

from ktframe.call_site import CallSite, call_site
from ktframe.config.settings import ReadPolicy
from ktframe.errors import IncompleteError, KtframeWarning, StaleRowsError
from ktframe.fold.records import Cause
from ktframe.fold.refused import cause_name
from ktframe.sync.missing import Missing, counted, were

_MOST_CAUSES: Final = 3
_GROWTH: Final = 10
_deferred: ContextVar[list[Callable[[CallSite], None]] | None] = ContextVar("deferred", default=None)


class Notice(NamedTuple):
    """What is said of rows once: by which name it is remembered, the fact, and the hint."""

    cause: str
    fact: str
    hint: str


class Completeness:
    """Says what is missing from the rows of one table; any thread may call it."""

    def __init__(self, name: str, policy: ReadPolicy) -> None:
        self.name = name
        self.policy = policy
        self._said: dict[str, float] = {}
        """The share of the records, or rows, that each cause had when it was last said."""
        self._lock = Lock()

    def check(self, missing: Missing, notices: Iterable[Notice]) -> None:
        """Raise or warn, in the user's line, if anything is missing, or there are ``notices``.

        Raises
        ------
        StaleRowsError
            When rows are stale, and these are to raise.
        IncompleteError
            When all records were refused for one cause, or some were, and these are to raise.
        """
        policy = self.policy
        if missing.stale and policy.stale == "raise":
            raise StaleRowsError(*self._stale_error(missing), missing.refused, missing.records)
        is_one_cause = missing.are_all_refused and len(missing.causes) == 1
        if missing.refused and (
            policy.on_refused == "raise" or (is_one_cause and policy.on_refused == "warn")
        ):
            raise IncompleteError(*self._refused_error(missing), missing.refused, missing.records)
        if policy.on_refused == "ignore":
            return
        shares = {
            cause_name(cause.reason): cause.records / max(missing.records, 1) for cause in missing.causes
        }
        if missing.stale:
            shares["stale rows"] = missing.stale / max(missing.records, 1)
        if self._is_news(shares):
            self._say(self._warning(missing), shares)
        for notice in notices:
            share = {notice.cause: 1.0}
            if self._is_news(share):
                self._say(f"{notice.fact}\nHint: {notice.hint}", share)

    def _is_news(self, shares: dict[str, float]) -> bool:
        with self._lock:
            return any(
                name not in self._said or share >= _GROWTH * self._said[name]
                for name, share in shares.items()
            )

    def _say(self, text: str, shares: dict[str, float]) -> None:
        def warn(site: CallSite) -> None:
            if not self._is_news(shares):
                return  # another read has said it meanwhile
            site.warn(KtframeWarning(text))
            with self._lock:  # only now: where warnings are errors, the next read raises again
                self._said |= shares

        later = _deferred.get()
        if later is None:
            warn(call_site())
        else:
            later.append(warn)

    # --- texts ----------------------------------------------------------------------------------------------------

    def _warning(self, missing: Missing) -> str:
        lines = [self._refused_text(missing)] if missing.refused else []
        lines += [self._stale_text(missing)] if missing.stale else []
        lines.append(
            f'Hint: {missing.hint} errors(by="reason") tells more; on_refused="ignore" ends this warning.'
        )
        return "\n".join(lines)

    def _refused_text(self, missing: Missing) -> str:
        refused = f"{missing.refused:,} of {counted(missing.records, 'record')} of {self.name}"
        if missing.are_all_refused:
            all_of = "the only record" if missing.refused == 1 else f"all {missing.refused:,} records"
            refused = f"{all_of} of {self.name}"
        return f"{refused} {were(missing.refused)} refused and {_are(missing.refused)} not in these rows:\n{_causes(missing)}"

    def _stale_text(self, missing: Missing) -> str:
        rows = counted(missing.stale, "row")
        if self.policy.stale == "show":
            verb = "shows" if missing.stale == 1 else "show"
            return f'{rows} {verb} an older record, because the newest was refused; stale="hide" leaves them out.'
        return (
            f"{rows} {_are(missing.stale)} hidden, because the newest record was refused: errors(stale=True) "
            'lists them, stale="show" shows the older records.'
        )

    def _refused_error(self, missing: Missing) -> tuple[str, str]:
        hint = f'{missing.hint} on_refused="ignore" gives the frame as it is; errors(by="reason") tells more.'
        return self._refused_text(missing), hint

    def _stale_error(self, missing: Missing) -> tuple[str, str]:
        rows = counted(missing.stale, "row")
        fact = f"the newest record of {rows} of {self.name} was refused:\n{_causes(missing)}"
        return fact, f'{missing.hint} errors(stale=True) lists the rows, stale="hide" leaves them out.'


def _are(number: int) -> str:
    return "is" if number == 1 else "are"


def _causes(missing: Missing) -> str:
    causes = missing.causes
    lines = [f"  {cause.records:,}: {cause.reason} ({_place(cause)})" for cause in causes[:_MOST_CAUSES]]
    rest = sum(cause.records for cause in causes[_MOST_CAUSES:])
    return "\n".join([*lines, *([f"  {rest:,}: other reasons"] if rest else [])])


def _place(cause: Cause) -> str:
    partition, offset = cause.first
    return f"first at partition {partition}, offset {offset}"


@contextmanager
def deferred_to(site: CallSite) -> Iterator[None]:
    """Issue the warnings of reads on other threads here, at the end, for the line ``site``.

    Threads that are started within, with a copy of the context, hand theirs over.
    """
    warns: list[Callable[[CallSite], None]] = []
    token = _deferred.set(warns)
    try:
        yield
    finally:
        _deferred.reset(token)
    for warn in warns:
        warn(site)
