"""TCP and unix sockets as pipes, and the real network, which puts other carriers' layers on them.

Reads are small by default, into a buffer that all sockets of the pump share.  Once a socket has
delivered a large read it is read into blocks of its own (`tunnelkit.pump.blocks`), because those
can be kept for replay without a copy; a short read goes back to the shared buffer.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import ipaddress
import logging
import os
import socket
import stat
import struct
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from socket import SocketType
from time import perf_counter
from typing import Final

import trio

from tunnelkit import limits
from tunnelkit.addresses import Address
from tunnelkit.errors import ConfigurationError
from tunnelkit.pump import Pump, Timer, Watch
from tunnelkit.wire.stream import Buffer

from .pipe import Connected, ConnectFailed, Listener, Network, Pending, Pipe, PipeBroken
from .proxy import ProxiedNetwork, RoutedAddress, connect_through
from .proxy_settings import ProxySettings
from .tls import TlsPipe, tls_client, tls_server
from .tls_connect import TlsConnect
from .tls_settings import LINK_ALPN, TlsSettings
from .upgrade_options import WebSocketOptions

__all__ = ["SYSTEM_NETWORK", "SocketNetwork", "SocketPipe"]

_log = logging.getLogger(__name__)

MAX_BUFFERS: Final = 512
"""Buffers in one system call; the kernel takes at most 1,024."""

ACCEPTS_PER_EVENT: Final = 32
"""Connections accepted in one handler call, so that a flood of them delays nobody else."""

SMALL_BYTES: Final = 2048
"""Up to this size bytes are sent whatever is unsent, bytes: asking would cost as much."""

WARNING_SECONDS: Final = 60.0
"""A listener that is out of descriptors says so at most once in this time."""

_LARGE_READ_BYTES: Final = limits.KEEP_BY_REFERENCE_BYTES
_TLS_SCHEMES: Final = {"tls": (LINK_ALPN, True), "https": ("http/1.1", False)}
"""Which protocol is agreed on inside of TLS, and whether the other side has to know it: proxies and
WebSocket programs often do without.  "https" is what "wss" runs on, and not for users."""

_BELOW_WEBSOCKET: Final = {"ws": "tcp", "wss": "https"}
_SCHEMES: Final = ("tcp", *_TLS_SCHEMES, *_BELOW_WEBSOCKET)
_RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
_TCP_ESTABLISHED: Final = 1
_NOTSENT_LOWAT: Final = getattr(socket, "TCP_NOTSENT_LOWAT", None)
_COUNT_UNSENT: Final = 0x894B if sys.platform == "linux" else None  # SIOCOUTQNSD
_GONE: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class SocketPipe(Pipe):
    """A connected, non-blocking stream socket, without Nagle's delay."""

    __slots__ = ("_large", "_named", "_sock", "_unsent_limit", "_watch", "broken", "pump")

    def __init__(self, sock: SocketType, pump: Pump, named: object) -> None:
        self._sock = sock
        self._watch: Watch | None = None
        self._large = False
        self._unsent_limit = 0
        self.pump = pump
        self._named = named  # its text is mostly not asked for
        self.broken: str | None = None

    @property
    def description(self) -> str:
        return str(self._named)

    @description.setter
    def description(self, text: str) -> None:
        self._named = text

    def start(self, handler: Callable[[bool, bool], None]) -> None:
        if self._watch is not None:
            self._watch.close()
        self._watch = self.pump.watch(self._sock.fileno(), handler)

    def want(self, readable: bool, writable: bool) -> None:
        if self._watch is not None:
            self._watch.want(readable, writable)

    def _fail(self, error: OSError) -> PipeBroken:
        """Remember the first error: the calls after it may look like a clean end of file."""
        if self.broken is None:
            self.broken = (error.strerror or str(error)).lower()
        return PipeBroken(self.broken)

    def try_send(self, data: Buffer) -> int:
        if self._unsent_limit and len(data) > SMALL_BYTES:
            return self.try_send_many([data])
        try:
            return self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            raise self._fail(error) from error

    def try_send_many(self, buffers: Sequence[Buffer]) -> int:
        if self._unsent_limit:
            buffers = self._cut(buffers)
            if not buffers:
                return 0
        try:
            return self._sock.sendmsg(buffers[:MAX_BUFFERS])
        except (BlockingIOError, InterruptedError):
            return 0
        except OSError as error:
            raise self._fail(error) from error

    def try_receive_into(self, buffer: memoryview) -> int:
        if self.broken is not None:
            raise PipeBroken(self.broken)
        try:
            return self._sock.recv_into(buffer)
        except (BlockingIOError, InterruptedError):
            return -1
        except OSError as error:
            raise self._fail(error) from error

    def try_receive(self, max_bytes: int) -> Buffer | None:
        if self.broken is not None:
            raise PipeBroken(self.broken)
        try:
            if self._large:
                block = self.pump.blocks.take()
                count = self._sock.recv_into(block, min(max_bytes, len(block)))
                self._large = count >= _LARGE_READ_BYTES
                return memoryview(block)[:count].toreadonly()
            view = self.pump.edge_view
            count = self._sock.recv_into(view, min(max_bytes, len(view)))
            self._large = count >= _LARGE_READ_BYTES
            return view[:count]
        except (BlockingIOError, InterruptedError):
            return None
        except OSError as error:
            raise self._fail(error) from error

    def limit_unsent(self, count: int) -> None:
        if _NOTSENT_LOWAT is not None and self._sock.family != socket.AF_UNIX:
            self._unsent_limit = count
            with contextlib.suppress(OSError):
                self._sock.setsockopt(socket.IPPROTO_TCP, _NOTSENT_LOWAT, count)

    def unsent_bytes(self) -> int | None:
        if _COUNT_UNSENT is None or self._sock.family == socket.AF_UNIX:
            return None
        try:
            answer = fcntl.ioctl(self._sock.fileno(), _COUNT_UNSENT, bytes(4))
        except OSError:
            return None
        return int.from_bytes(answer, sys.byteorder)

    def _cut(self, buffers: Sequence[Buffer]) -> Sequence[Buffer]:
        """Return as much of *buffers* as may be unsent.

        The system's own limit lets one segment of 64 KiB more pass, which on a slow link is long.
        """
        size = sum(map(len, buffers))
        room = self._unsent_limit - (self.unsent_bytes() or 0)
        if size <= max(room, SMALL_BYTES):
            return buffers
        parts: list[Buffer] = []
        for buffer in buffers:
            if room <= 0:
                break
            parts.append(memoryview(buffer)[:room])
            room -= len(buffer)
        return parts

    def take_rest(self, max_bytes: int) -> bytes:
        try:
            return self._sock.recv(max_bytes)
        except OSError:
            return b""

    def check(self) -> None:
        code = self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise self._fail(OSError(code, os.strerror(code)))

    def send_eof(self) -> None:
        try:
            self._sock.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # the peer is gone, which the next call tells

    def close(self) -> None:
        if self._watch is not None:
            self._watch.close_socket(self._sock)
            self._watch = None
        else:
            self._sock.close()

    def reset(self) -> None:
        with contextlib.suppress(OSError):
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self.close()


