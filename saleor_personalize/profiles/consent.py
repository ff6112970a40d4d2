"""Permission: a ledger that is only ever added to. Nobody is asked to say no: the default is NO.

A line speaks of a purpose (offers and reminders, personal recommendations), for messages of a delivery
channel, and perhaps of one topic. The line written last counts: clocks of several machines do not agree
well enough to go by. An answer about a topic counts before the one about the whole purpose, but a
refusal of everything ends all that was allowed before it. The strictest of a person's profiles speaks
for the person, so becoming one person never turns a NO into a YES (ADR 9).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Coalesce

from saleor_personalize import bus
from saleor_personalize.conf import settings
from saleor_personalize.enums import (
    BusEvent,
    ConsentRule,
    ConsentState,
    DeliveryChannel,
    IdentityKind,
    Purpose,
    SuppressionReason,
)
from saleor_personalize.models import (
    ComputedTraits,
    Consent,
    Event,
    Identity,
    Installation,
    Order,
    Profile,
    Session,
    Suppression,
)
from saleor_personalize.profiles import consent_rules, identity, items, merging
from saleor_personalize.profiles.changes import mark_changed
from saleor_personalize.profiles.consent_rules import Ruling
from saleor_personalize.signals import consent_changed

#: The topic of a line about the whole purpose.
EVERYTHING = ""

_STRICTEST_FIRST = (ConsentState.DENIED, ConsentState.PENDING, ConsentState.GRANTED)

#: Reasons of a suppression that end with a yes of the address's owner.
_LIFTED = frozenset({SuppressionReason.UNSUBSCRIBED, SuppressionReason.SOFT_BOUNCES})

#: How a storefront writes yes and no into metadata.
_ANSWERS = {
    **dict.fromkeys(("true", "1", "yes", "on"), True),
    **dict.fromkeys(("false", "0", "no", "off"), False),
}
#: An order older than this is history.
_FRESH = timedelta(days=1)

Key = tuple[str, str, str]  # purpose, delivery channel, topic


@dataclass(frozen=True)
class Choice:
    """What a person says about one thing."""

    purpose: Purpose
    delivery_channel: DeliveryChannel | str
    topic: str
    is_allowed: bool

    @property
    def key(self) -> Key:
        return str(self.purpose), str(self.delivery_channel), self.topic

    @property
    def state(self) -> ConsentState:
        return ConsentState.GRANTED if self.is_allowed else ConsentState.DENIED


class Ledger:
    """What the lines of one person say, read at once."""

    def __init__(self, profile: Profile, lines: QuerySet[Consent] | None = None) -> None:
        if lines is None:
            lines = Consent.objects.of(profile.installation).filter(profile__in=profile.members())
        parts = ("profile", "purpose", "delivery_channel", "topic", "state")
        #: profile -> what it is about -> state -> number of the newest line that says so
        self._lines: dict[int, dict[Key, dict[str, int]]] = defaultdict(lambda: defaultdict(dict))
        for owner, purpose, channel, topic, state, number in (
            lines.order_by(*parts, "-pk").distinct(*parts).values_list(*parts, "pk")
        ):
            self._lines[owner][purpose, channel, topic][state] = number

    def state(
        self, purpose: Purpose, delivery_channel: DeliveryChannel | str = "", topic: str = ""
    ) -> ConsentState | None:
        """Return what the person allows, or None when nothing was ever recorded."""
        key = (str(purpose), str(delivery_channel), topic)
        found = {profile_id: self.state_of(profile_id, key) for profile_id in self._lines}
        if any(self._lines[one].get(key) and found[one] == ConsentState.GRANTED for one in found):
            # A general question on one profile leaves what another of theirs said yes to by name.
            found = {
                one: state for one, state in found.items() if not self._is_only_asked(one, key)
            }
        return next((state for state in _STRICTEST_FIRST if state in found.values()), None)

    def _is_only_asked(self, profile_id: int, key: Key) -> bool:
        """Tell whether a profile was asked about everything, never said no to it, and said nothing of a topic."""
        purpose, channel, _topic = key
        lines = self._lines[profile_id]
        whole = lines.get((purpose, channel, EVERYTHING), {})
        if lines.get(key) or not whole or ConsentState.DENIED in whole:
            return False
        return _last(whole)[0] == ConsentState.PENDING

    def state_of(self, profile_id: int, key: Key) -> ConsentState | None:
        """Return what one profile of the person says."""
        purpose, channel, topic = key
        lines = self._lines.get(profile_id, {})
        whole = lines.get((purpose, channel, EVERYTHING), {})
        part = lines.get(key, {}) if topic else {}
        if part:
            said, number = _last(part)
            ended_by = whole.get(ConsentState.DENIED, 0)
            if said == ConsentState.DENIED or number > ended_by:
                return said
        return _last(whole)[0] if whole else None

    def is_refused_altogether(self, profile_id: int, purpose: str, channel: str) -> bool:
        """Tell whether the last word of a profile, of whatever topic, was that nothing is allowed."""
        said = {
            number: (topic, state)
            for (its_purpose, its_channel, topic), states in self._lines.get(profile_id, {}).items()
            if (its_purpose, its_channel) == (purpose, channel)
            for state, number in states.items()
        }
        return bool(said) and said[max(said)] == (EVERYTHING, ConsentState.DENIED)


class Standing:
    """What a person allows whose addresses may be written to: their own yes, and anybody's no.

    Somebody who merely typed an address into a cart may be joined with its owner. Their yes is none for
    it, while their no counts, as everybody's does.
    """

    def __init__(self, profile: Profile) -> None:
        own = merging.with_own_addresses(profile)
        lines = Consent.objects.of(profile.installation).filter(profile__in=own)
        self._person = Ledger(profile)
        self._own = self._person if own == profile.members() else Ledger(profile, lines)

    def state(
        self, purpose: Purpose, delivery_channel: DeliveryChannel | str = "", topic: str = ""
    ) -> ConsentState | None:
        """Return what holds, or None when nothing was ever recorded that does."""
        found = self._person.state(purpose, delivery_channel, topic)
        if found == ConsentState.DENIED:
            return found
        return self._own.state(purpose, delivery_channel, topic)


def _last(said: dict[str, int]) -> tuple[ConsentState, int]:
    state = max(said, key=lambda state: said[state])
    return ConsentState(state), said[state]


def state(
    *,
    profile: Profile,
    purpose: Purpose,
    delivery_channel: DeliveryChannel | str = "",
    topic: str = EVERYTHING,
) -> ConsentState | None:
    """Return what a person allows, or None when nothing was ever recorded.

    Without a topic it is the answer about the whole purpose; profiling has no delivery channel.
    """
    lines = Consent.objects.of(profile.installation).filter(
        profile__in=profile.person(),
        purpose=purpose,
        delivery_channel=delivery_channel,
        topic__in={EVERYTHING, topic},
    )
    return Ledger(profile, lines).state(purpose, delivery_channel, topic)


def is_granted(
    *,
    profile: Profile,
    purpose: Purpose,
    delivery_channel: DeliveryChannel | str = "",
    topic: str = EVERYTHING,
) -> bool:
    return (
        state(profile=profile, purpose=purpose, delivery_channel=delivery_channel, topic=topic)
        == ConsentState.GRANTED
    )


def allows_any(*, profile: Profile, delivery_channel: DeliveryChannel) -> bool:
    """Tell whether anything may go to a person over a delivery channel that takes a yes: of whatever topic."""
    standing = Standing(profile)
    return (
        any(
            standing.state(Purpose.MARKETING, delivery_channel, topic) == ConsentState.GRANTED
            for topic in (EVERYTHING, *settings.TOPICS)
        )
        or standing.state(Purpose.TRANSACTIONAL, delivery_channel) == ConsentState.GRANTED
    )


def may_profile(*, profile: Profile) -> bool:
    """Tell whether what the person does may be recorded and used: until one of their profiles refused."""
    return state(profile=profile, purpose=Purpose.PROFILING) != ConsentState.DENIED


def refused_profiling(
    *, installation: Installation, profiles: QuerySet[Profile] | None = None
) -> set[int]:
    """Return the keys of the profiles that speak for the people who refused profiling.

    `profiles`: look at these alone.
    """
    lines = Consent.objects.of(installation).filter(purpose=Purpose.PROFILING, topic=EVERYTHING)
    newest = (
        (lines if profiles is None else lines.filter(profile__in=profiles))
        .annotate(person=Coalesce("profile__merged_into", "profile"))
        .order_by("profile", "-pk")
        .distinct("profile")
    )
    return {
        person
        for person, said in newest.values_list("person", "state")
        if said == ConsentState.DENIED
    }


def record(
    *,
    profile: Profile,
    purpose: Purpose,
    delivery_channel: DeliveryChannel | str,
    state: ConsentState,
    source: str,
    now: datetime,
    topic: str = EVERYTHING,
    language_code: str = "",
    wording_version: str = "",
    ruling: Ruling | None = None,
) -> Consent:
    """Append a line to the ledger."""
    mark_changed(installation=profile.installation, profiles=[profile], now=now)
    line = Consent.objects.create(
        installation=profile.installation,
        profile=profile,
        purpose=purpose,
        delivery_channel=delivery_channel,
        topic=topic,
        state=state,
        country_code=ruling.country_code if ruling else "",
        rule=ruling.rule if ruling else "",
        source=source,
        wording_version=wording_version,
        language_code=language_code,
        recorded_at=now,
    )
    if delivery_channel == DeliveryChannel.SMS and state == ConsentState.GRANTED:
        # Their number is nobody's business before.
        rows = Profile.objects.of(profile.installation).filter(pk=profile.pk)
        known = Identity.objects.of(profile.installation).filter(
            profile=profile, kind=IdentityKind.PHONE, confirmed_at__isnull=False
        )
        rows.exclude(pk__in=known.values("profile")).update(phone_wanted_at=now)
    if delivery_channel == DeliveryChannel.IN_APP and state == ConsentState.DENIED:
        items.end_refused(profile=profile, purpose=purpose, topic=topic, now=now)
    bus.publish(
        installation=profile.installation,
        event=BusEvent.CONSENT_CHANGED,
        data={
            "purpose": purpose,
            "deliveryChannel": delivery_channel,
            "topic": topic,
            "state": state,
            "source": source,
        },
        profile_id=profile.pk,
        now=now,
    )
    transaction.on_commit(
        lambda: consent_changed.send_robust(
            Consent, installation=profile.installation, consent=line
        )
    )
    return line


# -- a yes that anybody may have given ----------------------------------------------------------------


def record_yes(
    *,
    profile: Profile,
    source: str,
    now: datetime,
    delivery_channel: DeliveryChannel = DeliveryChannel.EMAIL,
    topics: Sequence[str] = (),
    country_code: str = "",
    language_code: str = "",
    wording_version: str = "",
    is_confirmed: bool = False,
    asks_again: bool = False,
    must_confirm: bool = False,
) -> list[Consent]:
    """Record a yes to marketing of which we do not know that the person gave it; return what is new.

    Anybody can type an address into a form. The rule of the country decides what it leads to: GRANTED,
    or PENDING until they confirm (`is_confirmed`: they did, elsewhere). It never turns a NO into a YES:
    after a NO nothing is recorded, or with `asks_again` a PENDING, so that the person is asked by mail.
    `must_confirm`: PENDING whatever the rule, since nobody knows yet whose the address is.
    No `topics` means everything.
    """
    ruling = consent_rules.ruling(profile=profile, told=country_code)
    standing, answers = Standing(profile), Ledger(profile, _answers(profile))
    lines = []
    for topic in topics or (EVERYTHING,):
        known = standing.state(Purpose.MARKETING, delivery_channel, topic)
        is_refused = (
            answers.state(Purpose.MARKETING, delivery_channel, topic) == ConsentState.DENIED
        )
        if known == ConsentState.GRANTED or (is_refused and not asks_again):
            continue
        line = _by_rule(
            profile=profile,
            delivery_channel=delivery_channel,
            topic=topic,
            ruling=ruling,
            must_confirm=is_refused or must_confirm,
            is_confirmed=is_confirmed and not is_refused,
            source=source,
            now=now,
            language_code=language_code,
            wording_version=wording_version,
        )
        lines += [line] if line else []
    return lines


def _answers(profile: Profile) -> QuerySet[Consent]:
    """Return what a person answered. A question is none, so it covers up no NO that came before it."""
    lines = Consent.objects.of(profile.installation).filter(profile__in=profile.person())
    return lines.exclude(state=ConsentState.PENDING)


def record_box(
    *,
    profile: Profile,
    is_ticked: bool,
    source: str,
    now: datetime,
    language_code: str = "",
    country_code: str = "",
) -> bool:
    """Record that a shopper ticked or unticked "write to me" in the shop; return whether that is new.

    A box never turns a NO from elsewhere into a YES: somebody who unsubscribed and orders again, with
    the box ticked for them or not, stays unsubscribed. Unticking takes back only what a box gave.
    """
    of_mail = {
        "purpose": Purpose.MARKETING,
        "delivery_channel": DeliveryChannel.EMAIL,
        "topic": EVERYTHING,
    }
    if not is_ticked:
        lines = Consent.objects.of(profile.installation).filter(profile=profile, **of_mail)
        own = lines.order_by("-pk").first()
        if own is None or own.state == ConsentState.DENIED or own.source != source:
            return False
        record(
            profile=profile,
            purpose=Purpose.MARKETING,
            delivery_channel=DeliveryChannel.EMAIL,
            state=ConsentState.DENIED,
            source=source,
            now=now,
            language_code=language_code,
        )
        return True
    newest = _answers(profile).filter(**of_mail).order_by("profile", "-pk").distinct("profile")
    is_refused = any(line.state == ConsentState.DENIED and line.source != source for line in newest)
    # An answer on another profile of theirs is as good.
    own_yes = Standing(profile).state(Purpose.MARKETING, DeliveryChannel.EMAIL)
    if is_refused or own_yes == ConsentState.GRANTED:
        return False
    line = _by_rule(
        profile=profile,
        delivery_channel=DeliveryChannel.EMAIL,
        topic=EVERYTHING,
        ruling=consent_rules.ruling(profile=profile, told=country_code),
        source=source,
        now=now,
        language_code=language_code,
    )
    return line is not None


def _by_rule(
    *,
    profile: Profile,
    delivery_channel: DeliveryChannel,
    topic: str,
    ruling: Ruling,
    source: str,
    now: datetime,
    must_confirm: bool = False,
    is_confirmed: bool = False,
    language_code: str = "",
    wording_version: str = "",
) -> Consent | None:
    """Record what a yes leads to in a country; None when the same question was put only lately."""
    is_mail = delivery_channel == DeliveryChannel.EMAIL
    is_open = must_confirm or (
        is_mail and ruling.rule == ConsentRule.DOUBLE_OPT_IN and not is_confirmed
    )
    if is_open and is_mail and _was_asked(profile, delivery_channel, topic, now):
        return None
    return record(
        profile=profile,
        purpose=Purpose.MARKETING,
        delivery_channel=delivery_channel,
        topic=topic,
        state=ConsentState.PENDING if is_open else ConsentState.GRANTED,
        source=source,
        now=now,
        language_code=language_code,
        wording_version=wording_version,
        ruling=Ruling(ruling.country_code, ConsentRule.DOUBLE_OPT_IN) if must_confirm else ruling,
    )


def _was_asked(
    profile: Profile, delivery_channel: DeliveryChannel, topic: str, now: datetime
) -> bool:
    newest = (
        Consent.objects.of(profile.installation)
        .filter(
            profile=profile,
            purpose=Purpose.MARKETING,
            delivery_channel=delivery_channel,
            topic=topic,
        )
        .order_by("-pk")
        .first()
    )
    return (
        newest is not None
        and newest.state == ConsentState.PENDING
        and newest.recorded_at > now - settings.CONFIRMATION_INTERVAL
    )


def follow_order(
    *,
    order: Order,
    metadata: Mapping[str, str],
    country_code: str,
    language_code: str,
    now: datetime,
) -> bool:
    """Record what an order's shopper answered to "do not write to me" (OPT_OUT_METADATA_KEY).

    Without an answer they had no chance to object, so nothing follows. An order of long ago, read by a
    back-fill or replayed, permits nothing either. Returns whether a line is new.
    """
    answer = metadata.get(settings.OPT_OUT_METADATA_KEY, "").strip().lower()
    address = (
        Identity.objects.of(order.installation)
        .filter(kind=IdentityKind.EMAIL, value=order.email_hash)
        .select_related("profile__installation")
        .first()
    )
    if address is None or answer not in _ANSWERS or order.placed_at <= now - _FRESH:
        return False
    with transaction.atomic():
        identity.lock_identities(order.installation, [(IdentityKind.EMAIL, order.email_hash)])
        if _ANSWERS[answer]:
            return record_objection(
                profile=address.profile, source="order", now=now, language_code=language_code
            )
        return record_customer(
            profile=address.profile,
            source="order",
            now=now,
            country_code=country_code,
            language_code=language_code,
        )


def record_objection(
    *, profile: Profile, source: str, now: datetime, language_code: str = ""
) -> bool:
    """Record that whoever left an address objected to mail to it; return whether that is new."""
    if Ledger(profile).is_refused_altogether(profile.pk, Purpose.MARKETING, DeliveryChannel.EMAIL):
        return False
    record(
        profile=profile,
        purpose=Purpose.MARKETING,
        delivery_channel=DeliveryChannel.EMAIL,
        state=ConsentState.DENIED,
        source=source,
        now=now,
        language_code=language_code,
    )
    return True


def record_customer(
    *,
    profile: Profile,
    source: str,
    now: datetime,
    country_code: str = "",
    language_code: str = "",
) -> bool:
    """Record a soft opt-in: a customer who could object while ordering and did not; tell if it is new.

    Where the rule of the country is SOFT_OPT_IN, and unless they ever said anything themselves, they may
    be written to about similar products (SOFT_OPT_IN_TOPICS) until they say no: directive 2002/58/EC,
    article 13(2).
    """
    ruling = consent_rules.ruling(profile=profile, told=country_code)
    told, purpose, mail = Ledger(profile), Purpose.MARKETING, DeliveryChannel.EMAIL
    if ruling.rule != ConsentRule.SOFT_OPT_IN or told.state(purpose, mail) is not None:
        return False
    topics = [
        topic for topic in settings.SOFT_OPT_IN_TOPICS if told.state(purpose, mail, topic) is None
    ]
    for topic in topics:
        record(
            profile=profile,
            purpose=purpose,
            delivery_channel=mail,
            topic=topic,
            state=ConsentState.GRANTED,
            source=source,
            now=now,
            language_code=language_code,
            ruling=ruling,
        )
    return bool(topics)


# -- the person's own word ---------------------------------------------------------------------------


def hold(*, profile: Profile, address_hashes: Collection[str] = ()) -> None:
    """Hold all ids of a person, and these addresses, until the transaction ends.

    A decision on a message or a yes under way about the person, under whatever id, finishes first; a
    later one sees what is written now.
    """
    ids = (
        Identity.objects.of(profile.installation)
        .filter(profile__in=profile.person())
        .values_list("kind", "value")
    )
    identity.lock_identities(
        profile.installation,
        [*ids, *((IdentityKind.EMAIL, address_hash) for address_hash in address_hashes)],
    )


def choose(
    *,
    profile: Profile,
    choices: Iterable[Choice],
    source: str,
    now: datetime,
    language_code: str = "",
    wording_version: str = "",
    ruling: Ruling | None = None,
) -> int:
    """Record what the person said themselves, on every profile of theirs; return how many lines are new.

    Only call this for somebody who proved to be the person: by a signed link sent to their address or by
    their Saleor login. A yes is said for themselves alone (`_own`), a no for whoever is joined with them.
    Who refuses profiling also loses what was recorded of their behaviour.
    """
    count = 0
    with transaction.atomic():
        hold(profile=profile)
        known = Ledger(profile)
        members = list(profile.person().select_related("installation"))
        own = _own(profile) if len(members) > 1 else {profile.pk}
        for choice in choices:
            for member in members:
                if _says_already(known, member.pk, choice) or (
                    choice.is_allowed and member.pk not in own
                ):
                    continue
                count += 1
                record(
                    profile=member,
                    purpose=choice.purpose,
                    delivery_channel=choice.delivery_channel,
                    topic=choice.topic,
                    state=choice.state,
                    source=source,
                    now=now,
                    language_code=language_code,
                    wording_version=wording_version,
                    ruling=ruling,
                )
            if choice.purpose == Purpose.PROFILING and not choice.is_allowed:
                _forget_behaviour(profile)
    return count


def _own(profile: Profile) -> set[int]:
    """Return those profiles of a person for which they may say yes.

    Not those of somebody who merely showed the same cart, and no address that an account named and
    never confirmed: it may be a stranger's.
    """
    own = merging.erasable(profile)
    addresses = Identity.objects.of(profile.installation).filter(
        profile__in=own, kind=IdentityKind.EMAIL
    )
    unproved = set(addresses.values_list("profile", flat=True)) - merging.readable(profile)
    return own - unproved


def _says_already(known: Ledger, profile_id: int, choice: Choice) -> bool:
    if choice.topic == EVERYTHING and not choice.is_allowed:
        # A topic allowed since then has to be ended as well.
        return known.is_refused_altogether(profile_id, *choice.key[:2])
    return known.state_of(profile_id, choice.key) == choice.state


def _forget_behaviour(profile: Profile) -> None:
    """Delete what was observed of a person. Carts and orders stay: the shop needs them."""
    person = list(profile.person().values_list("pk", flat=True))
    for model in (Event, Session, ComputedTraits):
        model.objects.of(profile.installation).filter(profile__in=person).delete()
    people = Profile.objects.of(profile.installation).filter(pk__in=person)
    people.update(time_zone="", time_zone_told_at=None)


def unsubscribe(
    *, profile: Profile, address_hash: str, source: str, now: datetime, language_code: str = ""
) -> None:
    """Record NO for all marketing by e-mail and suppress the address, both at once."""
    with transaction.atomic():
        choose(
            profile=profile,
            choices=[
                Choice(Purpose.MARKETING, DeliveryChannel.EMAIL, EVERYTHING, is_allowed=False)
            ],
            source=source,
            now=now,
            language_code=language_code,
        )
        suppress(
            installation=profile.installation,
            delivery_channel=DeliveryChannel.EMAIL,
            address_hash=address_hash,
            reason=SuppressionReason.UNSUBSCRIBED,
            now=now,
        )


# -- addresses ---------------------------------------------------------------------------------------


def suppress(
    *,
    installation: Installation,
    delivery_channel: DeliveryChannel,
    address_hash: str,
    reason: SuppressionReason,
    now: datetime,
) -> None:
    """Stop all marketing to an address. The first reason stays, but what can be lifted gives way to the rest.

    What somebody unsubscribed they can take back, and who answers has a mailbox again; a dead address and
    a complaint stay.
    """
    kept, created = Suppression.objects.get_or_create(
        installation=installation,
        delivery_channel=delivery_channel,
        address_hash=address_hash,
        defaults={"reason": reason, "created_at": now},
    )
    if not created and kept.reason in _LIFTED and reason not in _LIFTED:
        Suppression.objects.of(installation).filter(pk=kept.pk).update(reason=reason)


def is_suppressed(
    *,
    installation: Installation,
    delivery_channel: DeliveryChannel,
    address_hash: str,
    reasons: Collection[SuppressionReason] | None = None,
) -> bool:
    """Tell whether an address must not be used; `reasons`: for one of these alone."""
    rows = Suppression.objects.of(installation).filter(
        delivery_channel=delivery_channel, address_hash=address_hash
    )
    return (rows if reasons is None else rows.filter(reason__in=reasons)).exists()


def lift_suppression(
    *,
    installation: Installation,
    delivery_channel: DeliveryChannel,
    address_hashes: Collection[str],
) -> bool:
    """Let addresses be used again whose owner unsubscribed and now said yes; tell whether any was kept.

    A dead address or a complaint stays.
    """
    kept = Suppression.objects.of(installation).filter(
        delivery_channel=delivery_channel,
        address_hash__in=address_hashes,
        reason__in=_LIFTED,
    )
    return bool(kept.delete()[0])
