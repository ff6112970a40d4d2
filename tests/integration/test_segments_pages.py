"""B15 on the page in the Dashboard: its fragments, asked for as `bridge.js` asks."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from saleor_personalize.dashboard import editor
from saleor_personalize.enums import AuditAction
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.models import (
    Approval,
    AuditEntry,
    Installation,
    Journey,
    Profile,
    Segment,
)
from saleor_personalize.profiles.changes import mark_changed
from saleor_personalize.segments import operations, suggestions
from saleor_personalize.segments.definition import AllOf, AnyOf, Fault, Not, from_json
from saleor_personalize.segments.rules import EventCount, Language, OrderCount
from tests.catalogue import Phones
from tests.integration.test_dashboard import headers, outcome

URL = "/dashboard/segments/"
VIEWERS = AllOf(
    EventCount(type="product_viewed", at_least=3, days=7),
    Not(OrderCount(at_least=1)),
    AnyOf(Language(code="de"), AllOf(Language(code="fr"), OrderCount(at_most=2))),
)


@pytest.fixture(autouse=True)
def _fresh_cache() -> None:
    cache.clear()


@pytest.fixture
def signed(installation: Installation) -> dict[str, str]:
    return headers(installation)


@pytest.fixture
def viewers(installation: Installation) -> Segment:
    return operations.create_segment(
        installation=installation,
        key="viewers",
        name="Viewers",
        definition=VIEWERS,
        now=timezone.now(),
    )


def fields_of(html: str) -> dict[str, str]:
    """Return what a browser would send of the form."""
    found = dict(re.findall(r'<input[^>]* name="([^"]+)"[^>]* value="([^"]*)"', html))
    for name, options in re.findall(
        r'<select[^>]* name="([^"]+)"[^>]*>(.*?)</select>', html, re.DOTALL
    ):
        chosen = re.search(r'<option value="([^"]*)" selected', options)
        found[name] = chosen[1] if chosen else ""
    return found


def test_b15_the_list_tells_members_the_sentence_and_the_lag(
    client: Client, signed: dict[str, str], viewers: Segment, alice: Profile
) -> None:
    page = client.get(URL, headers=signed).content.decode()
    assert "Looking for members" in page
    operations.update_segment(segment=viewers, definition=AllOf(), now=timezone.now())
    operations.evaluate_due(now=timezone.now())
    page = client.get(URL, headers=signed).content.decode()
    assert "1 person" in page
    assert "Up to date" in page
    mark_changed(
        installation=viewers.installation,
        profiles=[alice],
        now=timezone.now() - timedelta(minutes=5),
    )
    figures = client.get(f"{URL}figures/", headers=signed).content.decode()
    assert "5 min behind" in figures
    assert "1 change waits." in figures
    assert "Whoever runs this service checks" in client.get(
        "/dashboard/overview/", headers=signed
    ).content.decode()  # fmt: skip


def test_b15_suggestions_are_offered_and_not_made(
    client: Client, signed: dict[str, str], installation: Installation
) -> None:
    page = client.get(URL, headers=signed).content.decode()
    for found in suggestions.SUGGESTIONS:
        assert str(found.name) in page
        assert from_json(found.definition.to_json()) == found.definition
    assert not Segment.objects.exists()
    form = client.get(f"{URL}new/?suggestion=gone-quiet", headers=signed).content.decode()
    assert fields_of(form)["name"] == "Gone quiet"
    saved = client.post(f"{URL}save/", fields_of(form), headers=signed)
    assert outcome(saved)["status"] == "success"
    assert Segment.objects.get().key == "gone-quiet"
    assert "Gone quiet" not in [
        str(found.name) for found in suggestions.suggestions(installation=installation)
    ]


def test_b15_a_segment_is_built_step_by_step(
    client: Client, signed: dict[str, str], installation: Installation, alice: Profile, bob: Profile
) -> None:
    Profile.objects.filter(pk=alice.pk).update(language_code="DE")

    def ask(what: str, **changes: str) -> str:
        nonlocal form
        answer = client.post(f"{URL}{what}/", {**fields_of(form), **changes}, headers=signed)
        assert answer.status_code == 200
        form = answer.content.decode()
        return form

    form = client.get(f"{URL}new/", headers=signed).content.decode()
    ask("edit", action="add-rule:n")
    ask("edit", **{"n.0:rule": "language"})
    ask("edit", **{"n.0:-code": "de", "action": "add-group:n"})
    ask("edit", **{"n.1:group": "none", "action": "add-rule:n.1"})
    ask("edit", **{"n.1.0:rule": "order_count"})
    before, form_with_gap = form, fields_of(form)
    assert "Fill in what is missing" in ask("count")
    form = before
    # Saving asks for what is missing, where it is missing, and keeps what was typed.
    answer = client.post(f"{URL}save/", {**form_with_gap, "name": "Germans"}, headers=signed)
    assert outcome(answer)["title"] == "Not saved"
    assert 'id="n-1-0-at_least-error">say how often' in answer.content.decode()
    assert not Segment.objects.exists()
    form = answer.content.decode()
    assert fields_of(form)["n.0:-code"] == "de"
    ask("edit", **{"n.1.0:-at_least": "1"})
    counted = client.post(f"{URL}count/", fields_of(form), headers=signed).content.decode()
    assert "1 person" in counted
    assert ">Language: de and not (Orders: at least 1 time)<" in counted
    assert str(alice.public_id) in counted
    assert str(bob.public_id) not in counted
    assert outcome(client.post(f"{URL}save/", fields_of(form), headers=signed)) == {
        "status": "success", "title": "Segment saved", "text": "Its members are there within a minute.",
    }  # fmt: skip
    made = Segment.objects.get()
    assert (made.key, made.name) == ("germans", "Germans")
    assert made.definition == {
        "all": [
            {"rule": "language", "code": "de"},
            {"not": {"rule": "order_count", "at_least": 1}},
        ]
    }


def test_b15_a_stored_segment_comes_back_from_the_editor_as_it_was(
    client: Client, signed: dict[str, str], viewers: Segment
) -> None:
    form = client.get(f"{URL}{viewers.pk}/", headers=signed).content.decode()
    answer = client.post(f"{URL}save/", {**fields_of(form), "is_active": "on"}, headers=signed)
    assert outcome(answer)["status"] == "success"
    viewers.refresh_from_db()
    assert viewers.definition == VIEWERS.to_json()
    assert viewers.is_active
    client.post(f"{URL}save/", {**fields_of(form), "name": "Others"}, headers=signed)
    viewers.refresh_from_db()
    assert (viewers.name, viewers.is_active) == ("Others", False)


def test_b15_parts_are_removed_where_they_are(
    client: Client, signed: dict[str, str], viewers: Segment
) -> None:
    form = client.get(f"{URL}{viewers.pk}/", headers=signed).content.decode()
    answer = client.post(f"{URL}edit/", {**fields_of(form), "action": "remove:n.1"}, headers=signed)
    written = re.search(r"<textarea[^>]*>(.*?)</textarea>", answer.content.decode(), re.DOTALL)
    assert written is not None
    shown = json.loads(written[1].replace("&quot;", '"'))
    assert from_json(shown) == AllOf(VIEWERS.parts[0], VIEWERS.parts[2])


def test_b15_json_is_used_or_refused_with_its_path(
    client: Client, signed: dict[str, str], installation: Installation
) -> None:
    form = fields_of(client.get(f"{URL}new/", headers=signed).content.decode())
    good = {**form, "action": "json", "json": json.dumps(VIEWERS.to_json())}
    shown = fields_of(client.post(f"{URL}edit/", good, headers=signed).content.decode())
    assert (shown["n.0:rule"], shown["n.0:-days"], shown["n.2.1:group"]) == ("event", "7", "all")
    for text, told in (
        ("{", "this is no JSON"),
        ("[" * 100_000, "this is no JSON"),
        ('{"any": [{"rule": "lnguage"}]}', "any[0].rule: there is no rule “lnguage”. Did you mean language?"),
    ):  # fmt: skip
        answer = client.post(
            f"{URL}edit/", {**form, "action": "json", "json": text}, headers=signed
        )
        assert told in answer.content.decode()


def test_b15_a_product_is_found_by_its_name(
    client: Client, signed: dict[str, str], installation: Installation
) -> None:
    shop = Phones(installation, timezone.now())
    found = client.get(f"{URL}choices/?n.0%3A-product=aur", headers=signed).content.decode()
    assert f'<option value="{shop.phone}">Aurora phone</option>' in found
    assert "Desk lamp" not in found
    form = fields_of(client.get(f"{URL}new/", headers=signed).content.decode())
    json_ = {"rule": "bought", "at_least": 1, "product": shop.phone}
    answer = client.post(
        f"{URL}edit/", {**form, "action": "json", "json": json.dumps(json_)}, headers=signed
    )
    assert 'id="n-0-product-named">Aurora phone<' in answer.content.decode()


def test_b15_a_segment_others_build_on_is_not_deleted(
    client: Client, signed: dict[str, str], viewers: Segment
) -> None:
    operations.create_segment(
        installation=viewers.installation, key="x", name="X", now=timezone.now(),
        definition={"rule": "segment", "segment": "viewers"},
    )  # fmt: skip
    answer = client.post(f"{URL}{viewers.pk}/delete/", headers=signed)
    assert outcome(answer)["text"] == "“X” builds on this segment: change that one first"
    assert Segment.objects.count() == 2
    other = Segment.objects.get(key="x")
    assert outcome(client.post(f"{URL}{other.pk}/delete/", headers=signed))["status"] == "success"
    assert Segment.objects.get() == viewers


def test_b15_a_definition_that_cannot_be_read_can_be_mended(
    client: Client, signed: dict[str, str], viewers: Segment
) -> None:
    Segment.objects.update(definition={"rule": "gone"})
    page = client.get(f"{URL}{viewers.pk}/", headers=signed).content.decode()
    assert "rule: there is no rule “gone”." in page
    assert client.get(URL, headers=signed).status_code == 200


# -- segments that journeys follow --------------------------------------------------------------------


@pytest.fixture
def greeting(viewers: Segment) -> Journey:
    """A journey that follows the segment of viewers through another one."""
    operations.create_segment(
        installation=viewers.installation, key="german-viewers", name="German", now=timezone.now(),
        definition={"all": [{"rule": "segment", "segment": "viewers"}, {"rule": "language", "code": "de"}]},
    )  # fmt: skip
    text = (
        "{journey: greeting, topic: news, trigger: {type: segment_entered, segment: german-viewers}, "
        "steps: [{message: {id: hello, template: welcome}}]}"
    )
    return journeys.load(installation=viewers.installation, text=text, now=timezone.now()).journey


def change(client: Client, signed: dict[str, str], segment: Segment, name: str = "Viewers") -> Any:
    """Have everybody be in a segment."""
    form = {"segment": str(segment.pk), "name": name, "is_active": "on", "n:group": "all"}
    return client.post(f"{URL}save/", form, headers=signed)


def test_b15_a_segment_says_which_journeys_follow_it(
    client: Client, signed: dict[str, str], viewers: Segment, greeting: Journey
) -> None:
    journeys.go_live(journey=greeting, now=timezone.now())
    page = client.get(f"{URL}{viewers.pk}/", headers=signed).content.decode()
    assert "Journeys follow this segment" in page
    assert "/dashboard/journeys/greeting/" in page
    told = re.sub(
        r"\s+", " ", re.sub(r"<[^>]+>", " ", client.get(URL, headers=signed).content.decode())
    )
    assert told.count("Followed by: Greeting (live)") == 2
    # Nobody has to be asked: it is changed, but not deleted under the journey.
    assert outcome(change(client, signed, viewers))["status"] == "success"
    viewers.refresh_from_db()
    assert viewers.definition == {"all": []}
    other = Segment.objects.get(key="german-viewers")
    refused = outcome(client.post(f"{URL}{other.pk}/delete/", headers=signed))
    assert refused["status"] == "error"
    assert "these live journeys follow this segment: greeting." in refused["text"]
    assert Segment.objects.count() == 2


def test_b101_what_a_live_journey_follows_is_not_changed_by_one_alone(
    client: Client,
    installation: Installation,
    signed: dict[str, str],
    viewers: Segment,
    greeting: Journey,
    settings: Any,
) -> None:
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "GO_LIVE_APPROVAL": True}
    him = headers(installation, user_id="VXNlcjoy")
    path = "/dashboard/journeys/greeting/"

    def approve() -> None:
        client.post(f"{path}go-live/", headers=signed)
        asked = Approval.objects.get(decided_at=None)
        client.post(f"{path}approval/{asked.pk}/", {"answer": "yes"}, headers=him)

    approve()
    greeting.refresh_from_db()
    assert greeting.is_live
    before = viewers.definition
    refused = change(client, signed, viewers)
    assert outcome(refused)["title"] == "Not saved"
    assert "these live journeys follow this segment: greeting. Pause them first" in (
        refused.content.decode()
    )
    viewers.refresh_from_db()
    assert viewers.definition == before
    assert not AuditEntry.objects.filter(action=AuditAction.SEGMENT_SAVED).exists()
    # Paused, it may be changed; then the journey needs another yes, for it would write to others.
    client.post(f"{path}pause/", headers=signed)
    assert outcome(change(client, signed, viewers))["status"] == "success"
    answer = client.post(f"{path}resume/", headers=signed)
    assert outcome(answer)["title"] == "Approval is asked for"
    greeting.refresh_from_db()
    assert not greeting.is_live
    assert Approval.objects.get(decided_at=None).goes_on


def test_b101_who_changes_the_segment_after_the_question_does_not_say_yes_to_it(
    client: Client,
    installation: Installation,
    signed: dict[str, str],
    viewers: Segment,
    greeting: Journey,
    settings: Any,
) -> None:
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "GO_LIVE_APPROVAL": True}
    him = headers(installation, user_id="VXNlcjoy")
    path = "/dashboard/journeys/greeting/"
    client.post(f"{path}go-live/", headers=signed)
    first = Approval.objects.get()
    # It is not live, so it may be changed; but nobody else has seen that it is about everybody now.
    assert outcome(change(client, him, viewers))["status"] == "success"
    answer = outcome(client.post(f"{path}approval/{first.pk}/", {"answer": "yes"}, headers=him))
    assert answer["title"] == "Nothing was decided"
    assert answer["text"] == (
        "A segment that this journey follows was changed after this was asked. Say no, and have it asked again."
    )
    first.refresh_from_db()
    greeting.refresh_from_db()
    assert (first.decided_at, first.is_given, greeting.is_live) == (None, False, False)
    # Asked again by him, it is she who says yes.
    client.post(f"{path}go-live/", headers=him)
    again = Approval.objects.get()
    assert (again.pk == first.pk, again.asked_by) == (False, "VXNlcjoy")
    client.post(f"{path}approval/{again.pk}/", {"answer": "yes"}, headers=him)
    greeting.refresh_from_db()
    assert not greeting.is_live
    client.post(f"{path}approval/{again.pk}/", {"answer": "yes"}, headers=signed)
    greeting.refresh_from_db()
    assert greeting.is_live


def test_b101_who_may_not_send_does_not_change_whom_a_live_journey_writes_to(
    client: Client,
    installation: Installation,
    signed: dict[str, str],
    viewers: Segment,
    greeting: Journey,
    settings: Any,
) -> None:
    """As with the journey itself. Before it is live anybody who may edit prepares it."""
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "DASHBOARD_ROLES": {"send": ["MANAGE_ORDERS", "MANAGE_STAFF"]},
    }
    editor = headers(installation, user_permissions=["MANAGE_ORDERS", "MANAGE_CHECKOUTS"])
    assert outcome(change(client, editor, viewers))["status"] == "success"
    viewers.refresh_from_db()
    operations.update_segment(segment=viewers, definition=VIEWERS, now=timezone.now())
    journeys.go_live(journey=greeting, now=timezone.now())
    refused = change(client, editor, viewers)
    assert outcome(refused)["title"] == "Not saved"
    assert "You may not have anything sent to customers" in refused.content.decode()
    viewers.refresh_from_db()
    assert viewers.definition == VIEWERS.to_json()
    assert outcome(change(client, signed, viewers))["status"] == "success"


def test_b101_a_segment_that_is_followed_keeps_its_name_to_be_changed(
    client: Client, signed: dict[str, str], viewers: Segment, greeting: Journey, settings: Any
) -> None:
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "GO_LIVE_APPROVAL": True}
    Journey.objects.filter(pk=greeting.pk).update(is_live=True)
    form = fields_of(client.get(f"{URL}{viewers.pk}/", headers=signed).content.decode())
    renamed = client.post(
        f"{URL}save/", {**form, "is_active": "on", "name": "Onlookers"}, headers=signed
    )
    assert outcome(renamed)["status"] == "success"
    viewers.refresh_from_db()
    assert viewers.name == "Onlookers"


ACTIONS = ["edit/", "count/", "save/", "{pk}/delete/"]


@pytest.mark.parametrize("path", ACTIONS)
def test_b15_who_may_only_look_changes_nothing(
    client: Client, installation: Installation, viewers: Segment, path: str
) -> None:
    looker = headers(installation, permissions=["MANAGE_ORDERS"])
    url = URL + path.format(pk=viewers.pk)
    assert client.post(url, {"name": "Mine"}, headers=looker).status_code == 403
    assert client.get(url, headers=headers(installation)).status_code == 405
    assert client.post(url, {"name": "Mine"}).status_code == 401
    page = client.get(f"{URL}{viewers.pk}/", headers=looker).content.decode()
    assert "<select" in page
    assert re.findall(r"<(?:select|input|textarea)(?![^>]*(?:disabled|hidden))[^>]*>", page) == []
    assert Segment.objects.get().name == "Viewers"


def test_b15_no_shop_reaches_another_shops_segments(
    client: Client, other_installation: Installation, viewers: Segment
) -> None:
    stranger = headers(other_installation)
    assert client.get(f"{URL}{viewers.pk}/", headers=stranger).status_code == 404
    assert client.post(f"{URL}{viewers.pk}/delete/", headers=stranger).status_code == 404
    saved = {"segment": str(viewers.pk), "name": "Mine", "n:group": "all"}
    assert client.post(f"{URL}save/", saved, headers=stranger).status_code == 404
    assert "Viewers" not in client.get(URL, headers=stranger).content.decode()
    viewers.refresh_from_db()
    assert viewers.name == "Viewers"


@pytest.mark.parametrize(
    "posted",
    [
        {"n.99.1:rule": "language", "n.-1:rule": "x", "n.0:rule": "nothing", "n..:group": "all"},
        {"n.0:rule": "language", "n.0.0:rule": "language", "n.0.0:-code": "de"},
        {f"n.{number}:group": "any" for number in range(100)},
    ],
    ids=["odd names", "a rule in a rule", "too many"],
)
def test_an_odd_form_is_read_as_far_as_it_makes_sense(posted: dict[str, str]) -> None:
    root = editor.read(posted)
    assert root.group == "all"
    assert len(list(root.walk())) <= 1 + max(len(posted), 1)
    assert all(part.group or part.values for part in root.walk())


def test_a_fault_is_told_where_the_form_has_it() -> None:
    node = editor.of(AllOf(Not(AnyOf(Language(code="de"), OrderCount(at_least=1)))))
    node.tell(Fault("definition.all[0].not.any[1].days", "wrong"))
    assert node.parts[0].parts[1].faults == {"days": "wrong"}
    node.parts[0].parts.pop(0)
    node.tell(Fault("all[0].not.at_least", "wrong too"))
    assert node.parts[0].parts[0].faults == {"days": "wrong", "at_least": "wrong too"}


def test_the_list_asks_no_more_with_more_segments(
    client: Client,
    signed: dict[str, str],
    installation: Installation,
    django_assert_num_queries: Any,
) -> None:
    for number in range(20):
        rule = {"rule": "bought", "at_least": 1, "product": f"product-{number}"}
        operations.create_segment(
            installation=installation,
            key=f"s{number}",
            name="S",
            definition=rule,
            now=timezone.now(),
        )
    with django_assert_num_queries(7):
        client.get(f"{URL}figures/", headers=signed)
