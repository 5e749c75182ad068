"""The sample topics are reproducible and hold what their README promises; live orders live like orders."""

import gzip
import itertools
import json
import runpy
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from ktframe.errors import ConfigurationError
from ktframe.kafka.mock_broker import SampleRecord
from ktframe.tour import samples as sample
from ktframe.tour.samples import SAMPLE_NAMES, live_orders, load_sample

NOW_MS = 1_790_000_000_000
THREE_HOURS_MS = 3 * 60 * 60 * 1_000
SOURCE = Path(__file__).resolve().parents[2] / "sample_data"


@pytest.fixture(scope="module")
def orders() -> list[SampleRecord]:
    """Return the orders sample, loaded once."""
    return load_sample("orders", NOW_MS)


def generate_into(folder: Path) -> dict[str, bytes]:
    """Run the committed generator and return what it wrote."""
    folder.mkdir()
    runpy.run_path(str(SOURCE / "generate.py"))["generate"](folder)
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def as_object(record: SampleRecord) -> dict[str, Any] | None:
    """Return the JSON object in a record, None for everything else."""
    try:
        value = json.loads(record.value or b"")
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


@pytest.mark.slow
def test_generating_twice_writes_the_committed_records(tmp_path: Path) -> None:
    """The generator's output is the same each time, and is what the repository holds."""
    first, second = generate_into(tmp_path / "first"), generate_into(tmp_path / "second")
    # Unpacked, because zlib may compress differently from one version to the next.
    committed = {name: gzip.decompress((SOURCE / name).read_bytes()) for name in first}

    assert first == second
    assert {name: gzip.decompress(data) for name, data in first.items()} == committed


def test_the_files_stay_small() -> None:
    """Together the sample files add less than 3 MB to the wheel."""
    assert sum(file.stat().st_size for file in SOURCE.glob("*.ndjson.gz")) < 3_000_000


@pytest.mark.parametrize(
    ("name", "records", "keys", "tombstones"),
    [("orders", 20_858, 6_078, 443), ("customers", 1_942, 800, 13), ("clicks", 21_363, 460, 0)],
)
def test_every_sample_loads(name: str, records: int, keys: int, tombstones: int) -> None:
    """A sample loads completely, all of it within the three hours before now."""
    loaded = load_sample(name, NOW_MS)
    ages = [NOW_MS - record.timestamp_ms for record in loaded]

    assert len(loaded) == records
    assert len({record.key for record in loaded} - {None}) == keys
    assert sum(record.value is None for record in loaded) == tombstones
    assert min(ages) >= 0
    assert max(ages) <= THREE_HOURS_MS


def test_orders_hold_a_dozen_broken_records(orders: list[SampleRecord]) -> None:
    """Every kind of broken record occurs, twelve in all."""
    kinds: Counter[str] = Counter()
    for record in orders:
        value = as_object(record)
        kinds["no key"] += record.key is None
        kinds["not an object"] += value is None and bool(record.value)
        kinds["empty"] += record.value == b""
        kinds["amount"] += value is not None and not isinstance(value["amount"], float)

    assert kinds == {"no key": 2, "not an object": 6, "empty": 2, "amount": 2}


def test_order_times_are_iso_text_of_the_ages(orders: list[SampleRecord]) -> None:
    """Ages inside a value become UTC times; that of the last update is the record's timestamp."""
    record = orders[0]
    value = as_object(record)

    assert value is not None
    assert value["updated_at"].endswith("Z")
    assert datetime.fromisoformat(value["updated_at"]).timestamp() * 1_000 == record.timestamp_ms


