"""Hints about settings, durations and moments, each followed: what they say to write is read."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from confluent_kafka import KafkaException, Producer
from support.hinted import hinted
from support.hints import Hint

import ktframe
from ktframe import Settings
from ktframe.config.moments import parse_moment
from ktframe.config.sources import resolve_settings
from ktframe.testing import FakeBroker


@pytest.fixture
def resolve(tmp_path: Path) -> Callable[..., Settings]:
    """Return ``resolve_settings`` in an empty folder, with no variable set."""

    def resolved(first: Any = None, *, environ: dict[str, str] | None = None, **options: Any) -> Settings:
        return resolve_settings(first, environ=environ or {}, cwd=tmp_path, **options)

    return resolved


@pytest.mark.parametrize("wrong", ["5 minutes", "5x", 0, "-5s", True, float("inf")])
def test_a_duration_is_written_as_the_hint_says(resolve: Callable[..., Settings], wrong: Any) -> None:
    """Each example of a duration is one."""
    hint = Hint(
        "config/durations.py",
        'give seconds, a timedelta, or text with a unit: "500ms", "5s", "5m", "1h30m", "1d".',
    )
    with hinted(hint) as met:
        resolve("host:9092", stall_timeout=wrong)
    assert [resolve("host:9092", stall_timeout=text).stall_timeout for text in met.quoted] == [
        0.5,
        5.0,
        300.0,
        5_400.0,
        86_400.0,
    ]


def test_a_misspelt_argument_is_the_one_that_was_meant() -> None:
    """The name after "did you mean" is an argument, and so is each of a list."""
    broker = FakeBroker()
    broker.create_topic("t")
    with broker.connect() as context:
        with hinted(Hint("config/keywords.py", "did you mean {}?")) as met:
            context.stream("t", retentoin="7d")  # type: ignore[call-arg]
        corrected: dict[str, Any] = {met.names[0]: "7d"}
        context.stream("t", **corrected)
        with hinted(Hint("config/keywords.py", "there are {}.")) as met:
            context.inspect("t", xyz=1)  # type: ignore[call-arg]
        named: dict[str, Any] = dict(zip(met.names, ("t", 5), strict=True))
        context.inspect(**named)


@pytest.mark.parametrize("wrong", ["next week", "2h", "2999-01-01", 5])
def test_a_moment_is_written_as_the_hint_says(wrong: Any) -> None:
    """Each example of a moment is one in the past."""
    hint = Hint(
        "config/moments.py",
        'give a datetime, text such as "2024-11-23T09:00+01:00", or "-2h" for two hours ago.',
    )
    broker = FakeBroker()
    broker.produce("t", "k", {"v": 1}, timestamp=1_800_000_000_000)
    with broker.connect() as context:
        with hinted(hint) as met:
            context.table("t", start=wrong)
        for text in met.quoted:
            assert context.table("t", start=text).to_polars().height == 1


@pytest.mark.parametrize("wall", ["2026-10-25T02:30", "2026-03-29T02:30"])
def test_a_time_that_the_clocks_skip_or_repeat_gets_its_offset(wall: str) -> None:
    """The time with the offset of the hint is one moment."""
    with hinted(Hint("config/moments.py", 'say which by an offset, such as "{}".')) as met:
        parse_moment("start", wall, tz="Europe/Berlin")
    assert parse_moment("start", met.parts[0], tz="Europe/Berlin") > 0


@pytest.mark.parametrize(
    ("hint", "wrong", "right"),
    [
        (
            Hint(
                "config/settings.py",
                'give "https://host:8081", or a mapping with url and basic.auth.user.info.',
            ),
            {"schema_registry": "host:8081"},
            lambda met: [
                {"schema_registry": met.quoted[0]},
                {"schema_registry": {"url": met.quoted[0], "basic.auth.user.info": "ada:secret"}},
            ],
        ),
        (
            Hint("config/settings.py", "choose one of {}."),
            {"on_refused": "wran"},
            lambda met: [{"on_refused": name} for name in met.names],
        ),
        (
            Hint("config/settings.py", "give a whole number of at least {}."),
            {"store_block_cache_bytes": 0.5},
            lambda met: [{"store_block_cache_bytes": int(met.parts[0])}],
        ),
        (
            Hint("config/settings.py", "raise max_delay or lower initial_delay."),
            {"retry_max_delay": 1, "retry_initial_delay": 5},
            lambda _: [
                {"retry_max_delay": 6, "retry_initial_delay": 5},
                {"retry_max_delay": 1, "retry_initial_delay": 1},
            ],
        ),
        (
            Hint("config/settings.py", 'give minutes, or text such as "5m": windows = [5, "1h"].'),
            {"tables": {"orders": {"windows": 5.5}}},
            lambda met: [
                {"tables": {"orders": {"windows": met.quoted[0]}}},
                {"tables": {"orders": {"windows": [5, met.quoted[1]]}}},
            ],
        ),
        (
            Hint(
                "config/settings.py",
                'give fields, such as where = {type = "user"}; table(where=...) takes expressions.',
            ),
            {"tables": {"orders": {"where": pl.col("type") == "user"}}},
            lambda met: [{"tables": {"orders": {"where": {"type": met.quoted[0]}}}}],
        ),
        (
            Hint("config/librdkafka.py", "did you mean {}?"),
            {"retry_atempts": 3},
            lambda met: [{met.names[0]: 3}],
        ),
        (
            Hint("config/librdkafka.py", "there are {}."),
            {"schema_registry": {"url": "http://host", "xyz": 1}},
            lambda met: [{"schema_registry": {"url": "http://host", name: "1"}} for name in met.names[:5]],
        ),
        (
            Hint("config/librdkafka.py", "give it by itself: {}=..."),
            {"config": {"stall_timeout": 5}},
            lambda met: [{met.parts[0]: 5}],
        ),
        (
            Hint("config/librdkafka.py", "give text, a whole number, or true or false."),
            {"config": {"client.id": 1.5}},
            lambda _: [{"config": {"client.id": value}} for value in ("1.5", 1, True)],
        ),
        (
            Hint("config/librdkafka.py", "leave it out, or set it to {}."),
            {"config": {"acks": 1}},
            lambda met: [{"config": {}}, {"config": {"acks": met.parts[0]}}],
        ),
        (
            Hint("config/librdkafka.py", "leave it out."),
            {"config": {"isolation.level": "read_uncommitted"}},
            lambda _: [{"config": {}}],
        ),
        (
            Hint("config/librdkafka.py", "write / # ? @ in its password as %2F %23 %3F %40."),
            {"schema_registry": "http://ada:a/b#c?d@host:8081"},
            lambda met: [
                {
                    "schema_registry": f"http://ada:a{'b'.join(met.text.split(' as ')[1].rstrip('.').split())}@host:8081"
                }
            ],
        ),
    ],
    ids=lambda value: value.text if isinstance(value, Hint) else "",
)
def test_a_setting_is_taken_as_the_hint_says(
    resolve: Callable[..., Settings],
    hint: Hint,
    wrong: dict[str, Any],
    right: Callable[..., list[dict[str, Any]]],
) -> None:
    """What the hint of a wrong setting says to give is taken."""
    with hinted(hint) as met:
        resolve("host:9092", **wrong)
    followed = right(met)
    assert followed
    for options in followed:
        resolve("host:9092", **options)


def test_text_for_a_flag_is_one_of_the_hint(resolve: Callable[..., Settings]) -> None:
    """The words of the hint are read from the environment too."""
    with hinted(Hint("config/settings.py", "choose one of {}.")) as met:
        resolve("host:9092", environ={"KTFRAME_WRITABLE": "perhaps"})
    values = [resolve("host:9092", environ={"KTFRAME_WRITABLE": name}).writable for name in met.names]
    assert values == [True, False]


def test_an_address_is_written_as_the_hint_says(resolve: Callable[..., Settings], tmp_path: Path) -> None:
    """One address, several, or a file with one."""
    hint = Hint(
        "config/settings.py", 'give "host:9092", several separated by commas, or the name of a .toml file.'
    )
    with hinted(hint) as met:
        resolve("http://host:9092/")
    [address] = met.quoted
    (tmp_path / "mine.toml").write_text(f'bootstrap = "{address}"')
    for given in (address, f"{address},{address}", "mine.toml"):
        assert address in resolve(given).bootstrap


@pytest.mark.slow
def test_any_of_the_ways_to_name_a_cluster_will_do(
    resolve: Callable[..., Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The argument, the variable, the file, and the demo that needs none."""
    hint = Hint(
        "config/sources.py",
        'ktframe.connect("host:9092"), KTFRAME_BOOTSTRAP or ktframe.toml; ktframe.demo() needs none.',
    )
    with hinted(hint) as met:
        resolve()
    monkeypatch.setattr(ktframe, "connect", resolve)
    [address] = met.quoted
    assert eval(met.calls[0]).bootstrap == address  # noqa: S307 - our own hint
    variable = re.findall("KTFRAME_[A-Z]+", met.text)[0]
    assert resolve(environ={variable: address}).bootstrap == address
    (tmp_path / "ktframe.toml").write_text(f'bootstrap = "{address}"')
    assert resolve().bootstrap == address
    with eval(met.calls[1].replace("()", "(rate=0)")) as context:  # noqa: S307
        assert context.topics().height == 3


