#!/bin/busybox sh
# SPDX-License-Identifier: MIT
# Process 1 of the Linux guest that `cargo xtask bench` measures.
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
/bin/busybox mount -t tmpfs tmp /tmp
cd /tmp || exit 1
/bin/bench 0.02
/bin/bench 0.02 fork
/bin/busybox poweroff -f
