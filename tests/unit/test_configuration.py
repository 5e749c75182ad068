"""Settings are resolved from arguments, environment and files in one order, and mistakes are named, secrets not."""

import logging
import pickle
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import platformdirs
import pytest

from ktframe.config.settings import RetryPolicy, Settings, StoreOptions, TableDeclaration
from ktframe.config.sources import resolve_settings
from ktframe.errors import ConfigurationError

SECRET = "swordfish"

TOML = """
default_profile = "dev"
monitor_interval = "2s"
state_dir = "stores"

[kafka]
client.id = "notebook"
"fetch.wait.max.ms" = 50

[store]
bloom_bits = 3

[retry]
attempts = 7

[tables.orders]
key = ["region", "order_id"]
time = "created_at"
windows = [5, "1h"]
store = { bloom_bits = 0 }

[profiles.dev]
bootstrap = "dev:9092"

[profiles.prod]
bootstrap = "prod:9093"
writable = true

[profiles.prod.kafka]
security.protocol = "SASL_SSL"
sasl.username = "ada"

[profiles.prod.store]
compression = "zstd"

[profiles.prod.tables.orders]
topic = "shop.orders"
"""


@pytest.fixture(autouse=True)
def user_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the user's configuration directory into the test's own folder."""
    folder = tmp_path / "user-config"
    folder.mkdir()
    monkeypatch.setattr(platformdirs, "user_config_path", lambda *_, **__: folder)
    return folder


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """Return an empty working directory."""
    folder = tmp_path / "work"
    folder.mkdir()
    return folder


def resolve(work: Path, *args: Any, environ: Mapping[str, str] | None = None, **kwargs: Any) -> Settings:
    """Resolve in ``work`` with nothing but the given variables."""
    return resolve_settings(*args, environ=environ or {}, cwd=work, **kwargs)


def test_an_address_is_enough(work: Path) -> None:
    """With an address alone everything else is at its default."""
    assert resolve(work, "localhost:9092") == Settings("localhost:9092")


@pytest.mark.parametrize("environ", [{}, {"KTFRAME_BOOTSTRAP": ""}])
def test_no_address_is_an_error_that_names_the_ways(work: Path, environ: dict[str, str]) -> None:
    """With nothing configured the error names connect, the variable and the demo."""
    with pytest.raises(ConfigurationError, match=r"ktframe\.connect(.|\n)*KTFRAME_BOOTSTRAP(.|\n)*demo"):
        resolve(work, environ=environ)


def test_the_first_argument_may_be_a_librdkafka_configuration(work: Path) -> None:
    """A mapping gives the address and the client settings under their own names."""
    settings = resolve(work, {"bootstrap.servers": "h:1", "sasl.mechanism": "PLAIN", "group.id": "mine"})

    assert settings.bootstrap == "h:1"
    assert settings.librdkafka == {"sasl.mechanism": "PLAIN", "group.id": "mine"}


def test_each_layer_overrides_the_one_below(work: Path) -> None:
    """Arguments win over variables, those over the TOML file, that over properties; single names, not tables."""
    (work / "ktframe.toml").write_text(
        'stall_timeout = 1\nrequest_timeout = 1\nmonitor_interval = 1\n[kafka]\n"client.id" = "toml"\n'
        '"client.rack" = "toml"\n"debug" = "toml"\n[store]\nbloom_bits = 1\ncompression = "zstd"\n'
    )
    (work / "client.properties").write_text(
        "bootstrap.servers=h:1\nclient.id=p\nclient.rack=p\ndebug=p\nssl.ca.pem=p"
    )
    variables = {
        "KTFRAME_REQUEST_TIMEOUT": "2",
        "KTFRAME_MONITOR_INTERVAL": "2s",
        "KTFRAME_KAFKA_CLIENT_ID": "environment",
        "KTFRAME_KAFKA_CLIENT_RACK": "environment",
        "KTFRAME_STORE_BLOOM_BITS": "2",
    }
    settings = resolve(
        work,
        "client.properties",
        environ=variables,
        monitor_interval=3,
        client_id="argument",
        store={"block_cache_bytes": 9},
    )

    assert settings.bootstrap == "h:1"
    assert (settings.stall_timeout, settings.request_timeout, settings.monitor_interval) == (1.0, 2.0, 3.0)
    assert settings.store == StoreOptions(bloom_bits=2, compression="zstd", block_cache_bytes=9)
    assert settings.librdkafka == {
        "ssl.ca.pem": "p",
        "debug": "toml",
        "client.rack": "environment",
        "client.id": "argument",
    }


def test_a_toml_file_gives_everything(work: Path) -> None:
    """The default profile's names lie over the top level; relative state is kept beside the file."""
    (work / "ktframe.toml").write_text(TOML)
    settings = resolve(work)

    assert (settings.bootstrap, settings.profile, settings.writable) == ("dev:9092", "dev", False)
    assert settings.librdkafka == {"client.id": "notebook", "fetch.wait.max.ms": 50}
    assert settings.state_dir == work / "stores"
    assert settings.store == StoreOptions(bloom_bits=3)
    assert settings.retry == RetryPolicy(attempts=7)
    assert settings.tables == {
        "orders": TableDeclaration(
            "orders",
            key=("region", "order_id"),
            time="created_at",
            windows=(5, "1h"),
            store={"bloom_bits": 0},
        )
    }


