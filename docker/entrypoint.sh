#!/bin/bash
# Take over the settings of the mounted Vivado and Vitis HLS, then become the command.
# Xilinx' settings files return errors for products that are not installed, so what counts is checked after them.
for tool in "$CXRFLOW_VIVADO" "$CXRFLOW_HLS"; do
    # shellcheck disable=SC1091
    source "$tool/settings64.sh" > /dev/null 2>&1
done
set -eu
for program in vivado "$CXRFLOW_HLS_PROGRAM"; do
    command -v "$program" > /dev/null || {
        echo "$program is not on PATH after settings64.sh of $CXRFLOW_VIVADO and $CXRFLOW_HLS" >&2
        exit 78
    }
done
# FINN loads Vivado's simulator into its own process, whose libraries lie here.
libraries=/lib/x86_64-linux-gnu:$XILINX_VIVADO/lib/lnx64.o:$CXRFLOW_HLS/lnx64/tools/fpo_v7_1
export LD_LIBRARY_PATH="$libraries${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
# FlexLM, the licence client, crashes in a container without it.
export LD_PRELOAD=/lib/x86_64-linux-gnu/libudev.so.1
exec "$@"
