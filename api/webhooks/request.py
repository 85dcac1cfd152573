"""The form fields `webhook` and `webhook_events` of a submission."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from api.webhooks.guard import FIELD, Guard
from model.errors import OptionError
from worker.jobs import JobState
from worker.settings import Settings
from worker.webhooks import DEFAULT_EVENTS, EVENTS

EVENTS_FIELD = "webhook_events"


@dataclass(frozen=True)
class Subscription:
    """Who is to be told of a job.

    Attributes:
        url: address, or None for nobody.
        events: states whose beginning is told.
    """

    url: str | None = None
    events: tuple[JobState, ...] = ()


def read_subscription(fields: Mapping[str, str], settings: Settings) -> Subscription:
    """Read and check the fields; looks the host up.

    Raises:
        OptionError: when the service signs no webhooks, the address is refused or an event is unknown.
    """
    url = fields.get(FIELD)
    if url is None:
        if EVENTS_FIELD in fields:
            raise OptionError(
                "events are chosen, but nobody to tell", expected="a webhook", found="none", field=EVENTS_FIELD
            )
        return Subscription()
    if settings.webhook_secret is None:
        raise OptionError(
            "this service sends no webhooks",
            expected="no webhook",
            found="one",
            hint="ask the operator to set COCHLEAR_WEBHOOK_SECRET, or poll the job",
            field=FIELD,
        )
    guard_of(settings.webhook_allow).check(url)
    return Subscription(url, _events(fields.get(EVENTS_FIELD)))


@lru_cache
def guard_of(allow: tuple[str, ...]) -> Guard:
    """Give the guard of these allowed hosts and networks."""
    return Guard(allow)


def _events(text: str | None) -> tuple[JobState, ...]:
    """Read the names of events: states separated by commas."""
    if text is None:
        return DEFAULT_EVENTS
    names = {name.strip().lower() for name in text.split(",")}
    unknown = sorted(names - set(EVENTS))
    if unknown:
        raise OptionError(
            "a webhook event is not known",
            expected="some of " + ", ".join(EVENTS) + ", separated by commas",
            found=ascii(unknown[0][:80]),
            field=EVENTS_FIELD,
        )
    return tuple(event for event in EVENTS if event in names)
