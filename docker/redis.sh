#!/bin/sh
# Starts Redis with the password of a secret file, which neither its arguments nor its environment show.
#
# A write is in the append-only file before it is answered, as an accepted job must not be lost with the machine. Records
# must never be evicted, so a full memory refuses writes instead.
set -eu
umask 077
{
    echo "requirepass $(cat /run/secrets/redis_password)"
    echo "dir /data"
    echo "appendonly yes"
    echo "appendfsync always"
    echo 'save ""'
    echo "maxmemory $REDIS_MAXMEMORY"
    echo "maxmemory-policy noeviction"
} > /tmp/redis.conf
exec redis-server /tmp/redis.conf
