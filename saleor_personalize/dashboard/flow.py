"""A journey as a drawing of boxes, from its definition: what stands in each, and where ways part."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.translation import gettext as _

from saleor_personalize.dashboard import words
from saleor_personalize.enums import OfferKind
from saleor_personalize.journeys import definitions
from saleor_personalize.journeys.definitions import Definition, Step, TriggerRef
from saleor_personalize.offers.terms import Terms
from saleor_personalize.offers.terms import read as read_terms
from saleor_personalize.segments import words as facts


@dataclass(frozen=True)
class Box:
    """`kind` is message, wait, split, offer, webhook or exit; `ways` lead on from a split."""

    kind: str
    title: str
    text: str = ""
    ways: tuple[Way, ...] = ()


@dataclass(frozen=True)
class Way:
    name: str
    boxes: tuple[Box, ...]


def boxes(definition: Definition) -> tuple[Box, ...]:
    """Return the steps of a journey as boxes, in order."""
    return tuple(map(_box, definition.steps))


def trigger(reference: TriggerRef) -> Box:
    """Return the box above all others: who comes in."""
    told = words.TRIGGERS.get(reference.type, reference.type)
    options = ", ".join(
        f"{name.replace('_', ' ')}: {value}" for name, value in reference.options.items()
    )
    return Box("trigger", str(told), options)


def condition(name: str) -> str:
    """Return a goal, an exit or what is waited for in words."""
    kind, _colon, argument = name.partition(":")
    told = {
        "ordered": _("ordered"),
        "consent_lost": _("no longer allows messages"),
        "segment_entered": _("entered the segment “%(key)s”"),
        "segment_left": _("left the segment “%(key)s”"),
        "custom": _("did “%(key)s”"),
    }.get(kind)
    if told is None:
        return str(facts.EVENTS.get(kind, name.replace("_", " ")))
    return told % {"key": argument} if argument else told


def _box(step: Step) -> Box:
    match step:
        case definitions.Message():
            return _message(step)
        case definitions.Wait():
            return Box("wait", _("Wait %(time)s") % {"time": words.duration(step.duration)})
        case definitions.WaitFor():
            title = _("Wait at most %(time)s until the person: %(event)s") % {
                "time": words.duration(step.duration),
                "event": condition(step.event),
            }
            return Box("split", title, ways=_yes_or_no(step.then, step.otherwise))
        case definitions.Split():
            return _split(step)
        case definitions.Offer():
            parts = [_worth(read_terms(step.terms, name=step.id))]
            if step.when_refused == "stop":
                parts.append(_("who may have none goes no further"))
            title = _("A code of their own goes with the next message")
            return Box("offer", title, " · ".join(parts))
        case definitions.Webhook():
            return Box("webhook", _("Tell the webhook “%(alias)s”") % {"alias": step.url_alias})
        case definitions.Exit():
            return Box("exit", _("The journey ends here"))


def _message(step: definitions.Message) -> Box:
    over = (
        _("over the way that suits the person")
        if step.delivery_channel == definitions.BEST
        else facts.DELIVERY_CHANNELS.get(step.delivery_channel, step.delivery_channel)
    )
    parts = [str(over)]
    if step.send_at == "best":
        parts.append(_("at the hour that suits the person"))
    if step.fallback is not None:
        again = facts.DELIVERY_CHANNELS.get(step.fallback.to, step.fallback.to)
        parts.append(
            _("else %(channel)s after %(time)s")
            % {"channel": again, "time": words.duration(step.fallback.after)}
        )
    if step.recommend is not None:
        parts.append(
            _("with recommendations of “%(key)s”")
            % {"key": words.name_of(step.recommend.placement)}
        )
    name = words.template_name(step.template)
    return Box("message", str(name), " · ".join(parts))


def _worth(terms: Terms) -> str:
    match terms.kind:
        case OfferKind.PERCENT:
            worth = f"{terms.percent.normalize():f} %"
        case OfferKind.FREE_SHIPPING:
            worth = _("free delivery")
        case _:
            worth = ", ".join(f"{value} {currency}" for currency, value in terms.amount.items())
    return _("%(worth)s, for %(time)s") % {
        "worth": worth,
        "time": words.duration(terms.expires),
    }


def _split(step: definitions.Split) -> Box:
    if step.by == "rule":
        return Box(
            "split",
            _("Does the person match the rule?"),
            ways=_yes_or_no(step.then, step.otherwise),
        )
    if step.by == "experiment":
        title = _("Experiment “%(key)s”") % {"key": step.experiment}
    else:
        title = _("By chance")
    total = sum(branch.weight for branch in step.branches)
    return Box(
        "split",
        title,
        ways=tuple(
            Way(
                f"{branch.name} · {round(100 * branch.weight / total)} %",
                tuple(map(_box, branch.steps)),
            )
            for branch in step.branches
        ),
    )


def _yes_or_no(then: tuple[Step, ...], otherwise: tuple[Step, ...]) -> tuple[Way, ...]:
    return (
        Way(_("Yes"), tuple(map(_box, then))),
        Way(_("No"), tuple(map(_box, otherwise))),
    )
