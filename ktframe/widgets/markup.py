"""The HTML of panels. Everything that comes from Kafka or a user is escaped here, and nowhere else.

Text has the colours of the page, so that it is readable in light and dark themes. A state is shown by a sign and a word
as well as by its colour. Badge and chart colours can be told apart by colour-blind people (Okabe and Ito, "Color
Universal Design").
"""

from __future__ import annotations

import html
from collections.abc import Collection, Iterable, Sequence
from typing import Final

import polars as pl

from ktframe.config.durations import describe_duration
from ktframe.sync.monitor import Readiness
from ktframe.widgets.polars_text import cell_texts, dtype_texts

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

# MathJax 3 and 2 skip elements of these classes. Notebooks and their exports would set "$5 to $6" as a formula.
_NO_MATHS: Final = "mathjax_ignore tex2jax_ignore"

# One output below a cell, in JupyterLab, Notebook 7, Voila and nbconvert: the only thing that panels know of a page's
# structure. It can't be avoided: in the place of a widget that is gone these show an error and none of the output's
# other types, so what stays of a panel is an output of its own, and one of the two has to hide the other. A selector
# without this class would hide cells where outputs are nested in another way.
_OUTPUT: Final = ".jp-OutputArea-child"

# By the word of Readiness.condition.
_BADGES: Final = {
    "not started": ("○", "#5f6368"),
    "restoring": ("◔", "#0061a8"),
    "ready": ("●", "#00735c"),
    "incomplete": ("▲", "#8a4500"),
    "behind": ("◑", "#b35900"),
    "recovering": ("↻", "#b35900"),
    "failed": ("✕", "#b3261e"),
    "closed": ("■", "#5f6368"),
}


def escape(text: object) -> str:
    """Return text as HTML shows it."""
    return html.escape(str(text))


def page(*parts: str) -> str:
    """Return the parts, which are HTML, as one page in the notebook's style."""
    return f'{_STYLE}<div class="ktf {_NO_MATHS}">{"".join(parts)}</div>'


def saved_html(html_page: str, name: str) -> str:
    """Return a page as it stays in a saved notebook: below the widget of a panel, which hides it while it is live.

    It hides the output before it in its turn where that shows no panel: an error in the place of a widget that is gone.
    """
    # The class is in the output itself, two levels down. Deeper ones are in an ipywidgets.Output, which has outputs of
    # its own.
    dead = f"{_OUTPUT}:not(:has(.ktf)):has(+ * > * > .{name})"
    return f'<style>{dead}{{display:none}}</style><div class="{name}">{html_page}</div>'


def hiding(name: str) -> str:
    """Return the style by which a live panel hides the page that is saved under its name."""
    return f"<style>.{name},{_OUTPUT}:has(> * > .{name}){{display:none}}</style>"


def badge(readiness: Readiness) -> str:
    """Return the condition as a coloured label with a sign of its own; green only where the rows are complete."""
    sign, colour = _BADGES[readiness.condition]
    return f'<span class="ktf-badge" style="background:{colour}">{sign} {readiness.condition}</span>'


def facts(pairs: Sequence[tuple[str, str]]) -> str:
    """Return names and values in a line that wraps."""
    shown = (f"<span><span>{escape(name)}</span><b>{escape(value)}</b></span>" for name, value in pairs)
    return f'<div class="ktf-facts">{"".join(shown)}</div>'


def note(text: str) -> str:
    """Return a remark, each line of it by itself."""
    return "".join(f'<div class="ktf-note">{escape(line)}</div>' for line in text.splitlines())


def bad(text: str) -> str:
    """Return an error, each line of it by itself."""
    return f'<div class="ktf-bad">{"<br>".join(escape(line) for line in text.splitlines())}</div>'


def error_page(error: BaseException) -> str:
    """Return a page that says why a panel can't be drawn."""
    return page(bad(f"{type(error).__name__}: {error}"))


def bar(progress: float | None) -> str:
    """Return a progress bar for a share from 0 to 1; a moving one where the share is not known."""
    value = "" if progress is None else f' value="{progress:.3f}"'
    return f"<progress{value}></progress>"


def table(frame: pl.DataFrame, *, changed: Collection[int] = (), provisional: Collection[int] = ()) -> str:
    """Return a frame's rows as a table; ``changed`` and ``provisional`` are the numbers of rows to mark."""
    kinds = [" class=n" if dtype.is_numeric() else "" for dtype in frame.dtypes]
    heads = (
        f"<th{kind}>{escape(name)}<small>{escape(dtype)}</small></th>"
        for name, dtype, kind in zip(frame.columns, dtype_texts(frame), kinds, strict=True)
    )
    body = []
    for number, row in enumerate(cell_texts(frame)):
        marks = ["changed"] * (number in changed) + ["open"] * (number in provisional)
        cells = (f"<td{kind}>{escape(cell)}</td>" for cell, kind in zip(row, kinds, strict=True))
        body.append(f'<tr class="{" ".join(marks)}">{"".join(cells)}</tr>')
    return f"<table><thead><tr>{''.join(heads)}</tr></thead><tbody>{''.join(body)}</tbody></table>"


def lines(heads: Sequence[str], rows: Iterable[Iterable[str]], *, numeric: Collection[str] = ()) -> str:
    """Return rows of cells, which are HTML, as a table; the ``numeric`` columns are aligned to the right."""
    kinds = [" class=n" if name in numeric else "" for name in heads]
    head = "".join(f"<th{kind}>{escape(name)}</th>" for name, kind in zip(heads, kinds, strict=True))
    cells = ("".join(f"<td{kind}>{cell}</td>" for cell, kind in zip(row, kinds, strict=True)) for row in rows)
    body = "".join(f"<tr>{row}</tr>" for row in cells)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def duration(seconds: float | None) -> str:
    """Return a duration in words; "unknown" for None."""
    if seconds is None:
        return "unknown"
    return describe_duration(max(seconds, 0))


def count(number: float | None) -> str:
    """Return a number with separators between its thousands."""
    return "unknown" if number is None else f"{number:,.0f}"


def incomplete(name: str, readiness: Readiness) -> tuple[str, str]:
    """Return a warning to show above rows that may be incomplete or old, as HTML and as text; empty when complete."""
    if readiness.is_complete:
        return "", ""
    return headline(name, readiness), f"{readiness}\n"


def headline(name: str, readiness: Readiness) -> str:
    """Return the badge, the name and the reason why it is not ready or not complete."""
    why = "" if readiness.is_complete or not readiness.detail else f" {escape(readiness.detail)}"
    return f"<div>{badge(readiness)} <b>{escape(name)}</b>{why}</div>"
