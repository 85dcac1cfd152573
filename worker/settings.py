"""Settings of the service, read from `COCHLEAR_*` environment variables."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from model.bundle import DEFAULT_BUNDLE
from model.errors import CochlearError

_MEBIBYTE = 2**20


class SettingsError(CochlearError):
    """The service was started with a setting missing or wrong."""

    code = "invalid-settings"
    title = "The service is not set up"


class Settings(BaseSettings):
    """What a process of the service needs to know; every field has an environment variable `COCHLEAR_<NAME>`.

    Attributes:
        redis_url: `redis://`, `rediss://` or `unix://` address of the job record and queue.
        data_dir: folder of uploads, inputs and results, and of the embedded Redis.
        store_url: fsspec address of the artifact store; None means `data_dir`/jobs.
        bundle: name of the default model bundle.
        checkpoints: folder of bundles; None means the one shipped with the project.
        device: where the worker computes.
        max_upload_bytes: cap on the uploaded image file as sent.
        max_batch_items: cap on the ears of one batch.
        max_batch_bytes: cap on the images of one batch together, as sent and as unpacked.
        max_queued: cap on jobs waiting; further ones are answered 503.
        time_limit_s: seconds one attempt may take before it is killed.
        stale_after_s: seconds without a sign of life after which a worker counts as dead.
        max_attempts: how often a job is tried when its worker dies.
        retention_s: seconds after which a finished job's files are erased; None keeps them.
        forget_after_s: seconds after which the record of an expired job is erased, too; None keeps it.
        webhook_secret: `whsec_` and 24 to 64 bytes in base64, which webhooks are signed with; None offers no webhooks.
        webhook_allow: host names and networks that webhooks may reach although they are private, or over plain http;
            separated by commas.
        webhook_attempts: how often a message is sent before it is given up.
        webhook_retry_s: seconds to the first retry; each further pause is twice as long, up to two hours.
    """

    model_config = SettingsConfigDict(env_prefix="COCHLEAR_", extra="ignore")

    redis_url: str | None = None
    data_dir: Path = Path("data")
    store_url: str | None = None
    bundle: str = DEFAULT_BUNDLE
    checkpoints: Path | None = None
    device: Literal["auto", "cpu", "cuda"] = "auto"
    max_upload_bytes: int = Field(default=512 * _MEBIBYTE, gt=0)
    max_batch_items: int = Field(default=100, gt=0)
    max_batch_bytes: int = Field(default=4096 * _MEBIBYTE, gt=0)
    max_queued: int = Field(default=1000, gt=0)
    time_limit_s: float = Field(default=1800.0, gt=1)
    stale_after_s: float = Field(default=30.0, ge=0.1)
    max_attempts: int = Field(default=2, ge=1)
    retention_s: float | None = Field(default=None, gt=0)
    forget_after_s: float | None = Field(default=30 * 86400.0, gt=0)
    webhook_secret: SecretStr | None = None
    webhook_allow: Annotated[tuple[str, ...], NoDecode] = ()
    webhook_attempts: int = Field(default=14, ge=1)
    webhook_retry_s: float = Field(default=5.0, gt=0)

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        """Make the folder independent of later changes of the working directory."""
        return value.expanduser().resolve()

    @field_validator("webhook_allow", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        """Take the list as one text, as environment variables give it."""
        return (
            tuple(word.strip().lower() for word in value.split(",") if word.strip())
            if isinstance(value, str)
            else value
        )

    @field_validator("webhook_secret")
    @classmethod
    def _well_formed(cls, value: SecretStr | None) -> SecretStr | None:
        """Refuse a secret that is none by the Standard Webhooks specification."""
        if value is None:
            return None
        prefix, _, text = value.get_secret_value().partition("_")
        try:
            size = len(base64.b64decode(text, validate=True))
        except ValueError:
            size = 0
        if prefix != "whsec" or not 24 <= size <= 64:
            raise ValueError("must be whsec_ and 24 to 64 random bytes in base64")
        return value

    @property
    def beat_every_s(self) -> float:
        """Seconds between two signs of life: four chances before a process counts as dead."""
        return self.stale_after_s / 4

    @property
    def artifacts_url(self) -> str:
        """Address of the artifact store: the given one, or a folder under the data folder."""
        return self.store_url or str(self.data_dir / "jobs")

    @property
    def uploads_dir(self) -> Path:
        """Folder of uploads that are not yet accepted."""
        return self.data_dir / "uploads"

    def required_redis_url(self) -> str:
        """Give the Redis address.

        Raises:
            SettingsError: when none is set; only `cochlear serve` starts a server of its own.
        """
        if self.redis_url is None:
            raise SettingsError(
                "no Redis server is named",
                expected="COCHLEAR_REDIS_URL, such as redis://localhost:6379/0 or unix:///run/redis.sock",
                found="nothing",
                hint="set it, or use `cochlear serve`, which starts a server of its own",
            )
        return self.redis_url
