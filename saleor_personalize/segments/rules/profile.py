"""Rules over who people are: traits, language, consent, what we worked out, other segments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from django.db.models import (
    Case,
    DecimalField,
    F,
    Func,
    JSONField,
    Q,
    QuerySet,
    TextField,
    Value,
    When,
)
from django.db.models.functions import Coalesce, Lower, Replace
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from saleor_personalize.enums import ConsentState, DeliveryChannel, Purpose
from saleor_personalize.models import ComputedTraits, Consent, Profile, SegmentMembership
from saleor_personalize.profiles import consent
from saleor_personalize.segments import words
from saleor_personalize.segments.rules import base
from saleor_personalize.segments.rules.base import Kind, People, Rule, parameter
from saleor_personalize.segments.rules.facts import text_of


class ProfileRule(Rule):
    """True of a person when it is true of one of their profiles."""

    def profiles(self, people: People) -> QuerySet[Any]:
        """Return the profiles (of any kind) that it is true of."""
        raise NotImplementedError

    def is_true_of(self, profile: Profile) -> bool:
        raise NotImplementedError

    def as_q(self, people: People) -> Q:
        rows = self.profiles(people)
        if people.profile_ids is not None:
            rows = rows.filter(pk__in=people.profile_ids)
        return Q(pk__in=rows.annotate(person=Coalesce("merged_into", "pk")).values("person"))

    def matches(self, profile: Profile, now: datetime) -> bool:
        return any(self.is_true_of(part) for part in profile.person())


@dataclass(frozen=True)
class Trait(ProfileRule):
    """A trait that the shop told us, by import or by its own system."""

    key = "trait"
    title = gettext_lazy("Trait")

    name: str = parameter(
        gettext_lazy("Name of the trait"), phrase=gettext_lazy("“%(value)s”"), is_required=True
    )
    condition: str = parameter(
        gettext_lazy("Condition"), Kind.CHOICE, choices=words.CONDITIONS, is_required=True
    )
    value: str = parameter(gettext_lazy("Value"), phrase=gettext_lazy("“%(value)s”"))

    def faults(self) -> Iterator[tuple[str, str]]:
        if self.condition == "exists":
            if self.value:
                yield "value", _("leave it empty: the condition asks whether the trait is known")
        elif not self.value:
            yield "value", _("this is needed")
        elif self.condition in {"at_least", "at_most"} and self._number(self.value) is None:
            yield "value", _("a number is needed")

    @staticmethod
    def _number(text: str) -> Decimal | None:
        try:
            number = Decimal(text)
        except InvalidOperation:
            return None
        return number if number.is_finite() and abs(number.adjusted()) < 100 else None

    def profiles(self, people: People) -> QuerySet[Any]:
        json = Func(
            F("traits"), Value(self.name), function="jsonb_extract_path", output_field=JSONField()
        )
        rows = Profile.objects.of(people.installation).alias(
            json=json,
            text=text_of("traits", self.name),
            kind=Func(json, function="jsonb_typeof", output_field=TextField()),
        )
        if self.condition == "exists":
            return rows.exclude(text=None)
        if self.condition == "equals":
            return rows.filter(kind__in=("string", "number", "boolean"), text=self.value)
        if self.condition == "contains":
            return rows.filter(
                Q(kind="string", text__contains=self.value)
                | Q(kind="array", json__has_key=self.value)
            )
        # Only a number is cast: CASE looks first.
        number = Case(
            When(
                kind="number",
                then=Func(
                    F("text"), template="(%(expressions)s)::numeric", output_field=DecimalField()
                ),
            )
        )
        side = "gte" if self.condition == "at_least" else "lte"
        return rows.alias(number=number).filter(**{f"number__{side}": self._number(self.value)})

    def is_true_of(self, profile: Profile) -> bool:
        value = profile.traits.get(self.name)
        if self.condition == "exists":
            return value is not None
        if self.condition == "equals":
            return isinstance(value, str | int | float) and _written(value) == self.value
        if self.condition == "contains":
            return isinstance(value, str | list) and self.value in value
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        limit = self._number(self.value)
        assert limit is not None  # noqa: S101 (checked when the rule was made)
        number = Decimal(str(value))
        return number >= limit if self.condition == "at_least" else number <= limit


def _written(value: str | int | float) -> str:
    """Return a JSON value as PostgreSQL writes it."""
    if isinstance(value, str):
        return value
    return str(value).lower() if isinstance(value, bool) else format(Decimal(str(value)), "f")


@dataclass(frozen=True)
class Language(ProfileRule):
    """The language of a person; "de" includes "de-AT"."""

    key = "language"
    title = gettext_lazy("Language")

    code: str = parameter(gettext_lazy("Code, such as “de” or “de-AT”"), is_required=True)

    @property
    def _code(self) -> str:
        return self.code.lower().replace("_", "-")

    def profiles(self, people: People) -> QuerySet[Any]:
        code = Lower(Replace("language_code", Value("_"), Value("-")))
        return (
            Profile.objects.of(people.installation)
            .alias(code=code)
            .filter(Q(code=self._code) | Q(code__startswith=f"{self._code}-"))
        )

    def is_true_of(self, profile: Profile) -> bool:
        code = profile.language_code.lower().replace("_", "-")
        return code == self._code or code.startswith(f"{self._code}-")


@dataclass(frozen=True)
class Country(ProfileRule):
    """The country of a person's account."""

    key = "country"
    title = gettext_lazy("Country")

    code: str = parameter(gettext_lazy("Code of two letters"), upper=True, is_required=True)

    def profiles(self, people: People) -> QuerySet[Any]:
        return Profile.objects.of(people.installation).filter(country_code=self.code)

    def is_true_of(self, profile: Profile) -> bool:
        return profile.country_code == self.code


