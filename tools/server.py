"""A headless ComfyUI server for tests and the demo."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from tools import host


@dataclass
class Result:
    """What one prompt gave."""

    outputs: dict[str, Any]  # by node id, as the history has it
    seconds: dict[str, float]  # execution time by node id
    messages: list[dict[str, Any]] = field(default_factory=list)  # everything the server sent meanwhile


class ServerError(RuntimeError):
    """The server did not start, refused a prompt, or a node failed."""


class ComfyServer:
    """`with ComfyServer() as server: server.queue(prompt)`"""

    def __init__(self, port: int = 0, arguments: tuple[str, ...] = ()) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            self.port = probe.getsockname()[1]
        self.arguments = arguments  # more of the host's own
        self.url = f"http://127.0.0.1:{self.port}"
        self.log = host.CACHE / "logs" / f"server-{self.port}.log"

    def __enter__(self) -> ComfyServer:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, [str(host.ROOT), os.environ.get("PYTHONPATH")])),
        }
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tools.host", "--port", str(self.port), *self.arguments],
                cwd=host.ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
            )
        try:
            self._wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _wait(self) -> None:
        for _ in range(600):
            if self.process.poll() is not None:
                break
            try:
                self.get("/system_stats")
                return
            except (urllib.error.URLError, ConnectionError):
                time.sleep(0.2)
        raise ServerError("ComfyUI did not start:\n" + "\n".join(self.log_lines()[-15:]))

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def log_lines(self) -> list[str]:
        """The server's log so far."""
        return self.log.read_text(errors="replace").splitlines()

    def get(self, path: str) -> Any:
        """GET a JSON answer."""
        with urllib.request.urlopen(self.url + path, timeout=60) as answer:
            return json.load(answer)

    def object_info(self) -> dict[str, Any]:
        """Every node's inputs and outputs."""
        return self.get("/object_info")

    def output(self, name: str, subfolder: str = "") -> Path:
        """A file that the server wrote."""
        return host.server_folder() / "output" / subfolder / name

    def queue(self, prompt: dict[str, Any]) -> Result:
        """Run a prompt in API form to its end. ServerError with the node's message if it fails."""
        return asyncio.run(self._queue(prompt))

    async def _queue(self, prompt: dict[str, Any]) -> Result:
        client = f"hilo-{time.time_ns()}"
        async with (
            aiohttp.ClientSession() as session,
            session.ws_connect(f"{self.url}/ws?clientId={client}", max_msg_size=0) as socket,
        ):
            async with session.post(f"{self.url}/prompt", json={"prompt": prompt, "client_id": client}) as answer:
                reply = await answer.json()
                if answer.status != 200 or reply.get("node_errors"):  # of some outputs: the host would run the others
                    raise ServerError(json.dumps(reply.get("node_errors") or reply.get("error"), indent=1))
            number, seconds, messages, node, since = reply["prompt_id"], {}, [], None, 0.0
            async for frame in socket:
                if frame.type != aiohttp.WSMsgType.TEXT:
                    messages.append({"type": "binary", "data": frame.data if isinstance(frame.data, bytes) else b""})
                    continue
                message = json.loads(frame.data)
                messages.append(message)
                data = message.get("data", {})
                if data.get("prompt_id") != number:
                    continue
                if message["type"] == "execution_error":
                    raise ServerError(f"{data['node_type']}: {data['exception_message'].strip()}")
                if message["type"] == "executing":
                    if node is not None:
                        seconds[node] = time.perf_counter() - since
                    node, since = data["node"], time.perf_counter()
                    if node is None:
                        break
            else:
                raise ServerError("ComfyUI stopped in a run:\n" + "\n".join(self.log_lines()[-15:]))
            async with session.get(f"{self.url}/history/{number}") as answer:
                history = await answer.json()
        return Result(history[number]["outputs"], seconds, messages)