def test_orders_show_what_makes_json_hard(orders: list[SampleRecord]) -> None:
    """A column appears midway, one field mixes int and float, and values are nested."""
    values = [value for value in map(as_object, orders) if value is not None]

    assert not any("coupon" in value for value in values[: len(values) // 3])
    assert any("coupon" in value for value in values)
    assert {type(value["weight_kg"]) for value in values} == {int, float}
    assert {type(value["items"]) for value in values} == {list}
    assert {type(value["shipping"]) for value in values} == {dict}


def test_orders_come_late_but_never_overtake_each_other(orders: list[SampleRecord]) -> None:
    """Records arrive out of order across orders, while one order's updates are in order."""
    newest: dict[bytes, int] = {}
    stream_time_ms = late = 0
    for record in orders:
        if record.key is None or (as_object(record) is None and record.value is not None):
            continue
        late += record.timestamp_ms < stream_time_ms - 60_000
        stream_time_ms = max(stream_time_ms, record.timestamp_ms)
        # A wrong amount is sent a moment before the record it spoils was.
        assert record.timestamp_ms >= newest.get(record.key, 0) - 1
        newest[record.key] = record.timestamp_ms

    assert 200 < late < 1_000


def test_clicks_fall_into_sessions() -> None:
    """A user's page views are minutes apart inside a session and more than half an hour between two."""
    times: dict[bytes | None, list[int]] = {}
    for record in load_sample("clicks", NOW_MS):
        times.setdefault(record.key, []).append(record.timestamp_ms)
    gaps = [later - earlier for each in times.values() for earlier, later in itertools.pairwise(sorted(each))]

    # Ten, not two: a view that is still under way leaves a gap of two.
    assert not any(10 * 60_000 < gap <= 30 * 60_000 for gap in gaps)
    assert sum(gap > 30 * 60_000 for gap in gaps) > 300


def test_an_unknown_sample_is_refused() -> None:
    """The error lists the samples there are."""
    with pytest.raises(ConfigurationError, match="the samples are orders, customers, clicks"):
        load_sample("order", NOW_MS)


def test_a_missing_file_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the files, neither installed nor in a checkout, loading says what is missing."""
    monkeypatch.setattr(sample, "_folders", lambda: (tmp_path, tmp_path / "absent"))

    with pytest.raises(ConfigurationError, match="sample 'orders' is not installed"):
        load_sample("orders", NOW_MS)


def take(count: int, seed: int = 7) -> list[SampleRecord]:
    """Return live orders stamped a quarter of a second apart."""
    clock: Iterator[int] = itertools.count(NOW_MS, 250)
    return list(itertools.islice(live_orders(seed, lambda: next(clock)), count))


def test_live_orders_repeat_with_their_seed() -> None:
    """The seed and the clock decide everything."""
    assert take(300) == take(300)
    assert take(300) != take(300, seed=8)


def test_live_orders_take_their_time_from_the_clock() -> None:
    """Each record is stamped when it is taken, its ``updated_at`` included."""
    records = take(3)
    last = as_object(records[-1])

    assert [record.timestamp_ms for record in records] == [NOW_MS, NOW_MS + 250, NOW_MS + 500]
    assert last is not None
    assert datetime.fromisoformat(last["updated_at"]).timestamp() * 1_000 == NOW_MS + 500


def test_live_orders_follow_the_life_cycle(orders: list[SampleRecord]) -> None:
    """An order is placed once, moves one step at a time, and nothing follows its end."""
    following = {
        None: {"placed"},
        "placed": {"paid", "removed"},
        "paid": {"shipped", "removed"},
        "shipped": {"delivered"},
    }
    status: dict[bytes | None, str] = {}
    for record in take(5_000):
        value = as_object(record)
        new = "removed" if value is None else value["status"]
        assert new in following.get(status.get(record.key), set())
        status[record.key] = new

    counts = Counter(status.values())
    assert min(counts["delivered"], counts["removed"], counts["placed"], counts["paid"]) > 0
    assert counts["placed"] + counts["paid"] + counts["shipped"] <= 60
    assert not status.keys() & {record.key for record in orders}


def test_live_orders_look_like_the_sample(orders: list[SampleRecord]) -> None:
    """Live orders have the fields of the newest sample orders."""
    newest = next(value for value in map(as_object, reversed(orders)) if value is not None)
    fields = {frozenset(value) for value in map(as_object, take(500)) if value is not None}

    assert SAMPLE_NAMES == ("orders", "customers", "clicks")
    assert fields == {frozenset(newest)}
