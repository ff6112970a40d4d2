"""Tasks of messages."""

from celery import shared_task
from django.utils import timezone

from saleor_personalize.messaging import opt_in, phone_codes, rhythms

#: People that one run takes up; beat wakes the next run.
LIMIT = 100


@shared_task(name="personalize.confirm_opt_ins")  # type: ignore[untyped-decorator,unused-ignore]
def confirm_opt_ins() -> int:
    """Ask those whose yes waits to be confirmed; return how many were taken up."""
    return opt_in.send_due(now=timezone.now(), limit=LIMIT)


@shared_task(name="personalize.confirm_phones")  # type: ignore[untyped-decorator,unused-ignore]
def confirm_phones() -> int:
    """Send the codes by which people prove that a number is theirs; return how many were taken up."""
    return phone_codes.send_due(now=timezone.now(), limit=LIMIT)


@shared_task(name="personalize.learn_rhythms")  # type: ignore[untyped-decorator,unused-ignore]
def learn_rhythms() -> int:
    """Learn how much and when people react in every active shop; return for how many delivery channels."""
    return rhythms.learn_all(now=timezone.now())
