"""The HTML of panels: everything that comes from Kafka or a user is escaped here, and nowhere else.

Colours are those of the page where it has any, so that light and dark themes fit; a state is never told by its
colour alone. Badge and chart colours are told apart by colour-blind people (Okabe and Ito, "Color Universal Design").
"""

from __future__ import annotations

import html
from collections.abc import Collection, Iterable, Sequence
from typing import Final

import polars as pl

from ktframe.events import BindingState
from ktframe.sync import progress
from ktframe.sync.monitor import Readiness

_STYLE: Final = """<style>
.ktf,.ktf-note{font:13px/1.5 var(--jp-ui-font-family,system-ui,sans-serif);color:var(--jp-ui-font-color1,inherit)}
.ktf{max-width:100%;overflow-x:auto}
.widget-html-content:has(> .ktf){min-width:0}
.ktf-badge{color:#fff;border-radius:9px;padding:1px 9px;font-weight:600;white-space:nowrap}
.ktf-facts{display:flex;flex-wrap:wrap;gap:2px 18px;margin:4px 0}
.ktf-facts span span{opacity:.75;margin-right:5px}
.ktf.ktf table{border-collapse:collapse;margin:4px 0;font-size:12px}
.ktf.ktf th,.ktf.ktf td{text-align:left;padding:2px 9px;border-bottom:1px solid rgba(128,128,128,.35);white-space:pre;max-width:18em;overflow:hidden;text-overflow:ellipsis}
.ktf th small{font-weight:400;opacity:.7;display:block;overflow:hidden;text-overflow:ellipsis}
.ktf.ktf td.n,.ktf.ktf th.n{text-align:right;font-variant-numeric:tabular-nums}
.ktf.ktf tr.changed td{background:rgba(86,180,233,.28)}
.ktf.ktf tr.open td:first-child{border-left:3px dashed #b35900}
.ktf progress{width:16em;vertical-align:middle}
.ktf-note{opacity:.8;margin:2px 0}
.ktf-bad{border-left:3px solid #b3261e;padding-left:8px;margin:4px 0}
</style>"""

_NO_MATHS: Final = "mathjax_ignore tex2jax_ignore"
"""What MathJax leaves alone, 3 and 2: notebooks and their exports would set "$5 to $6" as a formula."""

_BADGES: Final = {
    BindingState.CREATED: ("○", "#5f6368", "not started"),
    BindingState.RESTORING: ("◔", "#0061a8", "restoring"),
    BindingState.READY: ("●", "#00735c", "ready"),
    BindingState.LAGGING: ("◑", "#b35900", "behind"),
    BindingState.BACKING_OFF: ("↻", "#b35900", "recovering"),
    BindingState.FAILED: ("✕", "#b3261e", "failed"),
    BindingState.STOPPED: ("■", "#5f6368", "closed"),
}

_HOUR, _DAY = 3600, 86400
_MOST_CHARACTERS: Final = 200


def escape(text: object) -> str:
    """Return text as HTML shows it."""
    return html.escape(str(text))


def page(*parts: str) -> str:
    """Return the parts, which are HTML, as one page in the notebook's style."""
    return f'{_STYLE}<div class="ktf {_NO_MATHS}">{"".join(parts)}</div>'


def kept(html_page: str, name: str) -> str:
    """Return a page as it stays in a saved notebook: out of sight while the panel of that name is live.

    A front end shows an error in the place of a widget that is gone, and none of the output's other types. So what
    stays is an output of its own, and it hides the place before it where that shows no panel.
    """
    # Of this very output: an ipywidgets.Output, which has outputs inside, is not meant.
    empty = (
        f".jp-OutputArea-child:not(:has(.ktf)):has(+ .jp-OutputArea-child > .jp-OutputArea-output > .{name})"
    )
    return f'<style>{empty}{{display:none}}</style><div class="{name}">{html_page}</div>'


def hiding(name: str) -> str:
    """Return what takes the page that is kept under that name out of sight."""
    output = f".jp-OutputArea-child:has(> .jp-OutputArea-output > .{name})"
    return f"<style>.{name},{output}{{display:none}}</style>"


def badge(state: BindingState, *, is_ready: bool = True) -> str:
    """Return the state as a coloured label with a sign of its own; one that is running but not ready is behind."""
    if state is BindingState.READY and not is_ready:
        state = BindingState.LAGGING
    sign, colour, words = _BADGES[state]
    return f'<span class="ktf-badge" style="background:{colour}">{sign} {words}</span>'


def words_of(state: BindingState) -> str:
    """Return what a badge says of a state."""
    return _BADGES[state][2]


