"""A message as a real person would get it now, looked at and sent to staff; nothing is recorded.

Its links change nothing for the person, and a code in it works nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import uuid4

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.utils.translation import gettext as _

from saleor_personalize.catalog.queries import sensitive_ids
from saleor_personalize.conf import build_backend, settings
from saleor_personalize.enums import DeliveryChannel, NotSentReason, Purpose
from saleor_personalize.exceptions import (
    ChannelError,
    ConfigurationError,
    MalformedPayload,
    PersonalizeError,
    SaleorApiError,
    TemplateIncomplete,
    UnknownAlias,
)
from saleor_personalize.journeys import (
    cases,
    definitions,
    examples,
    offering,
    our_word,
    ways,
    wording,
)
from saleor_personalize.journeys.cases import Case
from saleor_personalize.journeys.our_word import OnlySaleorKnows
from saleor_personalize.journeys.outside import Ask, ask_saleor
from saleor_personalize.journeys.queries import RELATED
from saleor_personalize.journeys.triggers import AskSaleor, CheckoutChanged, Stop, SubjectGone
from saleor_personalize.journeys.versions import definition_of, ensure_journey, trigger_for
from saleor_personalize.messaging import content_checks, links, mail, rendering
from saleor_personalize.messaging import operations as messaging
from saleor_personalize.messaging.channels.base import OutgoingMessage
from saleor_personalize.messaging.content_checks import Finding
from saleor_personalize.models import Checkout, Enrollment, Installation, Journey, Product, Profile
from saleor_personalize.offers.terms import read as read_terms


class PreviewRefused(PersonalizeError):
    """A message cannot be shown, or not be sent as a test; the text says why, and what helps.

    `reason`: what became of the occasion of somebody who was inside, where that is why.
    """

    def __init__(self, text: str, reason: NotSentReason | None = None) -> None:
        super().__init__(text)
        self.reason = reason


@dataclass(frozen=True)
class Preview:
    """`rendered` is None when the message could not be written; `findings` say why then.

    `objection`: what the trigger has against sending it to the person now. `is_example`: what it is about was
    made up.
    """

    journey: Journey
    template: str
    delivery_channel: DeliveryChannel
    language_code: str
    rendered: rendering.Rendered | None
    findings: list[Finding]
    objection: NotSentReason | None = None
    is_example: bool = False


def preview(
    *,
    installation: Installation,
    profile: Profile | None,
    journey: str,
    now: datetime,
    step_id: str = "",
    delivery_channel: str = "",
    language_code: str = "",
    ask: Ask = ask_saleor,
) -> Preview:
    """Return what a message of a journey says to a person: by default the first, as it would go now.

    About what they were in the journey for last, else about their open cart; Saleor is asked then, as before a
    send. Who never was inside, and with `profile` None somebody who is made up, gets it about an example
    (`journeys.examples`). Raises PreviewRefused.
    """
    row = _journey(installation, journey)
    steps = {step.id: step for step in _steps(row)}
    if not steps:
        raise PreviewRefused(_("The journey says nothing."))
    step = steps.get(step_id) if step_id else next(iter(steps.values()))
    if step is None:
        raise PreviewRefused(
            _("The journey has no message of that id. It has: %(ids)s") % {"ids": ", ".join(steps)}
        )
    channel = _channel(step, delivery_channel)
    inside = None if profile is None else _own(row, profile, now)
    if inside is not None:
        return _preview(inside, step, channel, language_code, ask, now, is_real=True)
    try:
        with examples.example(
            journey=row, profile=profile, language_code=language_code, now=now
        ) as made_up:
            shown = _preview(
                made_up,
                step,
                channel,
                language_code,
                our_word.answer,
                now,
                is_real=profile is not None,
            )
    except examples.NothingToShow as error:
        raise PreviewRefused(str(error)) from None
    return replace(shown, is_example=True)


def _preview(
    enrollment: Enrollment,
    step: definitions.Message,
    channel: DeliveryChannel,
    language_code: str,
    ask: Ask,
    now: datetime,
    *,
    is_real: bool,
) -> Preview:
    try:
        case = cases.case_of(enrollment)
    except SubjectGone as gone:
        raise _over(gone.reason) from None
    except LookupError:
        raise PreviewRefused(_not_inside()) from None
    if language_code:
        case = replace(case, about=replace(case.about, language_code=language_code))
    verdict, live = _live(case, ask, now)
    found: list[Finding] = []
    rendered: rendering.Rendered | None = None
    try:
        rendered, context = _rendered(case, step, channel, live, verdict, now)
    except TemplateIncomplete as error:
        code = str(mail.why_incomplete(error))
        found.append(Finding(code, str(error), is_blocking=True))
    else:
        is_bare = cases.is_transactional(case)
        found += content_checks.findings(
            rendered=rendered,
            delivery_channel=channel,
            purpose=Purpose.TRANSACTIONAL if is_bare else Purpose.MARKETING,
            ways_out=[str(context[name]) for name in wording.WAYS_OUT if name in context],
            sensitive_names=_sensitive_names(enrollment.installation, context),
        )
    objection = verdict.reason if isinstance(verdict, Stop) else None
    if objection is None and is_real:
        objection = ways.way_over(case, channel, now).objection
    return Preview(
        journey=enrollment.journey,
        template=step.template,
        delivery_channel=channel,
        language_code=case.about.language_code,
        rendered=rendered,
        findings=found,
        objection=objection,
    )


def _journey(installation: Installation, key: str) -> Journey:
    try:
        return ensure_journey(installation=installation, key=key)
    except UnknownAlias as error:
        raise PreviewRefused(str(error)) from None


def _steps(journey: Journey) -> list[definitions.Message]:
    if journey.published is None:
        raise PreviewRefused(_("The journey has no published version."))
    walked = definitions.walk(definition_of(journey.published))
    return [step for _path, step in walked if isinstance(step, definitions.Message)]


def step_saying(*, journey: Journey, template: str) -> str:
    """Return the id of the step that says a template as the journey is now; "" where none does."""
    if journey.published is None:
        return ""
    return next((step.id for step in _steps(journey) if step.template == template), "")


def messages_of(journey: Journey) -> list[definitions.Message]:
    """Return the steps of a journey that say something, in order; none of one that was never published."""
    return [] if journey.published is None else _steps(journey)


def way_of(step: definitions.Message, wanted: str) -> str:
    """Return over which delivery channel a message is shown: the wanted one, else its own."""
    name = wanted or step.delivery_channel
    return DeliveryChannel.EMAIL.value if name == definitions.BEST else name


def _channel(step: definitions.Message, wanted: str) -> DeliveryChannel:
    name = way_of(step, wanted)
    worded = rendering.channels_of(step.template)
    if name not in worded:
        told = _("The template has words for: %(channels)s")
        raise PreviewRefused(told % {"channels": ", ".join(sorted(worded))})
    return DeliveryChannel(name)


def _own(journey: Journey, profile: Profile, now: datetime) -> Enrollment | None:
    """Return the person as they were in the journey last, else with their open cart, if it is about carts."""
    assert journey.published is not None  # noqa: S101 (asked by `_steps`)
    rows = Enrollment.objects.of(journey.installation)
    row = (
        rows.filter(journey=journey, profile__in=profile.person())
        .select_related(*RELATED)
        .order_by("-occurred_at", "-pk")
        .first()
    )
    if row is None and CheckoutChanged in trigger_for(definition_of(journey.published)).facts:
        row = _with_cart(journey, profile, now)
    if row is not None:
        row.version = journey.published
    return row


def _with_cart(journey: Journey, profile: Profile, now: datetime) -> Enrollment | None:
    """Return an enrollment that is never saved; None for who has no open cart."""
    cart = (
        Checkout.objects.of(journey.installation)
        .filter(profile__in=profile.person(), closed_at=None, deleted_at=None)
        .order_by("-last_changed_at")
        .first()
    )
    if cart is None:
        return None
    return Enrollment(
        installation=journey.installation,
        journey=journey,
        profile=profile,
        subject_kind="checkout",
        subject_saleor_id=cart.saleor_id,
        entry_key="preview",
        occurred_at=now,
        due_at=now,
        step_since=now,
        created_at=now,
        context={"channel": cart.channel_slug},
        path=[0],
    )


def _not_inside() -> str:
    return _(
        "There is nothing to show: this journey needs somebody who was in it. Name one of them."
    )


def _over(reason: NotSentReason) -> PreviewRefused:
    return PreviewRefused(f"There is nothing to show: {reason.label}.", reason)


def _live(case: Case, ask: Ask, now: datetime) -> tuple[Any, dict[str, Any]]:
    try:
        verdict = _judged(case, None, now)
        if not isinstance(verdict, AskSaleor):
            return verdict, {}
        live = {question.key: ask(question) for question in verdict.questions}
        return _judged(case, live, now), live
    except (SaleorApiError, MalformedPayload) as error:
        raise PreviewRefused(
            _("Saleor cannot be asked now: %(error)s") % {"error": error}
        ) from None
    except (OnlySaleorKnows, SubjectGone, LookupError, AttributeError, TypeError, ValueError):
        # A trigger may rely on what only somebody inside has.
        raise PreviewRefused(_not_inside()) from None


def _judged(case: Case, live: dict[str, Any] | None, now: datetime) -> Any:
    verdict = case.trigger.judge(case.enrollment, live, now)
    # To a trigger what was ordered is only gone.
    is_ordered = isinstance(verdict, Stop) and case.trigger.has_ordered(case.enrollment)
    return Stop(NotSentReason.ORDERED) if is_ordered else verdict


def _rendered(
    case: Case,
    step: definitions.Message,
    channel: DeliveryChannel,
    live: dict[str, Any],
    verdict: object,
    now: datetime,
) -> tuple[rendering.Rendered, dict[str, Any]]:
    with transaction.atomic():
        try:
            offer = _sample(case, step, now)
            told = wording.what_is_told(case, step, live, offer, now)
        except (SubjectGone, LookupError):
            # Saleor was not asked about what is over, so there is nothing to tell of it.
            if isinstance(verdict, Stop):
                raise _over(verdict.reason) from None
            raise PreviewRefused(_not_inside()) from None
        except (AttributeError, TypeError, ValueError):
            raise PreviewRefused(_not_inside()) from None
        finally:
            # The code of the preview was never drawn.
            transaction.set_rollback(True)
    context = dict(told.context)
    if channel == DeliveryChannel.EMAIL:
        nobodys = links.probe_url(installation=case.enrollment.installation)
        context["preferences_url"] = nobodys
        if not cases.is_transactional(case):
            context["unsubscribe_url"] = nobodys
    link, _image = rendering.landing(context)
    rendered = rendering.render(
        template=step.template,
        language_code=case.about.language_code,
        context={**context, "link": link},
        delivery_channel=channel,
    )
    return rendered, context


def _sample(case: Case, step: definitions.Message, now: datetime) -> offering.Reserved | None:
    """Return the offer of the step before the message, if it has one and this person may have it."""
    before: definitions.Offer | None = None
    for _path, each in definitions.walk(case.definition):
        if isinstance(each, definitions.Offer):
            before = each
        elif isinstance(each, definitions.Message):
            if each.id == step.id:
                break
            before = None
    if before is None or case.enrollment.pk is None:
        return None
    found = offering.reserve(
        profile=case.enrollment.profile,
        enrollment=case.enrollment,
        step_id=before.id,
        terms=read_terms(before.terms, name=before.id),
        channel_slug=case.about.channel_slug,
        language_code=case.about.language_code,
        key=f"preview:{uuid4().hex}",
        now=now,
    )
    return None if isinstance(found, NotSentReason) else found


def _sensitive_names(installation: Installation, context: dict[str, Any]) -> list[str]:
    """Return the names of the sensitive products that a message is about."""
    about = [context.get("product") or {}]
    for name in ("lines", "products", "similar", "favourites", "recommended"):
        about += context.get(name) or []
    ids = {str(each["product_id"]) for each in about if each.get("product_id")}
    hidden = sensitive_ids(installation=installation, ids=ids)
    rows = Product.objects.of(installation).filter(saleor_id__in=hidden)
    return list(rows.values_list("name", flat=True))


def send_test(*, shown: Preview, to: str, now: datetime) -> None:
    """Send a previewed mail to an address of the shop's own staff; no limits hold.

    Nothing is recorded but that the journey was tried. Raises PreviewRefused.
    """
    if shown.rendered is None:
        raise PreviewRefused(_("There is nothing to send: %(text)s") % {"text": _why(shown)})
    if shown.delivery_channel != DeliveryChannel.EMAIL:
        raise PreviewRefused(_("Only e-mail is sent as a test."))
    if settings.DRY_RUN:
        raise PreviewRefused(_("DRY_RUN is on: nothing is sent."))
    sender = messaging.sender_of(shown.journey.installation)
    if not sender:
        raise PreviewRefused(_("There is no sender, so no message can leave."))
    try:
        validate_email(to)
    except ValidationError:
        raise PreviewRefused(_("The address is not one mailbox.")) from None
    outgoing = OutgoingMessage(
        key=uuid4().hex,
        recipient=to,
        sender=sender,
        subject=f"[{_('Test')}] {shown.rendered.subject}",
        text=shown.rendered.text,
        html=shown.rendered.html,
        headers={"Auto-Submitted": "auto-generated"},
    )
    try:
        build_backend("CHANNELS", DeliveryChannel.EMAIL).send(outgoing)
    except (ChannelError, ConfigurationError, UnknownAlias) as error:
        raise PreviewRefused(str(error)) from None
    Journey.objects.of(shown.journey.installation).filter(pk=shown.journey.pk).update(tested_at=now)


def _why(shown: Preview) -> str:
    return next((each.text for each in shown.findings if each.is_blocking), "")