class _Connecting:
    """A non-blocking connect."""

    def __init__(self, sock: SocketType, address: Address, pump: Pump, done: Connected) -> None:
        self._sock = sock
        self._address = address
        self._pump = pump
        self._done = done
        self._watch: Watch | None = None

    def begin(self, target: tuple[str, int] | str) -> None:
        code = self._sock.connect_ex(target)
        if code == 0 or (code == errno.EINPROGRESS and _is_connected(self._sock)):
            self._pump.defer(lambda: self._finish(0))
        elif code == errno.EINPROGRESS:
            self._watch = self._pump.watch(self._sock.fileno(), self._ready)
            self._watch.want(readable=False, writable=True)
        else:
            self._pump.call_soon(lambda: self._finish(code))

    def _ready(self, readable: bool, writable: bool) -> None:
        assert self._watch is not None  # set before the handler can be called
        self._watch.close()
        self._watch = None
        self._finish(self._sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    def _finish(self, code: int) -> None:
        if self._sock.fileno() < 0:
            return
        if code:
            self._sock.close()
            refused = code in (errno.ECONNREFUSED, errno.ENOENT)
            why = os.strerror(code).lower()
            self._done(ConnectFailed(f"cannot connect to {self._address}: {why}", refused=refused))
        else:
            self._done(SocketPipe(self._sock, self._pump, self._address))

    def cancel(self) -> None:
        if self._watch is not None:
            self._watch.close_socket(self._sock)
            self._watch = None
        else:
            self._sock.close()


class _Failing:
    """A connect that cannot even begin."""

    def __init__(self, address: Address, error: OSError, pump: Pump, done: Connected) -> None:
        why = (error.strerror or str(error)).lower()
        failed = ConnectFailed(f"cannot connect to {address}: {why}")
        self._timer = pump.call_later(0, lambda: done(failed))

    def cancel(self) -> None:
        self._timer.cancel()


def _is_connected(sock: SocketType) -> bool:
    """Say whether a connect that has just begun is over already, as it is on loopback."""
    if sock.family == socket.AF_UNIX or not hasattr(socket, "TCP_INFO"):
        return False
    state = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)
    return state[0] == _TCP_ESTABLISHED


