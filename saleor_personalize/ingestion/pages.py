"""What webhooks do not tell of content pages: what a page is about, and what happens to many at once.

Saleor renders PAGE_CREATED and PAGE_UPDATED before it stores the attributes, and sends nothing when
pages are published, hidden or deleted in bulk or with their type. So a webhook, and a look at the list,
only say that a page is stale; stale pages are then read as they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from saleor_personalize.catalog import operations as catalog
from saleor_personalize.catalog import pages
from saleor_personalize.exceptions import MalformedPayload
from saleor_personalize.ingestion import failures
from saleor_personalize.models import Installation, Page
from saleor_personalize.saleor_api import nodes
from saleor_personalize.saleor_api.client import MAX_PAGE, SaleorClient

#: By then Saleor has stored what the webhook could not show.
SETTLED = timedelta(seconds=3)


def refresh(*, installation: Installation, now: datetime) -> int:
    """Read the pages that are stale since SETTLED; return how many were.

    A page that is not there any more is deleted here too. Without MANAGE_PAGES we are shown only what is
    published: then it is taken for hidden. Raises SaleorApiError when the shop cannot be asked.
    """
    stale = pages.stale_ids(installation=installation, until=now - SETTLED)
    if not stale:
        return 0
    may_see_all = "MANAGE_PAGES" in installation.permissions
    with SaleorClient(installation) as client:
        # A token that no longer works makes us anybody, who is shown less.
        client.identity()
        for start in range(0, len(stale), MAX_PAGE):
            asked = stale[start : start + MAX_PAGE]
            found = client.page(
                "Pages", "pages", first=MAX_PAGE, after=None, variables={"filter": {"ids": asked}}
            )
            data = list(_readable(installation, found.nodes, now))
            catalog.record_pages(installation=installation, data=data, now=now, seen_at=now)
            there = {str(node["id"]) for node in found.nodes}
            gone = set(asked) - there if may_see_all else set()
            unseen = set(asked) - gone - {page.id for page in data}
            catalog.hide_pages(installation=installation, ids=sorted(unseen), seen_at=now)
            for id_ in sorted(gone):
                catalog.record_deletion(
                    installation=installation, model=Page, saleor_id=id_, now=now
                )
    return len(stale)


def _readable(
    installation: Installation, found: Iterable[nodes.Node], now: datetime
) -> Iterator[nodes.PageData]:
    """Read pages; one that cannot be read is kept with its error, and not shown."""
    for node in found:
        try:
            yield nodes.read_page(node)
        except MalformedPayload as error:
            body = json.dumps({"issuedAt": now.isoformat(), "page": node}).encode()
            failures.keep(
                installation=installation,
                event="page_updated",
                body=body,
                error=str(error),
                now=now,
            )


def look(*, installation: Installation, now: datetime) -> int:
    """Mark as stale what the shop's list of pages shows otherwise than we know it; return how many.

    Raises SaleorApiError when the shop cannot be asked.
    """
    with SaleorClient(installation) as client:
        client.identity()
        listed = dict(
            nodes.read_page_state(node) for node in client.every_node("PageStates", "pages")
        )
    known = pages.states(installation=installation)
    stale = {id_ for id_, state in listed.items() if known.get(id_) != state}
    # One that is hidden already need not be looked for where we are shown only what is published.
    may_see_all = "MANAGE_PAGES" in installation.permissions
    stale |= {
        id_
        for id_, (is_published, _) in known.items()
        if id_ not in listed and (is_published or may_see_all)
    }
    return catalog.mark_stale_pages(installation=installation, ids=sorted(stale), now=now - SETTLED)
