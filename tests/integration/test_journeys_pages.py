"""The pages of journeys: the list, how one goes, its switches, versions, dry run and editor (B97, B101)."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from saleor_personalize.enums import (
    AuditAction,
    DryRunStatus,
    EnrollmentStatus,
    JourneySource,
    MessageStatus,
    NotSentReason,
)
from saleor_personalize.journeys import approval, definitions, dry_runs, operations
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.models import (
    Approval,
    AuditEntry,
    DryRun,
    Enrollment,
    Installation,
    Journey,
    JourneyVersion,
    Message,
    Profile,
    Segment,
)
from saleor_personalize.tasks import journeys as tasks
from saleor_personalize.tasks.journeys import let_go, make_dry_runs
from tests.conftest import make_enrollment, make_profile
from tests.integration.test_dashboard import headers, make_message, outcome

REMINDER = "abandoned_checkout"
URL = f"/dashboard/journeys/{REMINDER}/"
HER = "VXNlcjox"
HIM = "VXNlcjoy"
LATER = """\
journey: abandoned_checkout
topic: reminders
priority: 80
trigger: {type: abandoned_checkout, after: 2 hours}
steps:
  - message: {id: first, template: abandoned_checkout}
"""


@pytest.fixture
def her(installation: Installation) -> dict[str, str]:
    return headers(installation, user_id=HER)


@pytest.fixture
def him(installation: Installation) -> dict[str, str]:
    return headers(installation, user_id=HIM)


@pytest.fixture
def _four_eyes(settings: Any) -> None:
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "GO_LIVE_APPROVAL": True}


def text_of(response: Any) -> str:
    """Return what a fragment says, without its tags."""
    return " ".join(re.sub(r"<[^>]+>", " ", response.content.decode()).split())


def reminder(installation: Installation) -> Journey:
    return journeys.ensure_journey(installation=installation, key=REMINDER)


def logged() -> list[tuple[str, str, dict[str, Any]]]:
    rows = AuditEntry.objects.order_by("pk")
    return [(row.action, row.object_name, row.detail) for row in rows]


def told(message: Message, journey: Journey) -> Message:
    message.journey = journey
    message.save()
    return message


# -- the list --------------------------------------------------------------------------------------


def test_b97_the_list_tells_who_is_inside_and_what_was_sent(
    client: Client, installation: Installation, alice: Profile, bob: Profile, her: dict[str, str]
) -> None:
    make_enrollment(alice, "cart-1", timezone.now())
    row = reminder(installation)
    told(make_message(alice, MessageStatus.SENT), row)
    told(make_message(bob, MessageStatus.NOT_SENT, NotSentReason.NO_CONSENT), row)
    old = told(make_message(bob, MessageStatus.SENT), row)
    Message.objects.filter(pk=old.pk).update(decided_at=timezone.now() - timedelta(days=31))
    client.post(f"{URL}go-live/", headers=her)
    response = client.get("/dashboard/journeys/", headers=her)
    text = text_of(response)
    assert "Cart reminder Live Open Somebody leaves a cart and does not order." in text
    assert "Inside: 1 · sent in 30 days: 1 · not sent: 1" in text
    # Live ones first, and all of those that are shipped.
    names = re.findall(r'<h3 class="wrap">([^<]+)</h3>', response.content.decode())
    assert names[0] == "Cart reminder"
    assert len(names) == len(journeys.built_in())
    assert len(response.content) < 100_000


def test_the_list_asks_no_more_where_more_is_inside(
    client: Client,
    alice: Profile,
    her: dict[str, str],
    django_assert_num_queries: Any,
) -> None:
    client.get("/dashboard/journeys/", headers=her)  # makes the rows of those that are shipped
    for number in range(30):
        make_enrollment(alice, f"cart-{number}", timezone.now())
    with django_assert_num_queries(4):
        response = client.get("/dashboard/journeys/", headers=her)
    assert "Inside: 30" in text_of(response)


# -- one -------------------------------------------------------------------------------------------


def test_b97_one_journey_is_drawn_with_what_became_of_its_messages(
    client: Client, installation: Installation, alice: Profile, bob: Profile, her: dict[str, str]
) -> None:
    row = reminder(installation)
    morning = timezone.now() + timedelta(hours=9)
    make_enrollment(alice, "cart-1", morning, held_by=NotSentReason.QUIET_HOURS)
    told(make_message(bob, MessageStatus.NOT_SENT, NotSentReason.NO_CONSENT), row)
    told(make_message(alice, MessageStatus.NOT_SENT, NotSentReason.ORDERED), row)
    text = text_of(client.get(URL, headers=her))
    flow = "Cart reminder by e-mail Wait 23 h Second cart reminder by e-mail"
    assert flow in text
    assert "People leave at any step who: ordered" in text
    assert "The person did not allow e-mails of this kind. 1" in text
    assert "The person has ordered since. 1" in text
    assert "next: Cart reminder" in text
    assert "put off: It is night where the person is." in text


def test_b97_ways_that_part_are_drawn(
    client: Client, installation: Installation, her: dict[str, str]
) -> None:
    definition = """\
