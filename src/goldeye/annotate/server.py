"""Running the annotation application: for the command until it is stopped, or beside other work."""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote

import uvicorn

from goldeye.errors import GoldeyeError, InvalidInput

if TYPE_CHECKING:
    from fastapi import FastAPI

LOOPBACK = "127.0.0.1"


def person_link(base_url: str, token: str, role: str = "annotator") -> str:
    """A personal link. The token is in the fragment, which browsers send to no server and write into no Referer."""
    page = "owner" if role == "owner" else ""
    return f"{base_url.rstrip('/')}/{page}#token={quote(token, safe='')}"


def serve(
    app: FastAPI,
    host: str,
    port: int,
    ready: Callable[[str], None] = lambda base_url: None,
    trusted_proxies: Sequence[str] = (),
) -> None:
    """Serve until Ctrl-C or SIGTERM. `port` 0 takes a free one; `ready` is called with the address once it is open.

    What proxies say of who is behind them (X-Forwarded-For, X-Forwarded-Proto) is believed of `trusted_proxies` alone:
    addresses or networks. Raises InvalidInput when the address cannot be used, or a proxy is not an address.
    """
    for proxy in trusted_proxies:
        try:
            ipaddress.ip_network(proxy, strict=False)
        except ValueError as error:
            raise InvalidInput(
                f"--trusted-proxy takes an address or network such as 10.0.0.2, not '{proxy}'."
            ) from error
    with _listen(host, port) as listener:
        server = _server(app, trusted_proxies)  # before anybody is told, and may answer with Ctrl-C
        ready(_base_url(listener))
        server.run(sockets=[listener])


@contextmanager
def running_server(app: FastAPI, port: int = 0) -> Iterator[str]:
    """Serve in a thread on a loopback port (a free one by default); yields the base URL and stops at the end."""
    with _listen(LOOPBACK, port) as listener:
        server = _server(app)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        while not server.started:
            if not thread.is_alive():
                raise GoldeyeError("The annotation server did not start.")
            time.sleep(0.005)
        try:
            yield _base_url(listener)
        finally:
            server.should_exit = True
            thread.join()


def _server(app: FastAPI, trusted_proxies: Sequence[str] = ()) -> uvicorn.Server:
    # While the owner's figures are computed, answers get their turn sooner than Python's usual 5 ms.
    sys.setswitchinterval(0.0005)
    # Neither the log nor the answers say more than needed.
    return uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            proxy_headers=bool(trusted_proxies),
            forwarded_allow_ips=list(trusted_proxies),
            server_header=False,
            timeout_graceful_shutdown=3,
            timeout_keep_alive=75,  # longer than people look at a picture: no answer meets a connection just closed
        )
    )


def _listen(host: str, port: int) -> socket.socket:
    """Open the address here, so that a port in use is one clear sentence."""
    try:
        family, kind, protocol, _, _ = socket.getaddrinfo(host, None, proto=socket.IPPROTO_TCP)[0]
        # The protocol is named because asyncio switches Nagle's delay (40 ms an answer) off only where it reads "TCP".
        listener = socket.socket(family, kind, protocol)
        try:
            if os.name == "posix":  # start again at once after a stop; elsewhere it would let two servers share a port
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            listener.listen(128)
        except BaseException:
            listener.close()
            raise
        return listener
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InvalidInput(f"Cannot serve at {host}, port {port}: {reason}.", hint="Choose another --port.") from error


def _base_url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
