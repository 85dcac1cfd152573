"""A probe of containers: does the worker of this host live? `python -m worker.probe [--tolerate-redis]`.

The worker leaves its signs of life in Redis under the name of its host, which a container has for itself.
"""

from __future__ import annotations

import argparse
import socket
import sys

from redis.exceptions import RedisError

from worker import redis_errors
from worker.job_store import JobStore
from worker.settings import Settings


def main(arguments: list[str] | None = None) -> int:
    """Look once; give 0 when it lives, otherwise 1 with the reason on standard error."""
    parser = argparse.ArgumentParser(description="Tell whether the worker of this host lives.")
    parser.add_argument(
        "--tolerate-redis", action="store_true", help="pass while Redis is away: starting again would not bring it back"
    )
    tolerant = parser.parse_args(arguments).tolerate_redis
    settings = Settings()
    store = JobStore(settings.required_redis_url(), settings.stale_after_s)
    try:
        alive = any(name.startswith(socket.gethostname() + ":") for name in store.live_workers())
    except RedisError as error:
        sys.stderr.write(f"Redis {redis_errors.reason(error)}\n")
        return 0 if tolerant else 1
    finally:
        store.close()
    if not alive:
        sys.stderr.write("the worker of this host leaves no sign of life\n")
    return 0 if alive else 1


if __name__ == "__main__":
    sys.exit(main())
