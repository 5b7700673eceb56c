"""Runs runtime clients under runtime_api_server.py and writes down what they posted and printed, in a form that two clients can be compared by.

A Case is one process with one handler and some events. Its outcome is compared with the golden file, which holds what AWS's own client did (where
ours differs on purpose: both, and why). With the official client installed (tests/runtimes/official/install.sh FOLDER, SLUICE_OFFICIAL_RUNTIMES=FOLDER)
that one runs through the same table (runtime_*_official), so that the golden file is known to be true. SLUICE_GOLDEN_WRITE=1 writes it, from both."""

import dataclasses
import hashlib
import json
import os
import pathlib
import re
import signal
import struct
import subprocess
import tempfile
import threading
import time
import unittest

import runtime_api_server

HERE = pathlib.Path(__file__).parent
ROOT = HERE.parent.parent
BODY_CHARS_MAX = 2000  # of a body in a golden file; longer ones by length and hash


@dataclasses.dataclass
class Case:
    label: str
    handler: str
    events: list = dataclasses.field(default_factory=lambda: ["{}"])
    headers: dict = dataclasses.field(default_factory=dict)
    environment: dict = dataclasses.field(default_factory=dict)
    ends: bool = False  # the process is expected to end by itself
    init: bool = False  # it reports an init error
    differs: str = ""  # why ours is not as AWS's


class Client:
    """One process of a runtime client."""

    def __init__(self, command, folder, handler, api, environment=None):
        self.folder = folder
        self.output_file = tempfile.TemporaryFile()
        variables = {
            "PATH": os.environ["PATH"],
            "HOME": "/nonexistent",
            "LANG": "C.UTF-8",
            "TZ": ":UTC",
            "AWS_LAMBDA_RUNTIME_API": api.address,
            "_HANDLER": handler,
            "LAMBDA_TASK_ROOT": str(folder),
            "AWS_LAMBDA_FUNCTION_NAME": "tested",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
            "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/tested",
            "AWS_LAMBDA_LOG_STREAM_NAME": "2026/01/01/[$LATEST]0123456789abcdef0123456789abcdef",
            "PYTHONDONTWRITEBYTECODE": "1",
            **(environment or {}),
        }
        self.process = subprocess.Popen([*command, handler], cwd=folder, env={name: value for name, value in variables.items() if value is not None},
                                        stdin=subprocess.DEVNULL, stdout=self.output_file, stderr=subprocess.STDOUT, start_new_session=True,
                                        pass_fds=[int(variables["_LAMBDA_TELEMETRY_LOG_FD"])] if "_LAMBDA_TELEMETRY_LOG_FD" in variables else [])

    def wait(self):
        """Its exit code, minus the signal's number if one killed it."""
        try:
            return self.process.wait(runtime_api_server.DEADLINE_S)
        except subprocess.TimeoutExpired:
            raise runtime_api_server.Failure(f"the client does not end; it said: {self.output()}") from None

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def output(self):
        self.output_file.seek(0)
        return self.output_file.read().decode("utf-8", "replace")

    def close(self):
        """Ends it and whatever it left behind in its group."""
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()
        self.output_file.close()


def run(command, folder, case, command_takes_handler=True):
    """The outcome of a case."""
    api = runtime_api_server.RuntimeApi()
    client = Client(command, folder, case.handler, api, case.environment)
    # A client that ends early is an outcome too.
    threading.Thread(target=_close_at_end, args=(client.process, api), daemon=True).start()
    outcome = {}
    try:
        reports = []
        if case.init:
            reports.append(api.report(None))
        else:
            for number, event in enumerate(case.events):
                headers = dict(case.headers)
                api.offer(f"request-{number}", event.encode(), **headers)
                if case.ends:
                    api.was_taken(f"request-{number}")
                else:
                    reports.append(api.report(f"request-{number}"))
        if case.ends or case.init:
            outcome["exit"] = client.wait()
            reports = api.reports
        else:
            api.parked()
            client.process.kill()
            client.process.wait()
        outcome["reports"] = [_report(one, folder) for one in reports]
        outcome["output"] = _lines(client.output(), folder)
        if api.complaints:
            outcome["complaints"] = api.complaints
        return outcome
    except (runtime_api_server.Failure, IndexError) as failure:
        return {"failure": f"{type(failure).__name__}: {failure}", "output": _lines(client.output(), folder)}
    finally:
        client.close()
        api.close()


