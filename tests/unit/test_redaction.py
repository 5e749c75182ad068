"""No value of a secret setting is in an error, whatever librdkafka says; and its refusals are ConfigurationErrors."""

from __future__ import annotations

import pickle
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from ktframe.config.settings import Settings
from ktframe.errors import AuthenticationError, ConfigurationError, KtframeError
from ktframe.kafka.client import new_client
from ktframe.kafka.cluster import KafkaCluster
from ktframe.kafka.errors import translate
from ktframe.kafka.reader import KafkaReader
from ktframe.kafka.redaction import without_secrets

SECRET = "hunter2-marlin-77"
SECRETS = {
    "sasl.password": SECRET,
    "sasl.oauthbearer.config": f"principal=a {SECRET}",
    "ssl.key.pem": f"-----BEGIN PRIVATE KEY-----\n{SECRET}\n-----END PRIVATE KEY-----",
    "ssl.key.password": SECRET,
    "sasl.oauthbearer.token.endpoint.url": f"https://ada:{SECRET}@host/token",
}
SASL = {"security.protocol": "SASL_PLAINTEXT"}
SSL = {"security.protocol": "SSL"}

CLIENTS: list[Callable[[Settings], Any]] = [KafkaCluster, lambda settings: KafkaReader(settings, "t")]


def _texts(error: KtframeError) -> str:
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    shown = "".join(traceback.format_exception(error))
    pickled = pickle.dumps(error, protocol=0).decode("latin-1")
    return f"{error} {error!r} {vars(error)} {again} {again!r} {shown} {pickled}"


@pytest.mark.parametrize("client", CLIENTS, ids=["admin", "consumer"])
@pytest.mark.parametrize(
    "config",
    [
        {"sasl_pasword": SECRET},
        {"sasl.pasword": SECRET},
        {"security.protocol": SECRET},
        {**SASL, "sasl.mechanism": SECRET},
        {**SASL, "sasl.mechanism": "PLAIN", "sasl.password": SECRET},
        {**SSL, "ssl.key.pem": SECRET},
        {**SSL, "ssl.key.pem": SECRETS["ssl.key.pem"], "ssl.key.password": SECRET},
        {**SSL, "ssl.keystore.location": "/nowhere", "ssl.keystore.password": SECRET},
        {"socket.timeout.ms": SECRET},
        {"plugin.library.paths": SECRET},
        {"sasl.password": f"{SECRET}\ud800"},
        {"error_cb": "x", "oauth_cb": SECRET},
    ],
    ids=",".join,
)
def test_settings_that_are_not_taken_are_a_configuration_error(
    client: Callable[[Settings], Any], config: dict[str, Any]
) -> None:
    """Neither its text, its pickle nor its traceback holds a value, and it names the setting's documentation."""
    with pytest.raises(
        ConfigurationError, match=r"(?s)does not take these settings.*Hint: .*librdkafka"
    ) as caught:
        client(Settings(bootstrap="localhost:1", librdkafka=config))
    assert caught.value.__cause__ is caught.value.__context__ is None
    assert SECRET not in _texts(caught.value)
    assert "hunter2" not in _texts(caught.value)


def test_a_refusal_names_the_setting() -> None:
    """The name and the complaint stay, the value goes."""
    settings = Settings(bootstrap="localhost:1", librdkafka={"security.protocol": SECRET})
    with pytest.raises(ConfigurationError, match=r'Invalid value "\*\*\*" for .* "security.protocol"'):
        KafkaCluster(settings)


@pytest.mark.parametrize("name", SECRETS)
@pytest.mark.parametrize(
    "quoted",
    [lambda value: value, lambda value: value[len(value) // 2 :], lambda value: value[1:-3]],
    ids=["whole", "rest", "middle"],
)
@pytest.mark.parametrize("code", [KafkaError._AUTHENTICATION, KafkaError._INVALID_ARG, KafkaError._TRANSPORT])
def test_errors_hold_no_part_of_a_secret(name: str, quoted: Callable[[str], str], code: int) -> None:
    """A text quotes the rest of what it could not read: that goes, whole or in part."""
    said = KafkaError(code, f"Unrecognized {name} beginning at: {quoted(SECRETS[name])}")
    error = translate(said, bootstrap="localhost:1", config={**SASL, name: SECRETS[name]})
    refusal = _refusal(said, {name: SECRETS[name]})
    assert isinstance(refusal, ConfigurationError) == (code == KafkaError._INVALID_ARG)
    for text in (_texts(error), _texts(refusal)):
        assert f"Unrecognized {name}" in text
        assert not any(SECRET[at : at + 4] in text for at in range(len(SECRET) - 3))


def _refusal(said: KafkaError, config: dict[str, Any]) -> KtframeError:
    def kind(*_: object, **__: object) -> None:
        raise KafkaException(said)

    with pytest.raises(KtframeError) as caught:
        new_client(kind, config)
    return caught.value


@pytest.mark.parametrize("client", CLIENTS, ids=["admin", "consumer"])
def test_errors_that_arrive_later_are_scrubbed_too(client: Callable[[Settings], Any]) -> None:
    """Both clients translate with their settings at hand."""
    config = {"sasl.oauthbearer.config": SECRETS["sasl.oauthbearer.config"]}
    made = client(Settings(bootstrap="localhost:1", librdkafka=config))
    error = made._translate(KafkaError(KafkaError._AUTHENTICATION, f"beginning at: {SECRET}"))
    made.close()
    assert isinstance(error, AuthenticationError)
    assert "hunter2" not in _texts(error)


def test_a_token_that_does_not_come_is_a_refused_login() -> None:
    """Other failures than bad settings keep their meaning, so that a binding knows whether to try again."""
    late = KafkaError(KafkaError.SASL_AUTHENTICATION_FAILED, "OAuth token not set within 10 seconds timeout")
    refusal = _refusal(late, {"bootstrap.servers": "kafka:9092", "sasl.mechanism": "OAUTHBEARER"})
    assert isinstance(refusal, AuthenticationError)
    assert (refusal.bootstrap, refusal.mechanism) == ("kafka:9092", "OAUTHBEARER")


@pytest.mark.parametrize(
    ("text", "config", "wanted"),
    [
        ("all is well", {"sasl.password": "hunter2"}, "all is well"),
        ("no sasl.password for ada", {"sasl.password": "password"}, "no sasl.password for ada"),
        ("not abc but abcd", {"sasl.password": "abc"}, "not *** but abcd"),
        ("pin 1234567", {"sasl.password": 1234567}, "pin ***"),
        ("at https://a:bc@host/", {"url": "https://a:bc@host/"}, "at https://***@host/"),
        ("user ada at host", {"sasl.username": "ada", "client.id": "host"}, "user ada at host"),
        ("empty", {"sasl.password": "", "oauth_token": None}, "empty"),
    ],
)
def test_only_secrets_go(text: str, config: dict[str, Any], wanted: str) -> None:
    """Names of settings, and values that are no secrets, stay readable."""
    assert without_secrets(text, config) == wanted
