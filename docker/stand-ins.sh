#!/bin/sh
# Makes local stand-ins for the base images out of Debian packages, for machines that cannot pull images.
#
#   docker/stand-ins.sh > stand-ins.env
#   docker compose --env-file .env --env-file stand-ins.env build
#
# It prints the settings that name what it made, and those by which builds reach the package index the way pip does on
# this machine: its index, its certificates, its folder of wheels. It needs root, debootstrap and a running Docker engine, and installs
# nothing on the machine itself. DEBIAN_MIRROR names the mirror; unset, debootstrap takes its own default.
set -eu

SUITE=bookworm # the release of Debian whose Python is 3.11
PREFIX=cochlear-stand-in

fail() {
    echo "stand-ins: $1" >&2
    exit 1
}

[ "$(id -u)" = 0 ] || fail "must be run as root, as debootstrap changes its root folder"
command -v debootstrap > /dev/null || fail "needs debootstrap (Debian package debootstrap)"
command -v docker > /dev/null || fail "needs the docker command (Debian package docker.io or docker-cli)"
docker info > /dev/null 2>&1 || fail "no Docker engine answers (DOCKER_HOST names another than the usual)"

work=$(mktemp -d "${TMPDIR:-/var/tmp}/stand-ins.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir "$work/packages"

# bootstrap NAME PACKAGES: makes a small Debian with these packages in $work/NAME.
bootstrap() {
    debootstrap --variant=minbase --cache-dir="$work/packages" --include="$2" "$SUITE" "$work/$1" \
        ${DEBIAN_MIRROR:+"$DEBIAN_MIRROR"} >&2
    rm -rf "$work/$1/var/cache/apt/archives" "$work/$1/var/lib/apt/lists" "$work/$1/usr/share/doc" \
        "$work/$1/usr/share/man" "$work/$1/usr/share/locale" "$work/$1/var/log" "$work/$1/etc/resolv.conf"
    mkdir "$work/$1/var/log"
}

# import NAME TAG: makes an image of $work/NAME.
import() {
    tar --numeric-owner -C "$work/$1" -c . | docker import \
        --change 'ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin' \
        - "$PREFIX-$1:$2" > /dev/null
    rm -rf "${work:?}/$1"
}

bootstrap python python3,python3-venv,ca-certificates
ln -s /usr/bin/python3.11 "$work/python/usr/local/bin/python"
import python 3.11

# As in the image it stands for, user and group 999 own the data folder.
bootstrap redis redis-server
install -d -o 999 -g 999 "$work/redis/data"
import redis 7

# pip_option NAME: prints what pip is told on this machine, by its variables or else its files.
pip_option() {
    python3 -m pip config list 2> /dev/null | sed -n "s/^[^ =]*\\.$1='\\(.*\\)'$/\\1/p" | head -n 1
}

cert=$(pip_option cert)
index=$(pip_option index-url)
wheels=$(pip_option find-links)
[ -z "$cert" ] || echo "COCHLEAR_CA_BUNDLE=$cert"
[ -z "$index" ] || echo "PIP_INDEX_URL=$index"
# Only a folder can be handed to a build.
[ ! -d "$wheels" ] || echo "COCHLEAR_WHEELS=$wheels"
echo "PYTHON_IMAGE=$PREFIX-python:3.11"
echo "REDIS_IMAGE=$PREFIX-redis:7"