def _close_at_end(process, api):
    process.wait()
    with api.condition:
        api.closed = True
        api.condition.notify_all()


class RuntimeTest(unittest.TestCase):
    """What only our runtimes are asked. `command` and `functions` by the subclass."""

    command = functions = None

    def given(self, handler, environment=None, **api):
        self.api = runtime_api_server.RuntimeApi(**api)
        self.addCleanup(self.api.close)
        self.client = Client(self.command, self.functions, handler, self.api, environment)
        self.addCleanup(self.client.close)
        return self.api

    def invoke(self, request_id="request", event=b"{}", **headers):
        self.api.offer(request_id, event, **headers)
        return self.api.report(request_id)

    def said(self, text):
        """Waits until the client has printed it."""
        end = time.monotonic() + runtime_api_server.DEADLINE_S
        while text not in self.client.output():
            if time.monotonic() > end:
                self.fail(f"the client does not say '{text}' but: {self.client.output()}")
            time.sleep(0.005)

    def complains_not(self):
        self.assertEqual([], self.api.complaints)

    def frames(self, handler, environment=None):
        """[(type, microseconds, text)] of one invocation that logs to _LAMBDA_TELEMETRY_LOG_FD."""
        readable, writable = os.pipe()
        self.addCleanup(os.close, readable)
        self.given(handler, {"_LAMBDA_TELEMETRY_LOG_FD": str(writable), **(environment or {})})
        os.close(writable)
        report = self.invoke()
        self.client.process.kill()
        self.client.process.wait()
        raw = b""
        while piece := os.read(readable, 65536):
            raw += piece
        frames = []
        while raw:
            kind, length, at_us = struct.unpack(">IIQ", raw[:16])
            frames.append((kind, at_us, raw[16:16 + length].decode()))
            raw = raw[16 + length:]
        return report, frames


# ---- one form for two clients: without times, folders, and frames of the client itself ----

# V8's words about JSON are others in each version of Node.
_V8_JSON = re.compile(r"(SyntaxError: )?(Expected property name or '}' in JSON|Unexpected token . in JSON) at position \d+( \(line \d+ column \d+\))?")
_CARETS = re.compile(r"(\n[ ~^]*\^[ ~^]*)(?=\n|$)")  # below source lines, from Python 3.11 on
_RUN = re.compile(r"(.)\1{99,}", re.DOTALL)
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{3})?Z")
_CLIENT_FILE = re.compile(r"\n- [^\n]*(?:bootstrap\.cjs|aws-lambda-ric/[^\n]*)")
_TRACES = {"trace", "stack", "stackTrace"}


def _text(text, folder):
    text = text.replace(str(folder), "TASK")
    text = _CLIENT_FILE.sub("", text)
    text = re.sub(r"imported from .*(?:bootstrap\.cjs|aws-lambda-ric\S*|index\.mjs)", "imported from CLIENT", text)
    text = _V8_JSON.sub(r"\1V8'S WORDS", text)
    text = _CARETS.sub("", text)
    text = _RUN.sub(lambda run: f"<{len(run[0])} times {run[1]}>", text)
    return _TIME.sub("TIME", text)


def _frames(lines, folder):
    """Lines of a stack: those before the first frame, and frames of the function (of Python, with the source line below each)."""
    kept = []
    dropping = False
    for line in lines:
        if re.match(r"\s+(at|File) ", line):
            dropping = str(folder) not in line
        elif not re.match(r"\s{4}", line):
            dropping = False
        if not dropping and not ("- /" in line and re.search(r"bootstrap\.cjs|aws-lambda-ric/", line)):
            kept.append(_text(line, folder))
    return kept


