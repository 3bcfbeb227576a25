#!/usr/bin/env python3
"""HEAD over kept HTTP/1.1 connections, one under way on each; wrk and h2load would wait for a body that never comes.

Prints how many requests were answered.
"""

import argparse
import selectors
import ssl
import sys
import time

import wire


class Sender:
    def __init__(self, stream, request, length):
        self.stream, self.request, self.data = stream, request, b""
        self.wanted = f"content-length: {length}\r\n".encode()

    def send(self):
        self.data = b""
        self.stream.sendall(self.request)

    def done(self):
        """Whether the answer is whole."""
        while True:
            try:
                more = self.stream.recv(65536)
            except ssl.SSLWantReadError:
                return False
            if not more:
                raise wire.Refused("closed")
            self.data += more
            if self.data.endswith(b"\r\n\r\n"):
                if not self.data.startswith(b"HTTP/1.1 200") or self.wanted not in self.data.lower():
                    raise wire.Refused(repr(self.data[:200]))
                return True


def run(arguments, senders, selector):
    answered, end = 0, time.monotonic() + arguments.seconds
    for sender in senders:
        sender.send()
    under_way = len(senders)
    while under_way:
        ready = selector.select(timeout=30)
        if not ready:
            raise wire.Refused("no answer within 30 s")
        go_on = time.monotonic() < end
        for key, _ in ready:
            if key.data.done():
                answered += 1
                if go_on:
                    key.data.send()
                else:
                    under_way -= 1
    return answered


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--connections", type=int, default=64)
    wire.add_target(parser)
    arguments = parser.parse_args()
    headers = [f"Authorization: Bearer {arguments.token}"] if arguments.token else []
    request = wire.head("HEAD", f"localhost:{arguments.port}", arguments.path, headers)
    context, selector, senders = wire.tls(arguments.ca), selectors.DefaultSelector(), []
    for _ in range(arguments.connections):
        stream = wire.connect(context, "localhost", arguments.port)
        stream.setblocking(False)
        senders.append(Sender(stream, request, arguments.length))
        selector.register(stream, selectors.EVENT_READ, senders[-1])
    print(run(arguments, senders, selector))


if __name__ == "__main__":
    try:
        main()
    except (wire.Refused, OSError) as error:
        sys.exit(f"head.py: {error}")