@pytest.mark.parametrize(
    ("environ", "kwargs"),
    [
        ({}, {"profile": "prod"}),
        ({"KTFRAME_PROFILE": "prod"}, {}),
        ({"KTFRAME_PROFILE": "dev"}, {"profile": "prod"}),
    ],
)
def test_a_profile_overrides_the_top_level(
    work: Path, environ: dict[str, str], kwargs: dict[str, str]
) -> None:
    """The argument, then the variable, choose the profile; its tables are laid over those of the top level."""
    (work / "ktframe.toml").write_text(TOML)
    settings = resolve(work, environ=environ, **kwargs)

    assert (settings.bootstrap, settings.profile, settings.writable) == ("prod:9093", "prod", True)
    assert settings.librdkafka["client.id"] == "notebook"
    assert settings.librdkafka["sasl.username"] == "ada"
    assert settings.store == StoreOptions(bloom_bits=3, compression="zstd")
    assert settings.tables["orders"].topic == "shop.orders"
    assert settings.tables["orders"].windows == (5, "1h")


def test_a_profile_may_spell_the_address_its_own_way(work: Path) -> None:
    """A profile's librdkafka address wins over the plain one of the top level."""
    text = 'bootstrap = "dev:1"\n[profiles.prod.kafka]\nbootstrap.servers = "prod:1"'
    (work / "ktframe.toml").write_text(text)

    assert resolve(work, profile="prod").bootstrap == "prod:1"


def test_an_unknown_profile_is_refused_with_those_there_are(work: Path) -> None:
    """A profile that isn't in the file, or in no file at all, is an error."""
    with pytest.raises(ConfigurationError, match=r"no profile 'dev' in ktframe\.toml, which was not found"):
        resolve(work, "h:1", profile="dev")

    (work / "ktframe.toml").write_text(TOML)
    with pytest.raises(ConfigurationError, match=r"no profile 'prd' in (.|\n)*there are: dev, prod"):
        resolve(work, "h:1", profile="prd")


def test_the_file_is_looked_for_in_order(work: Path, user_config: Path) -> None:
    """An explicit path wins over KTFRAME_CONFIG, that over the working directory, that over the user's."""
    (user_config / "ktframe.toml").write_text('bootstrap = "user:1"')
    assert resolve(work).bootstrap == "user:1"

    (work / "ktframe.toml").write_text('bootstrap = "work:1"')
    assert resolve(work).bootstrap == "work:1"

    (work / "other.toml").write_text('bootstrap = "variable:1"')
    assert resolve(work, environ={"KTFRAME_CONFIG": "other.toml"}).bootstrap == "variable:1"

    (work / "mine.toml").write_text('bootstrap = "path:1"')
    for path in ("mine.toml", work / "mine.toml"):
        assert resolve(work, path, environ={"KTFRAME_CONFIG": "other.toml"}).bootstrap == "path:1"


