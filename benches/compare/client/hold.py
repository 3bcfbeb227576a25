#!/usr/bin/env python3
"""Connections to a proxy that are held, and what its memory grows by: one line of JSON.

idle      one request each, answered and read, then nothing
stalled   one blob each over HTTP/1.1, of which nothing is read
h2stalled the same over HTTP/2, a stream on each connection
h2streams one connection with as many such streams

Memory is that of the process and its children: resident (RSS), and with shared pages divided (PSS).
"""

import argparse
import collections
import json
import os
import pathlib
import subprocess
import sys
import time

import h2
import wire


def tree(pid):
    children = subprocess.run(["pgrep", "-P", str(pid)], capture_output=True, text=True).stdout.split()
    return [pid, *map(int, children)]


def field(pid, file, name):
    for line in pathlib.Path(f"/proc/{pid}/{file}").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1])
    return 0


def memory(pid):
    pids = tree(pid)
    return {
        "rss_kib": sum(field(one, "status", "VmRSS") for one in pids),
        "pss_kib": sum(field(one, "smaps_rollup", "Pss") for one in pids),
        "peak_kib": max(field(one, "status", "VmHWM") for one in pids),
    }


def settled(pid):
    """Memory once it has stood still for a second; the last reading after fifteen."""
    before = memory(pid)
    for _ in range(15):
        time.sleep(1)
        now = memory(pid)
        if abs(now["pss_kib"] - before["pss_kib"]) <= max(64, before["pss_kib"] // 200):
            return now
        before = now
    return before


class Holder:
    def __init__(self, arguments):
        self.arguments, self.buffer = arguments, bytearray(65536)
        self.authority = f"localhost:{arguments.port}"
        self.context = wire.tls(arguments.ca, "h2" if arguments.what.startswith("h2") else "http/1.1")
        self.headers = [f"Authorization: Bearer {arguments.token}"] if arguments.token else []
        self.streams = []

    def connect(self):
        # A proxy may share its memory out by addresses: sixteen of them, as of many clients.
        source = f"127.0.1.{len(self.streams) % 16 + 1}"
        small = None if self.arguments.what == "idle" else 65536
        stream = wire.connect(self.context, "localhost", self.arguments.port, source=source, receive_buffer=small)
        self.streams.append(stream)
        return stream

    def small(self, stream):
        return wire.exchange(stream, self.buffer, "GET", self.authority, self.arguments.small, self.headers)[0]

    def idle(self):
        for _ in range(self.arguments.count):
            if (status := self.small(self.connect())) != 200:
                raise wire.Refused(f"{self.arguments.small}: {status}")

    def stalled(self):
        for _ in range(self.arguments.count):
            self.connect().sendall(wire.head("GET", self.authority, self.arguments.path, self.headers))

    def h2stalled(self):
        for _ in range(self.arguments.count):
            stream = self.connect()
            h2.begin(stream)
            h2.get(stream, 1, self.authority, self.arguments.path, self.arguments.token)

    def h2streams(self):
        stream = self.connect()
        h2.begin(stream)
        for number in range(self.arguments.count):
            h2.get(stream, 2 * number + 1, self.authority, self.arguments.path, self.arguments.token)

    def answers(self):
        """How many were answered with what; "none": nothing came, "closed": the connection is gone."""
        streams = self.arguments.count if self.arguments.what == "h2streams" else 1
        found = collections.Counter()
        for stream in self.streams:
            # what has not come by now is not on its way
            stream.settimeout(0.2 if self.arguments.what in ("stalled", "h2stalled") else 5)
            try:
                if self.arguments.what == "idle":
                    found[str(self.small(stream))] += 1
                elif self.arguments.what == "stalled":
                    found[str(wire.read_head(stream)[0])] += 1
                else:
                    found.update("200" if good else "another" for good in h2.statuses(stream, streams))
            except TimeoutError:
                found["none"] += streams
            except (wire.Refused, OSError):
                found["closed"] += streams
        return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--what", choices=["idle", "stalled", "h2stalled", "h2streams"], required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--pid", type=int, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", required=True, help="a blob that is larger than all buffers")
    parser.add_argument("--small", required=True, help="something small")
    parser.add_argument("--ca", required=True)
    parser.add_argument("--token", default=os.environ.get("TOKEN"))
    arguments = parser.parse_args()
    before, began, holder = settled(arguments.pid), time.monotonic(), Holder(arguments)
    getattr(holder, arguments.what)()
    opened = time.monotonic() - began
    after = settled(arguments.pid)
    answers = holder.answers()
    each = {name: round((after[name] - before[name]) / arguments.count, 1) for name in ("rss_kib", "pss_kib")}
    report = {"what": arguments.what, "count": arguments.count, "answers": answers, "opened_in": round(opened, 2)}
    print(json.dumps(report | {"before": before, "after": after, "each": each}))


if __name__ == "__main__":
    try:
        main()
    except (wire.Refused, OSError) as error:
        sys.exit(f"hold.py: {error}")
