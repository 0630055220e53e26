"""Does a part in this container answer?

    probe.py tcp PORT | http PORT PATH | kafka PORT | kafka-tls PORT

Exit status 0 when it does. Standard library alone: it runs in images that have nothing else.
"""

import socket
import ssl
import struct
import sys

TIMEOUT_S = 3.0
HOST = "127.0.0.1"
_API_VERSIONS = 18


def tcp(port: int) -> str:
    """What speaks against it: whether somebody listens."""
    with socket.create_connection((HOST, port), TIMEOUT_S):
        return ""


def web(port: int, path: str) -> str:
    """Whether a GET is answered by 200. The standard library's client costs more than all else here."""
    with socket.create_connection((HOST, port), TIMEOUT_S) as connection:
        connection.sendall(f"GET {path} HTTP/1.0\r\nHost: {HOST}\r\n\r\n".encode())
        status = connection.recv(4096).split(b" ", 2)[1:2]
    return "" if status == [b"200"] else f"{path} answers {status}"


def kafka(port: int, *, secured: bool = False) -> str:
    """Whether a broker answers what it understands: that needs no credentials. `secured`: over TLS."""
    client = b"probe"
    request = struct.pack(">hhih", _API_VERSIONS, 0, 1, len(client)) + client
    with socket.create_connection((HOST, port), TIMEOUT_S) as plain:
        connection = _trusting().wrap_socket(plain) if secured else plain
        connection.sendall(struct.pack(">i", len(request)) + request)
        with connection.makefile("rb") as answer:
            head = answer.read(10)
    if len(head) < 10:
        return "it closed the connection"
    _, correlation, error = struct.unpack(">iih", head)
    return "" if (correlation, error) == (1, 0) else f"it answers error {error}"


def _trusting() -> ssl.SSLContext:
    """Believes everybody: it is the container's own program, which is told nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def main(arguments: "list[str]") -> int:
    kind, port = arguments[0], int(arguments[1])
    try:
        if kind == "http":
            found = web(port, arguments[2])
        elif kind == "tcp":
            found = tcp(port)
        else:
            found = kafka(port, secured={"kafka": False, "kafka-tls": True}[kind])
    except OSError as error:
        found = str(error)
    if found:
        print(f"port {port}: {found}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
