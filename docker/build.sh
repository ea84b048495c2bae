#!/bin/sh
# Build the image that `make bitstream SHELL=finn_iodma` runs. Needs the internet, and docker, podman or buildah.
# usage: build.sh [ENGINE [OPTION...]]   ENGINE: the first of the three that is there; OPTIONs are those of its build
# The label tells which files it was built from; finn_build/flows/finn_iodma/image.py refuses an image of other files.
set -eu
cd "$(dirname "$0")/.."
NEEDED_GB=10 # the image, and what is unpacked and packed on the way
FILES='docker/Dockerfile docker/dependencies.txt docker/fetch.sh docker/packages.txt docker/entrypoint.sh requirements.lock'

refuse() {
    echo "$1" >&2
    exit 2
}

find_engine() {
    for engine in docker podman buildah; do
        command -v $engine > /dev/null && return
    done
    refuse "docker, podman and buildah are not on PATH, expected one of them. Install Docker Engine: https://docs.docker.com/engine/install"
}

# What the engine says where it cannot work: no running service, no rights, no user namespaces.
require_engine() {
    said=$("$engine" info 2>&1 > /dev/null) || {
        plain=$(echo "$said" | sed '/^time=.* level=/d' | tail -n 1) # the log's last line is no reason
        [ -n "$plain" ] || plain=$(echo "$said" | tail -n 1)
        refuse "$engine does not work here: ${plain%.}. Start its service, or run this as a user who may use it."
    }
}

require_space() {
    case $engine in
        docker) place=$(docker info --format '{{.DockerRootDir}}') ;;
        podman) place=$(podman info --format '{{.Store.GraphRoot}}') ;;
        buildah) place=$(buildah info --format '{{.store.GraphRoot}}') ;;
    esac
    [ -d "$place" ] || return 0 # on another machine
    free=$(($(df -Pk "$place" | awk 'END { print $4 }') / 1000000))
    [ "$free" -ge $NEEDED_GB ] ||
        refuse "$place has $free GB left, the image needs $NEEDED_GB GB while it is built. Free some space."
}

# Without a service, the containers that an interrupted build was working in are left.
working() {
    case $engine in
        docker) ;;
        podman) podman ps --all --external --format '{{.ID}} {{.Status}}' | awk '$2 == "Storage" { print $1 }' | sort ;;
        buildah) buildah containers --quiet | sort ;;
    esac
}
remove_new() {
    working | comm -13 "$before" - | case $engine in
        podman) xargs -r podman rm --force ;; # which believes that they are mounted
        *) xargs -r buildah rm ;;
    esac > /dev/null
    rm -f "$before"
}

# Where root may, a build without a service gets namespaces of its own: whatever kills it or this script, kill -9
# included, ends all of its processes, and what it has mounted goes with them.
alone() {
    [ "$engine" = docker ] || [ "$(id -u)" -ne 0 ] || ! unshare --mount --pid --fork true 2> /dev/null ||
        echo setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child --mount-proc
}

if [ $# -gt 0 ]; then
    engine=$1
    shift
    command -v "$engine" > /dev/null || refuse "$engine is not on PATH."
else
    find_engine
fi
require_engine
require_space
before=$(mktemp)
working > "$before"
trap remove_new EXIT

# shellcheck disable=SC2086 # words
inputs=$(cat $FILES | sha256sum | cut -d ' ' -f 1)
# In a group of its own, of which all is ended where this is interrupted.
# shellcheck disable=SC2046 # words
setsid $(alone) "$engine" build --platform linux/amd64 --label "cxrflow.inputs=$inputs" --tag cxrflow-finn --file docker/Dockerfile "$@" . &
build=$!
trap 'kill -TERM -$build; wait $build || true; echo "interrupted: no image was made" >&2; exit 130' INT TERM HUP
wait $build || {
    code=$?
    echo "the image was not built. What went wrong is in the lines above; run the same command again." >&2
    exit $code
}
