"""The command itself: start everything, tell the story, stay up or stop."""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from saleor_personalize.testing.demo.pages import DemoPages
from saleor_personalize.testing.demo.story import Story
from saleor_personalize.testing.saleor import FakeSaleor
from saleor_personalize.testing.stack import Stack


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="saleor-personalize demo",
        description="A made-up shop, this app and a mailbox on this machine. No outside account.",
    )
    parser.add_argument("--once", action="store_true", help="play the story and stop")
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object of what happened"
    )
    parser.add_argument("--port", type=int, default=8700, help="port of the demo's pages (8700)")
    options = parser.parse_args(argv)
    console = Console(stderr=options.json)

    with tempfile.TemporaryDirectory(prefix="personalize-demo-") as folder:
        # The embedded PostgreSQL runs as a user of its own when started by root.
        Path(folder).chmod(0o755)
        with (
            FakeSaleor() as shop,
            Stack(
                Path(folder),
                ALLOWED_SALEOR_API_URLS=re.escape(shop.api_url),
                ABANDONED_CHECKOUT_DELAY_SECONDS="10",
                STOREFRONT_ORIGINS=f"http://127.0.0.1:{options.port}",
                DASHBOARD_ORIGINS=f"http://127.0.0.1:{options.port}",
                CHECKOUT_URL=f"http://127.0.0.1:{options.port}/checkout?checkout={{checkout_id}}",
            ) as stack,
        ):
            shop.fill()
            story = Story(stack, shop, lambda line: console.print(f"[green]✓[/] {line}"))
            happened = story.play()
            if options.json:
                sys.stdout.write(json.dumps(happened, indent=2) + "\n")
            if options.once:
                return 0
            with DemoPages(stack, shop, port=options.port) as pages:
                console.print(
                    f"\n[bold]Storefront[/]  {pages.url}/\n"
                    f"[bold]Dashboard[/]   {pages.url}/dashboard\n"
                    f"[bold]Mailbox[/]     {pages.url}/mailbox\n"
                    f"[bold]GraphQL[/]     {stack.url}/graphql/\n\nCtrl-C ends it all."
                )
                try:
                    while True:
                        time.sleep(1)
                except KeyboardInterrupt:
                    return 0
