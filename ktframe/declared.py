"""What is asked for by a name or a class, completed by what configuration or the class declare."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ktframe.declare import TopicArguments, declared_arguments, topic_arguments
from ktframe.moments import parse_start
from ktframe.settings import Settings, StoreOptions
from ktframe.windows import Minutes


def asked_for(
    topic: str | type, given: Mapping[str, Any], store: StoreOptions | None, settings: Settings
) -> tuple[TopicArguments, StoreOptions, Sequence[Minutes]]:
    """Return the arguments of a topic, how it is stored, and the windows to keep with it.

    ``given`` are the arguments by name, None where not given: they win over what was declared.
    """
    if isinstance(topic, type):
        start = given["start"]
        known = declared_arguments(topic)
        arguments = known if start is None else replace(known, start=parse_start("start", start))
        return arguments, store or settings.store, ()
    declared = settings.tables.get(topic)
    if declared is None:
        return topic_arguments(topic, **given), store or settings.store, ()
    noted = {name: getattr(declared, name) for name in given}
    chosen = {name: noted[name] if value is None else value for name, value in given.items()}
    options = store or declared.store_options(settings.store)
    return topic_arguments(declared.topic, **chosen), options, declared.windows
