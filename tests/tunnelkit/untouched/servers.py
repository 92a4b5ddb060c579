"""Real HTTP servers, each on a port of its own: nginx, Apache, Node, and anycorn."""

from __future__ import annotations

import logging
import shutil
import subprocess
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio
from anycorn import Config, serve

from benchmarks.processes import pick_ports

__all__ = ["SERVERS", "Server"]

HOST: Final = "127.0.0.1"
PAGE: Final = bytes(range(33, 123)) * 200
"""18,000 bytes at /page."""

Server = Callable[[Path], AbstractAsyncContextManager[int]]
"""Runs a server with files in a folder; gives its port."""


def write_site(folder: Path) -> Path:
    """Make the files that are served."""
    site = folder / "site"
    site.mkdir()
    (site / "page").write_bytes(PAGE)
    (site / "page").chmod(0o644)
    folder.chmod(0o755)
    return site


@asynccontextmanager
async def run(command: list[str], port: int) -> AsyncGenerator[int]:
    """Run a program until the block is left; wait until it listens."""
    async with trio.open_nursery() as nursery:
        process = await nursery.start(
            partial(trio.run_process, command, check=False, stderr=subprocess.DEVNULL)
        )
        with trio.fail_after(15):
            while not await _listens(port):  # noqa: ASYNC110 # a program of others tells nobody
                await trio.sleep(0.02)
        try:
            yield port
        finally:
            process.terminate()


async def _listens(port: int) -> bool:
    try:
        await (await trio.open_tcp_stream(HOST, port)).aclose()
    except OSError:
        return False
    return True


@asynccontextmanager
async def nginx(folder: Path) -> AsyncGenerator[int]:
    (port,) = pick_ports(1)
    settings = folder / "nginx.conf"
    settings.write_text(f"""
        daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
        events {{}}
        http {{
            access_log off; client_body_temp_path {folder}/body; keepalive_timeout 60;
            proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
            uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
            server {{
                listen {HOST}:{port}; root {write_site(folder)}; client_max_body_size 1m;
                location /empty {{ return 204; }}
                location /moved {{ return 301 /page; }}
            }}
        }}""")
    async with run([_find("nginx"), "-c", str(settings), "-p", str(folder)], port):
        yield port


@asynccontextmanager
async def apache(folder: Path) -> AsyncGenerator[int]:
    (port,) = pick_ports(1)
    modules = "/usr/lib/apache2/modules/mod_"
    settings = folder / "apache.conf"
    loaded = "\n".join(
        f"LoadModule {name}_module {modules}{name}.so"
        for name in ("mpm_event", "authz_core", "alias", "dir", "mime")
    )
    settings.write_text(f"""
        ServerRoot {folder}
        {loaded}
        Listen {HOST}:{port}
        ServerName shop.example.com
        PidFile {folder}/pid
        ErrorLog {folder}/error.log
        DefaultRuntimeDir {folder}
        TypesConfig /dev/null
        DocumentRoot {write_site(folder)}
        KeepAlive On
        KeepAliveTimeout 60
        Redirect /moved /page
        """)
    async with run([_find("apache2"), "-f", str(settings), "-DFOREGROUND"], port):
        yield port


@asynccontextmanager
async def node(_: Path) -> AsyncGenerator[int]:
    script = Path(__file__).with_name("server.mjs")
    async with trio.open_nursery() as nursery:
        run_node = partial(trio.run_process, ["node", str(script)], check=False)
        process = await nursery.start(partial(run_node, stdout=subprocess.PIPE))
        port = int(await process.stdout.receive_some())
        try:
            yield port
        finally:
            process.terminate()
            await process.stdout.aclose()


@asynccontextmanager
async def anycorn(_: Path) -> AsyncGenerator[int]:
    config = Config()
    config.bind = [f"{HOST}:0"]
    config.errorlog = logging.getLogger("tests.anycorn")
    app: Any = _app  # the server has types of its own for the messages of ASGI
    async with trio.open_nursery() as nursery:
        binds = await nursery.start(partial(serve, app, config))
        yield int(binds[0].rpartition(":")[2])
        nursery.cancel_scope.cancel()


async def _app(scope: Any, receive: Any, send: Any) -> None:
    """Tell what was asked for, and how long the body was."""
    if scope["type"] == "lifespan":
        while True:
            event = await receive()
            await send({"type": f"{event['type']}.complete"})
            if event["type"] == "lifespan.shutdown":
                return
    size, more = 0, True
    while more:
        event = await receive()
        size += len(event.get("body", b""))
        more = event.get("more_body", False)
    headers = [[name.decode(), value.decode("latin-1")] for name, value in scope["headers"]]
    text = f"{scope['method']} {scope['raw_path']!r} {headers} {size}\n".encode()
    length = [(b"content-length", str(len(text)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": length})
    await send({"type": "http.response.body", "body": text})


def _find(program: str) -> str:
    return shutil.which(program, path="/usr/sbin:/usr/bin:/usr/local/bin") or program


SERVERS: Final[dict[str, Server]] = {
    "nginx": nginx,
    "apache": apache,
    "node": node,
    "anycorn": anycorn,
}
