"""Settings of the service, read from `COCHLEAR_*` environment variables."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from model.bundle import DEFAULT_BUNDLE
from model.errors import CochlearError
from worker.redis_connection import check_address
from worker.routes import QUEUES, QueueName

_MEBIBYTE = 2**20


class SettingsError(CochlearError):
    """The service was started with a setting missing or wrong."""

    code = "invalid-settings"
    title = "The service is not set up"


class Settings(BaseSettings):
    """What a process of the service needs to know; every field has an environment variable `COCHLEAR_<NAME>`.

    Attributes:
        redis_url: `redis://`, `rediss://` or `unix://` address of the job record and queue. `rediss://` checks the
            server's certificate; `?ssl_ca_certs=FILE` names another authority than the system's, `ssl_certfile` and
            `ssl_keyfile` a certificate of our own.
        data_dir: folder of uploads, inputs and results, and of the embedded Redis.
        store_url: fsspec address of the artifact store; None means `data_dir`/jobs.
        bundle: name of the default model bundle, unless the alias `default` was pointed elsewhere.
        checkpoints: folder of bundles; None means the one shipped with the project.
        device: where the worker computes.
        max_upload_bytes: cap on the uploaded image file as sent.
        check_memory_bytes: what the check of one upload may allocate; an image that needs more is refused.
        check_time_limit_s: seconds the check of one upload may take.
        max_batch_items: cap on the ears of one batch.
        max_batch_bytes: cap on the images of one batch together, as sent and as unpacked.
        max_queued: cap on jobs waiting; further ones are answered 503.
        loaded_bundles: how many model bundles a worker keeps loaded.
        memory_limit_bytes: what the process that computes may allocate, its libraries' own data included (Linux); a
            job that needs more fails as such. None leaves it to the machine.
        time_limit_s: seconds one attempt may take before it is stopped.
        stop_grace_s: seconds a run that is to stop (canceled, or over its time) gets before harsher means are used.
        stale_after_s: seconds without a sign of life after which a worker counts as dead.
        max_attempts: how often a job is begun when its worker dies: 3 is one run and two more.
        retention_s: seconds after which a finished job's files are erased; None keeps them.
        access: `keys` asks for an API key, `open` lets in everybody on this machine; None takes `open` when the service
            listens on a loopback address, otherwise `keys`.
        keys_file: file of the API keys; None means `data_dir`/keys.json.
        max_requests_per_s: requests a second of one API key (or, with open access, of one address), averaged over ten
            seconds; further ones are answered 429.
        max_active_per_key: cap on the jobs of one API key that wait or run; further ones are answered 429.
        max_connections: cap on open connections of one API process; further ones are answered 503.
        head_timeout_s: seconds within which the head of a request must have come.
        stall_timeout_s: seconds over which the rate of an upload is measured, and for which a client may not read.
        min_upload_rate: bytes a second under which an upload is given up.
        root_path: path prefix under which a proxy, which strips it, offers the service, such as `/cochlear`.
        trusted_proxies: addresses and networks, separated by commas, whose `X-Forwarded-*` headers are believed.
        deaf_after_s: seconds without a message consumed after which an idle worker counts as deaf; it sends itself one
            every quarter of that time, and ends itself to be started again after twice that time.
        min_free_bytes: free space of the data folder's disk under which the service is not ready and takes no uploads;
            None means 1 GiB, on small disks 5 percent.
        log_format: `json`, or `text` for people; None takes text when standard error is a terminal, otherwise json.
        forget_after_s: seconds after which the record of an expired job is erased, too; None keeps it.
        queues: from which queues a worker takes jobs: `cpu`, `gpu` or, as when nothing is set, `cpu,gpu`.
        gpu_bundles: names of the bundles, separated by commas, whose jobs go to the queue `gpu`; `*` for all. Jobs of
            others go to `cpu`. The API processes need it.
        webhook_secret: `whsec_` and 24 to 64 bytes in base64, which webhooks are signed with; several, separated by
            spaces, sign each message with each, so that receivers can change over; None offers no webhooks.
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
    check_memory_bytes: int = Field(default=8 * 1024 * _MEBIBYTE, ge=256 * _MEBIBYTE)
    check_time_limit_s: int = Field(default=120, ge=1)
    max_batch_items: int = Field(default=100, gt=0)
    max_batch_bytes: int = Field(default=4096 * _MEBIBYTE, gt=0)
    max_queued: int = Field(default=1000, gt=0)
    loaded_bundles: int = Field(default=2, ge=1)
    memory_limit_bytes: int | None = Field(default=None, gt=0)
    time_limit_s: float = Field(default=1800.0, gt=1)
    stop_grace_s: float = Field(default=5.0, ge=0.1)
    stale_after_s: float = Field(default=30.0, ge=0.1)
    max_attempts: int = Field(default=3, ge=1)
    retention_s: float | None = Field(default=None, gt=0)
    access: Literal["keys", "open"] | None = None
    keys_file: Path | None = None
    max_requests_per_s: float = Field(default=200.0, ge=0.1)
    max_active_per_key: int = Field(default=200, gt=0)
    max_connections: int = Field(default=512, gt=0)
    head_timeout_s: float = Field(default=10.0, gt=0)
    stall_timeout_s: float = Field(default=20.0, gt=0)
    min_upload_rate: int = Field(default=2048, ge=0)
    root_path: str = Field(default="", pattern=r"^(/[A-Za-z0-9._~-]+)*$")
    trusted_proxies: str = ""
    deaf_after_s: float = Field(default=60.0, ge=0.4)
    min_free_bytes: int | None = Field(default=None, ge=0)
    log_format: Literal["json", "text"] | None = None
    forget_after_s: float | None = Field(default=30 * 86400.0, gt=0)
    queues: Annotated[tuple[QueueName, ...], NoDecode, Field(min_length=1)] = QUEUES
    gpu_bundles: Annotated[tuple[str, ...], NoDecode] = ()
    webhook_secret: SecretStr | None = None
    webhook_allow: Annotated[tuple[str, ...], NoDecode] = ()
    webhook_attempts: int = Field(default=14, ge=1)
    webhook_retry_s: float = Field(default=5.0, gt=0)

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        """Make the folder independent of later changes of the working directory."""
        return value.expanduser().resolve()

    @field_validator("keys_file")
    @classmethod
    def _unresolved(cls, value: Path | None) -> Path | None:
        """Make the file absolute but follow no links yet: a mounted secret is changed by turning a link."""
        return None if value is None else value.expanduser().absolute()

    @field_validator("redis_url")
    @classmethod
    def _checked(cls, value: str | None) -> str | None:
        """Refuse an address that cannot be meant."""
        if value is not None:
            check_address(value)
        return value

    @field_validator("webhook_allow", "queues", "gpu_bundles", mode="before")
    @classmethod
    def _split(cls, value: object, info: ValidationInfo) -> object:
        """Take the list as one text, as environment variables give it; bundles are named with their case."""
        if not isinstance(value, str):
            return value
        text = value if info.field_name == "gpu_bundles" else value.lower()
        return tuple(dict.fromkeys(word.strip() for word in text.split(",") if word.strip()))

    @field_validator("webhook_secret")
    @classmethod
    def _well_formed(cls, value: SecretStr | None) -> SecretStr | None:
        """Refuse secrets that are none by the Standard Webhooks specification."""
        if value is not None and not all(map(_is_secret, value.get_secret_value().split(" "))):
            raise ValueError("must be whsec_ and 24 to 64 random bytes in base64, or several of these")
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
    def key_file(self) -> Path:
        """The file of the API keys."""
        return self.data_dir / "keys.json" if self.keys_file is None else self.keys_file

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


def _is_secret(text: str) -> bool:
    """Tell whether a text is a signing secret."""
    prefix, _, encoded = text.partition("_")
    try:
        size = len(base64.b64decode(encoded, validate=True))
    except ValueError:
        return False
    return prefix == "whsec" and 24 <= size <= 64
