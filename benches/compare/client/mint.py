#!/usr/bin/env python3
"""Prints a token as a token server for docker-registry makes it: RS256, with the key's libtrust id."""

import argparse
import base64
import hashlib
import json
import subprocess
import time
import uuid


def openssl(*arguments, data=None):
    return subprocess.run(["openssl", *arguments], input=data, capture_output=True, check=True).stdout


def text(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def key_id(key):
    public = openssl("pkey", "-in", key, "-pubout", "-outform", "DER")
    name = base64.b32encode(hashlib.sha256(public).digest()[:30]).decode()
    return ":".join(name[at : at + 4] for at in range(0, 48, 4))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--key", required=True)
    parser.add_argument("--issuer", required=True)
    parser.add_argument("--service", required=True)
    parser.add_argument("repositories", nargs="+")
    arguments = parser.parse_args()
    now = int(time.time())
    access = [{"type": "repository", "name": name, "actions": ["pull"]} for name in arguments.repositories]
    head = {"typ": "JWT", "alg": "RS256", "kid": key_id(arguments.key)}
    claims = {"iss": arguments.issuer, "aud": arguments.service, "sub": "bench", "jti": str(uuid.uuid4()), "access": access}
    claims |= {"iat": now, "nbf": now - 5, "exp": now + 14400}
    signed = b".".join(text(json.dumps(part, separators=(",", ":")).encode()) for part in (head, claims))
    print((signed + b"." + text(openssl("dgst", "-sha256", "-sign", arguments.key, data=signed))).decode())


if __name__ == "__main__":
    main()