def facts(pairs: Sequence[tuple[str, str]]) -> str:
    """Return names and values in a line that wraps."""
    shown = (f"<span><span>{escape(name)}</span><b>{escape(value)}</b></span>" for name, value in pairs)
    return f'<div class="ktf-facts">{"".join(shown)}</div>'


def note(text: str) -> str:
    """Return a remark, each line of it by itself."""
    return "".join(f'<div class="ktf-note">{escape(line)}</div>' for line in text.splitlines())


def bad(text: str) -> str:
    """Return what went wrong, each line of it by itself."""
    return f'<div class="ktf-bad">{"<br>".join(escape(line) for line in text.splitlines())}</div>'


def trouble(error: BaseException) -> str:
    """Return a page that says what keeps a panel from being drawn."""
    return page(bad(f"{type(error).__name__}: {error}"))


def bar(progress: float | None) -> str:
    """Return a bar that is filled to a share of one; a moving one where the share is not known."""
    value = "" if progress is None else f' value="{progress:.3f}"'
    return f"<progress{value}></progress>"


def table(frame: pl.DataFrame, *, changed: Collection[int] = (), provisional: Collection[int] = ()) -> str:
    """Return a frame's rows as a table, some of them (by their numbers) marked."""
    kinds = [" class=n" if dtype.is_numeric() else "" for dtype in frame.dtypes]
    dtypes = frame._df.dtype_strings()  # noqa: SLF001 - as its own repr shows them
    heads = (
        f"<th{kind}>{escape(name)}<small>{escape(dtype)}</small></th>"
        for name, dtype, kind in zip(frame.columns, dtypes, kinds, strict=True)
    )
    body = []
    for number, row in enumerate(texts(frame)):
        marks = ["changed"] * (number in changed) + ["open"] * (number in provisional)
        cells = (f"<td{kind}>{escape(cell)}</td>" for cell, kind in zip(row, kinds, strict=True))
        body.append(f'<tr class="{" ".join(marks)}">{"".join(cells)}</tr>')
    return f"<table><thead><tr>{''.join(heads)}</tr></thead><tbody>{''.join(body)}</tbody></table>"


def lines(heads: Sequence[str], rows: Iterable[Iterable[str]], *, numeric: Collection[str] = ()) -> str:
    """Return rows of cells, which are HTML, as a table; columns of numbers are set to the right."""
    kinds = [" class=n" if name in numeric else "" for name in heads]
    head = "".join(f"<th{kind}>{escape(name)}</th>" for name, kind in zip(heads, kinds, strict=True))
    cells = ("".join(f"<td{kind}>{cell}</td>" for cell, kind in zip(row, kinds, strict=True)) for row in rows)
    body = "".join(f"<tr>{each}</tr>" for each in cells)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def texts(frame: pl.DataFrame) -> list[tuple[str, ...]]:
    """Return each cell as Polars prints it."""
    columns = [[_text(series, at) for at in range(frame.height)] for series in frame.iter_columns()]
    return list(zip(*columns, strict=True)) if columns else []


def _text(series: pl.Series, at: int) -> str:
    if series.dtype == pl.String:
        value = series[at]
        shown = "null" if value is None else str(value)
    else:
        # Not through Python, which has no datetime beyond the year 9999.
        shown = series.slice(at, 1)._s.get_fmt(0, _MOST_CHARACTERS)  # noqa: SLF001 - what its own repr uses
    return shown if len(shown) <= _MOST_CHARACTERS else f"{shown[:_MOST_CHARACTERS]}…"


def duration(seconds: float | None) -> str:
    """Return a time in the unit that reads best."""
    if seconds is None:
        return "unknown"
    if seconds < _HOUR:
        return progress.duration(max(seconds, 0))
    return f"{seconds / _HOUR:.1f} h" if seconds < _DAY else f"{seconds / _DAY:.1f} d"


def count(number: float | None) -> str:
    """Return a number with its thousands set apart."""
    return "unknown" if number is None else f"{number:,.0f}"


def incomplete(name: str, readiness: Readiness) -> tuple[str, str]:
    """Return what has to stand above rows that may be incomplete or old, as HTML and as a line; nothing where none are."""
    if readiness.is_ready:
        return "", ""
    return headline(name, readiness), f"{readiness}\n"


def headline(name: str, readiness: Readiness) -> str:
    """Return the badge, the name and why it is not ready."""
    why = "" if readiness.is_ready or not readiness.detail else f" {escape(readiness.detail)}"
    return f"<div>{badge(readiness.state, is_ready=readiness.is_ready)} <b>{escape(name)}</b>{why}</div>"