def test_files_that_cannot_be_read_are_reported(work: Path) -> None:
    """A missing file, one that isn't TOML and one that isn't text are told apart."""
    with pytest.raises(ConfigurationError, match=r"absent\.toml can't be read: No such file"):
        resolve(work, "absent.toml")

    (work / "bad.toml").write_text("bootstrap = h:1")
    with pytest.raises(ConfigurationError, match=r"bad\.toml is not TOML: .*line 1"):
        resolve(work, "bad.toml")

    (work / "bad.properties").write_bytes(b"a=\xff")
    with pytest.raises(ConfigurationError, match=r"bad\.properties can't be read: it is not UTF-8"):
        resolve(work, "bad.properties")


def test_properties_are_read_as_java_does(work: Path) -> None:
    """Comments, the three separators, continued lines and escapes mean what they mean to Java."""
    (work / "client.properties").write_text(
        "# comment \\\n! another\n\nbootstrap.servers = a:1,\\\n    b:2\nclient.id:note\\u0062ook\n"
        "sasl.username ada\\ lovelace\nsasl.password=pa\\=ss\\\\word=\nssl.key.password=\n  debug = broker\r\n"
    )
    settings = resolve(work, work / "client.properties")

    assert settings.bootstrap == "a:1,b:2"
    assert settings.librdkafka == {
        "client.id": "notebook",
        "sasl.username": "ada lovelace",
        "sasl.password": "pa=ss\\word=",
        "ssl.key.password": "",
        "debug": "broker",
    }


def test_a_wrong_escape_in_properties_is_refused_without_its_value(work: Path) -> None:
    """Java refuses it too; the error does not show what follows, which may be a part of a password."""
    (work / "client.properties").write_text("bootstrap.servers=a:1\nsasl.password=\\uSECR\n")

    with pytest.raises(
        ConfigurationError, match=r"client\.properties: a \\u is not followed by four"
    ) as caught:
        resolve(work, "client.properties")
    assert caught.value.__context__ is None
    assert "SECR" not in str(caught.value)


def test_two_files_must_not_name_two_clusters(work: Path) -> None:
    """A properties file and a TOML file with different addresses are refused unless a higher layer decides."""
    (work / "ktframe.toml").write_text('bootstrap = "dev:1"')
    (work / "client.properties").write_text("bootstrap.servers=prod:1")

    with pytest.raises(ConfigurationError, match=r"properties file and ktframe\.toml name different"):
        resolve(work, "client.properties")
    with pytest.raises(ConfigurationError, match="first argument and bootstrap= name different"):
        resolve(work, "a:1", bootstrap="b:1")
    assert resolve(work, "client.properties", bootstrap="prod:1").bootstrap == "prod:1"


def test_variables_set_every_scalar(work: Path) -> None:
    """Variables are converted to the kind of their setting; an empty one counts as unset."""
    settings = resolve(
        work,
        environ={
            "KTFRAME_BOOTSTRAP": "h:1",
            "KTFRAME_STATE_DIR": "here",
            "KTFRAME_WRITABLE": "1",
            "KTFRAME_STALL_TIMEOUT": "1.5",
            "KTFRAME_LOG_LEVEL": "debug",
            "KTFRAME_STORE_BLOCK_CACHE_BYTES": "9",
            "KTFRAME_STORE_RETENTION": "7d",
            "KTFRAME_RETRY_ATTEMPTS": "3",
            "KTFRAME_RETRY_MAX_DELAY": "",
            "KTFRAME_KAFKA_SASL_USERNAME": "ada",
            "KTFRAME_KAFKA_LOG_LEVEL": "7",
            "KTFRAME_TEST_BOOTSTRAP": "ignored:1",
            "HOME": "ignored",
        },
    )

    assert settings == Settings(
        "h:1",
        librdkafka={"sasl.username": "ada", "log_level": "7"},
        state_dir=work / "here",
        writable=True,
        stall_timeout=1.5,
        log_level="DEBUG",
        store=StoreOptions(block_cache_bytes=9, retention=604_800),
        retry=RetryPolicy(attempts=3),
    )


