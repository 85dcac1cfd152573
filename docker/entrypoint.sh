#!/bin/sh
# Runs a command of the service with what secret files hold put into its settings.
#
# COCHLEAR_REDIS_PASSWORD_FILE names the file of the password that goes into COCHLEAR_REDIS_URL, and
# COCHLEAR_WEBHOOK_SECRET_FILE the one that becomes COCHLEAR_WEBHOOK_SECRET, so that neither the description of the container
# nor the list of processes shows them. What is not named stays as it is.
set -eu

if [ -n "${COCHLEAR_REDIS_PASSWORD_FILE:-}" ]; then
    password=$(cat "$COCHLEAR_REDIS_PASSWORD_FILE")
    case $password in
        '' | *[!A-Za-z0-9_.~-]*)
            # Others would have to be escaped in an address (RFC 3986, section 2.3).
            echo "the password of Redis must be of letters, digits, '_', '.', '~' and '-'" >&2
            exit 2
            ;;
    esac
    COCHLEAR_REDIS_URL="${COCHLEAR_REDIS_URL%%://*}://:$password@${COCHLEAR_REDIS_URL#*://}"
    export COCHLEAR_REDIS_URL
    unset password
fi
if [ -n "${COCHLEAR_WEBHOOK_SECRET_FILE:-}" ]; then
    COCHLEAR_WEBHOOK_SECRET=$(cat "$COCHLEAR_WEBHOOK_SECRET_FILE")
    export COCHLEAR_WEBHOOK_SECRET
fi
exec "$@"