journey: parting
topic: news
trigger: {type: order_fulfilled, after: 1 day, expires: 30 days}
steps:
  - split:
      by: experiment
      id: half
      experiment: words
      branches:
        - {name: plain, weight: 3, steps: [{message: {id: plain, template: thanks}}]}
        - {name: none, weight: 1}
  - wait_for: {event: "custom:quiz_done", for: 2 days, then: [{exit: {}}]}
  - offer: {id: gift, percent: 12.5, expires: 14 days, when_refused: stop}
  - message: {id: last, template: thanks, fallback: {to: push, after: 4 hours}, recommend: {placement: search_empty}}
"""
    journeys.load(installation=installation, text=definition, now=timezone.now())
    text = text_of(client.get("/dashboard/journeys/parting/", headers=her))
    assert "Experiment “words” plain · 75 % Thank you for your order by e-mail none · 25 %" in text
    assert "Wait at most 2 days until the person: did “quiz_done”" in text
    assert "Yes The journey ends here No goes on below" in text
    assert "12.5 %, for 14 days · who may have none goes no further" in text
    assert "by e-mail · else by push after 4 h · with recommendations of “Search empty”" in text


def test_a_journey_that_is_not_there_is_not_found(client: Client, her: dict[str, str]) -> None:
    assert client.get("/dashboard/journeys/nothing/", headers=her).status_code == 404
    assert not Journey.objects.filter(key="nothing").exists()


def test_the_journey_of_another_shop_is_not_found(
    client: Client, other_installation: Installation, her: dict[str, str]
) -> None:
    text = "journey: theirs\ntopic: news\ntrigger: {type: welcome}\nsteps: [{message: {id: a, template: welcome}}]"
    journeys.load(installation=other_installation, text=text, now=timezone.now())
    assert client.get("/dashboard/journeys/theirs/", headers=her).status_code == 404
    assert client.post("/dashboard/journeys/theirs/go-live/", headers=her).status_code == 404
    assert not Journey.objects.get(key="theirs").is_live


def test_b97_a_version_that_names_what_is_gone_does_not_come_back(
    client: Client, installation: Installation, her: dict[str, str]
) -> None:
    segment = Segment.objects.create(
        installation=installation,
        key="vip",
        name="VIP",
        definition={"all": []},
        created_at=timezone.now(),
        updated_at=timezone.now(),
    )
    leaving = LATER.replace("steps:", 'exits: ["segment_left:vip"]\nsteps:')
    for text in (leaving, LATER):
        client.post("/dashboard/journeys/save/", {"key": REMINDER, "text": text}, headers=her)
    client.post(f"{URL}go-live/", headers=her)
    segment.delete()
    published = reminder(installation).published
    assert published is not None
    response = client.post(f"{URL}roll-back/{published.number - 1}/", headers=her)
    told = outcome(response)
    assert (told["status"], told["title"]) == ("error", "Not saved")
    assert "is no segment of the shop" in told["text"]
    assert reminder(installation).published == published


# -- switches --------------------------------------------------------------------------------------


def test_b97_a_journey_goes_live_pauses_and_goes_on(
    client: Client, installation: Installation, alice: Profile, her: dict[str, str]
) -> None:
    response = client.post(f"{URL}go-live/", headers=her)
    assert outcome(response)["title"] == "The journey is live"
    inside = make_enrollment(alice, "cart-1", timezone.now())
    response = client.post(f"{URL}pause/", {"inside": "hold"}, headers=her)
    assert outcome(response)["text"].startswith("People inside stay where they are.")
    assert not reminder(installation).is_live
    inside.refresh_from_db()
    assert inside.status == EnrollmentStatus.WAITING
    response = client.post(f"{URL}resume/", headers=her)
    assert outcome(response)["title"] == "The journey goes on"
    assert reminder(installation).is_live
    response = client.post(f"{URL}pause/", {"inside": "exit"}, headers=her)
    assert outcome(response)["text"] == "Everybody inside has left."
    inside.refresh_from_db()
    assert (inside.status, inside.exit_reason) == (
        EnrollmentStatus.EXITED,
        NotSentReason.JOURNEY_PAUSED,
    )
    assert logged() == [
        (AuditAction.JOURNEY_LIVE, REMINDER, {"version": 1}),
        (AuditAction.JOURNEY_PAUSED, REMINDER, {"inside": "hold"}),
        (AuditAction.JOURNEY_RESUMED, REMINDER, {"version": 1}),
        (AuditAction.JOURNEY_PAUSED, REMINDER, {"inside": "exit"}),
    ]


def test_b97_before_it_goes_live_the_page_says_what_that_would_do(
    client: Client, installation: Installation, alice: Profile, bob: Profile, her: dict[str, str]
) -> None:
    """So it does before everybody inside leaves; and asking changes nothing."""
    page = client.get(URL, headers=her).content.decode()
    assert f'hx-get="{URL}sure/go-live/"' in page
    assert f'hx-post="{URL}go-live/"' not in page
    asked = client.get(f"{URL}sure/go-live/", headers=her)
    told = text_of(asked)
    assert "Let “Cart reminder” go live?" in told
    assert "People inside now: 0" in told
    assert "How much it would send was not asked: its dry run tells." in told
    assert f'hx-post="{URL}go-live/"' in asked.content.decode()
    client.post(f"{URL}dry-run/ask/", headers=her)
    assert make_dry_runs() == 1
    told = text_of(client.get(f"{URL}sure/go-live/", headers=her))
    assert "About 0 messages in the next 7 days" in told
    assert not reminder(installation).is_live
    client.post(f"{URL}go-live/", headers=her)
    make_enrollment(alice, "cart-1", timezone.now())
    make_enrollment(bob, "cart-2", timezone.now())
    told = text_of(client.get(f"{URL}sure/end/", headers=her))
    assert "Pause “Cart reminder”, and everybody inside leaves?" in told
    assert "People inside now: 2" in told
    assert reminder(installation).is_live
    assert Enrollment.objects.filter(status=EnrollmentStatus.WAITING).count() == 2
    assert client.get(f"{URL}sure/delete/", headers=her).status_code == 404
    # What is done already is not asked again, as after "back".
    for deed in ("go-live", "resume"):
        assert "go live?" not in text_of(client.get(f"{URL}sure/{deed}/", headers=her))
    client.post(f"{URL}pause/", headers=her)
    assert "everybody inside leaves?" not in text_of(client.get(f"{URL}sure/end/", headers=her))


def test_b97_many_leave_a_paused_journey_by_a_worker(
    client: Client,
    installation: Installation,
    other_installation: Installation,
    her: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The page answers at once; nobody goes on before all have left, and who comes later stays."""
    monkeypatch.setattr(operations, "LEAVE_AT_ONCE", 2)
    client.post(f"{URL}go-live/", headers=her)
    people = [make_profile(installation, email=f"{n}@example.com") for n in range(5)]
    for n, profile in enumerate(people):
        make_enrollment(profile, f"cart-{n}", timezone.now())
    response = client.post(f"{URL}pause/", {"inside": "exit"}, headers=her)
    assert outcome(response)["text"].startswith("People inside are leaving")
    inside = Enrollment.objects.filter(status=EnrollmentStatus.WAITING)
    assert inside.count() == 3
    response = client.post(f"{URL}resume/", headers=her)
    assert outcome(response)["title"] == "Not live yet"
    assert "still leaving" in outcome(response)["text"]
    assert not reminder(installation).is_live
    assert let_go() == 3
    assert inside.count() == 0
    assert set(Enrollment.objects.values_list("exit_reason", flat=True)) == {
        NotSentReason.JOURNEY_PAUSED
    }
    assert reminder(installation).let_go_at is None
    client.post(f"{URL}go-live/", headers=her)
    make_enrollment(people[0], "cart-9", timezone.now())
    assert let_go() == 0
    assert inside.count() == 1


