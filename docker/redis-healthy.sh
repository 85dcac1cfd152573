#!/bin/sh
# Tells whether Redis answers; while it reads its append-only file it does not.
set -eu
REDISCLI_AUTH=$(cat /run/secrets/redis_password)
export REDISCLI_AUTH
[ "$(redis-cli ping)" = PONG ]
