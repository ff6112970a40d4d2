"""What it takes in a country before marketing may start (CONSENT_RULES)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from django.db.models import QuerySet

from saleor_personalize.conf import settings
from saleor_personalize.enums import ConsentRule, IdentityKind
from saleor_personalize.models import Installation, Profile, Session

#: The entry of CONSENT_RULES for every country without one of its own, and for no known country.
ELSEWHERE = "*"

_STRICTEST_FIRST = (ConsentRule.DOUBLE_OPT_IN, ConsentRule.OPT_IN, ConsentRule.SOFT_OPT_IN)


@dataclass(frozen=True)
class Ruling:
    """The rule that holds for somebody, and the country that it comes from ("" when none is known)."""

    country_code: str
    rule: ConsentRule


def rule_of(country_code: str) -> ConsentRule:
    """Return the rule of a country. A soft opt-in needs a country that is named."""
    rules = settings.CONSENT_RULES
    code = country_code.upper()
    if code in rules and code != ELSEWHERE:
        return ConsentRule(rules[code])
    rule = ConsentRule(rules.get(ELSEWHERE, ConsentRule.OPT_IN))
    return ConsentRule.OPT_IN if rule == ConsentRule.SOFT_OPT_IN else rule


def strictest(country_codes: Iterable[str]) -> Ruling:
    """Return the strictest rule of the countries that somebody may be in."""
    known = [code.upper() for code in country_codes if code]
    rulings = [Ruling(code, rule_of(code)) for code in known] or [Ruling("", rule_of(""))]
    return min(rulings, key=lambda ruling: _STRICTEST_FIRST.index(ruling.rule))


def ruling(*, profile: Profile, told: str = "") -> Ruling:
    """Return the rule for a person: of the country just `told` (by a cart, an order, a form) and of
    those we know them from, their default address and their last visit. The strictest counts."""
    person = profile.person()
    of_addresses = person.exclude(country_code="").values_list("country_code", flat=True)
    sessions = Session.objects.of(profile.installation).filter(profile__in=person)
    return strictest([told, *of_addresses, _country_of(sessions)])


def country_of_visitor(installation: Installation, anonymous_id: str) -> str:
    """Return where the browser with this id was last seen, or ""."""
    if not anonymous_id:
        return ""
    return _country_of(
        Session.objects.of(installation).filter(
            profile__identities__kind=IdentityKind.ANONYMOUS_ID,
            profile__identities__value=anonymous_id,
        )
    )


def _country_of(sessions: QuerySet[Session]) -> str:
    newest = sessions.exclude(country_code="").order_by("-last_seen_at", "-pk")
    return newest.values_list("country_code", flat=True).first() or ""