@dataclass(frozen=True)
class ConsentGiven(Rule):
    """What a person allowed; the strictest answer of their profiles counts."""

    key = "consent"
    title = gettext_lazy("Permission")

    purpose: str = parameter(
        gettext_lazy("For"), Kind.CHOICE, choices=words.PURPOSES, is_required=True
    )
    delivery_channel: str = parameter(
        gettext_lazy("Way"), Kind.CHOICE, choices=words.DELIVERY_CHANNELS, is_required=True
    )
    state: str = parameter(
        gettext_lazy("Answer"), Kind.CHOICE, choices=words.CONSENT_STATES, is_required=True
    )

    def as_q(self, people: People) -> Q:
        answers = _answers(people, self.purpose, self.delivery_channel)
        if self.state == "never_asked":
            return ~people.with_any(answers)
        q = people.with_any(answers.filter(state=self.state))
        for state in _STRICTER[self.state]:
            q &= ~people.with_any(answers.filter(state=state))
        return q

    def matches(self, profile: Profile, now: datetime) -> bool:
        found = consent.state(
            profile=profile,
            purpose=Purpose(self.purpose),
            delivery_channel=DeliveryChannel(self.delivery_channel),
        )
        return (found or "never_asked") == self.state


#: An answer -> those that outweigh it when profiles of one person differ.
_STRICTER = {
    ConsentState.DENIED.value: (),
    ConsentState.PENDING.value: (ConsentState.DENIED.value,),
    ConsentState.GRANTED.value: (ConsentState.DENIED.value, ConsentState.PENDING.value),
}


def _answers(people: People, purpose: str, delivery_channel: str) -> QuerySet[Any]:
    """Return the newest line of the ledger of each profile."""
    newest = (
        people.facts(Consent)
        .filter(purpose=purpose, delivery_channel=delivery_channel, topic="")
        .order_by("profile", "-pk")
        .distinct("profile")
    )
    return Consent.objects.of(people.installation).filter(pk__in=newest.values("pk"))


def refused_profiling(people: People) -> Q:
    """Say "does not want to be grouped by what they do": one profile of a person speaks for all."""
    answers = _answers(people, Purpose.PROFILING.value, "")
    return people.with_any(answers.filter(state=ConsentState.DENIED))


