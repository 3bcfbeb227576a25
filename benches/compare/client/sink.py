#!/usr/bin/env python3
"""A registry's side of an upload without the registry: reads what comes and says 201. Keeps nothing."""

import argparse
import os
import socket
import threading

import wire

EMPTY = "Content-Length: 0\r\n"


def answer(stream, status, more=EMPTY):
    stream.sendall(f"HTTP/1.1 {status}\r\nDocker-Distribution-Api-Version: registry/2.0\r\n{more}\r\n".encode())


def serve(stream):
    buffer, rest = bytearray(1 << 20), b""
    with stream:
        while True:
            while b"\r\n\r\n" not in rest:
                more = stream.recv(65536)
                if not more:
                    return
                rest += more
            top, rest = rest.split(b"\r\n\r\n", 1)
            first, *lines = top.decode("latin-1").split("\r\n")
            fields = {name.strip().lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
            body = wire.Body(stream, buffer, rest, keep=False)
            if fields.get("expect"):
                stream.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            if fields.get("transfer-encoding"):
                body.chunks()
            else:
                body.take(int(fields.get("content-length", 0)))
            rest = body.rest
            method, path, _ = first.split(" ")
            if method == "POST":
                answer(stream, "202 Accepted", f"{EMPTY}Location: {path.rstrip('/')}/0\r\n")
            elif method == "PUT":
                digest = path.partition("digest=")[2].replace("%3A", ":")
                location = f"{path.partition('/uploads/')[0]}/{digest}"
                answer(stream, "201 Created", f"{EMPTY}Location: {location}\r\nDocker-Content-Digest: {digest}\r\n")
            else:
                answer(stream, "200 OK")


def listen(listener):
    while True:
        stream, _ = listener.accept()
        threading.Thread(target=serve, args=(stream,), daemon=True).start()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--socket", required=True)
    arguments = parser.parse_args()
    tcp = socket.create_server(("127.0.0.1", arguments.port), backlog=4096)
    local = socket.socket(socket.AF_UNIX)
    local.bind(arguments.socket)
    os.chmod(arguments.socket, 0o666)
    local.listen(4096)
    threading.Thread(target=listen, args=(local,), daemon=True).start()
    listen(tcp)


if __name__ == "__main__":
    main()
