#!/bin/sh
# Build the image that `make bitstream SHELL=finn_iodma` runs. Needs Docker Engine and the internet, once.
# The label tells which files it was built from; finn_build/docker_build.py refuses an image of other files.
set -eu
cd "$(dirname "$0")/.."
command -v docker > /dev/null || {
    echo "docker is not on PATH, expected Docker Engine. Install it: https://docs.docker.com/engine/install" >&2
    exit 2
}
inputs=$(cat docker/Dockerfile docker/dependencies.txt docker/fetch.sh docker/entrypoint.sh requirements.lock | sha256sum | cut -d ' ' -f 1)
exec docker build --platform linux/amd64 --label "cxrflow.inputs=$inputs" --tag cxrflow-finn --file docker/Dockerfile .
