"""How many messages leave in a second, beside a bare loop that only sends: e-mail and push.

Two figures of ours. Handed over: from the committed decision to its written outcome, by as many workers as the
service has processors, and by one alone. Beside the former is a bare loop, which gives the very same bytes to the
same loopback server by the same library over one connection that it keeps. Decided and sent: all of it, with
claim, judging, consent, caps and the rendering, as workers do it. A worker is a process of its own: `python -m benchmarks.sending`.
"""

from __future__ import annotations

import argparse
import email
import email.policy
import json
import multiprocessing
import os
import sys
import tempfile
import time
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from benchmarks import journeys
from saleor_personalize.testing.stack import Stack, free_port

PEOPLE, WORKERS, ROUNDS = 3_000, 2, 3
#: How many committed decisions are kept in memory, to be handed over and nothing else.
HANDED = 3_000
AIM, HOURLY = 0.7, 100_000
_TOKEN = "bench{:08d}:APA91b" + "x" * 134


class Post:
    """A mail server, or Firebase, in a process of its own; it counts what it is given and keeps the last one."""

    def __init__(self, kind: str, port: int, people: int) -> None:
        self.port = port
        self._ours, its = multiprocessing.Pipe()
        target = {"email": _mailbox, "push": _firebase}[kind]
        self._process = multiprocessing.get_context("fork").Process(
            target=target, args=(port, its, people)
        )
        self._process.start()
        self.told = self._ours.recv()

    def ask(self) -> tuple[int, str]:
        """Return how many came since it was asked last, and the last one."""
        self._ours.send("how many")
        count, last = self._ours.recv()
        return count, last

    def stop(self) -> None:
        self._process.terminate()
        self._process.join()


def _mailbox(port: int, to: Connection, people: int) -> None:
    from aiosmtpd.controller import Controller

    taken = {"count": 0, "last": ""}

    class Handler:
        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
            taken["count"] += 1
            taken["last"] = envelope.content
            return "250 OK"

    controller = Controller(Handler(), hostname="127.0.0.1", port=port)
    controller.start()
    to.send("")
    while to.recv():
        to.send((taken["count"], taken["last"] and taken["last"].decode()))
        taken["count"] = 0


def _firebase(port: int, to: Connection, people: int) -> None:
    from saleor_personalize.testing.fcm import FakeFcm, serving

    fcm = FakeFcm()
    for number in range(people):
        fcm.device("android", _TOKEN.format(number))
    with serving(fcm, port=port):
        to.send(fcm.service_account())
        while to.recv():
            to.send((len(fcm.sent), json.dumps(fcm.sent[-1]) if fcm.sent else ""))
            fcm.sent.clear()


class Shop(journeys.Shop):
    """The shop of the other benchmark, whose people may also have a phone."""

    module = "benchmarks.sending"
    email_backend = "django.core.mail.backends.smtp.EmailBackend"

    def use(self, kind: str, service_account: str) -> None:
        """Send the reminder over this delivery channel."""
        from saleor_personalize.journeys import definitions
        from saleor_personalize.journeys import operations as journey_operations
        from saleor_personalize.journeys.versions import known
        from saleor_personalize.messaging import push_accounts
        from saleor_personalize.models import Installation, Journey

        installation = Installation.objects.get()
        if service_account:
            push_accounts.save(
                installation=installation, text=service_account, now=datetime.now(UTC)
            )
        steps = [
            {"message": {"id": "first", "template": "abandoned_checkout", "delivery_channel": kind}}
        ]
        given = {
            "journey": "abandoned_checkout",
            "topic": "reminders",
            "priority": 80,
            "trigger": {"type": "abandoned_checkout"},
            "steps": steps,
        }
        version = journey_operations.publish(
            installation=installation,
            definition=definitions.parse(given, known=known()),
            source="file",  # type: ignore[arg-type]
            now=datetime.now(UTC),
        )
        self.ids["version"] = version.pk
        assert Journey.objects.get(pk=self.ids["journey"]).published_id == version.pk

    def fill_for(self, kind: str, count: int) -> None:
        from saleor_personalize.models import Device, Profile
        from saleor_personalize.profiles.devices import token_hash

        self.forget()
        self.fill(count)
        if kind == "push":
            self.connection.execute(
                "UPDATE saleor_personalize_consent SET delivery_channel = 'push'"
            )
            now = datetime.now(UTC)
            Device.objects.bulk_create(
                [
                    Device(
                        installation_id=self.ids["shop"],
                        profile_id=pk,
                        token=_TOKEN.format(number),
                        token_hash=token_hash(_TOKEN.format(number)),
                        is_proven=True,
                        platform="android",
                        registered_at=now,
                        last_seen_at=now,
                    )
                    for number, pk in enumerate(Profile.objects.values_list("pk", flat=True))
                ],
                batch_size=1000,
            )
        self.connection.execute("VACUUM ANALYZE")


