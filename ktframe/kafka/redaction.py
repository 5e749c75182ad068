"""Takes the values of settings out of librdkafka's texts: it quotes what it can't read, and that may be a secret."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Final

from ktframe.config.settings import redact

_MASK: Final = "***"

_SHORTEST_PART: Final = 4
"""Characters: shorter parts of a secret are in any text by chance."""


def without_secrets(text: str, config: Mapping[str, object]) -> str:
    """Return ``text`` without the secrets in ``config``, whole or in parts of four characters and more.

    Names of settings stay as they are, whatever the secrets are.
    """
    secrets = sorted(set(_secrets(config)), key=len, reverse=True)
    if not secrets:
        return text
    names = "|".join(re.escape(name) for name in sorted(config, key=len, reverse=True))
    # Names at the odd places.
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
        before, _, behind = str(shown[name]).partition(f"{_MASK}@")  # credentials in a URL
        user_info = str(value)[len(before) : len(str(value)) - len(behind) - 1]
        yield from (part for part in (user_info, *user_info.split(":")) if part)


def _masked(text: str, secrets: list[str]) -> str:
    for secret in secrets:
        text = _masked_words(text, secret)
    shown, at = "", 0
    while at < len(text):
        length = max(_common(text, at, secret) for secret in secrets)
        is_part = length >= _SHORTEST_PART
        shown += _MASK if is_part else text[at]
        at += length if is_part else 1
    return shown


def _masked_words(text: str, value: str) -> str:
    return re.sub(rf"(?<!\w){re.escape(value)}(?!\w)", _MASK, text)


def _common(text: str, at: int, secret: str) -> int:
    """Return how many characters of ``text`` from ``at`` on stand together somewhere in ``secret``."""
    end = at
    while end < len(text) and text[at : end + 1] in secret:
        end += 1
    return end - at
