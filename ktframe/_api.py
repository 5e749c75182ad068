"""The functions of the package, thin over the connection that ``connect`` or ``demo`` made last.

What they take and give is described here; ``Context`` has methods of the same names and arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import polars as pl

from ktframe._connect import default_context
from ktframe.config.keywords import with_known_keywords
from ktframe.config.moments import Moment
from ktframe.config.settings import OnRefused, Stale, StoreOptions, Times, TimeUnit
from ktframe.context.headers import HeadersLike
from ktframe.context.schema import SchemaLike
from ktframe.explore.inspection import Inspection
from ktframe.fold.condition import Where
from ktframe.fold.deletes import Deletes
from ktframe.fold.unnested_fields import Unnest
from ktframe.tables.presentation import Metadata
from ktframe.tables.stream import KStream
from ktframe.tables.table import KTable
from ktframe.tables.topic_writer import with_last_word
from ktframe.windows.parsing import Minutes


@with_known_keywords
def table(
    topic: str | type,
    key: str | Sequence[str] | None = None,
    *,
    value: str | None = None,
    schema: SchemaLike | None = None,
    time: str | None = None,
    time_unit: TimeUnit | None = None,
    times: Times | None = None,
    key_format: str | None = None,
    key_name: str | None = "key",
    start: Moment | None = None,
    unpack: bool | None = None,
    unnest: Unnest | None = None,
    where: Where | None = None,
    deletes: Deletes | None = None,
    headers: HeadersLike | None = None,
    metadata: Metadata | None = None,
    windows: Minutes | Sequence[Minutes] = (),
    store: StoreOptions | None = None,
    on_refused: OnRefused | None = None,
    stale: Stale | None = None,
) -> KTable:
    r"""Return the latest row per key of ``topic``: Kafka's KTable. Returns at once; reading starts with the first read.

    Parameters
    ----------
    topic
        A topic's name, a table that configuration declares, or a class under ``@ktframe.entity``. Other arguments win
        over what was declared.
    key
        Fields of the value that identify a row; None: the record key does. ``"after.id"`` is the field ``id`` inside of
        ``after``, and a column of that name; a field of the top that is itself called so comes first, and ``r"after\.id"``
        is that one alone.
    value
        Format of the values: ``"auto"`` (default: by the schema that a value names, else JSON), ``"json"``,
        ``"avro"``, ``"protobuf"``, ``"string"``, ``"int"``, ``"long"``, ``"bytes"``.
    schema
        Fields of JSON values with fixed dtypes; the first 10,000 records of each partition decide the others. ``ktframe.Json`` is a String with the
        field's JSON text exactly as it was sent; a ``pl.String`` has text as it is and the JSON text of other kinds;
        ``pl.Datetime("us", "UTC")`` takes ISO 8601 text and whole numbers of that unit since 1970, ``pl.Date`` numbers of days;
        ``ktframe.Map(dtype)`` is a list of structs of ``key`` and ``value``, the entries of an object.
    time
        Field that holds the event time, nested ones as in ``key``, or one of ``headers``; None: the record timestamp is it.
    time_unit
        What numbers in that field count since 1970, also numbers that are sent as text: ``"d"`` (days), ``"s"``, ``"ms"``,
        ``"us"`` or ``"ns"``. None: integers are milliseconds, floats seconds, and text is ISO 8601. Dates and datetimes
        need no unit.
    times
        ``"auto"``: text of JSON values that is ISO 8601 with an offset, also inside of lists and objects, becomes
        ``Datetime("us", "UTC")`` (``"ns"`` where some are finer), in fields where all of the records that decide types have
        it. Later text there that is no such time is refused. Dates, times without an offset and fields of the key stay
        text; ``schema`` comes first, and so do the schemas of a registry. None: text stays text.
    key_format
        Format of the record keys: ``"string"``, ``"int"``, ``"long"``, ``"bytes"``, ``"json"``, ``"avro"``,
        ``"protobuf"``, or ``"auto"`` (by the schema that a key names, else text), the default with a registry;
        without one it is ``"string"``. A key that is a record or an object is one column, a struct; JSON text, a number or
        a boolean is that value.
        ``"windowed:string"`` and ``"session:string"`` read the keys of Kafka Streams' and ksqlDB's windows.
    key_name
        Name of the record key's column; None hides it.
    start
        Read from this moment on (``"-2h"``, a datetime, ISO 8601 text): the table is partial, and says so.
    unpack
        True: JSON values that are compressed by gzip (up to 64 MiB when they are not), or begin with a byte order mark, are read
        by what is inside. The store keeps them as they came. Else they are refused.
    unnest
        Columns whose fields become columns, in their place: ``"data"``, or several names, of which a later one may be a field of
        an earlier one (``["payload", "after"]``); ``{"data": "data_"}`` puts a prefix before the names. Two columns of one name
        are an error. A struct that is null gives nulls. ``key``, ``time``, ``where`` and ``deletes`` name fields as they
        are in the record, ``"data.id"``; ``filter``, ``agg`` and ``by`` the columns, ``"id"``. Such a table can't be written.
    where
        Which records become rows: fields and what they equal (``{"type": "user"}``, nested ones as in ``key``), or a Polars
        expression over the fields of one record. It judges records before they are folded; ``filter`` judges the rows after
        that. A record that is left out changes nothing, so an older row of its key stays; tombstones have no fields, and
        always act. Null is not true: a record without the field is left out. How many were, ``status()`` says. Each
        record is judged by the kinds of its own values (by their declared types where there are such); one that leaves open
        whether it passes, such as a text that is compared with a number, is refused. Columns and stream time are those of
        the records that pass, as behind a filter in Kafka Streams.
    deletes
        What deletes a row beside Kafka's null value: ``"empty"`` (a value without bytes, or of blanks alone), ``"null"`` (JSON's null), a condition as
        in ``where`` (``{"__deleted": "true"}``), or a list of these. Such a record is a tombstone: it deletes by the key that its
        row would have. With ``key=`` these are the fields that it has, at the time of the record; without such fields, and in
        windows with ``key=``, its record key. What ``where`` leaves out deletes nothing.
    headers
        Headers that are columns, with their types: ``{"event-type": pl.String}``. A column has the last header of its name, as
        Kafka's ``lastHeader``, null where there is none or its value is null. Text, numbers, ``true`` and ``false``, dates and
        times are read from UTF-8 text, times as ISO 8601; ``pl.Binary`` has the bytes. A record whose header can't be read so is
        refused. ``where`` and ``deletes`` can name them, and then need not read the values of what they leave out; ``time`` can
        name one, ``key`` can't. A record whose value has a field of that name is refused.
    metadata
        The columns about the record that frames have unless they are asked for otherwise, as ``to_polars`` takes them.
        ``"headers"`` (or True, for all) also reads and keeps all headers: a List of Struct of ``key`` (String) and ``value``
        (Binary), in the record's order, empty where it has none.
    windows
        Sizes of windows to keep as well, as ``KTable.window`` takes them; they start when the table does.
    store
        How this table's store is kept, where it differs from the settings.
    on_refused
        What a read does when records were refused, that is, could not become rows: ``"warn"`` (default) issues a ``KtframeWarning``,
        once for each cause, and again when its share has grown tenfold; it raises ``IncompleteError`` where all records were
        refused for one cause. ``"raise"`` always raises. ``"ignore"`` gives the frame as it is. ``errors()`` has the records.
    stale
        What a read does with rows whose newest record was refused: ``"hide"`` (default) leaves them out, ``"show"``
        gives the older record, ``"raise"`` raises ``StaleRowsError``.

    Returns
    -------
    KTable
        With equal arguments always the same one.

    Raises
    ------
    NotConnectedError
        When neither ``connect`` nor ``demo`` was called.
    ConfigurationError
        When an argument is wrong, or the same table was asked for with another ``key_name``, ``metadata`` or ``store``.
    SchemaError
        When ``schema``, ``key`` and the format do not fit each other.

    Examples
    --------
    >>> import ktframe
    >>> with ktframe.demo(rate=0):
    ...     ktframe.table("orders").to_polars().columns[:3]
    ['key', 'order_id', 'customer_id']
    """
    return default_context().table(
        topic,
        key,
        value=value,
        schema=schema,
        time=time,
        time_unit=time_unit,
        times=times,
        key_format=key_format,
        key_name=key_name,
        start=start,
        unpack=unpack,
        unnest=unnest,
        where=where,
        deletes=deletes,
        headers=headers,
        metadata=metadata,
        windows=windows,
        store=store,
        on_refused=on_refused,
        stale=stale,
    )


@with_known_keywords
def stream(
    topic: str | type,
    *,
    start: Moment | None = None,
    unpack: bool | None = None,
    explode: bool | None = None,
    unnest: Unnest | None = None,
    where: Where | None = None,
    headers: HeadersLike | None = None,
    metadata: Metadata | None = None,
    retention: str | timedelta | int | None = None,
    value: str | None = None,
    schema: SchemaLike | None = None,
    time: str | None = None,
    time_unit: TimeUnit | None = None,
    times: Times | None = None,
    key_format: str | None = None,
    max_future_skew: Minutes | None = "1d",
    store: StoreOptions | None = None,
    on_refused: OnRefused | None = None,
) -> KStream:
    """Return every event of ``topic``: Kafka's KStream. Returns at once; reading starts with the first read.

    Parameters
    ----------
    topic
        A topic's name, a table that configuration declares, or a class under ``@ktframe.entity``.
    start
        Read from this moment on: a datetime, ISO 8601 text, or ``"-2h"``, which is looked up again whenever the
        stream is opened. None: all that the topic holds.
    explode
        True: each object of a JSON value that is a list of them, or several in a row (such as lines), is an event; ``metadata``
        adds its ``index`` in the record, from 0. Of a list, what is no object is refused alone; an empty one is no event. Where a
        part is not JSON, the whole value is refused.
    retention
        How much to keep: a duration (``"7d"``, in stream time) or bytes in the store (a number, ``"500MB"``).
    value, schema, time, time_unit, times, key_format, unpack, unnest, where, headers, metadata
        As for ``table``. A tombstone has its headers too; the columns about a record are also ``key`` and ``is_tombstone``.
    max_future_skew
        Records with a time further ahead of the wall clock are refused; None: never.
    store
        How this stream's store is kept, where it differs from the settings.
    on_refused
        As for ``table``.

    Returns
    -------
    KStream
        With equal arguments always the same one.

    Raises
    ------
    NotConnectedError
        When neither ``connect`` nor ``demo`` was called.
    ConfigurationError
        When an argument is wrong, or the same stream was asked for with another ``retention``, ``metadata`` or ``store``.
    SchemaError
        When ``schema`` does not fit the format.

    Examples
    --------
    >>> import ktframe, polars as pl
    >>> with ktframe.demo(rate=0):
    ...     ktframe.stream("clicks").session("30m", by="user_id").agg(n=pl.len()).columns
    ['window_start', 'window_end', 'user_id', 'n']
    """
    return default_context().stream(
        topic,
        start=start,
        unpack=unpack,
        explode=explode,
        unnest=unnest,
        where=where,
        headers=headers,
        metadata=metadata,
        retention=retention,
        value=value,
        schema=schema,
        time=time,
        time_unit=time_unit,
        times=times,
        key_format=key_format,
        max_future_skew=max_future_skew,
        store=store,
        on_refused=on_refused,
    )


@with_known_keywords
def topics() -> pl.DataFrame:
    """Return what there is on the cluster, one row per topic; reads a few records, keeps none.

    Returns
    -------
    polars.DataFrame
        Sorted by name, without internal topics: ``topic`` (String), ``partitions`` (Int32), ``records`` (Int64, an upper bound:
        offsets of compacted records and transaction markers count), ``bytes`` (Int64, estimated from the newest records,
        uncompressed), ``cleanup_policy`` (String), ``last_timestamp`` (``Datetime("ms", "UTC")``). Null: not known, or none.

    Raises
    ------
    NotConnectedError
        When neither ``connect`` nor ``demo`` was called.
    BrokerUnreachableError, AuthenticationError
        When the cluster does not answer.

    Examples
    --------
    >>> import ktframe
    >>> with ktframe.demo(rate=0):
    ...     ktframe.topics()["topic"].to_list()
    ['clicks', 'customers', 'orders']
    """
    return default_context().topics()


@with_known_keywords
def inspect(topic: str, sample: int = 100) -> Inspection:
    """Look at a topic before it is loaded: size, formats, columns, time to load. Reads a few thousand of its newest records.

    Parameters
    ----------
    topic
        A topic's name.
    sample
        How many of the newest records to show, 1 to 10,000.

    Returns
    -------
    Inspection
        What was seen; a notebook shows it as tables.

    Raises
    ------
    NotConnectedError
        When neither ``connect`` nor ``demo`` was called.
    ConfigurationError
        When ``sample`` is out of range.
    UnknownTopicError
        When there is no such topic, with the names that come close.
    AuthorizationError
        When this user may not read it.
    """
    return default_context().inspect(topic, sample)


@with_last_word
@with_known_keywords
def publish(
    topic: str,
    rows: Any,
    *,
    key: str | Sequence[str] | None = None,
    headers: str | Sequence[str] | None = None,
    value: str = "auto",
    key_format: str | None = None,
    atomic: bool = False,
    dry_run: bool = False,
) -> pl.DataFrame:
    """Write the rows of a frame to ``topic``, in their order; return once the brokers have acknowledged them.

    Parameters
    ----------
    topic
        A topic that exists.
    rows
        A frame (Polars, or what speaks Arrow's PyCapsule protocol): one record a row.
    key
        The column that becomes the record key, or several; None: no key. Only ``"key"`` is then no part of the value.
    headers
        The column that becomes a header of its name, or several; they are no part of the value. Text, numbers, flags, dates and times
        are written as the text that ``table(headers=...)`` reads, bytes as they are, and a null as no header.
    value, key_format
        Formats, as for ``table``. ``"auto"`` writes under the schema registered last for the topic (``<topic>-value``,
        ``<topic>-key``), else JSON values and text keys. Text is text, also where it holds JSON: only a table knows that.
    atomic
        Write all or none: in one transaction.
    dry_run
        Send nothing, and return what would be sent.

    Returns
    -------
    polars.DataFrame
        The records: ``key``, ``value`` (Binary), ``partition`` (Int32), ``offset`` (Int64), both null after a dry run, and
        ``headers`` (List of Struct of ``key``, String, and ``value``, Binary).

    Raises
    ------
    NotConnectedError
        When neither ``connect`` nor ``demo`` was called.
    NotWritableError
        When the connection only reads.
    SchemaError
        When a row does not fit, naming column and row; nothing was written.
    WriteError
        When not all were acknowledged: it knows which were.
    KeyboardInterrupt
        On Ctrl-C. Its cause, a WriteError, says which records are written; without one nothing was sent.

    Examples
    --------
    >>> import ktframe, polars as pl
    >>> with ktframe.demo(rate=0, writable=True):
    ...     sent = ktframe.publish("scratch", pl.DataFrame({"id": ["a"], "n": [1]}), key="id", dry_run=True)
    >>> sent["value"].to_list()
    [b'{"id":"a","n":1}']
    """
    return default_context().publish(
        topic,
        rows,
        key=key,
        headers=headers,
        value=value,
        key_format=key_format,
        atomic=atomic,
        dry_run=dry_run,
    )