class ComputedRule(Rule):
    """Looks at the row of `ComputedTraits` that a person has."""

    def rows(self, people: People) -> QuerySet[Any]:
        raise NotImplementedError

    def _found(self, people: People) -> QuerySet[Any]:
        # A row left on a profile that was absorbed since speaks for nobody.
        return self.rows(people).filter(profile__merged_into=None)

    def as_q(self, people: People) -> Q:
        return Q(pk__in=self._found(people).values("profile"))

    def matches(self, profile: Profile, now: datetime) -> bool:
        return self._found(base.people_of(profile, now)).exists()


@dataclass(frozen=True)
class Stage(ComputedRule):
    """Where a person stands with the shop, worked out daily and on each order."""

    key = "stage"
    title = gettext_lazy("Stage")

    stage: str = parameter(
        gettext_lazy("Stage"), Kind.CHOICE, choices=words.STAGES, is_required=True
    )

    def rows(self, people: People) -> QuerySet[Any]:
        return people.facts(ComputedTraits).filter(stage=self.stage)


class _Limits(ComputedRule):
    at_least: int | None
    at_most: int | None

    def faults(self) -> Iterator[tuple[str, str]]:
        if self.at_least is None and self.at_most is None:
            yield "at_least", _("say how much: at least, at most, or both")
        yield from base.range_faults(self.at_least, self.at_most, "at_least", "at_most")

    def limited(self, people: People, column: str, unit: int = 1) -> QuerySet[Any]:
        rows = people.facts(ComputedTraits)
        if self.at_least is not None:
            rows = rows.filter(**{f"{column}__gte": self.at_least / unit})
        if self.at_most is not None:
            rows = rows.filter(**{f"{column}__lte": self.at_most / unit})
        return rows


def _limit(label: Any, phrase: Any, low: int, high: int) -> Any:
    return parameter(label, Kind.INTEGER, phrase, minimum=low, maximum=high)


@dataclass(frozen=True)
class Score(_Limits):
    """RFM: a fifth of the shop's buyers per point, 5 is best."""

    key = "score"
    title = gettext_lazy("Score among the buyers, 1 to 5")

    score: str = parameter(
        gettext_lazy("Score"), Kind.CHOICE, choices=words.SCORES, is_required=True
    )
    at_least: int | None = _limit(
        gettext_lazy("At least"), gettext_lazy("at least %(value)s"), 1, 5
    )
    at_most: int | None = _limit(gettext_lazy("At most"), gettext_lazy("at most %(value)s"), 1, 5)

    def rows(self, people: People) -> QuerySet[Any]:
        return self.limited(people, f"{self.score}_score")


@dataclass(frozen=True)
class ChurnRisk(_Limits):
    """How likely a person is to stay away, in per cent. Nobody matches without enough data."""

    key = "churn_risk"
    title = gettext_lazy("Risk of staying away")

    at_least: int | None = _limit(
        gettext_lazy("At least, in per cent"), gettext_lazy("at least %(value)s %%"), 0, 100
    )
    at_most: int | None = _limit(
        gettext_lazy("At most, in per cent"), gettext_lazy("at most %(value)s %%"), 0, 100
    )

    def rows(self, people: People) -> QuerySet[Any]:
        return self.limited(people, "churn_risk", 100).exclude(churn_risk=None)


@dataclass(frozen=True)
class InSegment(Rule):
    """Membership of another segment."""

    key = "segment"
    title = gettext_lazy("In the segment")

    segment: str = parameter(gettext_lazy("Segment"), names="segment", is_required=True)

    def _members(self, people: People) -> QuerySet[Any]:
        return people.facts(SegmentMembership).filter(segment__key=self.segment, left_at=None)

    def as_q(self, people: People) -> Q:
        return people.with_any(self._members(people))

    def matches(self, profile: Profile, now: datetime) -> bool:
        return self._members(base.people_of(profile, now)).exists()

    @property
    def needs_segment(self) -> str:
        return self.segment


RULES: list[type[Rule]] = [
    Trait,
    Language,
    Country,
    ConsentGiven,
    Stage,
    Score,
    ChurnRisk,
    InSegment,
]
