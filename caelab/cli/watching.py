"""A page with the progress of a study, served to this machine only."""

from __future__ import annotations

import json
from functools import partial
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import click

from caelab.errors import CaelabError
from caelab.study.folder import Status, status_of

LOOPBACK = "127.0.0.1"
EVERY = 2000  # milliseconds between two looks
PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>{title}</title><link rel="icon" href="data:,">
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }}
progress {{ width: 100%; height: 1.5rem; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .25rem .75rem; text-align: right; border-bottom: 1px solid #8888; }}
th:first-child {{ text-align: left; }}
</style></head><body>
<h1>{title}</h1>
<p id="said" role="status">…</p><progress id="bar" max="1" value="0" aria-label="runs that are finished"></progress>
<table><thead><tr><th scope="col">model</th><th scope="col">done</th><th scope="col">running</th>
<th scope="col">failed</th><th scope="col">waiting</th></tr></thead><tbody id="models"></tbody></table>
<script>
"use strict";
const said = document.getElementById("said"), bar = document.getElementById("bar");
const cell = (kind, text) => {{ const c = document.createElement(kind); c.textContent = text; return c; }};
const row = model => {{
  const r = document.createElement("tr"), head = cell("th", model.model);
  head.scope = "row";
  r.append(head, ...["done", "running", "failed", "waiting"].map(key => cell("td", model[key])));
  return r;
}};
async function look() {{
  try {{
    const found = await (await fetch("status.json")).json();
    if (found.error) {{ said.textContent = found.error; return; }}
    said.textContent = found.said;
    bar.max = Math.max(found.runs, 1);
    bar.value = found.finished;
    document.getElementById("models").replaceChildren(...found.models.map(row));
  }} catch (error) {{ said.textContent = "the command that serves this page has ended"; }}
}}
look();
setInterval(look, {every});
</script></body></html>
"""


def serve(folder: Path, port: int) -> None:
    """Serve the progress of a study on the loopback address until interrupted.

    Raises:
        CaelabError: the folder holds no study, or the port is taken.
    """
    status_of(folder)
    with server(folder, port) as serving:
        click.echo(f"progress of {folder}: http://{LOOPBACK}:{serving.server_port}/ (Ctrl-C ends it)")
        serving.serve_forever()


def server(folder: Path, port: int) -> ThreadingHTTPServer:
    """The server, bound but not yet serving.

    Raises:
        CaelabError: the port is taken.
    """
    try:
        return ThreadingHTTPServer((LOOPBACK, port), partial(Progress, folder))
    except OSError as error:
        raise CaelabError(f"port {port} cannot be used ({error.strerror}); give another one with --port") from error


class Progress(BaseHTTPRequestHandler):
    """Answers with the page, or with the state of the study as JSON.

    Args:
        folder: of the study.
    """

    def __init__(self, folder: Path, *arguments: Any) -> None:
        self.folder = folder
        super().__init__(*arguments)

    def do_GET(self) -> None:
        """Answer a request; one that names another host comes from a page elsewhere, and is refused."""
        host = (self.headers.get("Host") or "").rpartition(":")[0]
        if host not in (LOOPBACK, "localhost"):
            self.send_error(403)
        elif self.path == "/":
            title = escape(f"Progress of {self.folder.resolve().name}")
            self._answer("text/html; charset=utf-8", PAGE.format(title=title, every=EVERY))
        elif self.path == "/status.json":
            self._answer("application/json", json.dumps(_state(self.folder)))
        else:
            self.send_error(404)

    def _answer(self, kind: str, text: str) -> None:
        content = text.encode()
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: Any) -> None:
        """Say nothing of each request."""


def _state(folder: Path) -> dict[str, Any]:
    try:
        found = status_of(folder)
    except CaelabError as error:
        return {"error": str(error)}
    finished = found.count("done") + found.count("partly") + found.count("failed")
    return {
        "runs": len(found.plan),
        "finished": finished,
        "said": f"{finished} of {len(found.plan)} runs are finished, {found.count('failed')} failed, "
        f"{len(found.running)} are running",
        "models": [_of_model(name, found) for name in dict.fromkeys((e.model, e.dataset) for e in found.plan)],
    }


def _of_model(name: tuple[str, str], found: Status) -> dict[str, Any]:
    runs = [each.run for each in found.plan if (each.model, each.dataset) == name]
    states = [found.states.get(run) for run in runs]
    running = sum(run in found.running for run in runs)
    return {
        "model": f"{name[0]} on {name[1]}",
        "done": sum(state in ("done", "partly") for state in states),
        "running": running,
        "failed": states.count("failed"),
        "waiting": states.count(None) - running,
    }
