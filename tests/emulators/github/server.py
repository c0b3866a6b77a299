"""api.github.com on a loopback port, held to GitHub's own description of its API.

`python tests/emulators/github/server.py --port 0` prints its address as one line of JSON and serves until it is ended.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import signal
import socket
import struct
import sys
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qsl, urlencode, urlsplit

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from tests.emulators.github import git_acts, schema, shown
from tests.emulators.github.acts import ACTS, Request
from tests.emulators.github.refusal import Refusal, forbidden, invalid, not_found
from tests.emulators.github.world import Call, Fault, Token, World

PAGE, MOST = 30, 100
NOBODY = Token("", app=False, permissions={})
assert git_acts  # its acts are registered by importing it


class Server(ThreadingHTTPServer):
    """The API over one world."""

    daemon_threads = True
    request_queue_size = 128  # many jobs begin at once

    def __init__(self, world: World, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.world = world
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)

    @property
    def url(self) -> str:
        """Where it listens; what GITHUB_API_URL is set to."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no fault of ours."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


class Handler(BaseHTTPRequestHandler):
    """One request: who, what, may it, do it, show it."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def log_message(self, *_args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Read."""
        self._serve("GET")

    def do_POST(self) -> None:
        """Make."""
        self._serve("POST")

    def do_PATCH(self) -> None:
        """Change."""
        self._serve("PATCH")

    def do_DELETE(self) -> None:
        """Remove."""
        self._serve("DELETE")

    def _serve(self, method: str) -> None:
        world = self.server.world
        parts = urlsplit(self.path)
        data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path = parts.path.removeprefix("/api/v3")  # where an Enterprise Server has it
        path = "/graphql" if path == "/api/graphql" else path
        with world.lock:
            fault = world.fault_of(method, path)
        if fault and fault.meanwhile:
            fault.meanwhile()
        if fault and fault.seconds:
            threading.Event().wait(fault.seconds)
        if fault and fault.kind == "reset":
            self._note(method, path, "", 0)
            self._cut()
            return
        status, body, headers, token = self._answer(method, path, dict(parse_qsl(parts.query)), data, fault)
        self._note(method, path, token.login, status)
        if fault and fault.kind == "lost":
            self._cut()
            return
        self._send(status, b"<html>502</html>" if fault and fault.kind == "garbage" else body, headers)

    def _note(self, method: str, path: str, login: str, status: int) -> None:
        world = self.server.world
        with world.lock:
            world.calls.append(Call(method, path, login, status, world.clock()))

    def _answer(
        self, method: str, path: str, query: dict[str, str], data: bytes, fault: Fault | None
    ) -> tuple[int, bytes, dict[str, str], Token]:
        world, headers, token = self.server.world, {"Content-Type": "application/json; charset=utf-8"}, NOBODY
        with world.lock:
            try:
                token = self._token(method)
                if fault and fault.refusal:
                    raise fault.refusal
                headers |= _spend(world, token)
                status, value, links = self._act(method, path, query, data, token)
                headers |= links
            except Refusal as refusal:
                status, value = refusal.status, refusal.body
                headers |= refusal.headers
            except schema.Violation as violation:
                world.violations.append(f"{method} {path}: {violation}")
                status, value = 422, {"message": f"Invalid request.\n\n{violation}"}
        body = b"" if value is None else json.dumps(value).encode()
        if method == "GET" and status == 200:
            headers["ETag"] = f'W/"{hashlib.sha256(body).hexdigest()[:40]}"'
            if self.headers.get("If-None-Match") == headers["ETag"]:
                token.used -= 1  # costs nothing
                return 304, b"", headers, token
        return status, body, headers, token

    def _token(self, method: str) -> Token:
        kind, _, text = (self.headers.get("Authorization") or "").partition(" ")
        if not kind:
            if method != "GET":
                raise Refusal(401, "Requires authentication")
            return NOBODY
        found = self.server.world.tokens.get(text.strip())
        if kind.lower() not in ("token", "bearer") or found is None:
            raise Refusal(401, "Bad credentials")
        if not self.headers.get("User-Agent"):
            raise Refusal(
                403,
                "Request forbidden by administrative rules. Please make sure your request has a User-Agent",
            )
        return found

    def _act(
        self, method: str, path: str, query: dict[str, str], data: bytes, token: Token
    ) -> tuple[int, Any, dict[str, str]]:
        try:
            body = json.loads(data) if data else None
        except ValueError as error:
            raise Refusal(400, "Problems parsing JSON") from error
        if path == "/graphql":
            return 200, _graphql(self.server.world, token, body or {}), {}
        found = schema.find(method, path)
        if found is None:
            self.server.world.violations.append(f"{method} {path}: not emulated")
            raise not_found()
        operation, parameters = found
        schema.check_query(operation, query)
        schema.check_body(operation, body)
        request = Request(self.server.world, token, parameters, query, body or {}, self.server.url)
        status, value = ACTS[operation.name](request)
        links: dict[str, str] = {}
        if method == "GET" and isinstance(value, list):
            value, links = _page(value, path, query, self.server.url)
        whole = None if value is None else schema.filled(operation, status, value)
        schema.check_response(operation, status, whole)
        return status, whole, links

    def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _cut(self) -> None:
        """Break the connection, as a load balancer does."""
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