def test_b97_a_journey_that_nobody_can_leave_holds_up_no_other_one(
    installation: Installation, other_installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "LEAVE_AT_ONCE", 0)
    for shop in (installation, other_installation):
        journey = journeys.ensure_journey(installation=shop, key="abandoned_checkout")
        journeys.go_live(journey=journey, now=timezone.now())
        make_enrollment(make_profile(shop, email="a@example.com"), "cart-1", timezone.now())
        journeys.pause(journey=journey, now=timezone.now(), on_pause="exit")
    monkeypatch.setattr(operations, "LEAVE_AT_ONCE", 100)
    end = operations._end

    def stumbles(row: Enrollment, *given: Any) -> None:
        if row.installation_id == installation.pk:
            raise ValueError(row.pk)
        end(row, *given)

    monkeypatch.setattr(operations, "_end", stumbles)
    assert let_go() == 1
    (left,) = Enrollment.objects.exclude(status=EnrollmentStatus.WAITING)
    assert left.installation == other_installation


def test_b97_a_worker_lets_people_go_for_some_seconds_at_a_time(
    client: Client, installation: Installation, her: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beat wakes the next one soon: of two that do the same neither sends anything."""
    monkeypatch.setattr(operations, "LEAVE_AT_ONCE", 0)
    client.post(f"{URL}go-live/", headers=her)
    make_enrollment(make_profile(installation, email="a@example.com"), "cart-1", timezone.now())
    client.post(f"{URL}pause/", {"inside": "exit"}, headers=her)
    monkeypatch.setattr(operations, "LEAVE_AT_ONCE", 100)
    with monkeypatch.context() as hurry:
        hurry.setattr(tasks, "LEAVING", 0.0)
        assert let_go() == 0
    assert reminder(installation).let_go_at is not None
    assert let_go() == 1
    assert reminder(installation).let_go_at is None


def test_b97_without_sender_or_cart_link_nothing_goes_live(
    client: Client, installation: Installation, her: dict[str, str], settings: Any
) -> None:
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "CHECKOUT_URL": None}
    page = text_of(client.get(URL, headers=her))
    assert "Before it can go live: set the cart link" in page
    response = client.post(f"{URL}go-live/", headers=her)
    assert outcome(response)["title"] == "Not live yet"
    assert not reminder(installation).is_live
    assert logged() == []
    # Another journey needs no cart link.
    assert "Before it can go live" not in text_of(
        client.get("/dashboard/journeys/welcome/", headers=her)
    )


@pytest.mark.parametrize("action", ["go-live/", "pause/", "resume/", "dry-run/ask/"])
def test_b101_who_may_only_look_changes_nothing(
    client: Client, installation: Installation, action: str
) -> None:
    looker = headers(
        installation, permissions=["MANAGE_ORDERS"], user_permissions=["MANAGE_ORDERS"]
    )
    assert client.get(URL, headers=looker).status_code == 200
    assert client.post(URL + action, headers=looker).status_code == 403
    assert not reminder(installation).is_live
    assert not DryRun.objects.exists()


# -- approval --------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_four_eyes")
def test_b101_somebody_else_says_yes(
    client: Client, installation: Installation, her: dict[str, str], him: dict[str, str]
) -> None:
    response = client.post(f"{URL}go-live/", headers=her)
    assert outcome(response)["title"] == "Approval is asked for"
    assert not reminder(installation).is_live
    asked = Approval.objects.get()
    assert (asked.asked_by, asked.version.number, asked.decided_at) == (HER, 1, None)
    answer = f"{URL}approval/{asked.pk}/"
    response = client.post(answer, {"answer": "yes"}, headers=her)
    assert outcome(response)["text"] == "Somebody else than who asked has to say yes."
    assert not reminder(installation).is_live
    assert "Yes, it may go live" not in text_of(client.get(URL, headers=her))
    assert "Yes, it may go live" in text_of(client.get(URL, headers=him))
    response = client.post(answer, {"answer": "yes"}, headers=him)
    assert outcome(response)["title"] == "The journey is live"
    assert reminder(installation).is_live
    # What was approved may be paused and go live again by whoever may.
    client.post(f"{URL}pause/", headers=her)
    client.post(f"{URL}go-live/", headers=her)
    assert reminder(installation).is_live
    assert [action for action, _name, _detail in logged()] == [
        AuditAction.APPROVAL_ASKED,
        AuditAction.APPROVAL_GIVEN,
        AuditAction.JOURNEY_PAUSED,
        AuditAction.JOURNEY_LIVE,
    ]


@pytest.mark.usefixtures("_four_eyes")
def test_b101_who_asked_and_was_erased_as_a_customer_does_not_say_yes_either(
    client: Client, installation: Installation, her: dict[str, str]
) -> None:
    client.post(f"{URL}go-live/", headers=her)
    Approval.objects.update(asked_by="")  # as an erasure leaves it
    answer = f"{URL}approval/{Approval.objects.get().pk}/"
    response = client.post(answer, {"answer": "yes"}, headers=her)
    assert outcome(response)["text"] == "Somebody else than who asked has to say yes."
    assert not reminder(installation).is_live
    assert Approval.objects.get().decided_at is None


@pytest.mark.usefixtures("_four_eyes")
def test_b101_a_yes_is_for_one_version(
    client: Client, installation: Installation, her: dict[str, str], him: dict[str, str]
) -> None:
    client.post(f"{URL}go-live/", headers=her)
    client.post(f"{URL}approval/{Approval.objects.get().pk}/", {"answer": "yes"}, headers=him)
    response = client.post(
        "/dashboard/journeys/save/", {"key": REMINDER, "text": LATER}, headers=her
    )
    assert outcome(response)["title"] == "Approval is asked for"
    # Whoever comes in meanwhile follows what was approved.
    row = reminder(installation)
    assert row.published is not None
    assert (row.is_live, row.published.number) == (True, 1)
    waiting = Approval.objects.get(decided_at=None)
    assert waiting.version.number == 2
    client.post(f"{URL}approval/{waiting.pk}/", {"answer": "no"}, headers=him)
    assert reminder(installation).published == row.published
    client.post("/dashboard/journeys/save/", {"key": REMINDER, "text": LATER}, headers=her)
    again = Approval.objects.get(decided_at=None)
    client.post(f"{URL}approval/{again.pk}/", {"answer": "yes"}, headers=him)
    published = reminder(installation).published
    assert published is not None
    assert published.number == 2
    response = client.post(f"{URL}approval/{again.pk}/", {"answer": "no"}, headers=him)
    assert outcome(response)["text"] == "This was decided meanwhile."


@pytest.mark.usefixtures("_four_eyes")
def test_b101_another_version_drops_what_was_asked_of_the_one_before(
    client: Client, installation: Installation, her: dict[str, str], him: dict[str, str]
) -> None:
    client.post(f"{URL}go-live/", headers=her)
    asked = Approval.objects.get()
    client.post("/dashboard/journeys/save/", {"key": REMINDER, "text": LATER}, headers=her)
    answer = client.post(f"{URL}approval/{asked.pk}/", {"answer": "yes"}, headers=him)
    assert answer.status_code == 404
    row = reminder(installation)
    assert row.published is not None
    assert (row.is_live, row.published.number) == (False, 2)


@pytest.mark.usefixtures("_four_eyes")
def test_b101_who_is_held_goes_on_after_a_yes(
    client: Client,
    installation: Installation,
    alice: Profile,
    her: dict[str, str],
    him: dict[str, str],
) -> None:
    client.post(f"{URL}go-live/", headers=her)
    client.post(f"{URL}approval/{Approval.objects.get().pk}/", {"answer": "yes"}, headers=him)
    live_at = reminder(installation).live_at
    make_enrollment(alice, "cart-1", timezone.now())
    client.post(f"{URL}pause/", headers=her)
    client.post("/dashboard/journeys/save/", {"key": REMINDER, "text": LATER}, headers=her)
    response = client.post(f"{URL}resume/", headers=her)
    assert outcome(response)["title"] == "Approval is asked for"
    asked = Approval.objects.get(decided_at=None)
    client.post(f"{URL}approval/{asked.pk}/", {"answer": "yes"}, headers=him)
    row = reminder(installation)
    assert (row.is_live, row.live_at) == (True, live_at)


@pytest.mark.usefixtures("_four_eyes")
def test_b101_pausing_drops_what_was_asked(
    client: Client, installation: Installation, her: dict[str, str], him: dict[str, str]
) -> None:
    client.post(f"{URL}go-live/", headers=her)
    asked = Approval.objects.get()
    client.post(f"{URL}pause/", headers=her)
    assert not Approval.objects.exists()
    response = client.post(f"{URL}approval/{asked.pk}/", {"answer": "yes"}, headers=him)
    assert response.status_code == 404
    assert not reminder(installation).is_live


@pytest.mark.usefixtures("_four_eyes")
def test_b101_what_somebody_saves_at_the_same_moment_does_not_go_live_unseen(
    client: Client, installation: Installation, her: dict[str, str], him: dict[str, str]
) -> None:
    client.post(f"{URL}go-live/", headers=her)
    client.post(f"{URL}approval/{Approval.objects.get().pk}/", {"answer": "yes"}, headers=him)
    as_live = reminder(installation)
    client.post(f"{URL}pause/", headers=her)
    as_paused = reminder(installation)
    # Two requests that had read the journey before the other one changed it.
    later = definitions.load(LATER, known=journeys.known(installation))
    source = JourneySource.DASHBOARD
    now = timezone.now()
    approval.publish(journey=as_live, definition=later, source=source, by=HER, now=now)
    asked = approval.go_live(journey=as_paused, by=HER, now=now)
    assert asked is not None
    assert asked.version.number == 2
    assert not reminder(installation).is_live

    unaware = reminder(installation)
    client.post(f"{URL}approval/{asked.pk}/", {"answer": "yes"}, headers=him)
    another = definitions.load(
        LATER.replace("2 hours", "3 hours"), known=journeys.known(installation)
    )
    version, asked = approval.publish(
        journey=unaware, definition=another, source=source, by=HER, now=now
    )
    assert (version.number, asked is None) == (3, False)
    row = reminder(installation)
    assert row.published is not None
    assert (row.is_live, row.published.number) == (True, 2)


# -- versions and the editor -----------------------------------------------------------------------


def test_b97_a_definition_is_changed_and_what_is_different_is_told(
    client: Client, installation: Installation, alice: Profile, her: dict[str, str]
) -> None:
    inside = make_enrollment(alice, "cart-1", timezone.now())
    page = client.get(f"{URL}edit/", headers=her).content.decode()
    assert "trigger:\n  type: abandoned_checkout" in page
    response = client.post(
        "/dashboard/journeys/save/", {"key": REMINDER, "text": LATER}, headers=her
    )
    assert outcome(response)["text"] == "Whoever comes in from now on follows version 2."
    newest = JourneyVersion.objects.get(number=2)
    assert newest.source == JourneySource.DASHBOARD
    inside.refresh_from_db()
    assert inside.version.number == 1
    page = client.get(f"{URL}?version=2", headers=her).content.decode()
    assert "What version 2 changes of version 1" in page
    assert "<ins>+   after: 2 hours</ins>" in page
    assert "<del>-     template: abandoned_checkout_again</del>" in page
    response = client.post(f"{URL}roll-back/1/", headers=her)
    assert outcome(response)["title"] == "Saved"
    row = reminder(installation)
    assert row.published is not None
    assert row.published.number == 3
    assert row.published.definition == journeys.built_in()[REMINDER].to_json()
    assert logged()[-1] == (AuditAction.JOURNEY_SAVED, REMINDER, {"version": 3})


def test_b97_what_is_broken_is_refused_line_by_line_and_the_text_stays(
    client: Client, installation: Installation, her: dict[str, str]
) -> None:
    text = (
        "journey: abandoned_checkout\n"
        "topic: reminderz\n"
        "trigger: {type: abandoned_checkout}\n"
        "steps:\n"
        "  - message: {id: first, template: abandoned_checkout}\n"
        "  - wait: {for: a while}\n"
        "  - message: {id: first, template: <b>none</b>}\n"
    )
    response = client.post(
        "/dashboard/journeys/save/", {"key": REMINDER, "text": text}, headers=her
    )
    assert outcome(response)["title"] == "Not saved"
    page = response.content.decode()
    assert re.findall(r"<strong>Line (\d+)</strong>", page) == ["2", "6", "7"]
    assert "Did you mean &#x27;reminders&#x27;?" in page
    assert "template: &lt;b&gt;none&lt;/b&gt;" in page
    assert not JourneyVersion.objects.filter(number=2).exists()
    response = client.post(
        "/dashboard/journeys/save/", {"key": REMINDER, "text": "journey: [\n"}, headers=her
    )
    assert "this is no YAML" in response.content.decode()
    response = client.post(
        "/dashboard/journeys/check/", {"key": REMINDER, "text": LATER}, headers=her
    )
    assert outcome(response)["title"] == "Nothing is wrong with it"
    assert JourneyVersion.objects.count() == 1
    assert logged() == []


def test_b97_a_journey_of_their_own_is_saved_and_not_live(
    client: Client, installation: Installation, her: dict[str, str]
) -> None:
    sketch = client.get("/dashboard/journeys/new/", headers=her).content.decode()
    text = sketch.partition("<textarea")[2].partition(">\n")[2].partition("</textarea>")[0]
    response = client.post("/dashboard/journeys/save/", {"text": text}, headers=her)
    assert outcome(response)["text"] == "It is not live yet."
    row = Journey.objects.get(key="my_journey")
    assert (row.installation, row.is_live) == (installation, False)
    # The name is taken now, as are those of other journeys when one is changed.
    response = client.post("/dashboard/journeys/save/", {"text": text}, headers=her)
    assert "there is one of this name" in response.content.decode()
    response = client.post(
        "/dashboard/journeys/save/", {"key": REMINDER, "text": text}, headers=her
    )
    assert "this is abandoned_checkout; to make another journey" in response.content.decode()


# -- dry run ---------------------------------------------------------------------------------------


def test_b63_a_dry_run_that_fails_says_so_and_is_not_tried_for_ever(
    client: Client, installation: Installation, her: dict[str, str], monkeypatch: Any
) -> None:
    def fail(**_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(dry_runs, "forecast", fail)
    client.post(f"{URL}dry-run/ask/", headers=her)
    assert make_dry_runs() == 1
    assert make_dry_runs() == 0
    run = DryRun.objects.get()
    assert run.status == DryRunStatus.FAILED
    assert "ZeroDivisionError" in text_of(client.get(f"{URL}dry-run/", headers=her))


def test_b63_a_dry_run_whose_worker_is_always_killed_ends_and_may_be_asked_for_again(
    client: Client, installation: Installation, her: dict[str, str]
) -> None:
    client.post(f"{URL}dry-run/ask/", headers=her)
    now = timezone.now()
    for number in range(dry_runs.MAX_ATTEMPTS):
        # Each of them is killed before it can say anything.
        moment = now + number * (dry_runs.LEASE + timedelta(seconds=1))
        assert dry_runs.claim_next(now=moment) is not None
        assert dry_runs.claim_next(now=moment + dry_runs.LEASE / 2) is None
    assert "It is being played." in text_of(client.get(f"{URL}dry-run/", headers=her))
    assert dry_runs.claim_next(now=now + timedelta(days=1)) is None
    assert DryRun.objects.get().status == DryRunStatus.FAILED
    page = text_of(client.get(f"{URL}dry-run/", headers=her))
    assert "Its worker was ended 3 times before it was done" in page
    client.post(f"{URL}dry-run/ask/", headers=her)
    assert make_dry_runs() == 1
    assert DryRun.objects.get().status == DryRunStatus.DONE


def test_b63_a_dry_run_is_asked_for_and_made_by_a_worker(
    client: Client, installation: Installation, alice: Profile, her: dict[str, str]
) -> None:
    assert "Not played yet." in text_of(client.get(URL, headers=her))
    response = client.post(f"{URL}dry-run/ask/", headers=her)
    assert "It is being played." in text_of(response)
    client.post(f"{URL}dry-run/ask/", headers=her)
    assert DryRun.objects.get().status == DryRunStatus.PENDING
    assert make_dry_runs() == 1
    page = text_of(client.get(f"{URL}dry-run/", headers=her))
    assert "About 0 messages in the next 7 days" in page
    assert (
        "Nobody came in, in these days. The journey waits for this: "
        "Somebody leaves a cart and does not order." in page
    )
    assert not Message.objects.exists()
    assert not Enrollment.objects.exists()
    assert not reminder(installation).is_live
    # Another version is another question.
    client.post("/dashboard/journeys/save/", {"key": REMINDER, "text": LATER}, headers=her)
    assert "follows another version by now" in text_of(client.get(URL, headers=her))
    assert make_dry_runs() == 0