@pytest.mark.parametrize(
    ("text", "expected"), [("yes", True), ("ON", True), ("no", False), ("0", False), ("off", False)]
)
def test_variables_say_yes_or_no_in_words_or_digits(work: Path, text: str, *, expected: bool) -> None:
    """The usual words for true and false are understood, in any case."""
    settings = resolve(work, environ={"KTFRAME_BOOTSTRAP": "h:1", "KTFRAME_WRITABLE": text})
    assert settings.writable is expected


def test_arguments_may_be_spelt_in_many_ways(work: Path) -> None:
    """Fields, flat names, whole objects, client settings with underscores or in config; None is not given."""

    def oauth_cb(_config: str) -> tuple[str, float]:
        return "token", 0.0

    settings = resolve(
        work,
        bootstrap_servers="h:1",
        config={"sasl.username": "ada"},
        sasl_mechanism="OAUTHBEARER",
        oauth_cb=oauth_cb,
        store=StoreOptions(bloom_bits=0),
        store_block_cache_bytes=9,
        retry_attempts=2,
        tables={"orders": {"time": "at"}, "clicks": TableDeclaration("clicks", topic="web")},
        state_dir=work / "stores",
        writable=None,
    )

    assert settings == Settings(
        "h:1",
        librdkafka={"sasl.username": "ada", "sasl.mechanism": "OAUTHBEARER", "oauth_cb": oauth_cb},
        store=StoreOptions(bloom_bits=0, block_cache_bytes=9),
        retry=RetryPolicy(attempts=2),
        tables={
            "orders": TableDeclaration("orders", time="at"),
            "clicks": TableDeclaration("clicks", topic="web"),
        },
        state_dir=work / "stores",
    )


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"bootstrp": "h:1"}, "no setting 'bootstrp' in the arguments(.|\n)*did you mean 'bootstrap'"),
        ({"flush_interval": 1}, "did you mean 'store_flush_interval'"),
        ({"sals_username": "x"}, "did you mean 'sasl_username'"),
        ({"retry_attemts": 3}, "did you mean 'retry_attempts'"),
        ({"colour": "red"}, "no setting 'colour' in the arguments(.|\n)*there are bootstrap, config"),
        ({"store": {"bakend": "memory"}}, r"no setting 'bakend' in \[store\](.|\n)*did you mean 'backend'"),
        (
            {"store": {"cache": False}},
            r"no setting 'cache' in \[store\](.|\n)*there are backend, block_cache_bytes",
        ),
        ({"retry": 5}, r"retry\] must be a table of names and values, not a int"),
        ({"tables": {"orders": {"windos": [5]}}}, r"\[tables.orders\](.|\n)*did you mean 'windows'"),
        (
            {"tables": {"orders": {"store": {"bakend": 1}}}},
            r"\[tables.orders.store\](.|\n)*did you mean 'backend'",
        ),
        ({"tables": {"orders": {"key": 5}}}, r"a value in \[tables.orders\] is of the wrong kind"),
        ({"config": {"bootstrap": "h:1"}}, "'bootstrap' in the arguments is a setting of ktframe"),
        ({"config": {"dbug": "all"}}, "did you mean 'debug'"),
        ({"config": {"client.id": None}}, "'client.id' in the arguments can't be a NoneType"),
    ],
)
def test_unknown_arguments_are_refused(work: Path, kwargs: dict[str, Any], message: str) -> None:
    """A name nobody knows is refused with the nearest one, a value of the wrong kind with its place."""
    with pytest.raises(ConfigurationError, match=message):
        resolve(work, "h:1", **kwargs)


