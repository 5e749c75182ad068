"""What was seen of a field as what is seen of it in its column: where its kinds compete, text; where it is a map, entries.

All that is decided of types is decided of these shapes.
"""

from __future__ import annotations

from ktframe.formats.json.forms import MAP, MAP_KEY, MAP_VALUE, NO_FORMS, TEXT, Forms
from ktframe.formats.json.inference import FieldRules
from ktframe.formats.json.kinds import FILLED, LIST, STRING, STRUCT, TIMELESS, VALUE_KINDS
from ktframe.formats.json.sightings import Sightings


def shaped(seen: Sightings, rules: FieldRules) -> tuple[Sightings, Forms]:
    """Return what is seen in the column of a field, and the forms that its values have; ``seen`` itself where none."""
    if rules.competes(seen) or _is_mixed_list(seen, rules):
        return _as_text(seen), frozenset({(rules.path, TEXT)})
    kind = rules.kind(seen)
    if kind == STRUCT and rules.is_map(seen):
        values, forms = shaped(seen.all_entries(), rules.at(None).at(MAP_VALUE))
        return _as_map(seen, values), forms | {(rules.path, MAP)}
    if kind == LIST and seen.items is not None:
        items, forms = shaped(seen.items, rules.at(None))
        return _with(seen, seen.fields, items) if items is not seen.items else seen, forms
    if kind == STRUCT:
        pairs = {name: shaped(inner, rules.at(name)) for name, inner in rules.columns(seen)}
        forms = NO_FORMS.union(*(inner for _, inner in pairs.values()))
        fields = {**seen.fields, **{name: inner for name, (inner, _) in pairs.items()}}
        return _with(seen, fields, seen.items) if forms else seen, forms
    return seen, NO_FORMS


def _is_mixed_list(seen: Sightings, rules: FieldRules) -> bool:
    if rules.kind(seen) != LIST or seen.items is None:
        return False
    return rules.at(None).competes(seen.items) or _is_mixed_list(seen.items, rules.at(None))


def _as_text(seen: Sightings) -> Sightings:
    text = Sightings()
    records = sum(map(seen.records, VALUE_KINDS))
    text.kinds = {STRING: (records, seen.place), TIMELESS: (records, None)}
    return text


def _as_map(seen: Sightings, values: Sightings) -> Sightings:
    found = (seen.records(STRUCT), seen.first(STRUCT))
    name, entry, whole = Sightings(), Sightings(), Sightings()
    # The name first: it is before its value.
    name.kinds = {STRING: found, TIMELESS: (found[0], None)}
    entry.kinds = {STRUCT: found}
    entry.fields = {MAP_KEY: name, MAP_VALUE: values}
    whole.kinds = {LIST: (found[0], seen.place), FILLED: found}
    whole.items = entry
    return whole


def _with(seen: Sightings, fields: dict[str, Sightings], items: Sightings | None) -> Sightings:
    changed = Sightings()
    changed.kinds, changed.fields, changed.items = seen.kinds, fields, items
    return changed
