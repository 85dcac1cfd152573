"""Changing the webhook secret: messages carry a signature of the old and of the new one meanwhile."""

from __future__ import annotations

import asyncio
import base64
from datetime import UTC, datetime

import pytest
from pydantic import SecretStr, ValidationError
from standardwebhooks import Webhook, WebhookVerificationError
from webhook_receiver import SECRET, Receiver

from api.webhooks.guard import Guard
from api.webhooks.sender import Sender
from worker.jobs import JobRecord, JobState
from worker.settings import Settings
from worker.webhooks import Message

NEW = "whsec_" + base64.b64encode(bytes(range(32, 64))).decode()


def test_either_secret_verifies_a_message_and_no_other() -> None:
    settings = Settings(webhook_secret=SecretStr(f"{NEW} {SECRET}"))
    assert settings.webhook_secret is not None
    with Receiver() as receiver:
        now = datetime.now(UTC)
        record = JobRecord(
            id="00000000-0000-4000-8000-000000000000",
            state=JobState.FAILED,
            created_at=now,
            updated_at=now,
            bundle="b",
            side="left",
            formats=(),
            input_name="input.nii.gz",
            webhook=receiver.url("both"),
        )
        sender = Sender(settings.webhook_secret.get_secret_value(), Guard(("127.0.0.1",)), 1, 1.0)
        outcome = asyncio.run(sender.send(Message(id="msg_1", type="job.failed", at=now, record=record), 1))
        assert outcome.delivered
        [came] = receiver.of("both")
    assert len(came.headers["webhook-signature"].split(" ")) == 2
    for secret in (SECRET, NEW):
        assert Webhook(secret).verify(came.content, came.headers)["type"] == "job.failed"
    stranger = "whsec_" + base64.b64encode(bytes(32)).decode()
    with pytest.raises(WebhookVerificationError):
        Webhook(stranger).verify(came.content, came.headers)


@pytest.mark.parametrize("text", ["", f"{SECRET}  {NEW}", f"{SECRET} whsec_short", f"{SECRET},{NEW}"])
def test_a_list_with_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ValidationError, match="or several of these"):
        Settings(webhook_secret=SecretStr(text))