def test_unknown_names_elsewhere_are_refused(work: Path) -> None:
    """Variables and every profile of the file are checked as arguments are."""
    with pytest.raises(ConfigurationError, match="did you mean 'KTFRAME_BOOTSTRAP'"):
        resolve(work, environ={"KTFRAME_BOOTSTAP": "h:1"})

    (work / "ktframe.toml").write_text('bootstrap = "h:1"\n[profiles.prod]\nwriteable = true')
    with pytest.raises(
        ConfigurationError, match=r"'writeable' in \[profiles.prod\] of (.|\n)*mean 'writable'"
    ):
        resolve(work)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("sasl.jaas.config", "use sasl.username and sasl.password"),
        ("sasl.login.callback.handler.class", "oauth_cb"),
        ("ssl.truststore.location", "use ssl.ca.location"),
        ("ssl.truststore.password", "use ssl.ca.location"),
        ("ssl.truststore.certificates", "use ssl.ca.pem"),
        ("ssl.keystore.type", "use ssl.keystore.location with a PKCS#12 file"),
        ("ssl.keystore.key", "use ssl.key.pem"),
        ("key.deserializer", r"use value= and key_format= of ktframe\.table"),
        ("value.serializer", r"use value= and key_format= of ktframe\.table"),
        ("fetch.max.wait.ms", "use fetch.wait.max.ms"),
    ],
)
def test_settings_of_the_java_client_are_refused(work: Path, name: str, hint: str) -> None:
    """A Java-only name is refused with the one that does it here, its value not shown."""
    with pytest.raises(ConfigurationError, match=f"Java client only(.|\n)*{hint}") as caught:
        resolve(work, {"bootstrap.servers": "h:1", name: SECRET})

    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    "name", ["ssl.keystore.location", "ssl.keystore.password", "ssl.key.password", "group.id"]
)
def test_settings_both_clients_have_pass(work: Path, name: str) -> None:
    """What librdkafka knows under the same name as Java passes unchanged."""
    assert resolve(work, "h:1", config={name: "x"}).librdkafka == {name: "x"}


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("enable.auto.commit", "never commits"),
        ("enable.auto.offset.store", "never commits"),
        ("enable.partition.eof", "end-of-partition"),
        ("auto.offset.reset", "where to start"),
        ("isolation.level", "committed records only"),
        ("transactional.id", "id of its own"),
        ("delivery.report.only.error", "every acknowledgement"),
        ("message.timeout.ms", "write_timeout"),
        ("delivery.timeout.ms", "write_timeout"),
        ("acks", "can't be changed: ktframe writes with acks=all"),
        ("request.required.acks", "can't be changed: ktframe writes with acks=all"),
        ("enable.idempotence", "can't be changed: ktframe writes with acks=all"),
        (
            "check.crcs",
            "can't be changed: ktframe writes with acks=all and idempotence, and checks checksums",
        ),
    ],
)
def test_settings_that_decide_correctness_are_refused(work: Path, name: str, reason: str) -> None:
    """What ktframe must own is refused with the reason, whichever way it comes."""
    variable = f"KTFRAME_KAFKA_{name.upper().replace('.', '_')}"
    with pytest.raises(ConfigurationError, match=reason):
        resolve(work, {"bootstrap.servers": "h:1", name: "x"})
    with pytest.raises(ConfigurationError, match=reason):
        resolve(work, "h:1", **{name.replace(".", "_"): "x"})
    with pytest.raises(ConfigurationError, match=reason):
        resolve(work, "h:1", environ={variable: "x"})


@pytest.mark.parametrize(
    ("name", "value"),
    [("acks", "all"), ("acks", -1), ("enable.idempotence", True), ("enable.idempotence", "True")],
)
def test_what_a_producer_always_does_may_be_said(work: Path, name: str, value: object) -> None:
    """A client.properties that is shared with producers passes; the clients that only read never see it."""
    assert resolve(work, {"bootstrap.servers": "h:1", name: value}).librdkafka == {}


