#!/bin/sh
# Runs a command of the service with the password of Redis put into COCHLEAR_REDIS_URL.
#
# The password comes from the file that COCHLEAR_REDIS_PASSWORD_FILE names, so that neither the description of the
# container nor the list of processes shows it. Without that variable the address is taken as it is.
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
exec "$@"
