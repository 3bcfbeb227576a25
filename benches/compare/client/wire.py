"""What the clients share: TLS as all are compared under, and just enough HTTP/1.1 for a request and its answer."""

import os
import socket
import ssl


class Refused(Exception):
    """The peer did not do what was asked for."""


def add_target(parser):
    """Where the proxy is, and what it is asked for."""
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", required=True)
    parser.add_argument("--length", type=int, required=True)
    parser.add_argument("--ca", required=True)
    parser.add_argument("--token", default=os.environ.get("TOKEN"))


def tls(ca, alpn="http/1.1"):
    """One setting for every peer; suite and group come from the OPENSSL_CONF of the run."""
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.set_alpn_protocols([alpn])
    return context


def connect(context, host, port, session=None, source=None, receive_buffer=None, timeout=60):
    plain = socket.socket(socket.AF_INET)
    plain.settimeout(timeout)
    if receive_buffer:
        # Segments as on Ethernet: with those of loopback a thousand stalled senders take all the memory that TCP may have.
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1460)
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    if source:
        plain.bind((source, 0))
    plain.connect(("127.0.0.1", port))
    plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    stream = context.wrap_socket(plain, server_hostname=host, session=session)
    if stream.cipher()[0] != "TLS_AES_128_GCM_SHA256":
        raise Refused(f"cipher {stream.cipher()}")
    return stream


def head(method, host, path, headers=()):
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Accept: */*", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def read_head(stream):
    """The status, the fields in lower case, and what came behind them."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = stream.recv(65536)
        if not more:
            raise Refused(f"closed after {data[:80]!r}")
        data += more
    top, rest = data.split(b"\r\n\r\n", 1)
    first, *lines = top.decode("latin-1").split("\r\n")
    fields = {}
    for line in lines:
        name, value = line.split(":", 1)
        fields[name.strip().lower()] = value.strip()
    return int(first.split()[1]), fields, rest


class Body:
    """The body of one answer, by Content-Length or in chunks; kept only where it is wanted."""

    def __init__(self, stream, buffer, rest, keep):
        self.stream, self.buffer, self.rest = stream, buffer, rest
        self.kept = bytearray() if keep else None
        self.length = 0

    def take(self, wanted):
        piece, self.rest = self.rest[:wanted], self.rest[wanted:]
        self.count(piece, len(piece))
        wanted -= len(piece)
        while wanted:
            got = self.stream.recv_into(self.buffer, min(wanted, len(self.buffer)))
            if not got:
                raise Refused(f"a body ended after {self.length} bytes")
            self.count(self.buffer, got)
            wanted -= got

    def count(self, piece, length):
        self.length += length
        if self.kept is not None:
            self.kept += piece[:length]

    def line(self):
        while b"\r\n" not in self.rest:
            more = self.stream.recv(65536)
            if not more:
                raise Refused("a chunk's size is missing")
            self.rest += more
        line, self.rest = self.rest.split(b"\r\n", 1)
        return line

    def chunks(self):
        while size := int(self.line().split(b";")[0], 16):
            self.take(size)
            self.line()
        while self.line():
            pass


def exchange(stream, buffer, method, host, path, headers=(), keep=False):
    """One request and its whole answer: status, fields, length of the body, and the body where it is to be kept."""
    stream.sendall(head(method, host, path, headers))
    status, fields, rest = read_head(stream)
    body = Body(stream, buffer, rest, keep)
    if method == "HEAD" or status in (204, 304):
        pass
    elif "content-length" in fields:
        body.take(int(fields["content-length"]))
    elif fields.get("transfer-encoding", "").lower() == "chunked":
        body.chunks()
    else:
        raise Refused(f"{path}: a body of unknown length")
    return status, fields, body.length, bytes(body.kept or b"")