def measure(
    stack: Stack, kind: str, people: int, workers: int, rounds: int = ROUNDS
) -> dict[str, Any]:
    """Messages a second by our workers, beside one bare loop; and what their memory did."""
    post = Post(kind, int(stack.environment["BENCH_PORT"]), people)
    try:
        shop = Shop(stack)
        shop.use(kind, post.told)
        ours: dict[int, list[float]] = {1: [], workers: []}
        bare: list[float] = []
        handing: dict[int, list[float]] = {1: [], workers: []}
        growth: list[float] = []
        handed = min(people, HANDED)
        for _ in range(rounds):
            for count, rates in ours.items():
                shop.fill_for(kind, people)
                told = shop.workers(count, f"{kind}:advance:{people}")
                assert sum(one["sent"] for one in told) == people, told
                arrived, last = post.ask()
                assert arrived == people, arrived
                rates.append(people / _span(told))
                growth.append(max(t["rss"] / t["rss_early"] for t in told))
            for count, rates in handing.items():
                shop.fill_for(kind, handed)
                told = shop.workers(count, f"{kind}:hand:{handed}")
                assert post.ask()[0] == sum(one["sent"] for one in told) == handed, told
                rates.append(handed / _span(told))
            with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
                file.write(last)
                file.flush()
                stack.environment["BENCH_LAST"] = file.name
                (alone,) = shop.workers(1, f"{kind}:bare:{handed}")
            assert post.ask()[0] == handed
            bare.append(handed / _span([alone]))
    finally:
        post.stop()
    one, several, peer, hand = max(ours[1]), max(ours[workers]), max(bare), max(handing[workers])
    ratio = hand / peer
    return {
        "ours": f"{hand:.0f}/s handed over by {workers} processes, {max(handing[1]):.0f}/s by 1; "
        f"decided and sent {several:.0f}/s by {workers}, {one:.0f}/s by 1; memory x{max(growth):.2f}",
        "peer": f"{peer:.0f}/s, a bare loop",
        "ratio": ratio,
        "aim": f"at least {AIM}, {HOURLY} an hour, memory at most x1.05",
        "met": ratio >= AIM and several * 3600 >= HOURLY and max(growth) <= 1.05,
    }


def _span(told: list[dict[str, float]]) -> float:
    """Return the seconds from the first worker's begin to the last one's end."""
    return max(one["ended"] for one in told) - min(one["began"] for one in told)


# -- in a worker ----------------------------------------------------------------------------------------


def _rss() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def _advance(people: int) -> dict[str, float]:
    """Do what the task does until nobody is due; memory is looked at after a fifth of them, and at the end."""
    from saleor_personalize.journeys import operations as journeys_room
    from saleor_personalize.messaging import operations as messaging

    sent, early = 0, 0
    under_way = journeys_room.UnderWay()
    while found := journeys_room.advance_due(
        now=datetime.now(UTC), limit=25, ask=journeys._answer, under_way=under_way
    ):
        sent += found
        early = early or (_rss() if sent * 5 >= people / WORKERS else 0)
    under_way.settle()
    messaging.end_batch()
    return {"sent": sent, "rss_early": early or _rss(), "rss": _rss()}


def _hand_over(people: int) -> dict[str, float]:
    """Decide until nobody is left, and then hand over what was decided, as a worker does."""
    from saleor_personalize.journeys import handing_over
    from saleor_personalize.journeys import operations as journeys_room
    from saleor_personalize.messaging import operations as messaging

    decided: list[tuple[Any, ...]] = []
    plain = handing_over.hand_over

    def keep(*given: Any) -> None:
        decided.append(given)

    handing_over.hand_over = keep
    while journeys_room.advance_due(now=datetime.now(UTC), limit=25, ask=journeys._answer):
        pass
    under_way = journeys_room.UnderWay()
    began = time.time()
    for given in decided:
        under_way.make_room()
        under_way.add(plain(*given[:-1], under_way.channels))
    under_way.settle()
    ended = time.time()
    messaging.end_batch()
    return {"sent": len(decided), "began": began, "ended": ended}


def _bare(kind: str, people: int) -> None:
    text = Path(os.environ["BENCH_LAST"]).read_text()
    if kind == "email":
        _bare_email(text, people)
    else:
        _bare_push(json.loads(text), people)


