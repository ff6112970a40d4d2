"""Forgetting a person. What stays: sums without a person, and keyed hashes of what must not come back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from datetime import datetime

from django.db import transaction
from django.db.models import Q

from saleor_personalize.enums import (
    ConsentState,
    DeliveryChannel,
    ErasureSource,
    IdentityKind,
    OfferReason,
    OfferStatus,
    Purpose,
    SuppressionReason,
)
from saleor_personalize.models import (
    Approval,
    AuditEntry,
    Checkout,
    Consent,
    Erasure,
    Experiment,
    Identity,
    Installation,
    Offer,
    Order,
    OutgoingWebhook,
    Profile,
    PushAccount,
    RefusedEvent,
    ServerKey,
    email_hash,
)
from saleor_personalize.profiles import consent, identity, merging, tombstones
from saleor_personalize.profiles.tombstones import Id

#: Who may have everything deleted that was ever joined to a person: they see what it is.
_DECIDE = (ErasureSource.STAFF, ErasureSource.COMMAND)


def erase(*, profile: Profile, requested_by: ErasureSource, now: datetime) -> Erasure:
    """Delete a person with all profiles, ids, consents, events, carts, enrollments and messages.

    Orders stay for the recommenders, without a person. An address that said no stays suppressed, by
    its keyed hash. A shopper's own request leaves profiles alone that only a cart joined to theirs and
    that have a name of their own; staff decide over all of them.
    """
    installation = profile.installation
    with transaction.atomic():
        _hold(installation)
        whole = set(profile.person().values_list("pk", flat=True))
        members = whole if requested_by in _DECIDE else merging.erasable(profile)
        return _erase(
            installation=installation,
            members=members,
            shown=(),
            requested_by=requested_by,
            facts_until=now,
            now=now,
        )


def erase_customer(
    *,
    installation: Installation,
    user_id: str,
    address: str,
    requested_by: ErasureSource,
    deleted_at: datetime,
    now: datetime,
) -> Erasure | None:
    """Follow the deletion of a Saleor customer, guest carts of the address included.

    Nothing of the account comes back after it; of the address, what is newer than `deleted_at`. The
    address is left alone when another Saleor user has it by now. Returns None when it was followed
    before.
    """
    user: Id = (IdentityKind.SALEOR_USER, user_id)
    mail: Id = (IdentityKind.EMAIL, email_hash(address) if address else "")
    with transaction.atomic():
        _hold(installation)
        found = tombstones.look_up(installation, [user])
        if user in found.accounts and found.covers(user, deleted_at):
            return None
        owners = dict(
            Identity.objects.of(installation)
            .filter(Q(kind=user[0], value=user[1]) | Q(kind=mail[0], value=mail[1]))
            .select_related("profile__installation")
            .in_bulk()
        )
        members: set[int] = set()
        shown = [user]
        for owner in owners.values():
            theirs = merging.erasable(owner.profile)
            if owner.kind == IdentityKind.EMAIL and _is_of_another(installation, theirs, user_id):
                continue
            members |= theirs
        if not any(
            owner.kind == IdentityKind.EMAIL and owner.profile_id not in members
            for owner in owners.values()
        ):
            shown.append(mail)
        return _erase(
            installation=installation,
            members=members,
            shown=[id_ for id_ in shown if id_[1]],
            requested_by=requested_by,
            facts_until=deleted_at,
            now=now,
        )


def _hold(installation: Installation) -> None:
    """Let nobody record, join or decide anything in this shop meanwhile."""
    tombstones.hold(installation)
    merging.lock_graph(installation)


def _is_of_another(installation: Installation, members: Collection[int], user_id: str) -> bool:
    return (
        Identity.objects.of(installation)
        .filter(profile__in=members, kind=IdentityKind.SALEOR_USER)
        .exclude(value=user_id)
        .exists()
    )


def _erase(
    *,
    installation: Installation,
    members: set[int],
    shown: Iterable[Id],
    requested_by: ErasureSource,
    facts_until: datetime,
    now: datetime,
) -> Erasure:
    ids = _lock_ids(installation, members, set(shown))
    users = {value for kind, value in ids if kind == IdentityKind.SALEOR_USER}
    hashes = {value for kind, value in ids if kind == IdentityKind.EMAIL}
    left = _left_behind(installation, members)
    _keep_refusals(installation, members, now)
    counts: Counter[str] = Counter()
    counts["Order"] = _free_orders(installation, members, users, hashes)
    carts = Checkout.objects.of(installation)
    mine = carts.filter(Q(profile__in=members) | Q(user_saleor_id__in=users))
    cart_ids = list(mine.values_list("saleor_id", flat=True))
    counts["Checkout"] = mine.delete()[0]
    # Others typed the address; the cart is theirs.
    carts.filter(email_hash__in=hashes).update(email_hash="")
    # Staff may be customers as well; what they made for the shop goes on without their name.
    for made in (ServerKey, OutgoingWebhook, PushAccount):
        made.objects.of(installation).filter(created_by__in=users).update(created_by="")
    for table, column in (
        (Approval, "asked_by"),
        (Approval, "decided_by"),
        (Experiment, "decided_by"),
    ):
        table.objects.of(installation).filter(**{f"{column}__in": users}).update(**{column: ""})
    log = AuditEntry.objects.of(installation)
    log.filter(actor_id__in=users).update(actor_id="", actor_name="")
    people = Profile.objects.of(installation).filter(pk__in=members)
    theirs = [str(who) for who in people.values_list("public_id", flat=True)]
    log.filter(object_kind=Profile.__name__, object_id__in=theirs).update(object_id="")
    cart_identities = Identity.objects.of(installation).filter(
        kind=IdentityKind.CHECKOUT, value__in=cart_ids
    )
    counts["Identity"] = cart_identities.exclude(profile__in=members).delete()[0]
    _free_offers(installation, members, now)
    _, deleted = Profile.objects.of(installation).filter(pk__in=members).delete()
    for label, count in deleted.items():
        counts[label.rpartition(".")[2]] += count
    merging.regroup(installation=installation, profile_ids=left, now=now)
    fingerprints = {
        tombstones.fingerprint(installation, id_)
        for id_ in [*ids, *((IdentityKind.CHECKOUT, cart_id) for cart_id in cart_ids)]
    }
    RefusedEvent.objects.of(installation).filter(fingerprint__in=fingerprints).delete()
    return Erasure.objects.create(
        installation=installation,
        requested_by=requested_by,
        fingerprints=sorted(fingerprints),
        facts_until=facts_until,
        erased_at=now,
        counts={name: counts[name] for name in sorted(counts) if counts[name]},
    )


def _lock_ids(installation: Installation, members: set[int], ids: set[Id]) -> set[Id]:
    """Hold and return all ids of the profiles; who decides about a message holds them too."""
    identity.lock_identities(installation, ids)
    while fresh := _ids(installation, members) - ids:
        identity.lock_identities(installation, fresh)
        ids |= fresh
    return ids


def _ids(installation: Installation, members: set[int]) -> set[Id]:
    rows = Identity.objects.of(installation).filter(profile__in=members)
    return {(IdentityKind(kind), value) for kind, value in rows.values_list("kind", "value")}


def _left_behind(installation: Installation, members: set[int]) -> set[int]:
    """Return the profiles that were one person with these and stay."""
    people = Profile.objects.of(installation)
    representatives = {
        person or pk
        for pk, person in people.filter(pk__in=members).values_list("pk", "merged_into_id")
    }
    whole = people.filter(Q(pk__in=representatives) | Q(merged_into__in=representatives))
    return set(whole.values_list("pk", flat=True)) - members


def _keep_refusals(installation: Installation, members: set[int], now: datetime) -> None:
    """Let a NO outlive the person: an old list of addresses must not be written to after an import."""
    newest = (
        Consent.objects.of(installation)
        .filter(
            profile__in=members,
            purpose=Purpose.MARKETING,
            delivery_channel=DeliveryChannel.EMAIL,
            topic=consent.EVERYTHING,
        )
        # A question that somebody else had put since is no answer.
        .exclude(state=ConsentState.PENDING)
        .order_by("profile", "-pk")
        .distinct("profile")
    )
    # A box that was not ticked is no NO for ever.
    refused = [
        line.profile_id
        for line in newest
        if line.state == ConsentState.DENIED and line.source != "checkout"
    ]
    addresses = Identity.objects.of(installation).filter(
        profile__in=refused, kind=IdentityKind.EMAIL
    )
    for address_hash in addresses.values_list("value", flat=True):
        consent.suppress(
            installation=installation,
            delivery_channel=DeliveryChannel.EMAIL,
            address_hash=address_hash,
            reason=SuppressionReason.UNSUBSCRIBED,
            now=now,
        )


def _free_offers(installation: Installation, members: set[int], now: datetime) -> None:
    """Take the person out of their offers; a code whose message cannot go any more is taken back.

    The rows stay: such a code has to be taken out of Saleor yet.
    """
    theirs = Offer.objects.of(installation).filter(profile__in=members)
    never_left = Q(status=OfferStatus.RESERVED) | Q(
        status=OfferStatus.MADE, message__handed_over_at=None
    )
    # Not by the condition itself: an update must not join.
    unsent = list(theirs.filter(never_left).values_list("pk", flat=True))
    theirs.filter(pk__in=unsent).update(
        status=OfferStatus.WITHDRAWN, reason=OfferReason.ERASED, withdrawn_at=now, due_at=now
    )
    theirs.update(profile=None, enrollment=None, message=None, order=None)


def _free_orders(
    installation: Installation, members: set[int], users: set[str], hashes: set[str]
) -> int:
    """Take the person out of their orders; Saleor goes on showing the address in them."""
    orders = Order.objects.of(installation)
    freed = orders.filter(
        Q(profile__in=members)
        | Q(user_saleor_id__in=users)
        | Q(profile=None, email_hash__in=hashes)
    ).update(profile=None, user_saleor_id="", email_hash="", number="", checkout_saleor_id="")
    # A friend bought and typed the address: the order stays the friend's.
    orders.filter(email_hash__in=hashes).update(email_hash="")
    return freed