def _value(value, folder, name=""):
    if isinstance(value, dict):
        return {key: _value(child, folder, key) for key, child in value.items()}
    if isinstance(value, list):
        if name in _TRACES and all(isinstance(child, str) for child in value):
            return _frames(value, folder)
        if name == "stack":
            return [_value(child, folder) for child in value if str(folder) in str(child.get("path"))]
        if name == "paths":
            return sorted(_text(child, folder) for child in value if str(folder) in child)
        return [_value(child, folder) for child in value]
    if isinstance(value, str):
        return _text(value, folder)
    return value


def _json(text, folder):
    """As text again, so that the order of keys counts."""
    try:
        return json.dumps(_value(json.loads(text), folder), ensure_ascii=False)
    except ValueError:
        return _text(text, folder)


def _report(report, folder):
    import base64

    headers = report.headers
    body = report.body.decode("utf-8", "backslashreplace")
    body = _json(body, folder) if report.kind != "response" else _text(body, folder)
    result = {"kind": report.kind, "body": body if len(body) <= BODY_CHARS_MAX else f"{len(body)} characters, {hashlib.sha256(body.encode()).hexdigest()[:16]}"}
    for name in ("content-type",) if report.kind == "response" else ():
        if name in headers:
            result[name] = headers[name]
    for name in ("lambda-runtime-function-error-type", "lambda-runtime-function-response-mode", "trailer"):
        if name in headers:
            result[name] = headers[name]
    if "lambda-runtime-function-xray-error-cause" in headers:
        result["xray"] = _json(headers["lambda-runtime-function-xray-error-cause"], folder)
    for name, value in report.trailers.items():
        result["trailer " + name] = _json(base64.b64decode(value).decode(), folder) if name.endswith("-body") else value
    if report.chunked:
        result["chunked"] = True
    return result


def _lines(output, folder):
    """Log lines; JSON at the end of one is compared as JSON is."""
    lines = []
    for line in output.split("\n")[:-1]:
        if _CARETS.fullmatch("\n" + line):
            continue
        # What the official node client says and AWS's own runtime does not; and a warning about updates of AWS's runtimes.
        if line.startswith("Executing '") or "LAMBDA_WARNING: Unhandled exception" in line:
            continue
        at = line.find("{")
        rest = line[at:] if at >= 0 else ""
        try:
            json.loads(rest)
            lines.append(_text(line[:at], folder) + _json(rest, folder))
        except ValueError:
            lines.append("\r".join(_frames(line.split("\r"), folder)))
    return lines


# ---- golden files ----


class Golden:
    def __init__(self, name):
        self.path = HERE / "golden" / f"{name}.json"
        self.known = json.loads(self.path.read_text()) if self.path.exists() else {}

    def of_ours(self, label):
        return self._of(label, "ours")

    def of_official(self, label):
        return self._of(label, "official")

    def _of(self, label, whose):
        entry = self.known.get(label)
        if entry is None:
            raise runtime_api_server.Failure(f"{self.path.name} does not know '{label}'; write it with SLUICE_GOLDEN_WRITE=1")
        return entry["both"] if "both" in entry else entry[whose]

    def write(self, cases, outcomes):
        """`outcomes`: {label: (ours, official)}. A difference without a reason is refused."""
        written = {}
        for case in cases:
            ours, official = outcomes[case.label]
            if ours == official:
                written[case.label] = {"both": ours}
            elif case.differs:
                written[case.label] = {"why": case.differs, "official": official, "ours": ours}
            else:
                raise runtime_api_server.Failure(f"'{case.label}' differs:\nofficial {_show(official)}\nours     {_show(ours)}")
        self.path.write_text(json.dumps(written, indent=1, ensure_ascii=False) + "\n")


def _show(outcome):
    return json.dumps(outcome, indent=1, ensure_ascii=False)


def official(name):
    """The command of an official client, to which the handler is added; None when it is not there, or could not be made whole."""
    folder = os.environ.get("SLUICE_OFFICIAL_RUNTIMES")
    clients = pathlib.Path(folder, "clients.json") if folder else None
    return json.loads(clients.read_text()).get(name) if clients is not None and clients.exists() else None
