"""Does a part in this container answer?

    probe.py tcp PORT | http PORT PATH | kafka PORT

Exit status 0 when it does. Standard library alone: it runs in images that have nothing else.
"""

import socket
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


def kafka(port: int) -> str:
    """Whether a broker answers what it understands: that needs no credentials."""
    client = b"probe"
    request = struct.pack(">hhih", _API_VERSIONS, 0, 1, len(client)) + client
    with socket.create_connection((HOST, port), TIMEOUT_S) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        head = connection.recv(10, socket.MSG_WAITALL)
    if len(head) < 10:
        return "it closed the connection"
    _, correlation, error = struct.unpack(">iih", head)
    return "" if (correlation, error) == (1, 0) else f"it answers error {error}"


def main(arguments: "list[str]") -> int:
    kind, port = arguments[0], int(arguments[1])
    try:
        found = {"tcp": tcp, "kafka": kafka}[kind](port) if kind != "http" else web(port, arguments[2])
    except OSError as error:
        found = str(error)
    if found:
        print(f"port {port}: {found}", file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
