"""What could be wrong with this service and its shops, and the one thing that mends each.

Every check is a function that yields findings. None raises: a check that cannot look says so.
Findings name settings, shops and kinds of errors, never a secret or a person's address.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Generator, Iterator, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings as django_settings
from django.core.checks import ERROR, run_checks
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor

from saleor_personalize.bus import queries as bus
from saleor_personalize.conf import build_backend, settings
from saleor_personalize.enums import (
    BackfillStatus,
    DeliveryChannel,
    InstallationStatus,
    TrainingStatus,
)
from saleor_personalize.exceptions import (
    ConfigurationError,
    PushAccountRefused,
    SaleorApiError,
    TokenRefused,
    UnknownAlias,
)
from saleor_personalize.health import queries as health
from saleor_personalize.ingestion.permissions import events_of, needed_permissions
from saleor_personalize.ingestion.queries import latest_backfill, webhook_health
from saleor_personalize.messaging import go_live, push_accounts, texts
from saleor_personalize.messaging.channels import connections
from saleor_personalize.messaging.channels.email import EmailChannel
from saleor_personalize.messaging.go_live import FAIL, OK, WARN, Finding
from saleor_personalize.messaging.operations import sender_of
from saleor_personalize.ml import ArtefactError
from saleor_personalize.models import Erasure, Installation, Journey, SalesChannel
from saleor_personalize.offers import operations as offers
from saleor_personalize.offers import queries as offer_queries
from saleor_personalize.profiles import devices, phones, retention
from saleor_personalize.recommendations import versions
from saleor_personalize.recommendations.queries import (
    held_back,
    is_waiting_long,
    latest_training,
    published_models,
)
from saleor_personalize.saleor_api import auth, documents
from saleor_personalize.saleor_api.client import AppIdentity, SaleorClient
from saleor_personalize.tasks.broker import broker_fault, workers_seen

TIMEOUT = 4.0
#: An erasure is complete within 24 hours; beat has tried for long by then.
_SWEPT = timedelta(hours=12)
#: How long a code that was taken back may still be in Saleor.
_WITHDRAWN = timedelta(hours=1)


def examine(*, now: datetime) -> Iterator[Finding]:
    """Yield the findings in the order in which faults follow from one another."""
    yield from _settings()
    try:
        settings.APP_ID  # noqa: B018
    except ConfigurationError:
        return  # told above; nothing else can be read
    yield from _models()
    yield from _mail_server()
    yield from _broker()
    database = list(_database())
    yield from database
    if all(finding.level == OK for finding in database):
        yield from _installations(now)


def _settings() -> Iterator[Finding]:
    try:
        messages = run_checks(include_deployment_checks=False)
    except ConfigurationError as error:
        yield Finding("settings", FAIL, str(error), "Mend SALEOR_PERSONALIZE in your settings.")
        return
    except ImproperlyConfigured as error:
        yield Finding("settings", FAIL, str(error), "Mend your Django settings.")
        return
    for message in messages:
        level = FAIL if message.level >= ERROR else WARN
        yield Finding(f"settings {message.id}", level, message.msg, message.hint or "")
    if not messages:
        yield Finding("settings", OK, "Every setting can be used.")
    if not django_settings.SECRET_KEY:
        yield Finding(
            "settings SECRET_KEY",
            FAIL,
            "SECRET_KEY is empty.",
            "Set it to a long random string and keep it.",
        )


def _models() -> Iterator[Finding]:
    folder = Path(settings.MODEL_DIRECTORY)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder):
            pass
    except OSError as error:
        yield Finding(
            "models",
            FAIL,
            f"{folder} cannot be written to: {error.strerror}.",
            "Give this process write access, or set SALEOR_PERSONALIZE['MODEL_DIRECTORY'] (VAR_DIR).",
        )
    else:
        yield Finding("models", OK, f"{folder} can be written to.")


def _mail_server() -> Iterator[Finding]:
    if DeliveryChannel.EMAIL not in settings.CHANNELS:
        return
    try:
        channel = build_backend("CHANNELS", DeliveryChannel.EMAIL)
    except ConfigurationError:
        return  # told above
    if isinstance(channel, EmailChannel):
        for number, provider in enumerate(channel.providers, 1):
            yield _provider(provider, "mail" if number == 1 else f"mail {number}")
    else:
        text = f"{type(channel).__name__} of CHANNELS['email'] is tried with the first message."
        yield Finding("mail", OK, text)
    if settings.DRY_RUN:
        yield Finding(
            "mail dry run", WARN, "DRY_RUN is on: messages are recorded, none is sent.",
            "Set DRY_RUN to false to send.",
        )  # fmt: skip


def _provider(provider: Mapping[str, Any], name: str) -> Finding:
    """Tell whether one provider of e-mail can be reached, as far as it can be without a message."""
    backend = provider["BACKEND"] or django_settings.EMAIL_BACKEND
    options = provider.get("OPTIONS", {})
    is_smtp = backend == "django.core.mail.backends.smtp.EmailBackend"
    host = options.get("host") or django_settings.EMAIL_HOST
    where = f"{host}:{options.get('port') or django_settings.EMAIL_PORT}"
    try:
        mail = connections.make(provider)
        mail.open()
        mail.close()
    except Exception as error:
        # Each provider has its own errors; their texts may quote a password.
        text = f"{where if is_smtp else backend} takes no mail: {type(error).__name__}."
        if name != "mail":
            fix = "Check EMAIL_FALLBACK_BACKEND, or this provider in CHANNELS['email'], and what it needs."
        elif is_smtp:
            fix = "Check EMAIL_HOST, EMAIL_PORT, EMAIL_HOST_USER, EMAIL_HOST_PASSWORD and EMAIL_USE_TLS."
        else:
            fix = "Check EMAIL_BACKEND and the ANYMAIL_ settings of your provider."
        return Finding(name, FAIL, text, fix)
    if is_smtp:
        return Finding(name, OK, f"The mail server {where} answers.")
    return Finding(name, OK, f"{backend} is ready; its key is tried with the first message.")


def _broker() -> Iterator[Finding]:
    fault = broker_fault()
    if fault is not None:
        yield Finding(
            "broker",
            FAIL,
            f"The broker does not answer: {fault}.",
            "Start Redis or RabbitMQ, or mend CELERY_BROKER_URL (REDIS_URL).",
        )
        return
    yield Finding("broker", OK, "The broker answers.")
    try:
        names = workers_seen()
    except Exception as error:
        yield Finding(
            "worker",
            WARN,
            f"Workers could not be asked: {type(error).__name__}.",
            "Run doctor again.",
        )
        return
    if names:
        yield Finding("worker", OK, f"{len(names)} worker(s): {', '.join(names)}.")
    else:
        yield Finding(
            "worker",
            FAIL,
            "No worker answers: what arrives is kept, and nothing is processed or sent.",
            "Start `saleor-personalize worker`, and `saleor-personalize beat` once.",
        )


def _database() -> Iterator[Finding]:
    try:
        connection.ensure_connection()
        executor = MigrationExecutor(connection)
        missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    except (DatabaseError, ImproperlyConfigured, NotImplementedError) as error:
        yield Finding(
            "database",
            FAIL,
            f"The database does not answer: {type(error).__name__}.",
            "Start PostgreSQL and check DATABASE_URL.",
        )
        return
    yield Finding("database", OK, "The database answers.")
    if missing:
        yield Finding(
            "migrations",
            FAIL,
            f"{len(missing)} migration(s) are not applied.",
            "Run `saleor-personalize migrate`.",
        )
    else:
        yield Finding("migrations", OK, "Every migration is applied.")


# -- shops -------------------------------------------------------------------------------------------


def _installations(now: datetime) -> Iterator[Finding]:
    rows = list(Installation.objects.exclude(status=InstallationStatus.UNINSTALLED).order_by("pk"))
    if not rows:
        where = f"{str(settings.APP_URL).rstrip('/')}/api/manifest" if settings.APP_URL else ""
        yield Finding(
            "installation",
            WARN,
            "No shop has installed the app.",
            f"Dashboard > Extensions > Install from manifest: {where or 'set APP_URL first'}",
        )
    for installation in rows:
        host = urlsplit(installation.saleor_api_url).netloc
        for finding in _installation(installation, now):
            yield Finding(f"{finding.check} ({host})", finding.level, finding.text, finding.fix)


def _installation(installation: Installation, now: datetime) -> Iterator[Finding]:
    with SaleorClient(installation, timeout=TIMEOUT, retry_delays=()) as client:
        identity = yield from _token(client)
        yield from _jwks(installation)
        if identity is not None:
            yield from _permissions(identity)
            yield from _webhooks(client, identity)
    yield from _work(installation, now)
    yield from _deliveries(installation, now)
    yield from _data(installation, now)
    yield from _trained(installation, now)
    yield from _offers(installation, now)
    yield from _bus(installation)
    yield from _mail(installation)
    yield from _push(installation, now)
    yield from _texts(installation)
    pattern = installation.checkout_url or settings.CHECKOUT_URL or ""
    if "{checkout_id}" not in pattern:
        yield Finding(
            "cart link",
            WARN,
            "There is no cart link, so no cart reminder can leave.",
            "Set it on the app's page in the Dashboard, or CHECKOUT_URL.",
        )


def _work(installation: Installation, now: datetime) -> Iterator[Finding]:
    """Tell whether beat wakes the workers, and which work of theirs stays undone."""
    pulse = health.pulse(installation=installation)
    if pulse.is_silent(now):
        since = f"since {pulse.at:%Y-%m-%d %H:%M} UTC" if pulse.at else "yet"
        yield Finding(
            "beat",
            WARN if pulse.at is None else FAIL,
            f"Beat has woken no worker {since}.",
            "Start `saleor-personalize beat` once, and `saleor-personalize worker`.",
        )
    for each in health.work(installation=installation, now=now):
        if each.is_late(now):
            yield Finding(
                f"late {each.kind}",
                FAIL,
                f"{min(each.count, health.COUNTED)} or more are due, the first since "
                f"{each.oldest_at:%Y-%m-%d %H:%M} UTC.",
                "See that workers run, add some, and look into their log for errors.",
            )


def _mail(installation: Installation) -> Iterator[Finding]:
    """Tell what stands in the way of mail; the DNS is asked once messages go out."""
    if not sender_of(installation):
        yield Finding(
            "sender",
            WARN,
            "There is no sender, so no message can leave.",
            "Set it on the app's page in the Dashboard, or DEFAULT_SENDER.",
        )
    elif Journey.objects.of(installation).filter(is_live=True).exists():
        found = [go_live.for_terminal(each) for each in go_live.examine(installation=installation)]
        faults = [each for each in found if each.level != OK]
        for each in faults:
            yield Finding(f"go-live {each.check}", each.level, each.text, each.fix)
        if not faults:
            yield Finding(
                "go-live", OK, "SPF, DKIM, DMARC, unsubscribing and reports are in order."
            )


def _push(installation: Installation, now: datetime) -> Iterator[Finding]:
    """Try the service account of a shop that saved one; nothing is delivered."""
    count = sum(devices.count_living(installation=installation).values())
    if push_accounts.account_of(installation=installation) is None:
        if count:
            yield Finding(
                "push",
                WARN,
                f"{count} devices are registered for push, and there is no service account.",
                "Save one on the page Push in the Dashboard, or by `saleor-personalize push save`.",
            )
        return
    try:
        fault = push_accounts.check(installation=installation, now=now)
    except (ConfigurationError, PushAccountRefused, UnknownAlias) as error:
        yield Finding("push", WARN, f"The service account was not tried: {error}", "Mend CHANNELS.")
        return
    if fault:
        yield Finding(
            "push", FAIL, fault, "Mend it, then run `saleor-personalize push-test` or doctor again."
        )
    else:
        yield Finding("push", OK, f"Firebase takes the service account; {count} devices.")


def _texts(installation: Installation) -> Iterator[Finding]:
    """Tell of numbers that nothing writes to; that STOP is heard, the go-live check tells."""
    count = phones.count(installation=installation)
    if texts.is_on():
        yield Finding("text messages", OK, f"CHANNELS has a way; {count} numbers.")
    elif DeliveryChannel.SMS in settings.CHANNELS or count:
        yield Finding(
            "text messages",
            WARN,
            f"{count} numbers are known, and CHANNELS['sms'] is no TextMessageChannel that can be built.",
            "Name a plug-in: docs/howto/sms.md.",
        )


def _offers(installation: Installation, now: datetime) -> Iterator[Finding]:
    stuck = offer_queries.still_in_saleor(installation=installation, since=now - _WITHDRAWN)
    if stuck is not None:
        yield Finding(
            "codes",
            WARN,
            "Codes that were taken back are still in Saleor, the oldest since "
            f"{stuck.withdrawn_at:%Y-%m-%d %H:%M} UTC: {stuck.error or 'nobody asked yet'}",
            "It is tried again by itself: see that beat and a worker run and that Saleor answers, or "
            "look at the page Offers.",
        )


def _bus(installation: Installation) -> Iterator[Finding]:
    """Tell outgoing webhooks that get nothing through; by their alias, since an address may hold a secret."""
    for webhook in bus.webhooks(installation=installation):
        if webhook.disabled_at is not None:
            yield Finding(
                "outgoing webhook",
                FAIL,
                f"“{webhook.alias}” was switched off at {webhook.disabled_at:%Y-%m-%d %H:%M} UTC: its "
                "receiver had taken nothing for long.",
                f"Mend the receiver, then run `saleor-personalize bus on {webhook.alias}` and replay "
                "what failed.",
            )
        elif webhook.is_active and webhook.failing_since is not None:
            yield Finding(
                "outgoing webhook",
                WARN,
                f"“{webhook.alias}” has taken nothing since {webhook.failing_since:%Y-%m-%d %H:%M} UTC "
                f"({webhook.failures} tries).",
                f"See why with `saleor-personalize bus log {webhook.alias}` and mend the receiver; it is "
                "tried again by itself.",
            )


def _data(installation: Installation, now: datetime) -> Iterator[Finding]:
    late = retention.late(installation=installation, now=now)
    waits = Erasure.objects.of(installation).filter(swept_at=None, erased_at__lt=now - _SWEPT)
    if late:
        kinds = ", ".join(kind.key for kind in late)
        yield Finding(
            "retention",
            FAIL,
            f"Kept longer than RETENTION and its like allow: {kinds}.",
            "Start `saleor-personalize beat` and `saleor-personalize worker`: the purge runs every night.",
        )
    if waits.exists():
        yield Finding(
            "erasures",
            FAIL,
            f"{waits.count()} erased people are not yet searched for in raw deliveries and files.",
            "Start `saleor-personalize beat` and `saleor-personalize worker`.",
        )
    if not late:
        yield Finding("retention", OK, "Nothing is kept longer than it may be.")


def _trained(installation: Installation, now: datetime) -> Iterator[Finding]:
    faults = [*_damaged(installation), *_trainings(installation, now)]
    yield from faults
    published = published_models(installation=installation)
    channels = SalesChannel.objects.of(installation).filter(deleted_at=None)
    slugs = set(channels.values_list("slug", flat=True)) - {one.channel_slug for one in published}
    if slugs:
        yield Finding(
            "recommenders",
            WARN,
            f"Nothing was trained yet for {', '.join(sorted(slugs))}: the catalogue answers there.",
            "Run `saleor-personalize train` once the history was read.",
        )
    elif published and not faults:
        oldest = min(model.trained_at for model in published)
        yield Finding(
            "recommenders",
            OK,
            f"{len(published)} sales channel(s) answer; the oldest model is of "
            f"{oldest:%Y-%m-%d %H:%M} UTC.",
        )


def _damaged(installation: Installation) -> Iterator[Finding]:
    for model in published_models(installation=installation):
        fault = model.fault
        try:
            versions.check(model.path)
        except ArtefactError as error:
            fault = fault or str(error)
        if fault:
            yield Finding(
                "recommenders",
                FAIL,
                f"The model of {model.channel_slug} ({model.version}) cannot be used, so the one before it "
                f"answers. {fault}",
                "See that every server has MODEL_DIRECTORY mounted, or run `saleor-personalize train`.",
            )


def _trainings(installation: Installation, now: datetime) -> Iterator[Finding]:
    last = latest_training(installation=installation)
    if last is not None and last.status == TrainingStatus.PENDING and last.error:
        yield Finding(
            "training",
            FAIL,
            f"A training waits and cannot begin: {last.error}",
            "Mend what the log of the worker tells; it is tried again every minute.",
        )
    elif is_waiting_long(last, now):
        yield Finding(
            "training",
            FAIL,
            "A training waits, and no worker takes it up.",
            "Start `saleor-personalize worker`; with queues of your own, one for personalize-training.",
        )
    elif last is not None and last.status == TrainingStatus.FAILED:
        yield Finding(
            "training",
            FAIL,
            f"The last one failed: {last.error}",
            "Run `saleor-personalize train`.",
        )
    for model in held_back(installation=installation):
        yield Finding(
            "training",
            WARN,
            f"The newest model of {model.channel_slug} is held back: "
            f"{model.get_held_back_display().lower()}.",
            "See the model report on the app's page; `saleor-personalize train --publish` publishes anyway.",
        )


def _token(client: SaleorClient) -> Generator[Finding, None, AppIdentity | None]:
    """Yield findings and return who we are in the shop, or None (a generator's value)."""
    try:
        identity = client.identity()
    except TokenRefused as error:
        yield Finding(
            "token", FAIL, str(error),
            "Activate the app under Extensions in the Dashboard, or install it again.",
        )  # fmt: skip
        return None
    except SaleorApiError as error:
        yield Finding(
            "saleor",
            FAIL,
            str(error),
            "Check that this machine reaches Saleor, then run doctor again.",
        )
        return None
    yield Finding("token", OK, f"Saleor {identity.saleor_version} accepts our token.")
    return identity


def _jwks(installation: Installation) -> Iterator[Finding]:
    try:
        auth.fetch_jwks(installation.saleor_api_url, timeout=TIMEOUT)
    except SaleorApiError as error:
        url = auth.jwks_url(installation.saleor_api_url)
        yield Finding("jwks", FAIL, str(error), f"Let this machine reach {url}.")
    else:
        yield Finding("jwks", OK, "The shop's signing keys can be fetched.")


def _permissions(identity: AppIdentity) -> Iterator[Finding]:
    missing = sorted(set(needed_permissions()) - set(identity.permissions))
    if offers.PERMISSION in missing:
        # What shops that installed an earlier version never granted; all else works without it.
        missing.remove(offers.PERMISSION)
        yield Finding(
            "offers",
            WARN,
            f"Saleor withholds {offers.PERMISSION}: no journey can give a code.",
            "Grant it under Extensions > Personalize > Permissions in the Dashboard, or set OFFERS to "
            "False if this service makes no offers.",
        )
    unused = sorted(set(identity.permissions) - set(needed_permissions()))
    if missing:
        yield Finding(
            "permissions",
            FAIL,
            f"Saleor withholds {', '.join(missing)}: what belongs to them does not arrive.",
            "Grant them under Extensions > Personalize > Permissions in the Dashboard.",
        )
    else:
        yield Finding("permissions", OK, "Every permission that is needed was granted.")
    if unused:
        yield Finding(
            "permissions unused",
            WARN,
            f"Saleor grants more than is needed: {', '.join(unused)}.",
            "Take them back under Extensions > Personalize > Permissions in the Dashboard.",
        )


def _webhooks(client: SaleorClient, identity: AppIdentity) -> Iterator[Finding]:
    try:
        found = client.execute("AppWebhooks")["app"]["webhooks"] or []
    except SaleorApiError as error:
        yield Finding("webhooks", WARN, f"Webhooks could not be read: {error}", "Run doctor again.")
        return
    expected = {documents.typename(event) for event in events_of(_version(identity.saleor_version))}
    active = {webhook["name"] for webhook in found if webhook["isActive"]}
    missing = sorted(expected - {webhook["name"] for webhook in found})
    off = sorted((expected & {webhook["name"] for webhook in found}) - active)
    if missing:
        yield Finding(
            "webhooks",
            FAIL,
            f"Saleor lacks {len(missing)} of our webhooks: {', '.join(missing)}.",
            "Install the app again: Saleor reads the manifest at install only. Nothing known is lost.",
        )
    if off:
        yield Finding(
            "webhooks",
            FAIL,
            f"Switched off in Saleor: {', '.join(off)}.",
            "Switch them on under Extensions > Personalize > Webhooks in the Dashboard.",
        )
    ours = str(settings.APP_URL or "").rstrip("/") + "/"
    elsewhere = sorted(w["name"] for w in found if not w["targetUrl"].startswith(ours))
    if elsewhere and settings.APP_URL:
        yield Finding(
            "webhooks",
            FAIL,
            f"{len(elsewhere)} webhooks go to another address than APP_URL ({settings.APP_URL}).",
            "Set APP_URL back, or install the app again.",
        )
    if not (missing or off or elsewhere):
        yield Finding("webhooks", OK, f"{len(expected)} webhooks are on.")


def _version(text: str) -> tuple[int, int]:
    found = re.match(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (3, 20)


def _deliveries(installation: Installation, now: datetime) -> Iterator[Finding]:
    found = webhook_health(installation=installation, now=now)
    if found.is_stuck(now):
        yield Finding(
            "deliveries",
            FAIL,
            f"{found.waiting} deliveries wait for a worker.",
            "Start `saleor-personalize worker` and `saleor-personalize beat`.",
        )
    if found.failed:
        yield Finding(
            "deliveries",
            WARN,
            f"{found.failed} deliveries could not be processed.",
            "See their errors on the app's page, then `saleor-personalize webhooks replay`.",
        )
    if found.last_received_at is None:
        yield Finding(
            "deliveries",
            WARN,
            "Nothing was ever received from this shop.",
            "Change a product in the shop; if nothing arrives, let Saleor reach APP_URL.",
        )
    elif not (found.is_stuck(now) or found.failed):
        yield Finding(
            "deliveries", OK, f"Last received at {found.last_received_at:%Y-%m-%d %H:%M} UTC."
        )
    progress = latest_backfill(installation=installation)
    if progress is None:
        yield Finding(
            "back-fill",
            WARN,
            "The shop's history was never read.",
            "Run `saleor-personalize backfill`.",
        )
    elif progress.status == BackfillStatus.FAILED:
        yield Finding(
            "back-fill",
            FAIL,
            f"It stopped: {progress.error}",
            "Run `saleor-personalize backfill` again.",
        )
    else:
        yield Finding("back-fill", OK, f"{progress.status.label}, {progress.row_count} rows read.")
