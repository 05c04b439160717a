#!/bin/busybox sh
# Process 1 of the machine of machine.ts: what a distribution with cgroup version 2 alone has mounted, then systemd, if
# it is there, or the tests.
/bin/busybox --install -s /bin
export PATH=/bin HOME=/tmp NO_COLOR=1
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
mkdir -p /dev/shm /dev/pts /dev/mqueue /etc
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /tmp
mount -t tmpfs tmpfs /run
mount -t securityfs securityfs /sys/kernel/security
mount -t cgroup2 -o nsdelegate cgroup2 /sys/fs/cgroup
ip link set lo up
echo machine >/proc/sys/kernel/hostname
for module in /modules/*.ko; do insmod "$module" || echo "init: cannot load $module"; done

# Nobody may pivot away from the initial root: what is seen of it is a mount upon it from here on.
mount --rbind / /new
cd /new
mount --move . /
[ ! -x lib/systemd/systemd ] || exec chroot . /lib/systemd/systemd --unit=gantry-tests.service --log-target=console --log-level=warning
exec chroot . /bin/sh /machine.tests.sh
