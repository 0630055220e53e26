"""The client before a server that takes its time."""

from __future__ import annotations

import asyncio

import grpc
import numpy as np
import pytest
from tritonclient.grpc.service_pb2 import ServerLiveResponse

from twinloop.contracts.models import ModelContract
from twinloop.tritonio.client import triton
from twinloop.tritonio.errors import DeadlineExceeded

CONTRACT = ModelContract(
    model="m",
    version=1,
    signal_set="s.v1",
    signals=("a",),
    features=(),
    window=1,
    hop=1,
    threshold=1.0,
    digest="",
)


class Silent(grpc.GenericRpcHandler):
    """Takes every call, and answers none."""

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        async def never(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
            await asyncio.Event().wait()
            return b""

        return grpc.unary_unary_rpc_method_handler(never)


async def test_no_answer_in_time_is_told_from_no_server() -> None:
    """A caller may ask for less then."""
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Silent(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with triton(f"127.0.0.1:{port}", deadline_s=0.5) as client:
            with pytest.raises(DeadlineExceeded, match=f"m version 1: no answer of .*:{port}"):
                await client.infer(CONTRACT, np.zeros((1, 1, 1), np.float32))
    finally:
        await server.stop(0)


class Counting(grpc.GenericRpcHandler):
    """Says that it is alive, and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        async def live(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
            self.asked += 1
            return bytes(ServerLiveResponse(live=True).SerializeToString())

        return grpc.unary_unary_rpc_method_handler(live)


async def test_several_servers_behind_one_name_take_turns_and_one_may_go() -> None:
    counting = [Counting(), Counting()]
    servers = [grpc.aio.server() for _ in counting]
    ports = []
    for server, handler in zip(servers, counting, strict=True):
        server.add_generic_rpc_handlers((handler,))
        ports.append(server.add_insecure_port("127.0.0.1:0"))
        await server.start()
    try:
        async with (
            asyncio.timeout(10),
            triton(f"ipv4:127.0.0.1:{ports[0]},127.0.0.1:{ports[1]}") as client,
        ):
            while not all(one.asked for one in counting):
                assert await client.ready()
            await servers[0].stop(None)
            before = counting[1].asked
            for _ in range(20):
                assert await client.ready()
            assert counting[1].asked == before + 20
    finally:
        for server in servers:
            await server.stop(0)
