"""Removes the values of settings from librdkafka's messages: it quotes values it can't parse, which may be secrets."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from ktframe.config.settings import redact

_MASK: Final = "***"

_SHORTEST_PART: Final = 4
"""In characters: shorter parts of a secret occur in any text by chance."""


def without_secrets(text: str, config: Mapping[str, object]) -> str:
    """Return ``text`` without the secrets in ``config``, whole or in parts of four characters and more.

    Names of settings stay as they are, whatever the secrets are.
    """
    secrets = sorted(set(_secrets(config)), key=len, reverse=True)
    if not secrets:
        return text
    names = "|".join(re.escape(name) for name in sorted(config, key=len, reverse=True))
    # The names are at the odd indices.
    parts = re.split(rf"(?<![\w.])({names})(?![\w.])", text)
    return "".join(part if at % 2 else _masked(part, secrets) for at, part in enumerate(parts))


def without_values(text: str, config: Mapping[str, object]) -> str:
    """Return ``text`` without any text value in ``config``: one may be a secret under a misspelt name."""
    values = {value for value in config.values() if isinstance(value, str) and len(value) >= _SHORTEST_PART}
    for value in sorted(values, key=len, reverse=True):
        text = _masked_words(text, value)
    return without_secrets(text, config)


def _secrets(config: Mapping[str, object]) -> Iterator[str]:
    shown = redact(config)
    for name, value in config.items():
        if callable(value) or value == shown[name] or not str(value):
            continue
        if shown[name] == _MASK:
            yield str(value)
            continue
        before, _, after = str(shown[name]).partition(f"{_MASK}@")  # credentials in a URL
        user_info = str(value)[len(before) : len(str(value)) - len(after) - 1]
        yield from (part for part in (user_info, *user_info.split(":")) if part)


def _masked(text: str, secrets: list[str]) -> str:
    for secret in secrets:
        text = _masked_words(text, secret)
    shown, at = "", 0
    while at < len(text):
        length = max(_common_length(text, at, secret) for secret in secrets)
        is_part = length >= _SHORTEST_PART
        shown += _MASK if is_part else text[at]
        at += length if is_part else 1
    return shown


def _masked_words(text: str, value: str) -> str:
    return re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", _MASK, text)


def _common_length(text: str, at: int, secret: str) -> int:
    """Return the length of the longest piece of ``text`` from ``at`` on that occurs in ``secret``."""
    end = at
    while end < len(text) and text[at : end + 1] in secret:
        end += 1
    return end - at
