#!/bin/sh
# Makes the secrets of docker-compose.yml in docker/secrets, or the folder that COCHLEAR_SECRETS names, each once: what is
# there is kept.
#
#   docker/secrets.sh
#
# The folder is closed to other users of this machine; the files in it can be read by the users of the containers,
# which Compose shows them to as they are.
set -eu

folder=${COCHLEAR_SECRETS:-$(dirname "$0")/secrets}
mkdir -p "$folder"
chmod 700 "$folder"

# random BYTES: prints that many random bytes in hexadecimal.
random() {
    od -A n -t x1 -N "$1" /dev/urandom | tr -d ' \n'
}

# keep NAME: stores standard input as a secret, unless it is there.
keep() {
    if [ -e "$folder/$1" ]; then
        cat > /dev/null
        return
    fi
    cat > "$folder/$1"
    chmod 444 "$folder/$1"
    echo "made $folder/$1" >&2
}

random 32 | keep redis_password
# As the Standard Webhooks specification writes it.
printf 'whsec_%s\n' "$(head -c 32 /dev/urandom | base64)" | keep webhook_secret
random 10 | keep s3_access_key
random 32 | keep s3_secret_key
printf '[default]\naws_access_key_id = %s\naws_secret_access_key = %s\n' \
    "$(cat "$folder/s3_access_key")" "$(cat "$folder/s3_secret_key")" | keep s3_credentials