def test_two_addresses_become_one(resolve: Callable[..., Settings]) -> None:
    """Either of them alone is taken."""
    with hinted(Hint("config/sources.py", "give one of them.")):
        resolve("one:9092", bootstrap="two:9092")
    assert resolve("one:9092").bootstrap == "one:9092"
    assert resolve(bootstrap="two:9092").bootstrap == "two:9092"


def test_a_profile_is_one_of_those_that_there_are(resolve: Callable[..., Settings], tmp_path: Path) -> None:
    """Every profile of the hint can be chosen."""
    lines = (f'[profiles.{name}]\nbootstrap = "{name}:9092"' for name in ("dev", "prod"))
    (tmp_path / "ktframe.toml").write_text("\n".join(lines))
    with hinted(Hint("config/sources.py", "there are: {}.")) as met:
        resolve(profile="prd")
    assert [resolve(profile=name).bootstrap for name in met.names] == ["dev:9092", "prod:9092"]


@pytest.mark.parametrize(
    ("hint", "file", "wrong", "right"),
    [
        (
            Hint("config/sources.py", "text needs quotes; a backslash in it needs single ones."),
            "mine.toml",
            "bootstrap = host:9092",
            'bootstrap = "host:9092"',
        ),
        (
            Hint("config/sources.py", "text needs quotes; a backslash in it needs single ones."),
            "mine.toml",
            'bootstrap = "host:9092"\nstate_dir = "C:\\users"',
            "bootstrap = \"host:9092\"\nstate_dir = 'C:\\users'",
        ),
        (
            Hint("config/librdkafka.py", "write a backslash in a value as two."),
            "mine.properties",
            "bootstrap.servers=host:9092\nssl.ca.location=C:\\users",
            "bootstrap.servers=host:9092\nssl.ca.location=C:\\\\users",
        ),
        (
            Hint(
                "config/librdkafka.py", "names are lower case with dots; continue a value with a backslash."
            ),
            "mine.properties",
            "bootstrap.servers=host:9092\nssl.key.pem=one\nTwo/three",
            "bootstrap.servers=host:9092\nssl.key.pem=one\\\nTwo/three",
        ),
    ],
)
def test_a_file_is_written_as_the_hint_says(
    resolve: Callable[..., Settings], tmp_path: Path, hint: Hint, file: str, wrong: str, right: str
) -> None:
    """The file is read when the line was written so."""
    (tmp_path / file).write_text(wrong)
    with hinted(hint):
        resolve(file)
    (tmp_path / file).write_text(right)
    assert resolve(file).bootstrap == "host:9092"


