"""The command itself: start everything, tell the story, stay up or stop."""

from __future__ import annotations

import argparse
import json
import os
import re
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from cryptography.fernet import Fernet
from rich.console import Console

from saleor_personalize.exceptions import PersonalizeError
from saleor_personalize.testing import fcm
from saleor_personalize.testing.demo import channels, person, regular
from saleor_personalize.testing.demo.pages import DemoPages
from saleor_personalize.testing.demo.phones import Phones
from saleor_personalize.testing.demo.story import Story
from saleor_personalize.testing.saleor import FakeSaleor
from saleor_personalize.testing.stack import Stack, StackError


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="saleor-personalize demo",
        description="A made-up shop, this app, a mailbox and phones on this machine. No outside account.",
    )
    parser.add_argument("--once", action="store_true", help="play the story and stop")
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object of what happened"
    )
    parser.add_argument(
        "--port",
        type=int,
        default=8700,
        help="port of the demo's pages (8700); the app and the shop take the next two",
    )
    options = parser.parse_args(argv)
    console = Console(stderr=options.json, soft_wrap=True, highlight=False)
    # Whoever ends it in another way than by Ctrl-C leaves no process behind either.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        _play(console, once=options.once, as_json=options.json, port=options.port)
    except PersonalizeError as error:
        sys.stderr.write(f"saleor-personalize demo: {error}\n")
        return 1
    except KeyboardInterrupt:
        console.print("\nEnded; nothing is left running.")
        return 0 if not options.once else 130
    return 0


def _play(console: Console, *, once: bool, as_json: bool, port: int) -> None:
    if not once:
        for wanted in (port, port + 1, port + 2):
            _refuse_taken(wanted)
    pages_url = f"http://127.0.0.1:{port}"
    console.print(
        "Starting PostgreSQL, Valkey, a made-up shop and the app: about a minute until its pages "
        "answer, and three until the story behind them is told."
    )
    with tempfile.TemporaryDirectory(prefix="personalize-demo-") as folder:
        # The embedded PostgreSQL runs as a user of its own when started by root.
        Path(folder).chmod(0o755)
        with (
            FakeSaleor(port=0 if once else port + 2) as shop,
            fcm.serving() as firebase,
            Stack(
                Path(folder),
                port=None if once else port + 1,
                ALLOWED_SALEOR_API_URLS=re.escape(shop.api_url),
                ABANDONED_CHECKOUT_DELAY_SECONDS="10",
                HINT_CART_AFTER_SECONDS="10",
                STOREFRONT_ORIGINS=pages_url,
                DASHBOARD_ORIGINS=pages_url,
                ENCRYPTION_KEYS=Fernet.generate_key().decode(),
                CHECKOUT_URL=f"{pages_url}/checkout?checkout={{checkout_id}}",
                PRODUCT_URL=f"{pages_url}/product/{{slug}}?id={{product_id}}",
                WEB_CONCURRENCY="1",
                DJANGO_SETTINGS_MODULE="saleor_personalize.project.demo_settings",
                DEMO_FIREBASE_URL=firebase.url,
            ) as stack,
        ):
            shop.fill()
            regular.arrive(shop)
            channels.arrive(shop)
            shop.offer_delivery(price=4.9, free_from=60)
            # So that there is something to wait for.
            shop.set_stock(next(reversed(shop.variants)), 0)
            phones = Phones(firebase)
            pages = DemoPages(stack, shop, port=port, phones=phones)

            def say(line: str) -> None:
                console.print(f"[green]✓[/] {line}")
                pages.told = line

            story = Story(stack, shop, say, phones=phones)
            story.install()
            if once:
                happened = story.play()
            else:
                with pages:
                    variables = Path(folder) / "demo.env"
                    variables.write_text(stack.shell())
                    console.print(_addresses(pages, variables))
                    happened = story.play()
                    pages.told = None
                    console.print("\nThe story is over. Ctrl-C ends it all.")
                    console.print(
                        "`doctor` tells FAILs about the sender's domain here: the demo writes from "
                        "example.com, which is nobody's to send from. The rest it tells as of your own."
                    )
                    if as_json:
                        _print_json(happened)
                    while True:
                        time.sleep(1)
            if as_json:
                _print_json(happened)


def _print_json(happened: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(happened, indent=2) + "\n")
    sys.stdout.flush()


def _addresses(pages: DemoPages, variables: Path) -> str:
    return (
        f"\n[bold]Storefront[/]  {pages.url}/\n"
        f"[bold]Dashboard[/]   {pages.url}/dashboard\n"
        f"[bold]Mailbox[/]     {pages.url}/mailbox\n"
        f"[bold]Phones[/]      {pages.url}/phones\n"
        f"[bold]Inbox[/]       {pages.url}/inbox, of one person on two devices\n"
        f"[bold]GraphQL[/]     {pages.stack.url}/graphql/   for example:\n\n"
        f"{_example(pages.stack.url, pages.shop)}\n\n"
        "Every other command, in another terminal:\n\n"
        f"  . {variables}\n"
        f"  {sys.argv[0]} people show --email {person.EMAIL}\n\n"
        "These answer now. Behind them a story is played, step by step:\n"
    )


def _refuse_taken(port: int) -> None:
    try:
        with socket.create_server(("127.0.0.1", port)):
            pass
    except (OSError, OverflowError) as error:
        # Without the address, which Python repeats at length.
        reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else error
        raise StackError(
            f"Port {port} cannot be had ({reason}). Is another demo running? End it, or choose three "
            f"free ports in a row: {sys.argv[0]} demo --port 9700"
        ) from error


def _example(app_url: str, shop: FakeSaleor) -> str:
    """Return a question to the app that can be pasted into a terminal."""
    query = (
        f'{{recommendations(placement: \\"home\\", channel: \\"{shop.default_channel}\\", '
        "first: 3) {productId reason {text}}}"
    )
    return (
        f"curl {app_url}/graphql/ -H 'Content-Type: application/json' \\\n"
        f"  -H 'Saleor-Api-Url: {shop.api_url}' \\\n"
        f'  -d \'{{"query": "{query}"}}\''
    )
