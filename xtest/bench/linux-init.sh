#!/bin/busybox sh
# SPDX-License-Identifier: MIT
#
# /init of the Linux guest that the benchmark is compared with. The initramfs holds /bin/busybox,
# /bin/bench and /bin/hello, all static, and the folders /proc, /dev and /tmp. The marker lines carry
# the guest's uptime: when user space began, when the benchmark was done, and after twenty starts of
# a small program.

busybox=/bin/busybox

mark() {
    echo "$1" "$($busybox cat /proc/uptime)"
}

$busybox mount -t proc proc /proc
$busybox mount -t devtmpfs devices /dev
$busybox mount -t tmpfs temporary /tmp
cd /tmp || $busybox poweroff -f

mark USERLAND
/bin/bench 0.02
/bin/bench 0.02 fork
mark BENCHDONE

started=0
while [ "$started" -lt 20 ]; do
    /bin/hello >/dev/null
    started=$((started + 1))
done
mark HELLO20

$busybox free -k
$busybox poweroff -f
