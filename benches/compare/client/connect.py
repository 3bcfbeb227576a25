#!/usr/bin/env python3
"""New TLS connections with one request each, one after another in a few processes; full handshakes, or resumed ones.

Prints how many were made. Fails where one that should be resumed is not, or one that should be full is resumed.
"""

import argparse
import multiprocessing
import sys

import wire


def one(arguments, context, buffer, session):
    stream = wire.connect(context, "localhost", arguments.port, session)
    headers = [f"Authorization: Bearer {arguments.token}"] if arguments.token else []
    status, _, length, _ = wire.exchange(stream, buffer, "GET", f"localhost:{arguments.port}", arguments.path, headers)
    if (status, length) != (200, arguments.length):
        raise wire.Refused(f"{status} with {length} bytes")
    # A ticket is for one connection: the next one uses what this one was given.
    reused, session = stream.session_reused, stream.session
    stream.close()
    return reused, session


def work(arguments, count):
    context, buffer = wire.tls(arguments.ca), bytearray(65536)
    resume = arguments.mode == "resumed"
    session = one(arguments, context, buffer, None)[1] if resume else None
    for _ in range(count):
        reused, following = one(arguments, context, buffer, session)
        if reused != resume:
            raise wire.Refused("resumed" if reused else "not resumed")
        session = following if resume else None
    return count


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mode", choices=["full", "resumed"], required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--processes", type=int, default=4)
    wire.add_target(parser)
    arguments = parser.parse_args()
    share = arguments.count // arguments.processes
    with multiprocessing.Pool(arguments.processes) as pool:
        print(sum(pool.starmap(work, [(arguments, share)] * arguments.processes)))


if __name__ == "__main__":
    try:
        main()
    except (wire.Refused, OSError) as error:
        sys.exit(f"connect.py: {error}")
