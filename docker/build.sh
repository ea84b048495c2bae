#!/bin/sh
# Build the image that `make bitstream SHELL=finn_iodma` runs. Needs the internet, and docker, podman or buildah.
# usage: build.sh [ENGINE [OPTION...]]   ENGINE: the first of the three that is there; OPTIONs are those of its build
# The label tells which files it was built from; finn_build/docker_build.py refuses an image of other files.
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
    said=$("$engine" info 2>&1 > /dev/null) ||
        refuse "$engine does not work here: $(echo "$said" | tail -n 1). Start its service, or run this as a user who may use it."
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

# buildah leaves the container it was working in when it is interrupted; the others have a service, or clean up.
working() {
    [ "$engine" != buildah ] || buildah containers --quiet | sort
}
remove_new() {
    working | comm -13 "$before" - | xargs -r buildah rm > /dev/null
    rm -f "$before"
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
setsid "$engine" build --platform linux/amd64 --label "cxrflow.inputs=$inputs" --tag cxrflow-finn --file docker/Dockerfile "$@" . &
build=$!
trap 'kill -TERM -$build; wait $build || true; echo "interrupted: no image was made" >&2; exit 130' INT TERM HUP
wait $build || {
    code=$?
    echo "the image was not built. What went wrong is in the lines above; run the same command again." >&2
    exit $code
}
