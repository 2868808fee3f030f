"""Teachers that answer over HTTP: a server whose replies, and whose failures, a test decides call by call."""

import collections
import contextlib
import http.server
import json
import threading
from collections.abc import Callable
from typing import Any


def said(content: Any, reasoning: Any = None, finish_reason: Any = "stop", tokens: int = 5) -> dict:
    """The body of an answer."""
    message = {"role": "assistant", "content": content}
    message |= {} if reasoning is None else {"reasoning_content": reasoning}
    choice = {"index": 0, "message": message, "finish_reason": finish_reason}
    return {"choices": [choice], "usage": {"completion_tokens": tokens}}


class Wrong:
    """What a server does instead of answering."""

    def __init__(self, status: int = 200, body: bytes = b"", cut: bool = False, **headers: str):
        self.status, self.body, self.cut, self.headers = status, body, cut, headers


class Teacher:
    """A server in a thread.

    Args:
      answer: (body of the call, how often this very call came before) -> the body of an answer, or a Wrong.

    Attributes:
      bodies: of all calls, in the order in which they came.
      keys: their Authorization headers.
      most: how many calls were answered at one time, at most.
    """

    def __init__(self, answer: Callable[[dict, int], dict | Wrong]):
        self.answer = answer
        self.bodies: list[dict] = []
        self.keys: list[str | None] = []
        self.seen: collections.Counter[str] = collections.Counter()
        self.most = self._now = 0
        self.lock = threading.Lock()

    def reply(self, body: dict, key: str | None) -> dict | Wrong:
        with self.lock:
            self.bodies.append(body)
            self.keys.append(key)
            name = json.dumps(body, sort_keys=True)
            before = self.seen[name]
            self.seen[name] += 1
            self._now += 1
            self.most = max(self.most, self._now)
        try:
            return self.answer(body, before)
        finally:
            with self.lock:
                self._now -= 1

    @contextlib.contextmanager
    def serve(self):
        """Its address, with `/v1`."""
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), make_handler(self))
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        finally:
            server.shutdown()
            thread.join()
            server.server_close()


def make_handler(teacher: Teacher) -> type:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def do_POST(self):
            assert self.path == "/v1/chat/completions"
            length = int(self.headers["Content-Length"])
            sent = self.rfile.read(length)
            if len(sent) < length:  # whoever asked is gone
                self.close_connection = True
                return
            body = json.loads(sent)
            found = teacher.reply(body, self.headers.get("Authorization"))
            if isinstance(found, dict):
                found = Wrong(200, json.dumps(found).encode())
            if found.cut:
                self.close_connection = True
                return
            self.send_response(found.status)
            for name, value in found.headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.send_header("Content-Length", str(len(found.body)))
            self.end_headers()
            self.wfile.write(found.body)

    return Handler


def question_of(body: dict) -> str:
    """What a call asks."""
    return body["messages"][-1]["content"]
