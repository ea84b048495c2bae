#!/bin/sh
# Fetch what LIST names, each at its commit and nothing else of its history, into OUT.
# usage: fetch.sh LIST OUT
set -eu
list=$1 out=$2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
grep -v '^#' "$list" | while read -r folder repository commit part; do
    git init --quiet "$scratch/repository"
    git -C "$scratch/repository" fetch --quiet --depth 1 "$repository" "$commit"
    git -C "$scratch/repository" checkout --quiet FETCH_HEAD
    mkdir -p "$out/$(dirname "$folder")"
    rm -rf "$scratch/repository/.git"
    cp -R "$scratch/repository/$part" "$out/$folder"
    rm -rf "$scratch/repository"
done
