"""Settings check themselves, know what changed, and never show a secret."""

import functools
import pickle
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ktframe.config.durations import parse_duration_ms
from ktframe.config.settings import (
    RUNTIME_SETTINGS,
    RetryPolicy,
    Settings,
    StoreOptions,
    TableDeclaration,
    default_state_dir,
    redact,
)
from ktframe.errors import ConfigurationError

SECRET = "swordfish"


@pytest.mark.parametrize(
    ("value", "expected_ms"),
    [
        (5, 5_000),
        (0.1, 100),
        (timedelta(minutes=5), 300_000),
        ("500ms", 500),
        ("5s", 5_000),
        ("1.5m", 90_000),
        ("1h30m", 5_400_000),
        ("1d", 86_400_000),
        ("2w", 1_209_600_000),
        (" 5s ", 5_000),
        ("-2h", -7_200_000),
        (0, 0),
    ],
)
def test_durations_are_read_in_every_spelling(value: Any, expected_ms: int) -> None:
    """Seconds, timedeltas and text with units come out as milliseconds."""
    assert parse_duration_ms(value) == expected_ms


@pytest.mark.parametrize(
    "value", ["5", "", "5 min", "s", "5y", "9" * 400 + "s", True, None, float("nan"), []]
)
def test_what_is_no_duration_is_refused(value: Any) -> None:
    """Text without a unit, flags and numbers that aren't finite are refused with the spellings that work."""
    with pytest.raises(ConfigurationError, match=r"is not a duration\.\n\nHint: give seconds"):
        parse_duration_ms(value)


@given(st.integers(min_value=0, max_value=10**12))
def test_milliseconds_survive_every_spelling(length_ms: int) -> None:
    """A whole number of milliseconds is exact as text and as a timedelta."""
    assert parse_duration_ms(f"{length_ms}ms") == length_ms
    assert parse_duration_ms(timedelta(milliseconds=length_ms)) == length_ms


def test_defaults_are_the_documented_ones() -> None:
    """A bare address gives read-only settings with the documented times."""
    settings = Settings("localhost:9092")

    assert settings.writable is False
    assert (settings.monitor_interval, settings.stall_timeout, settings.request_timeout) == (5.0, 30.0, 5.0)
    assert settings.store == StoreOptions(
        backend="rocksdb", write_buffer_bytes=8_388_608, compression="lz4", bloom_bits=10
    )
    assert (settings.store.flush_interval, settings.store.retention) == (5.0, None)
    assert settings.retry == RetryPolicy(attempts=None, initial_delay=0.5, max_delay=3.0, healthy_after=60.0)
    assert settings.state_dir == default_state_dir()


def test_state_is_kept_with_the_users_data() -> None:
    """The default state directory is the store folder of ktframe, not a temporary one."""
    assert default_state_dir().parts[-2:] == ("ktframe", "stores")


def test_times_may_be_given_in_any_spelling() -> None:
    """Every time setting is kept in seconds, however it was said."""
    settings: Any = functools.partial(Settings, "h:1")
    assert settings(monitor_interval="500ms").monitor_interval == 0.5
    assert settings(stall_timeout=timedelta(minutes=1)).stall_timeout == 60.0
    store: Any = StoreOptions
    assert store(retention="7d").retention == 604_800.0
    retry: Any = RetryPolicy
    assert retry(jitter="0s").jitter == 0.0


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: StoreOptions(backend="leveldb"), r"backend can't be 'leveldb'(.|\n)*rocksdb, memory"),
        (lambda: StoreOptions(compression="rar"), r"compression can't be 'rar'"),
        (lambda: StoreOptions(block_cache_bytes=0), r"block_cache_bytes can't be 0(.|\n)*at least 1"),
        (lambda: StoreOptions(bloom_bits=True), r"bloom_bits can't be True"),
        (lambda: StoreOptions(flush_interval=0), r"flush_interval must be longer than zero, not 0"),
        (lambda: StoreOptions(retention="-1d"), r"retention must be longer than zero"),
        (lambda: RetryPolicy(attempts=0), r"attempts can't be 0"),
        (lambda: RetryPolicy(jitter=-1), r"jitter must be zero or longer"),
        (
            lambda: RetryPolicy(initial_delay=60),
            r"max_delay \(3.0 s\) is shorter than initial_delay \(60.0 s\)",
        ),
        (lambda: Settings("h:1", monitor_interval="5"), r"monitor_interval: '5' is not a duration"),
        (lambda: Settings("h:1", writable="yes"), r"writable can't be 'yes'"),
        (lambda: Settings("h:1", log_level="LOUD"), r"log_level can't be 'LOUD'"),
        (lambda: TableDeclaration("orders", windows=[True]), r"\[True\] are not windows of table 'orders'"),
        (lambda: TableDeclaration("orders", store={"bloom_bits": -1}), r"bloom_bits can't be -1"),
    ],
)
def test_wrong_values_are_refused(make: Callable[[], object], message: str) -> None:
    """A value that can't be is refused at once, naming the setting."""
    with pytest.raises(ConfigurationError, match=message):
        make()


@pytest.mark.parametrize(
    ("given_text", "expected"),
    [
        ("localhost", "localhost"),
        (" a:9092 , b:9093,", "a:9092,b:9093"),
        ("[::1]:9092", "[::1]:9092"),
        ("SASL_SSL://kafka.example.org:443", "SASL_SSL://kafka.example.org:443"),
    ],
)
def test_addresses_are_tidied(given_text: str, expected: str) -> None:
    """Addresses are accepted as librdkafka takes them, without stray spaces and commas."""
    assert Settings(given_text).bootstrap == expected