class _SocketListener:
    """A listening socket."""

    def __init__(
        self, sock: SocketType, address: Address, pump: Pump, accept: Callable[[Pipe], None]
    ) -> None:
        self._sock = sock
        self.address = address
        self._pump = pump
        self._accept = accept
        self._timer: Timer | None = None
        self._silent_until = 0.0
        self._family = sock.family
        self._watch = pump.watch(sock.fileno(), self._ready)
        self._watch.want(readable=True, writable=False)

    def _ready(self, readable: bool, writable: bool) -> None:
        for _ in range(ACCEPTS_PER_EVENT):
            try:
                # Not `accept`: the Python object that it wraps a socket in costs as much again.
                descriptor, peer = self._sock._accept()  # type: ignore[attr-defined]
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                if error.errno in _GONE:
                    self._warn(error)
                    self._pause()
                    return
                continue
            sock = SocketType(self._family, socket.SOCK_STREAM, 0, descriptor)
            sock.setblocking(False)
            name = f"{peer[0]}:{peer[1]}" if isinstance(peer, tuple) else self.address.path
            self._accept(SocketPipe(sock, self._pump, name))

    def _warn(self, error: OSError) -> None:
        if perf_counter() >= self._silent_until:
            self._silent_until = perf_counter() + WARNING_SECONDS
            why = (error.strerror or str(error)).lower()
            text = "cannot accept on %s: %s; clients wait: raise `ulimit -n` if this stays so"
            _log.warning(text, self.address, why)

    def _pause(self) -> None:
        """Out of descriptors: leave the queue to the kernel and look again in a moment."""
        self._watch.want(readable=False, writable=False)
        self._timer = self._pump.call_later(0.1, self._continue)

    def _continue(self) -> None:
        self._watch.want(readable=True, writable=False)

    def close(self) -> None:
        if self._sock.fileno() < 0:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._watch.close()
        self._sock.close()
        if self.address.scheme == "unix":
            with contextlib.suppress(OSError):
                Path(self.address.path).unlink()


