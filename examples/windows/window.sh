#!/bin/sh
# A script marks its own response-time windows through trace_marker; only root may write there.
#
#     rtrec rt --window-marker ./window.sh && rtrec report --windows
#
# Texts are `start [TID] [MILLISECONDS] [LABEL]` and `stop [TID] [LABEL]`. On kernels without the option
# copy_trace_marker (before 6.16) the instance's own file must be written to: pass its path in RTREC_MARKER.
#
# SPDX-License-Identifier: MIT OR Apache-2.0
marker=${RTREC_MARKER:-/sys/kernel/tracing/trace_marker}

mark() {
    # One write a text: the shell's own printf does that.
    printf '%s\n' "$*" >"$marker"
}

for number in 1 2 3; do
    # The sleep is a process of its own; the window is the shell's.
    mark start 100 "job"
    sleep "0.$number"
    mark stop "job"
done