def test_a_relative_path_starts_at_the_working_directory(
    resolve: Callable[..., Settings], tmp_path: Path
) -> None:
    """A file that is put there is found."""
    with hinted(Hint("config/librdkafka.py", "relative paths start at the working directory.")):
        resolve("mine.toml")
    (tmp_path / "mine.toml").write_text('bootstrap = "host:9092"')
    assert resolve("mine.toml").bootstrap == "host:9092"


@pytest.mark.parametrize(
    "name",
    [
        "sasl.jaas.config",
        "sasl.login.callback.handler.class",
        "ssl.truststore.certificates",
        "ssl.truststore.location",
        "ssl.keystore.key",
        "ssl.keystore.certificate.chain",
        "ssl.keystore.type",
        "fetch.max.wait.ms",
    ],
)
def test_settings_of_the_java_client_have_the_names_of_the_hint(
    resolve: Callable[..., Settings], name: str
) -> None:
    """The names that the hint gives instead are taken, by ktframe and by librdkafka."""
    with hinted(Hint("config/librdkafka.py", "use {}.")) as met:
        resolve("host:9092", config={name: "x"})
    instead = re.findall(r"[a-z0-9]+(?:\.[a-z0-9]+)+|oauth_cb", met.parts[0])
    assert instead
    for each in instead:
        value = print if each == "oauth_cb" else "100" if each.endswith(".ms") else "x"
        settings = resolve("host:9092", config={each: value})
        with pytest.raises(KafkaException) as raised:
            Producer({**settings.librdkafka, "no.such": 1})
        assert "no.such" in str(raised.value) or "No such configuration property" not in str(raised.value)


def test_what_is_said_of_settings_that_ktframe_owns(resolve: Callable[..., Settings]) -> None:
    """The arguments that are named in place of a setting of the client do its work."""
    broker = FakeBroker()
    broker.produce("t", b"\0\0\0\1", b"\0\0\0\2", timestamp=1)
    with hinted(Hint("config/librdkafka.py", "use {}.")) as met:
        resolve("host:9092", config={"value.deserializer": "IntegerDeserializer"})
    assert Hint("config/librdkafka.py", "value= and key_format= of ktframe.table()").text in met.text
    arguments: dict[str, Any] = dict.fromkeys(re.findall(r"(\w+)=", met.text), "int")
    with broker.connect() as context:
        assert context.table("t", **arguments).to_polars().rows() == [(1, 2)]
    start = Hint("config/librdkafka.py", "ktframe decides where to start; ktframe.stream() has start=")
    with pytest.raises(ktframe.ConfigurationError, match=re.escape(start.text)):
        resolve("host:9092", config={"auto.offset.reset": "latest"})
    with broker.connect() as context:
        assert context.stream("t", value="int", start="2024-01-01").to_polars().height == 0
    limit = Hint("config/librdkafka.py", "write_timeout= is the time that a write may take")
    with pytest.raises(ktframe.ConfigurationError, match=re.escape(limit.text)):
        resolve("host:9092", config={"delivery.timeout.ms": 5_000})
    assert resolve("host:9092", write_timeout=5).write_timeout == 5.0
