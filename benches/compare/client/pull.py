#!/usr/bin/env python3
"""Clients that pull one image at once, with the requests that docker makes.

Each asks /v2/ what login is wanted, gets a token where it is Bearer, asks for the manifest by tag (HEAD), gets it by
digest, the configuration and the layers three at a time, over connections that are kept. Prints one line of JSON.
"""

import argparse
import base64
import json
import re
import sys
import threading
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor

import wire

ACCEPT = "Accept: application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"


class Lane:
    """One kept connection; opened by the first request on it, and again where the peer closed it between two."""

    def __init__(self, arguments, context):
        self.arguments, self.context = arguments, context
        self.buffer, self.stream = bytearray(262144), None
        self.requests = self.bytes = 0

    def ask(self, method, path, headers, keep=False):
        if self.stream is None:
            # a gate that hashes a password in each request keeps everybody waiting for minutes
            self.stream = wire.connect(self.context, self.arguments.host, self.arguments.port, timeout=1800)
        host = f"{self.arguments.host}:{self.arguments.port}"
        status, fields, length, body = wire.exchange(self.stream, self.buffer, method, host, path, headers, keep)
        if fields.get("connection", "").lower() == "close":
            self.close()
        self.requests += 1
        self.bytes += length
        return status, fields, length, body

    def get(self, path, headers, keep=False, method="GET", length=None):
        status, fields, got, body = self.ask(method, path, headers, keep)
        if status != 200 or length not in (None, got):
            raise wire.Refused(f"{method} {path}: {status}, {got} bytes")
        return fields, body

    def close(self):
        if self.stream:
            self.stream.close()
            self.stream = None


class Client:
    def __init__(self, arguments, user):
        self.arguments, context = arguments, wire.tls(arguments.ca)
        self.lanes = [Lane(arguments, context) for _ in range(3)]
        credentials = base64.b64encode(f"{user}:{arguments.password}".encode()).decode()
        self.basic, self.user = f"Authorization: Basic {credentials}", user

    def login(self):
        """The header that all further requests carry; None where no login is wanted."""
        status, fields, _, _ = self.lanes[0].ask("GET", "/v2/", [])
        if status == 200:
            return None
        challenge = fields.get("www-authenticate", "")
        if status != 401 or not challenge:
            raise wire.Refused(f"/v2/ answers {status}")
        if challenge.lower().startswith("basic"):
            return self.basic
        asked = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        realm = urllib.parse.urlsplit(asked["realm"])
        if realm.port != self.arguments.port:
            raise wire.Refused(f"the realm is elsewhere: {asked['realm']}")
        scope = f"repository:{self.arguments.repository}:pull"
        query = {"account": self.user, "scope": scope, "service": asked["service"]}
        _, body = self.lanes[0].get(f"{realm.path}?{urllib.parse.urlencode(query)}", [self.basic], keep=True)
        answer = json.loads(body)
        return f"Authorization: Bearer {answer.get('token') or answer['access_token']}"

    def pulls(self):
        return {self.pull() for _ in range(self.arguments.pulls)}

    def pull(self):
        """The number of layers."""
        authorization = self.login()
        headers = [authorization] if authorization else []
        of, first = f"/v2/{self.arguments.repository}", self.lanes[0]
        fields, _ = first.get(f"{of}/manifests/latest", [*headers, ACCEPT], method="HEAD")
        _, body = first.get(f"{of}/manifests/{fields['docker-content-digest']}", [*headers, ACCEPT], keep=True)
        manifest = json.loads(body)
        waiting, lock = [manifest["config"], *manifest["layers"]][::-1], threading.Lock()

        def drain(lane):
            while True:
                with lock:
                    if not waiting:
                        return
                    blob = waiting.pop()
                lane.get(f"{of}/blobs/{blob['digest']}", headers, length=blob["size"])

        with ThreadPoolExecutor(3) as pool:
            list(pool.map(drain, self.lanes))
        for lane in self.lanes:
            lane.close()
        return len(manifest["layers"])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--pulls", type=int, default=1, help="by each client, one after another")
    parser.add_argument("--host", default="localhost")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--repository", required=True)
    parser.add_argument("--users", default="bench", help="a name, or one with {} for the client's number")
    parser.add_argument("--ca", required=True)
    arguments = parser.parse_args()
    arguments.password = sys.stdin.readline().strip()
    clients = [Client(arguments, arguments.users.format(number)) for number in range(arguments.clients)]
    began = time.monotonic()
    with ThreadPoolExecutor(arguments.clients) as pool:
        layers = set().union(*pool.map(Client.pulls, clients))
    seconds = time.monotonic() - began
    if layers != {12}:
        raise wire.Refused(f"images of {layers} layers")
    lanes = [lane for client in clients for lane in client.lanes]
    requests, received = sum(lane.requests for lane in lanes), sum(lane.bytes for lane in lanes)
    pulls = len(clients) * arguments.pulls
    print(json.dumps({"pulls": pulls, "requests": requests, "bytes": received, "seconds": seconds}))


if __name__ == "__main__":
    try:
        main()
    except (wire.Refused, OSError) as error:
        sys.exit(f"pull.py: {error}")
