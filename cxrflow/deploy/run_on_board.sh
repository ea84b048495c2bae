#!/bin/sh
# Verify this accelerator on this board, measure it, and write the figures to results.json.
# Run as root on the board, from any folder:  sudo sh run_on_board.sh
# Research use only, not a medical device.
set -eu
cd "$(dirname "$0")"

# PYNQ's Python lives in an environment of its own; both files exist on PYNQ images only.
for profile in /etc/profile.d/pynq_venv.sh /etc/profile.d/xrt_setup.sh; do
    # shellcheck disable=SC1090
    [ -r "$profile" ] && . "$profile"
done

version=$(python3 -c 'import importlib.metadata as m; print(m.version("pynq"))' 2>/dev/null) || {
    echo "no pynq for $(command -v python3): run this on a PYNQ image 3.0 or newer" >&2
    exit 2
}
case $version in
    3.* | 4.*) echo "pynq $version" ;;
    *) echo "found pynq $version, expected 3.0 or newer: update the board's PYNQ image" >&2; exit 2 ;;
esac

python3 -m driver verify --device board
python3 -m driver bench --device board >results.json.partial
mv results.json.partial results.json
echo "wrote $PWD/results.json"
