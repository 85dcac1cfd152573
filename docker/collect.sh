#!/bin/sh
# Collects the wheels of the project's dependencies, in the versions of constraints.txt, within a build of the images.
#
#   collect.sh FOLDER [EXTRA]
set -eu

if [ -s /run/secrets/ca_bundle ]; then
    export PIP_CERT=/run/secrets/ca_bundle
fi
# An argument that was not given is no address.
[ -n "${PIP_INDEX_URL:-}" ] || unset PIP_INDEX_URL
[ -n "${PIP_EXTRA_INDEX_URL:-}" ] || unset PIP_EXTRA_INDEX_URL

mkdir -p "$1"
list="requirements${2:+-$2}.txt"
cp "$list" "$1"
# setuptools builds the project's own wheel.
/opt/tools/bin/pip wheel --quiet --wheel-dir "$1" --find-links /given --constraint constraints.txt \
    --requirement "$list" setuptools