class SocketNetwork(Network):
    """The real network: sockets, and the layers that the scheme of an address asks for.

    Args:
        tls: for ``tls://`` and ``wss://``; None: dial with the system's CAs, and do not listen.
        websocket: for ``ws://`` and ``wss://``: headers, and bearer tokens.
        proxy: through which HTTP proxies links are dialled; None: all of them straight.  What is
            not a link, such as a target, never goes through a proxy.
    """

    def __init__(
        self,
        tls: TlsSettings | None = None,
        websocket: WebSocketOptions | None = None,
        proxy: ProxySettings | None = None,
    ) -> None:
        self.tls = tls
        self.websocket = websocket or WebSocketOptions()
        self.proxy = proxy

    @property
    def for_links(self) -> Network:
        return ProxiedNetwork(self, self.proxy) if self.proxy is not None else self

    @property
    def for_named(self) -> Network:
        own = replace(self.websocket, headers=(), bearer_token=None)
        return SocketNetwork(self.tls, own)

    def _tls_around(self, pipe: Pipe, address: Address) -> TlsPipe:
        """Return *pipe*, which was dialled, inside of TLS.

        Raises:
            ConnectFailed: the layer cannot be made; the pipe is closed.
        """
        alpn, required = _TLS_SCHEMES[address.scheme]
        try:
            return tls_client(
                pipe, self._tls_settings(), address.name, alpn=alpn, require_alpn=required
            )
        except (ConfigurationError, ValueError) as error:
            pipe.close()
            raise ConnectFailed(f"cannot connect to {address}: {error}") from error

    def _server_layers(self, pipe: Pipe, address: Address) -> Pipe:
        """Return *pipe*, which was accepted, inside of what the scheme asks for."""
        if address.scheme in _TLS_SCHEMES:
            alpn, required = _TLS_SCHEMES[address.scheme]
            return tls_server(pipe, self._tls_settings(), alpn=alpn, require_alpn=required)
        return pipe

    def _tls_settings(self) -> TlsSettings:
        if self.tls is None:
            self.tls = TlsSettings()
        return self.tls

    def _check_can_listen(self, address: Address) -> None:
        if address.scheme in _TLS_SCHEMES and not (self.tls and self.tls.can_listen):
            raise ConfigurationError(
                f"cannot listen on {address}: TLS needs a certificate and its key "
                "(--tls-cert and --tls-key)"
            )

    async def resolve(self, address: Address) -> Address:
        found = await self.resolve_all(address)
        return next((one for one in found if ":" not in one.host), found[0])

    async def resolve_all(
        self, address: Address, limiter: trio.CapacityLimiter | None = None
    ) -> list[Address]:
        if address.scheme == "unix":
            return [address]
        if address.scheme not in _SCHEMES:
            raise ConfigurationError(
                f"{address}: the real network knows tcp://, tls://, ws://, wss:// and unix:// only"
            )
        try:
            ipaddress.ip_address(address.host)
        except ValueError:
            pass
        else:
            return [address]
        try:
            if limiter is None:
                found = await trio.socket.getaddrinfo(
                    address.host, address.port, type=socket.SOCK_STREAM
                )
            else:
                host = address.host.encode("idna")
                look_up = partial(socket.getaddrinfo, host, address.port, type=socket.SOCK_STREAM)
                found = await trio.to_thread.run_sync(
                    look_up, abandon_on_cancel=True, limiter=limiter
                )
        except (OSError, UnicodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is no host name"
            raise ConnectFailed(f"cannot look up {address.host}: {why}") from error
        hosts = dict.fromkeys(str(item[4][0]) for item in found)
        return [replace(address, host=host, looked_up=address.host) for host in hosts]

    def connect_nowait(self, address: Address, pump: Pump, done: Connected) -> Pending:
        pump.refuse_virtual_time()
        if address.scheme in _BELOW_WEBSOCKET:
            from .upgrade import connect_websocket

            below = _below_websocket(address)
            return connect_websocket(self, address, below, pump, self.websocket, done)
        if address.scheme in _TLS_SCHEMES:
            tls = TlsConnect(address, lambda pipe: self._tls_around(pipe, address), done)
            tls.below = self._connect_below(address, pump, tls.connected)
            return tls
        return self._connect_below(address, pump, done)

    def _connect_below(self, address: Address, pump: Pump, done: Connected) -> Pending:
        if isinstance(address, RoutedAddress) and address.route is not None:
            return connect_through(self, address, address.route, pump, done)
        family, target = _socket_address(address)
        try:
            sock = SocketType(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError as error:
            return _Failing(address, error, pump, done)
        try:
            _set_no_delay(sock, family)
            connecting = _Connecting(sock, address, pump, done)
            connecting.begin(target)
        except OSError as error:
            sock.close()
            return _Failing(address, error, pump, done)
        return connecting

    async def listen(
        self, address: Address, pump: Pump, accept: Callable[[Pipe], None]
    ) -> Listener:
        pump.refuse_virtual_time()
        if address.scheme in _BELOW_WEBSOCKET:
            from .upgrade import listen_websocket

            below = _below_websocket(address)
            return await listen_websocket(
                self, address, below, pump, lambda: self.websocket, accept
            )
        self._check_can_listen(address)
        try:
            resolved = await self.resolve(address)
        except ConnectFailed as error:
            raise ConfigurationError(f"cannot listen on {address}: {error}") from error
        family, target = _socket_address(resolved)
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            if resolved.scheme == "unix":
                _remove_stale_socket(resolved.path)
            else:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                _set_no_delay(sock, family)  # accepted sockets inherit it
            sock.bind(target)
            if resolved.scheme == "unix":
                os.chmod(resolved.path, 0o600)
            sock.listen(4096)
        except OSError as error:
            sock.close()
            raise ConfigurationError(_explain_listen(address, error)) from error
        if resolved.scheme != "unix":
            resolved = replace(resolved, port=sock.getsockname()[1])
        if resolved.scheme in _TLS_SCHEMES:
            return _SocketListener(
                sock, resolved, pump, lambda pipe: accept(self._server_layers(pipe, resolved))
            )
        return _SocketListener(sock, resolved, pump, accept)


SYSTEM_NETWORK: Final = SocketNetwork()
"""The real network; what every `network` argument defaults to."""


def _below_websocket(address: Address) -> Address:
    return replace(address, scheme=_BELOW_WEBSOCKET[address.scheme], path="")


def _socket_address(address: Address) -> tuple[socket.AddressFamily, tuple[str, int] | str]:
    if address.scheme == "unix":
        return socket.AF_UNIX, address.path
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    return family, (address.host, address.port)


def _set_no_delay(sock: SocketType, family: int) -> None:
    if family != socket.AF_UNIX:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _remove_stale_socket(path: str) -> None:
    """Remove a socket file that nobody listens on; leave everything else for `bind` to refuse."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
    except OSError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        if probe.connect_ex(path) == errno.ECONNREFUSED:
            os.unlink(path)


def _explain_listen(address: Address, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"cannot listen on {address}: it is in use; stop the other program or use port 0"
    if error.errno == errno.EACCES:
        return f"cannot listen on {address}: permission denied; use a port above 1023"
    return f"cannot listen on {address}: {(error.strerror or str(error)).lower()}"
