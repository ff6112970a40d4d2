"""A transaction in which journeys run on copies: nothing of it is ever seen by anybody, or kept.

Everything that journeys write is copied into temporary tables of the same names, which PostgreSQL finds
first. Then the transaction is made read-only: PostgreSQL itself refuses any write but to those. It is
rolled back in the end. No row and no person is locked, so live workers are never in its way.

The past can be shown as it was: with `as_of`, orders, events, consent and suppressions that came later
are hidden by views, until `show_until` moves the moment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta

from django.db import connection, models, transaction
from psycopg.sql import SQL, Composable, Identifier, Literal

from saleor_personalize import signals
from saleor_personalize.models import (
    Checkout,
    Consent,
    Enrollment,
    Event,
    Experiment,
    InboxItem,
    Installation,
    Journey,
    JourneyVersion,
    Message,
    MessageCopy,
    MessageEvent,
    Offer,
    OfferVoucher,
    Order,
    OutgoingDelivery,
    OutgoingWebhook,
    Pace,
    Participation,
    Profile,
    StockAlert,
    Suppression,
    locks,
)

#: What journeys write: it is copied. Of a shop, and of these kinds only what is not older than `KEPT`.
_COPIED = (
    Journey,
    JourneyVersion,
    Enrollment,
    Message,
    InboxItem,
    Pace,
    Offer,
    OfferVoucher,
    StockAlert,
    Checkout,
    Experiment,
    Participation,
)
_NEWER_THAN: Mapping[type[models.Model], str] = {
    Message: "decided_at",
    Checkout: "last_changed_at",
}
KEPT = timedelta(days=400)
#: Empty: nobody is told, and nobody looks at a mail that did not go.
_EMPTY = (OutgoingWebhook, OutgoingDelivery, MessageCopy)
#: What is hidden until its moment, and which moment that is.
_HIDDEN: Mapping[type[models.Model], str] = {
    Order: "placed_at",
    Event: "occurred_at",
    Consent: "recorded_at",
    Suppression: "created_at",
    MessageEvent: "recorded_at",
}
_MOMENT = "personalize.as_of"
_MESSAGES = Message._meta.db_table
#: Messages whose moment has not come.
LATER = "messages_to_come"
#: Keys of new rows: no row of the shop has one like it.
FIRST_KEY = 1 << 62


@contextmanager
def apart(
    *, installation: Installation, now: datetime, as_of: datetime | None = None, one_in: int = 1
) -> Iterator[None]:
    """Run what follows on copies of what journeys of one shop write.

    `one_in`: only every so many people exist. Must not be left with anything still to be read lazily.
    """
    with ExitStack() as stack:
        stack.enter_context(transaction.atomic())
        stack.enter_context(locks.alone())
        stack.enter_context(signals.muted())
        stack.enter_context(_unprepared())
        _copy(installation, now, as_of)
        if one_in > 1:
            _sample(one_in)
        if as_of is not None:
            _hide(as_of)
            show_until(as_of)
        _run(SQL("SET TRANSACTION READ ONLY"))
        try:
            yield
        finally:
            transaction.set_rollback(True)


def show_until(moment: datetime) -> None:
    """Let what happened up to a moment be seen."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config(%s, %s, true)", [_MOMENT, moment.isoformat()])
        came = SQL(
            "WITH came AS (DELETE FROM {} WHERE decided_at <= {} RETURNING *) INSERT INTO {} "
            "SELECT * FROM came"
        ).format(Identifier("pg_temp", LATER), Literal(moment), Identifier("pg_temp", _MESSAGES))
        cursor.execute(came.as_string(cursor.connection))


@contextmanager
def _unprepared() -> Iterator[None]:
    """Let no statement be used that was planned before the copies were there."""
    connection.ensure_connection()
    plain = connection.connection
    before = plain.prepare_threshold
    plain.prepare_threshold = None
    try:
        yield
    finally:
        plain.prepare_threshold = before


def _copy(installation: Installation, now: datetime, as_of: datetime | None) -> None:
    for model in (Installation, *_COPIED, *_EMPTY):
        table = model._meta.db_table
        _run(
            SQL(
                "CREATE TEMPORARY TABLE {copy} (LIKE {real} INCLUDING DEFAULTS INCLUDING IDENTITY "
                "INCLUDING INDEXES) ON COMMIT DROP"
            ).format(copy=Identifier("pg_temp", table), real=_real(table))
        )
        _run(
            SQL("ALTER TABLE {} ALTER COLUMN id RESTART WITH {}").format(
                Identifier("pg_temp", table), Literal(FIRST_KEY)
            )
        )
        if model in _EMPTY or (model is Pace and as_of is not None):
            # A past begins with nobody waiting for their turn.
            continue
        shop = Identifier("id" if model is Installation else "installation_id")
        rule = SQL("{} = {}").format(shop, Literal(installation.pk))
        if model is Pace:
            rule = SQL("({} OR {} IS NULL)").format(rule, shop)
        if model in _NEWER_THAN:
            column = Identifier(_NEWER_THAN[model])
            rule = SQL("{} AND {} > {}").format(rule, column, Literal(now - KEPT))
        _run(
            SQL("INSERT INTO {} SELECT * FROM {} WHERE {}").format(
                Identifier("pg_temp", table), _real(table), rule
            )
        )
        _run(SQL("ANALYZE {}").format(Identifier("pg_temp", table)))


def _sample(one_in: int) -> None:
    """Let only some people exist: whole people, whichever profiles they are made of."""
    table = Profile._meta.db_table
    _run(
        SQL(
            "CREATE TEMPORARY VIEW {} AS SELECT * FROM {} "
            "WHERE abs(hashint8(coalesce(merged_into_id, id))::bigint) % {} = 0"
        ).format(Identifier(table), _real(table), Literal(one_in))
    )
    for model in (Enrollment, Message, Checkout, StockAlert, Participation):
        _run(
            SQL("DELETE FROM {} WHERE profile_id NOT IN (SELECT id FROM {})").format(
                Identifier("pg_temp", model._meta.db_table), Identifier(table)
            )
        )


def _hide(as_of: datetime) -> None:
    names = {"later": Identifier("pg_temp", LATER), "messages": Identifier("pg_temp", _MESSAGES)}
    _run(SQL("CREATE TEMPORARY TABLE {later} (LIKE {messages}) ON COMMIT DROP").format(**names))
    _run(
        SQL(
            "WITH later AS (DELETE FROM {messages} WHERE decided_at > {moment} RETURNING *) "
            "INSERT INTO {later} SELECT * FROM later"
        ).format(moment=Literal(as_of), **names)
    )
    for model, column in _HIDDEN.items():
        table = model._meta.db_table
        _run(
            SQL(
                "CREATE TEMPORARY VIEW {} AS SELECT * FROM {} "
                "WHERE {} <= current_setting({})::timestamptz"
            ).format(Identifier(table), _real(table), Identifier(column), Literal(_MOMENT))
        )


def _real(table: str) -> Identifier:
    """Return the name of the shop's own table, wherever the search path found it before."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE c.relname = %s AND n.nspname = ANY(current_schemas(false)) "
            "AND n.oid <> pg_my_temp_schema()",
            [table],
        )
        (schema,) = cursor.fetchone()
    return Identifier(schema, table)


def _run(statement: Composable) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement.as_string(connection.connection))
