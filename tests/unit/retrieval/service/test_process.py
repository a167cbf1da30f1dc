"""The socket that the retrieval server listens at."""

import asyncio
import socket

from mrsearch.retrieval.service.process import _listen


def test_connections_send_small_answers_at_once():
    async def accepted() -> int:
        options = asyncio.get_running_loop().create_future()

        def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            connection = writer.get_extra_info("socket")
            options.set_result(connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        async with await asyncio.start_server(connected, sock=_listen("127.0.0.1", 0)) as server:
            port = server.sockets[0].getsockname()[1]
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            found = await options
            writer.close()
            return found

    assert asyncio.run(accepted()) == 1
