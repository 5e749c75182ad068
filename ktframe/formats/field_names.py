r"""Names of fields as users write them: ``after.id`` is the field ``id`` inside of ``after``, ``a\.b`` the field ``a.b``."""

from __future__ import annotations

import re
from typing import Final, TypeAlias

FieldPath: TypeAlias = tuple[str, ...]
"""The names that lead to a field, the outermost first."""

_PART: Final = re.compile(r"(?:\\.|[^.\\]|\\$)*", re.DOTALL)
_ESCAPED: Final = re.compile(r"\\([.\\])")


def field_path(name: str) -> FieldPath:
    r"""Return the names that lead to the field ``name``: several where it has a dot that is not written ``\.``.

    Examples
    --------
    >>> field_path("payload.order.id"), field_path("id"), field_path(r"meta\.x.id")
    (('payload', 'order', 'id'), ('id',), ('meta.x', 'id'))
    """
    parts, start = [], 0
    while True:
        match = _PART.match(name, start)
        end = len(name) if match is None else match.end()
        parts.append(_ESCAPED.sub(r"\1", name[start:end]))
        if end >= len(name):
            return tuple(parts)
        start = end + 1


def field_name(path: FieldPath) -> str:
    """Return the name of the field at ``path``; one of the top keeps its own, dots and all: it comes first."""
    if len(path) == 1 and "\\" not in path[0]:
        return path[0]
    return ".".join(re.sub(r"[.\\]", r"\\\g<0>", part) for part in path)


def column_name(name: str) -> str:
    """Return the name of the column of a field: of a nested one as it was given, of others their own."""
    path = field_path(name)
    return path[0] if len(path) == 1 else name
