#!/usr/bin/busybox sh
# SPDX-License-Identifier: MIT
# Process 1 of a Linux guest whose KVM cannot be trusted: `cargo xtask test --full kvm`.
/usr/bin/busybox mkdir -p /proc /sys /dev /tmp
/usr/bin/busybox mount -t proc proc /proc
/usr/bin/busybox mount -t sysfs sys /sys
/usr/bin/busybox mount -t devtmpfs dev /dev
/usr/bin/busybox mount -t tmpfs tmp /tmp
/usr/bin/busybox --install -s /usr/bin
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp
for module in irqbypass kvm kvm-amd; do
    unxz -c "/modules/$module.ko.xz" > "/tmp/$module.ko" && insmod "/tmp/$module.ko"
done
strongroom run -v --root /guest -- /bin/busybox sh -c \
    'seq 1 20000 | grep -c 7; for i in 1 2 3; do (exec true) & done; wait; exit 42'
echo "status $?"
strongroom run --accel kvm --root /guest -- /bin/busybox true
echo "status $?"
poweroff -f
