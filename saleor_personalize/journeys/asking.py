"""What only the shop knows: it is asked before the locks are taken, and only if a message can come next."""

from __future__ import annotations

import itertools
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from saleor_personalize.enums import IdentityKind, InstallationStatus
from saleor_personalize.exceptions import MalformedPayload, SaleorApiError, TokenRefused
from saleor_personalize.journeys import cases, definitions, ways
from saleor_personalize.journeys.cases import Case
from saleor_personalize.journeys.definitions import Path
from saleor_personalize.journeys.live import AboutOrders, AboutOrdersBefore
from saleor_personalize.journeys.outside import Ask
from saleor_personalize.journeys.triggers import AskSaleor, Go, Live, Question
from saleor_personalize.messaging import guards
from saleor_personalize.models import Identity, Profile
from saleor_personalize.models.held import once
from saleor_personalize.saleor_api import installations

logger = logging.getLogger(__name__)

#: How late the webhook of an order may be: for so long before an offer Saleor is asked for orders.
LATE_ORDER = timedelta(days=1)
#: No shop of Saleor is older.
_EVER = datetime(1970, 1, 1, tzinfo=UTC)
#: Most addresses, and most accounts, of one person that Saleor is asked about.
MOST_IDS = 10


def questions(case: Case, now: datetime) -> tuple[Question, ...]:
    """Return what only the shop knows: the trigger's questions, and whether there is an order since.

    Nothing is asked about somebody who is not to be written to.
    """
    verdict = cases.judge(case, None, now)
    if not isinstance(verdict, (Go, AskSaleor)):
        return ()
    step = definitions.next_message(case.definition, case.path)
    if step is None or not ways.is_open(case, step, now):
        return ()
    asked = verdict.questions if isinstance(verdict, AskSaleor) else ()
    return (*asked, *about_orders(case, now)) if _is_at_message(case) else asked


def _is_at_message(case: Case) -> bool:
    """Tell whether a message can come before the next wait."""
    step = definitions.step_at(case.definition, case.path)
    is_waiting = isinstance(step, (definitions.Wait, definitions.WaitFor))
    return not is_waiting and definitions.next_message(case.definition, case.path) is not None


def about_orders(case: Case, now: datetime) -> tuple[AboutOrders, ...]:
    """Return what has to be known of orders before a message: a webhook may still be under way.

    Nothing where no order changes anything, the trigger's own question tells all, or the person has neither
    an address nor an account by which Saleor could find one.
    """
    since, before = _orders_count_from(case), orders_bar_offer_from(case, now)
    if since is None and before is None:
        return ()
    (address, user_id), *others = _ids_of(case) or [("", "")]
    if not address and not user_id:
        return ()

    def question(kind: type[AboutOrders], since: datetime) -> AboutOrders:
        return kind(
            installation=case.enrollment.installation,
            address=address,
            user_id=user_id,
            since=since,
            others=tuple(others),
        )

    asked = []
    if since is not None and (others or not case.trigger.asks_for_orders):
        asked.append(question(AboutOrders, since))
    # The trigger's own question may be about some orders only.
    if before is not None and not (asked and since is not None and since <= before):
        asked.append(question(AboutOrdersBefore, before))
    return tuple(asked)


def _orders_count_from(case: Case) -> datetime | None:
    """Return since when an order changes the way of the person; None: none does."""
    if case.trigger.is_for_newcomers:
        return _EVER
    if ends_with_order(case) or unless_ordered(case) is not None:
        return case.enrollment.occurred_at
    return None


def orders_bar_offer_from(case: Case, now: datetime) -> datetime | None:
    """Return since when an order speaks against a code of this journey; None: it gives none.

    Against one for a first order every order does. Else those that our tables may not have yet: whoever
    has just paid in full gets none.
    """
    offers = definitions.offers_of(case.definition)
    if not offers:
        return None
    return _EVER if any(is_for_first_order(step) for step in offers) else now - LATE_ORDER


def is_for_first_order(step: definitions.Offer) -> bool:
    return bool(step.terms.get("first_order"))


def has_order_before_offer(live: Live) -> bool:
    """Tell whether Saleor told of an order that may speak against a code."""
    return bool(live.get(AboutOrders.KEY) or live.get(AboutOrdersBefore.KEY))


def _ids_of(case: Case) -> list[tuple[str, str]]:
    """Return pairs of an address and an account by which Saleor knows the person; one may be empty.

    The address that is written to comes first.
    """
    profile = case.enrollment.profile
    recipient = guards.address_identity(profile=profile, preferred_hash=case.about.address_hash)
    own = _known_by(profile)
    users = [one.value for one in own if one.kind == IdentityKind.SALEOR_USER][:MOST_IDS]
    mails = [one for one in reversed(own) if one.kind == IdentityKind.EMAIL and one.address]
    others = [one.address for one in mails[:MOST_IDS] if recipient is None or one != recipient]
    addresses = [*([recipient.address] if recipient else []), *others][:MOST_IDS]
    first = addresses[0] if addresses else ""
    return [(one or first, user or "") for one, user in itertools.zip_longest(addresses, users)]


def _known_by(profile: Profile) -> list[Identity]:
    """Return the accounts and e-mail addresses of a person, oldest first."""
    rows = Identity.objects.of(profile.installation_id).filter(
        profile__in=profile.members(), kind__in=[IdentityKind.SALEOR_USER, IdentityKind.EMAIL]
    )
    return once(("known by", profile.pk), lambda: list(rows.order_by("pk")))


def ends_with_order(case: Case) -> bool:
    return "ordered" in (*case.definition.goals, *case.definition.exits)


def speaks_against(case: Case) -> bool:
    """Tell whether an order that Saleor told of ends the stay before the message."""
    return case.trigger.is_for_newcomers or ends_with_order(case)


def unless_ordered(case: Case) -> Path | None:
    """Return the path of the `wait_for` an order in whose `otherwise` the person is."""
    for at, part in enumerate(case.path):
        if part == "otherwise":
            step = definitions.step_at(case.definition, case.path[:at])
            if isinstance(step, definitions.WaitFor) and step.event == "ordered":
                return case.path[:at]
    return None


def waits_for_order(case: Case) -> bool:
    """Tell whether an order changes the way of somebody who waits, though it does not end it."""
    return case.enrollment.waits_for == "ordered" or unless_ordered(case) is not None


def ask_shop(
    case: Case, questions: tuple[Question, ...], ask: Ask, now: datetime
) -> dict[str, Any] | None:
    """Return the shop's answers; None when it cannot be asked now."""
    try:
        return {question.key: ask(question) for question in questions}
    except TokenRefused:
        installations.mark_status(
            installation=case.enrollment.installation,
            status=InstallationStatus.TOKEN_REFUSED,
            now=now,
        )
    except (SaleorApiError, MalformedPayload) as error:
        logger.warning("Enrollment %s waits: Saleor cannot be asked: %s", case.enrollment.pk, error)
    return None
