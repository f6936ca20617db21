"""A stand-in for ClearML's API and file servers: every request is held against the schemas of the `clearml` package, and
kept. It knows no more of ClearML than these schemas and what the requests before said. A real server wants three data bases.
"""

import importlib
import json
import re
import threading
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jsonschema

KEYS = ("access", "secret")
VERSION = "v2_13"


def schema_of(service, action):
    """The schema of a request, of the package's oldest version that has it."""
    for version in (VERSION, "v2_20", "v2_23"):
        module = importlib.import_module(f"clearml.backend_api.services.{version}.{service}")
        for thing in vars(module).values():
            if getattr(thing, "_service", None) == service and getattr(thing, "_action", None) == action and "Request" in thing.__name__:
                return thing
    raise KeyError(f"{service}.{action}")


class State:
    def __init__(self):
        self.faults, self.calls = [], []
        self.projects, self.tasks, self.models, self.events, self.files = {}, {}, {}, [], {}
        self.lock = threading.Lock()

    def answer(self, name, body):
        service, action = name.split(".")
        request = schema_of(service, action)
        self.calls.append(name)
        if name == "events.add_batch":
            schema = importlib.import_module(f"clearml.backend_api.services.{VERSION}.events").MetricsScalarEvent._schema
            lines = [json.loads(line) for line in body.decode().split("\n")]
            for line in lines:
                jsonschema.validate(line, schema)
                assert line["task"] in self.tasks, "figures of no task"
                assert self.tasks[line["task"]]["status"] == "in_progress", "figures of a task that is not in progress"
            self.events += lines
            return {"added": len(lines), "errors": 0}
        body = json.loads(body)
        jsonschema.validate(body, request._schema)
        unknown = set(body) - set(request._schema["properties"])
        assert not unknown, f"{name} knows no {unknown}"
        match name:
            case "projects.get_all":
                return {"projects": [p for p in self.projects.values() if re.search(body["name"], p["name"])]}
            case "projects.create":
                return self.make(self.projects, body)
            case "tasks.get_all":
                fits = lambda t: t["project"] in body["project"] and set(body["tags"]) <= set(t["tags"])
                return {"tasks": [t for t in self.tasks.values() if fits(t)]}
            case "tasks.create":
                return self.make(self.tasks, body | {"status": "created", "artifacts": {}, "model": None})
            case "tasks.started" | "tasks.completed" | "tasks.failed":
                words = {"started": "in_progress", "completed": "completed", "failed": "failed"}
                self.tasks[body["task"]]["status"] = words[action]
                return {"updated": 1}
            case "tasks.add_or_update_artifacts":
                self.tasks[body["task"]]["artifacts"] |= {one["key"]: one for one in body["artifacts"]}
                return {"updated": 1}
            case "models.get_all":
                return {"models": [m for m in self.models.values() if m["uri"] in body["uri"]]}
            case "models.create":
                return self.make(self.models, body)
            case "tasks.add_or_update_model":
                assert body["model"] in self.models
                self.tasks[body["task"]]["model"] = body
                return {"updated": 1}
        raise KeyError(name)

    def make(self, things, thing):
        number = f"{len(things):032x}"
        things[number] = thing | {"id": number}
        return {"id": number}


def serve(state, is_open):
    """Starts the server, and gives it. While `is_open` is false, it answers 503."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def reply(self, status, body):
            text = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if not is_open():
                return self.reply(503, {"meta": {"result_msg": "out of order"}})
            try:
                with state.lock:
                    answer = self.answer(body)
            except Exception as fault:
                state.faults.append(f"{self.path}: {type(fault).__name__}: {fault}")
                answer = (400, {"meta": {"result_msg": str(fault)[:300]}})
            try:
                self.reply(*answer)
            except OSError:
                pass  # who asked was killed

        def answer(self, body):
            import base64

            authorization = self.headers.get("Authorization", "")
            if self.path == "/":
                state.files |= {part.get_param("name", header="content-disposition"): part.get_payload(decode=True)
                                for part in self.parts(body)}
                assert authorization == "Bearer token", "files sent without the token"
                return 200, list(state.files)
            if self.path.endswith("/auth.login"):
                expected = "Basic " + base64.b64encode(":".join(KEYS).encode()).decode()
                return (200, {"data": {"token": "token"}}) if authorization == expected else (401, {})
            if authorization != "Bearer token":
                return 401, {}
            version, name = self.path.strip("/").split("/")
            assert version == VERSION.replace("_", "."), version
            return 200, {"meta": {"result_code": 200}, "data": state.answer(name, body)}

        def parts(self, body):
            head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
            return message_from_bytes(head + body).get_payload()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server
