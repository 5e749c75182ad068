"""The keyword arguments of ``ktframe.connect``, for editors and type checkers.

``ktframe.config.sources`` decides at run time which names there are; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypedDict

from ktframe.config.durations import Duration
from ktframe.config.settings import (
    Backend,
    Compression,
    ConfigValue,
    OnRefused,
    RetryPolicy,
    Stale,
    StoreOptions,
    TableDeclaration,
)


class ConnectOptions(TypedDict, total=False):
    """Fields of ``Settings``; those of ``StoreOptions`` and ``RetryPolicy`` with a prefix; librdkafka's commonest names.

    Any other librdkafka setting can be given in ``config={"its.name": ...}``.
    """

    bootstrap: str | None
    profile: str | None
    config: Mapping[str, ConfigValue] | None
    librdkafka: Mapping[str, ConfigValue] | None
    state_dir: str | Path | None
    writable: bool | None
    monitor_interval: Duration | None
    stall_timeout: Duration | None
    request_timeout: Duration | None
    write_timeout: Duration | None
    log_level: str | None
    on_refused: OnRefused | None
    stale: Stale | None
    tables: Mapping[str, TableDeclaration | Mapping[str, Any]] | None

    schema_registry: str | Mapping[str, ConfigValue] | None
    schema_registry_url: str | None
    schema_registry_basic_auth_user_info: str | None
    schema_registry_bearer_auth_token: str | None
    schema_registry_ssl_ca_location: str | None

    store: StoreOptions | Mapping[str, Any] | None
    store_backend: Backend | None
    store_block_cache_bytes: int | None
    store_write_buffer_bytes: int | None
    store_compression: Compression | None
    store_bloom_bits: int | None
    store_flush_interval: Duration | None
    store_retention: Duration | None

    retry: RetryPolicy | Mapping[str, Any] | None
    retry_attempts: int | None
    retry_initial_delay: Duration | None
    retry_max_delay: Duration | None
    retry_jitter: Duration | None
    retry_healthy_after: Duration | None

    # librdkafka's, with underscores for dots.
    security_protocol: str | None
    sasl_mechanism: str | None
    sasl_username: str | None
    sasl_password: str | None
    sasl_oauthbearer_method: str | None
    sasl_oauthbearer_client_id: str | None
    sasl_oauthbearer_client_secret: str | None
    sasl_oauthbearer_scope: str | None
    sasl_oauthbearer_token_endpoint_url: str | None
    sasl_kerberos_service_name: str | None
    ssl_ca_location: str | None
    ssl_ca_pem: str | None
    ssl_certificate_location: str | None
    ssl_key_location: str | None
    ssl_key_password: str | None
    ssl_keystore_location: str | None
    ssl_keystore_password: str | None
    ssl_endpoint_identification_algorithm: str | None
    enable_ssl_certificate_verification: bool | None
    client_id: str | None
    client_rack: str | None
    socket_timeout_ms: int | None
    debug: str | None
    oauth_cb: Callable[..., object] | None