def _spend(world: World, token: Token) -> dict[str, str]:
    """One request less until the hour is over."""
    if world.clock() >= token.resets_at:
        token.used, token.resets_at = 0, world.clock() + 3_600
    left = token.limit - token.used
    headers = {
        "X-RateLimit-Limit": str(token.limit),
        "X-RateLimit-Remaining": str(max(0, left - 1)),
        "X-RateLimit-Reset": str(int(token.resets_at)),
        "X-RateLimit-Used": str(token.used + 1),
    }
    if left <= 0:
        raise Refusal(403, "API rate limit exceeded for installation.", headers=headers)
    token.used += 1
    return headers


def _page(
    values: list[Any], path: str, query: Mapping[str, str], api: str
) -> tuple[list[Any], dict[str, str]]:
    size, number = int(query.get("per_page", PAGE)), int(query.get("page", 1))
    size = min(max(size, 1), MOST)
    last = max(1, -(-len(values) // size))

    def link(page: int, word: str) -> str:
        return f'<{api}{path}?{urlencode({**query, "page": page})}>; rel="{word}"'

    links = [link(number + 1, "next"), link(last, "last")] if number < last else []
    links += [link(number - 1, "prev"), link(1, "first")] if number > 1 else []
    return values[(number - 1) * size : number * size], {"Link": ", ".join(links)} if links else {}


def _graphql(world: World, token: Token, body: Mapping[str, Any]) -> dict[str, Any]:
    """What REST has not: who am I, fold a comment away, and the files of two levels of folders in one answer."""
    query, variables = str(body.get("query", "")), body.get("variables") or {}
    if "minimizeComment" in query:
        number = int(str(variables.get("id", "IC_0")).removeprefix("IC_"))
        comment = next(
            (repo.comments[number] for repo in world.repositories.values() if number in repo.comments), None
        )
        if comment is None:
            error = {
                "type": "NOT_FOUND",
                "message": f"Could not resolve to a node with the global id of 'IC_{number}'",
            }
            return {"data": {"minimizeComment": None}, "errors": [error]}
        if not (token.may("issues", "write") or token.may("pull_requests", "write")):
            return {"data": {"minimizeComment": None}, "errors": [{"type": "FORBIDDEN", **forbidden().body}]}
        comment.hidden = str(variables.get("classifier") or "OUTDATED")
        return {"data": {"minimizeComment": {"minimizedComment": {"isMinimized": True}}}}
    if "object(expression:" in query:
        return _tree_by_name(world, token, variables)
    if "viewer" in query:
        if not token.login:
            raise Refusal(401, "Requires authentication")
        return {"data": {"viewer": shown.user(token.login) | {"login": token.login}}}
    raise invalid("A query that is not emulated")


def _tree_by_name(world: World, token: Token, variables: Mapping[str, Any]) -> dict[str, Any]:
    """A folder at a branch, with the text of the files in its folders."""
    repository = world.repositories.get(f"{variables['owner']}/{variables['name']}")
    if repository is None or not token.may("contents", "read"):
        message = (
            f"Could not resolve to a Repository with the name '{variables['owner']}/{variables['name']}'."
        )
        return {"data": {"repository": None}, "errors": [{"type": "NOT_FOUND", "message": message}]}
    reference, _, folder = str(variables["folder"]).partition(":")
    objects = repository.objects
    commit = objects.refs.get(reference.removeprefix("refs/"))
    if commit is None:
        return {"data": {"repository": {"object": None}}}
    files = [
        (path.removeprefix(f"{folder}/").split("/"), data)
        for path, data in objects.files(reference.removeprefix("refs/")).items()
        if path.startswith(f"{folder}/")
    ]
    inside: dict[str, list[dict[str, Any]]] = {}
    for words, data in files:
        if len(words) == 2:
            inside.setdefault(words[0], []).append({"name": words[1], "object": {"text": _as_text(data)}})
    entries = [{"name": name, "object": {"entries": below}} for name, below in inside.items()]
    entries += [{"name": words[0], "object": {}} for words, _ in files if len(words) == 1]
    return {"data": {"repository": {"object": {"entries": entries} if files else None}}}


def _as_text(data: bytes) -> str | None:
    """What GraphQL shows of a file: nothing of a binary one."""
    try:
        return None if b"\0" in data else data.decode()
    except UnicodeDecodeError:
        return None


def main() -> int:
    """Serve until the end of the process; the world is one repository with one open pull request."""
    parser = argparse.ArgumentParser(description="an emulated api.github.com")
    parser.add_argument("--port", type=int, default=0, help="0: a free one (default)")
    parser.add_argument("--repository", default="org/kpt")
    parser.add_argument("--token", default="emulated", help="the token that it knows")
    arguments = parser.parse_args()
    world = World()
    world.token(arguments.token)
    repository = world.repository(arguments.repository)
    world.pull(repository, 1, repository.objects.refs["heads/main"])
    with Server(world, arguments.port) as server:
        print(json.dumps({"url": server.url, "token": arguments.token}), flush=True)
        ended = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: ended.set())
        ended.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
