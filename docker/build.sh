#!/bin/sh
# Build the image that `make bitstream SHELL=finn_iodma` runs. Needs the internet, and docker, podman or buildah.
# usage: build.sh [ENGINE] [OPTION...]   ENGINE: the first of the three that works; OPTIONs are those of its build
# The label tells which files it was built from; finn_build/flows/finn_iodma/image.py refuses an image of other files.
set -eu
cd "$(dirname "$0")/.."
NEEDED_GB=10 # the image, and what is unpacked and packed on the way
PACKED_GB=3  # of it where the engine packs layers, which may be another disk
FILES='docker/Dockerfile docker/dependencies.txt docker/fetch.sh docker/packages.txt docker/entrypoint.sh requirements.lock'

refuse() {
    echo "$1" >&2
    exit 2
}

# What the engine says where it cannot work: no running service, no rights, no user namespaces.
works() {
    said=$("$engine" info 2>&1 > /dev/null) && return
    reason=$(echo "$said" | sed '/^time=.* level=/d' | tail -n 1) # the log's last line is no reason
    [ -n "$reason" ] || reason=$(echo "$said" | tail -n 1)
    case $reason in *[.?!]) ;; *) reason=$reason. ;; esac
    reason="$engine does not work here: $reason"
    return 1
}
HELP='Start its service, or run this as a user who may use it.'

find_engine() {
    reasons=''
    for engine in docker podman buildah; do
        command -v $engine > /dev/null || continue
        works || {
            reasons="$reasons$reason "
            continue
        }
        [ -z "$reasons" ] || echo "${reasons}So $engine builds the image; docs/docker.md says how Docker gets it." >&2
        return
    done
    [ -z "$reasons" ] || refuse "$reasons$HELP"
    refuse "docker, podman and buildah are not on PATH, expected one of them. Install Docker Engine: https://docs.docker.com/engine/install"
}

require_space() { # FOLDER, GB
    free=$(($(df -Pk "$1" | awk 'END { print $4 }') / 1000000))
    [ "$free" -ge "$2" ] || refuse "$1 has $free GB left, the image needs $2 GB there while it is built. Free some space."
}

# Without a service, the containers that an interrupted build was working in are left. Others may use the same storage,
# so only those are removed that have this build's mark, in what they remember of the build's options.
remove_ours() {
    [ -n "$scratch" ] || return 0
    grep -ls "id=$mark," "$place"/*-containers/*/userdata/buildah.json | sed 's|/userdata/buildah.json$||; s|.*/||' |
        case $engine in
            podman) xargs -r podman rm --force ;; # which believes that they are mounted
            buildah) xargs -r buildah rm ;;
        esac > /dev/null || true
    grep -q " $scratch/" /proc/self/mountinfo || rm -rf "$scratch" # through a mount, it would remove others' files
}

interrupted() {
    [ -z "$build" ] || {
        kill -TERM -"$build" 2> /dev/null || kill -TERM "$build" || true # it may have no group yet
        wait "$build" || true
    }
    echo "interrupted: no image was made" >&2
    exit 130
}

# Where root may, a build without a service gets namespaces of its own: whatever kills it or this script, kill -9
# included, ends all of its processes, and what it has mounted goes with them.
alone() {
    [ "$engine" = docker ] || [ "$(id -u)" -ne 0 ] || ! unshare --mount --pid --fork true 2> /dev/null ||
        echo setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child --mount-proc
}

case ${1-} in
    '' | -*) find_engine ;;
    docker | podman | buildah)
        engine=$1
        shift
        command -v "$engine" > /dev/null || refuse "$engine is not on PATH."
        works || refuse "$reason $HELP"
        ;;
    *) refuse "$1 is no engine, expected docker, podman or buildah, or an option of its build." ;;
esac
case $engine in
    docker) place=$(docker info --format '{{.DockerRootDir}}') ;;
    podman) place=$(podman info --format '{{.Store.GraphRoot}}') ;;
    buildah) place=$(buildah info --format '{{.store.GraphRoot}}') ;;
esac
[ ! -d "$place" ] || require_space "$place" $NEEDED_GB # it is on another machine

build='' scratch=''
trap remove_ours EXIT
trap interrupted INT TERM HUP
trap : PIPE # nobody may be there to read the last words
if [ "$engine" != docker ]; then
    temporary=${TMPDIR:-/var/tmp} # the engine's own choice
    scratch=$(mktemp -d "$temporary/cxrflow-build.XXXXXXXX" 2> /dev/null) ||
        refuse "$temporary cannot be written to, where $engine packs layers. Set TMPDIR to a folder with $PACKED_GB GB."
    require_space "$temporary" $PACKED_GB
    export TMPDIR="$scratch"
    mark=${scratch##*/}
    set -- --secret "id=$mark,src=/dev/null" "$@" # an empty one, that no step asks for
fi

# shellcheck disable=SC2086 # words
inputs=$(cat $FILES | sha256sum | cut -d ' ' -f 1)
# In a group of its own, of which all is ended where this is interrupted.
# shellcheck disable=SC2046 # words
setsid $(alone) "$engine" build --platform linux/amd64 --label "cxrflow.inputs=$inputs" --tag cxrflow-finn --file docker/Dockerfile "$@" . &
build=$!
wait $build || {
    code=$?
    echo "the image was not built. What went wrong is in the lines above; run the same command again." >&2
    exit $code
}
