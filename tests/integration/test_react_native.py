"""B68: examples/react-native, compiled strictly and run in Node against this service."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.utils import timezone

from saleor_personalize.conf import build_backend
from saleor_personalize.enums import (
    DeliveryChannel,
    DeviceGone,
    MessageEventKind,
    MessageStatus,
    Purpose,
)
from saleor_personalize.events import callers
from saleor_personalize.messaging import push_accounts
from saleor_personalize.messaging.channels.base import OutgoingMessage
from saleor_personalize.models import Device, Identity, Installation, Message, MessageEvent
from saleor_personalize.profiles import devices
from saleor_personalize.testing.fcm import serving
from saleor_personalize.testing.keys import TEST_KEY
from tests.api.conftest import ALICE, claims_of
from tests.integration.test_push import point_push_at

EXAMPLE = Path(__file__).parents[2] / "examples" / "react-native"
#: An app on a phone: what it is told by Firebase is written down, line by line.
APP = """
import { createPush, read } from "./push.js";
const [options, script] = process.argv.slice(2).map((text) => JSON.parse(text));
const told = {};
const listening = (name) => (listener) => { told[name] = listener; return () => delete told[name]; };
const opened = [], seen = [];
let token = options.token, customerToken = options.customerToken;
const push = createPush({
  ...options,
  customerToken: () => customerToken,
  anonymousId: () => "phone-0123456789abcdef",
  languageCode: () => "de-AT",
  onOpen: (found) => opened.push(found),
  onForeground: (found) => seen.push(found),
  messaging: {
    getToken: async () => token,
    deleteToken: async () => { token = ""; },
    onTokenRefresh: listening("refresh"),
    onMessage: listening("message"),
    onNotificationOpenedApp: listening("opened"),
    getInitialNotification: async () => script.initial ?? null,
  },
});
const end = push.listen();
const answers = [];
for (const name of script.calls) {
  try {
    answers.push(await (name === "choose" ? push.choose(true, "push-1") : push[name]()) ?? null);
  } catch (error) {
    answers.push(error.message);
  }
}
for (const message of script.messages ?? []) { told.message(message); told.opened(message); }
end();
console.log(JSON.stringify({ answers, opened, seen, token, left: Object.keys(told) }));
"""


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example as JavaScript; the compiler found nothing to say about it."""
    compiler = EXAMPLE / "node_modules" / "typescript" / "bin" / "tsc"
    node = shutil.which("node")
    if node is None or not compiler.exists():
        pytest.skip("TypeScript is not there: install Node, then `make receiver`.")
    folder = tmp_path_factory.mktemp("receiver")
    done = subprocess.run(
        [node, str(compiler), "-p", str(EXAMPLE), "--noEmit", "false", "--outDir", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")
    (folder / "package.json").write_text('{"type": "module"}')
    (folder / "app.js").write_text(APP)
    return folder


def run(folder: Path, options: dict[str, Any], **script: Any) -> Any:
    done = subprocess.run(
        ["node", str(folder / "app.js"), json.dumps(options), json.dumps(script)],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return json.loads(done.stdout)


@pytest.mark.django_db(transaction=True)
def test_b68_the_app_registers_is_written_to_opens_the_cart_and_signs_out(
    compiled: Path, live_server: Any, installation: Installation, settings: Any
) -> None:
    cache.clear()
    callers.active.clear()
    now = timezone.now()
    with serving() as fcm:
        point_push_at(settings, fcm.url)
        push_accounts.save(installation=installation, text=fcm.service_account(), now=now)
        options = {
            "endpoint": live_server.url,
            "saleorApiUrl": installation.saleor_api_url,
            "platform": "IOS",
            "token": fcm.device("ios"),
            "customerToken": TEST_KEY.jwt(claims_of(installation, ALICE, now)),
        }
        found = run(compiled, options, calls=["refresh", "choose"])
        first, second = found["answers"]
        assert (first["device"]["isSignedIn"], first["marketing"]) == (True, None)
        assert second["marketing"] == "GRANTED"
        assert found["left"] == []
        alice = Identity.objects.of(installation).get(kind="saleor_user", value=ALICE).profile
        (row,) = devices.living(alice)
        assert (row.platform, row.language_code) == ("ios", "de-AT")

        build_backend("CHANNELS", "push").send(
            OutgoingMessage(
                key="5f18b6a85f18b6a85f18b6a85f18b6a8",
                recipient=row.token,
                sender="",
                subject="",
                text="Deine Lampe wartet.",
                html="",
                title="Noch im Warenkorb",
                link="shop://cart/1",
                data={"promo_code": "ANN10"},
                installation_id=installation.pk,
            )
        )
        (message,) = fcm.got(row.token)
        record = Message.objects.create(
            public_id="5f18b6a85f18b6a85f18b6a85f18b6a8",
            installation=installation,
            profile=alice,
            idempotency_key="first",
            template="abandoned_checkout",
            purpose=Purpose.MARKETING,
            delivery_channel=DeliveryChannel.PUSH,
            status=MessageStatus.SENT,
            decided_at=now,
        )
        expected = {
            "messageId": "5f18b6a85f18b6a85f18b6a85f18b6a8",
            "title": "Noch im Warenkorb",
            "text": "Deine Lampe wartet.",
            "deepLink": "shop://cart/1",
            "promoCode": "ANN10",
        }
        foreign = {"data": {"somebody": "else's"}, "notification": {"title": "T"}}
        found = run(
            compiled, options, calls=["signOut"], initial=message, messages=[message, foreign]
        )
        assert found["opened"] == [expected, expected]
        assert found["seen"] == [expected]
        # Pressed twice, seen once: it is not said again by e-mail.
        (event,) = MessageEvent.objects.of(installation)
        assert (event.message, event.kind) == (record, MessageEventKind.CLICKED)
        # The token is thrown away as well: the next person gets another one.
        assert found["token"] == ""
        assert Device.objects.of(installation).get().gone_reason == DeviceGone.SIGNED_OUT


@pytest.mark.django_db(transaction=True)
def test_b68_the_app_is_told_what_was_refused(
    compiled: Path, live_server: Any, installation: Installation
) -> None:
    cache.clear()
    callers.active.clear()
    options = {
        "endpoint": live_server.url,
        "saleorApiUrl": installation.saleor_api_url,
        "platform": "ANDROID",
        "token": "short",
        "customerToken": "",
    }
    (said,) = run(compiled, options, calls=["refresh"])["answers"]
    assert said.startswith("A token has 8 to 4096 visible characters")
    assert not Device.objects.of(installation).exists()
