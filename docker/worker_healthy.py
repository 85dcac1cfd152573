"""Exit with 0 when the worker of this container left a sign of life in Redis lately: the image's health check."""

import socket
import sys

from worker.job_store import JobStore
from worker.settings import Settings

settings = Settings()
store = JobStore(settings.required_redis_url(), settings.stale_after_s)
# Names of workers begin with the name of their host, so that the answer is about this container.
sys.exit(not any(name.startswith(f"{socket.gethostname()}:") for name in store.live_workers()))