@pytest.mark.parametrize(
    "address", ["", " , ", "http://h:8081", "a b:1", "h:port", None, ["a:1"], f"ada:{SECRET}@h:1"]
)
def test_what_is_no_address_is_refused(address: Any) -> None:
    """Text that librdkafka could only fail to resolve is refused, without what stands before an @."""
    with pytest.raises(ConfigurationError, match="is not a list of Kafka addresses") as caught:
        Settings(address)

    assert SECRET not in str(caught.value)


def test_settings_cannot_be_changed_from_outside() -> None:
    """The mappings are copies that refuse changes."""
    client = {"client.id": "a"}
    settings: Any = Settings("h:1", librdkafka=client)
    client["client.id"] = "b"

    assert settings.librdkafka == {"client.id": "a"}
    with pytest.raises(TypeError, match="does not support item assignment"):
        settings.librdkafka["client.id"] = "c"
    with pytest.raises(AttributeError, match="cannot assign"):
        settings.writable = True


def test_a_table_overrides_single_store_options() -> None:
    """A declaration names its topic and leaves the store options it doesn't name to the defaults."""
    table: Any = TableDeclaration(
        "orders", key=["region", "id"], windows=[5, "1h"], store={"compression": "zstd"}
    )  # type: ignore[arg-type]

    assert (table.topic, table.key, table.windows) == ("orders", ("region", "id"), (5, "1h"))
    one: Any = TableDeclaration("orders", windows="5m")  # type: ignore[arg-type]
    assert one.windows == ("5m",)
    assert table.store_options(StoreOptions(bloom_bits=0)) == StoreOptions(bloom_bits=0, compression="zstd")


def test_equal_settings_are_equal_secrets_included() -> None:
    """Two settings are equal when nothing changed; another password is a change."""
    one = Settings("h:1", librdkafka={"sasl.password": SECRET})

    assert one == Settings("h:1", librdkafka={"sasl.password": SECRET})
    assert one != Settings("h:1", librdkafka={"sasl.password": "other"})
    assert one != "h:1"


def test_changes_are_named() -> None:
    """What changed is named by its leaf, so that it can be compared with what is safe at run time."""
    one, other = (
        Settings("h:1", store=StoreOptions(flush_interval=1), log_level="info"),
        Settings("h:1", store=StoreOptions(flush_interval=2), monitor_interval=1),
    )

    assert one.changed_in(one) == frozenset()
    assert one.changed_in(other) == {"flush_interval", "log_level", "monitor_interval"}
    assert one.changed_in(other) == RUNTIME_SETTINGS
    assert one.changed_in(Settings("g:1", log_level="INFO", store=one.store)) == {"bootstrap"}


def test_a_callback_of_a_cell_run_again_has_not_changed() -> None:
    """The same code defined again is the same setting; with other captured values it is another."""

    def defined(token: str) -> Settings:
        def oauth_cb(_config: str) -> tuple[str, float]:
            return token, 0.0

        return Settings("h:1", librdkafka={"oauth_cb": oauth_cb})

    assert defined("a") == defined("a")
    assert defined("a") != defined("b")


@pytest.mark.parametrize(
    "name",
    [
        "sasl.password",
        "sasl_password",
        "ssl.key.password",
        "ssl.key.pem",
        "sasl.oauthbearer.client.secret",
        "sasl.oauthbearer.config",
        "sasl.oauthbearer.assertion.private.key.passphrase",
        "sasl.oauthbearer.assertion.private.key.pem",
        "sasl.jaas.config",
        "basic.auth.user.info",
        "bearer.auth.token",
        "SASL.PASSWORD",
    ],
)
def test_secrets_are_redacted_by_name(name: str) -> None:
    """Every kind of secret Kafka clients know is redacted."""
    assert redact({name: SECRET}) == {name: "***"}


@pytest.mark.parametrize(
    "name",
    ["sasl.username", "sasl.mechanism", "ssl.ca.location", "ssl.ca.pem", "ssl.key.location", "client.id"],
)
def test_what_is_no_secret_is_shown(name: str) -> None:
    """Names that help to find a fault stay readable."""
    assert redact({name: "readable"}) == {name: "readable"}


def test_secrets_are_redacted_inside_values() -> None:
    """Credentials in URLs, nested tables and callables are redacted as well."""
    with_secrets = {
        "sasl.oauthbearer.token.endpoint.url": f"https://ada:{SECRET}/@@idp.example.org/token",
        "registry": {"url": f"https://{SECRET}@registry.example.org", "password": SECRET},
        "oauth_cb": functools.partial(redact, {"x": SECRET}),
    }

    assert redact(with_secrets) == {
        "sasl.oauthbearer.token.endpoint.url": "https://***@idp.example.org/token",
        "registry": {"url": "https://***@registry.example.org", "password": "***"},
        "oauth_cb": "<partial>",
    }


def test_settings_never_show_a_secret() -> None:
    """Neither repr, str, the description nor a pickled error of settings holds a secret."""
    client: Any = {"sasl.username": "ada", "sasl.password": SECRET, "url": f"https://a:{SECRET}@h"}
    settings = Settings("h:1", librdkafka=client, state_dir=Path("stores"))
    with pytest.raises(ConfigurationError) as caught:
        Settings("h:1", librdkafka=client, writable=0)  # type: ignore[arg-type]

    shown = (repr(settings), str(settings), str(settings.describe()), str(caught.value))
    assert not [text for text in shown if SECRET in text]
    assert SECRET.encode() not in pickle.dumps(caught.value)
    assert settings.librdkafka["sasl.password"] == SECRET
    assert settings.describe()["librdkafka"]["sasl.username"] == "ada"
    assert settings.describe()["state_dir"] == "stores"