def _bare_email(text: str, people: int) -> None:
    from anymail.message import AnymailMessage
    from django.core.mail import get_connection

    taken = email.message_from_string(text, policy=email.policy.default)
    plain, html = (taken.get_body((kind,)).get_content() for kind in ("plain", "html"))
    own = {
        "subject",
        "from",
        "to",
        "date",
        "mime-version",
        "content-type",
        "content-transfer-encoding",
    }
    headers = {
        name: str(value)
        for name, value in taken.items()
        if name.lower() not in own and not name.startswith("X-")
    }
    with get_connection() as connection:
        for _ in range(people):
            mail = AnymailMessage(
                subject=str(taken["subject"]),
                body=plain,
                from_email=str(taken["from"]),
                to=[str(taken["to"])],
                headers=headers,
                connection=connection,
            )
            mail.attach_alternative(html, "text/html")
            mail.send()


def _bare_push(taken: dict[str, Any], people: int) -> None:
    from firebase_admin import messaging

    from saleor_personalize.conf import build_backend
    from saleor_personalize.messaging.channels import push
    from saleor_personalize.models import PushAccount

    channel = build_backend("CHANNELS", "push")
    app = push._apps.get(PushAccount.objects.get().service_account, channel)
    # As the library makes it.
    messaging._get_messaging_service(app)._client.session.trust_env = True
    for _ in range(people):
        built = messaging.Message(
            data=taken["data"],
            notification=messaging.Notification(**taken["notification"]),
            android=messaging.AndroidConfig(
                ttl=86_400,
                notification=messaging.AndroidNotification(**taken["android"]["notification"]),
            ),
            apns=messaging.APNSConfig(
                headers=taken["apns"]["headers"],
                payload=messaging.APNSPayload(
                    aps=messaging.Aps(mutable_content=True, sound="default")
                ),
            ),
            webpush=messaging.WebpushConfig(
                headers=taken["webpush"]["headers"],
                notification=messaging.WebpushNotification(**taken["webpush"]["notification"]),
            ),
        )
        built.token = taken["token"]
        messaging.send(built, app=app)


def _work(task: str) -> dict[str, float]:
    import django

    django.setup()
    kind, what, people = task.split(":")
    journeys.warm_up()
    print("ready", flush=True)
    sys.stdin.readline()
    began = time.time()
    if what == "bare":
        _bare(kind, int(people))
        return {"began": began, "ended": time.time()}
    if "BENCH_PROFILE" in os.environ:
        import cProfile

        profiler = cProfile.Profile()
        told = profiler.runcall(_advance, int(people))
        profiler.dump_stats(os.environ["BENCH_PROFILE"])
    elif what == "hand":
        told = _hand_over(int(people))
    else:
        told = _advance(int(people))
    return {"began": began, "ended": time.time(), **told}


def main() -> int:
    """Measure without the rest of `make bench`."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.sending", description=__doc__)
    parser.add_argument("--people", type=int, default=PEOPLE)
    parser.add_argument("--workers", type=int, default=WORKERS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", choices=["email", "push"])
    options = parser.parse_args()
    from benchmarks.__main__ import PERMISSIONS, register
    from saleor_personalize.testing.saleor import FakeSaleor, InstalledApp

    with tempfile.TemporaryDirectory(prefix="personalize-bench-") as name, FakeSaleor() as saleor:
        folder = Path(name)
        folder.chmod(0o755)
        app = InstalledApp("QXBwOjE=", "saleor.personalize", "a-token-for-a-bench", PERMISSIONS, [])
        saleor.apps[app.id] = app
        with Stack(folder, is_idle=True, **environment()) as stack:
            register(stack, saleor, app)
            for kind in [options.only] if options.only else ["email", "push"]:
                row = measure(stack, kind, options.people, options.workers, options.rounds)
                print(kind, json.dumps(row), flush=True)
    return 0


def environment() -> dict[str, str]:
    """Return the variables of the service that this benchmark needs."""
    port = str(free_port())
    return {
        "DJANGO_SETTINGS_MODULE": "benchmarks.settings",
        "PYTHONPATH": str(Path(__file__).parent.parent),
        "ALLOWED_SALEOR_API_URLS": ".*",
        "LOG_LEVEL": "WARNING",
        "BENCH_PORT": port,
    }


if __name__ == "__main__":
    if len(sys.argv) == 2 and ":" in sys.argv[1]:
        print(json.dumps(_work(sys.argv[1])))
    else:
        sys.exit(main())