def test_no_error_shows_a_secret(work: Path) -> None:
    """Neither the text, the traceback nor the pickle of a configuration error holds the value of a client setting."""
    (work / "key.properties").write_text(f"ssl.key.pem=-----BEGIN\nMII{SECRET}+/==\n-----END")
    (work / "bad.toml").write_text(f'[kafka]\n"sasl.password" = {SECRET}')
    client = {"bootstrap.servers": "h:1", "sasl.password": SECRET, "url": f"https://a:{SECRET}@h"}
    cases: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
        (("key.properties",), {}),
        (("bad.toml",), {}),
        ((f"ada:{SECRET}@h:1",), {}),
        ((client | {"sasl.jaas.config": SECRET},), {}),
        ((client | {"isolation.level": SECRET},), {}),
        (("h:1",), {"sasl_password": [SECRET]}),
        (("h:1",), {"config": SECRET}),
        (("h:1",), {"pasword": SECRET}),
        (("h:1",), {"config": client, "writable": 5}),
        (("h:1",), {"environ": {"KTFRAME_PASSWORD": SECRET}}),
        (("h:1",), {"config": client, "state_dir": 5, "store_backend": 5}),
    ]
    for args, kwargs in cases:
        with pytest.raises(ConfigurationError) as caught:
            resolve(work, *args, **kwargs)
        text = "".join(traceback.format_exception_only(caught.value)) + repr(caught.value)
        assert SECRET not in text
        assert SECRET not in repr(caught.value.__cause__)
        assert SECRET.encode() not in pickle.dumps(caught.value)


def test_resolving_logs_nothing(work: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Settings leave no trace in a log."""
    with caplog.at_level(logging.DEBUG):
        resolve(work, {"bootstrap.servers": "h:1", "sasl.password": SECRET})

    assert caplog.records == []


def test_a_registry_is_an_address_or_a_table_of_its_settings(work: Path) -> None:
    """In every layer, one over the other; single names are overridden, not the whole table."""
    (work / "ktframe.toml").write_text(
        'schema_registry = "https://file:8081"\n'
        "[profiles.p.schema_registry]\n"
        'url = "https://profile:8081"\n'
        'basic.auth.user.info = "ada:one"\n'
    )
    environ = {"KTFRAME_SCHEMA_REGISTRY_BASIC_AUTH_USER_INFO": "ada:two"}
    found = resolve_settings("h:1", environ={}, cwd=work)
    assert found.schema_registry == {"url": "https://file:8081"}
    found = resolve_settings("h:1", profile="p", environ=environ, cwd=work)
    assert found.schema_registry == {"url": "https://profile:8081", "basic.auth.user.info": "ada:two"}
    found = resolve_settings(
        "h:1",
        profile="p",
        environ={**environ, "KTFRAME_SCHEMA_REGISTRY": "https://variable:8081"},
        cwd=work,
        schema_registry={"ssl.ca.location": "ca.pem"},
        schema_registry_timeout=3,
    )
    assert found.schema_registry == {
        "url": "https://variable:8081",
        "basic.auth.user.info": "ada:two",
        "ssl.ca.location": "ca.pem",
        "timeout": 3,
    }


@pytest.mark.parametrize("given", ["localhost:8081", {"basic.auth.user.info": SECRET}, {"url": "ftp://x"}, 5])
def test_a_registry_needs_an_address(work: Path, given: Any) -> None:
    """Without one that starts with http the error says what to give, and shows nothing of it."""
    with pytest.raises(ConfigurationError) as caught:
        resolve_settings("h:1", environ={}, cwd=work, schema_registry=given)
    assert SECRET not in str(caught.value)


def test_secrets_of_the_registry_are_not_shown(work: Path) -> None:
    """Neither passwords, nor tokens, nor what stands before the at sign of an address."""
    given = {
        "url": f"https://ada:{SECRET}@host:8081",
        "basic.auth.user.info": f"ada:{SECRET}",
        "bearer.auth.token": SECRET,
        "bearer.auth.client.secret": SECRET,
        "ssl.key.password": SECRET,
    }
    found = resolve_settings("h:1", environ={}, cwd=work, schema_registry=given)
    assert SECRET not in repr(found)
    assert "host:8081" in repr(found)
    other = resolve_settings("h:1", environ={}, cwd=work, schema_registry={**given, "bearer.auth.token": "x"})
    assert found.changed_in(other) == {"schema_registry"}
