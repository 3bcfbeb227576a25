#!/usr/bin/env python3
"""A wire between two network namespaces that delays and loses packets.

    wire.py NAMESPACE ADDRESS NAMESPACE ADDRESS --delay MS --loss PERCENT

Makes a device `wire` with the first address in the first namespace and one with the second in the second; with
`--device NAME` the devices are called so instead. Delay and loss are of each direction. Prints "ready" when packets
pass, and how many went and were lost when it ends, by SIGTERM. Needs root and /dev/net/tun; the kernel's own netem is
not everywhere.
"""

import argparse
import ctypes
import fcntl
import heapq
import os
import random
import select
import signal
import struct
import subprocess
import sys
import time

CLONE_NEWNET = 0x40000000
TUNSETIFF = 0x400454CA
IFF_TUN, IFF_NO_PI = 0x0001, 0x1000

libc = ctypes.CDLL(None, use_errno=True)


def enter(namespace):
    if libc.setns(namespace, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def tunnel(namespace, device, address, peer):
    """A tun device in a namespace, as a file."""
    here = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open("/run/netns/" + namespace, os.O_RDONLY)
    enter(there)
    file = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(file, TUNSETIFF, struct.pack("16sH22x", device.encode(), IFF_TUN | IFF_NO_PI))
    for command in (
        f"ip addr add {address} peer {peer} dev {device}",
        f"ip link set {device} mtu 1500 txqueuelen 1000 up",
    ):
        subprocess.check_call(command.split())
    enter(here)
    os.close(here)
    os.close(there)
    return file


def carry(ends, delay, loss):
    """Packets from each end to the other, in order, until SIGTERM."""
    queue, number, counts = [], 0, {"passed": 0, "lost": 0}

    def stop(*_):
        print(f"{counts['passed']} packets passed, {counts['lost']} lost", flush=True)
        sys.exit(0)

    signal.signal(signal.SIGTERM, stop)
    print("ready", flush=True)
    while True:
        wait = max(0, queue[0][0] - time.monotonic()) if queue else None
        readable, _, _ = select.select(ends, [], [], wait)
        now = time.monotonic()
        for end in readable:
            other = ends[1] if end == ends[0] else ends[0]
            for _ in range(256):
                try:
                    packet = os.read(end, 65536)
                except BlockingIOError:
                    break
                if random.random() * 100 < loss:
                    counts["lost"] += 1
                    continue
                number += 1
                heapq.heappush(queue, (now + delay / 1000, number, other, packet))
        now = time.monotonic()
        while queue and queue[0][0] <= now:
            _, _, other, packet = heapq.heappop(queue)
            counts["passed"] += 1
            try:
                os.write(other, packet)
            except BlockingIOError:
                pass


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("first", "first_address", "second", "second_address"):
        parser.add_argument(name)
    parser.add_argument("--delay", type=float, default=0)
    parser.add_argument("--loss", type=float, default=0)
    parser.add_argument("--device", default="wire")
    given = parser.parse_args()
    ends = [
        tunnel(given.first, given.device, given.first_address, given.second_address),
        tunnel(given.second, given.device, given.second_address, given.first_address),
    ]
    carry(ends, given.delay, given.loss)


main()
