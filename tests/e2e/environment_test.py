"""What Lambda functions of each runtime find in their environment, with a daemon that has one of its own; and that they find their interpreters in it."""

import json
import re
import unittest

import sluice_daemon

NODE = """
const { execFileSync } = require('child_process');
exports.handler = async () => ({ env: process.env, own: process.execPath,
  found: execFileSync('node', ['-p', 'process.execPath'], { encoding: 'utf8' }).trim() });
"""
PYTHON = """
import os, subprocess, sys
def handler(event, context):
    found = subprocess.run(["python3", "-c", "import sys; print(sys.executable)"], stdout=subprocess.PIPE, check=True, text=True).stdout.strip()
    return {"env": dict(os.environ), "own": sys.executable, "found": found}
"""
BOOTSTRAP = """#!/bin/bash
api=http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation
while curl -sS -D head -o event "$api/next"; do
    id=$(tr -d '\\r' <head | sed -n 's/^lambda-runtime-aws-request-id: //Ip')
    tr '\\0' '\\n' </proc/$$/environ | jq -R . | jq -s '{env: map(capture("^(?<key>[^=]+)=(?<value>.*)$")) | from_entries}' >answer
    curl -sS -o /dev/null --data-binary @answer "$api/$id/response"
done
"""
CONFIG = """functions:
  node: {runtime: nodejs, handler: index.handler, code: code, timeout: 20s}
  python: {runtime: python, handler: app.handler, code: code, timeout: 20s}
  provided: {runtime: provided, code: code, timeout: 20s, environment: {MINE: "1", LANG: C}}
"""
LAMBDAS_PATH = "/var/lang/bin:/usr/local/bin:/usr/bin/:/bin:/opt/bin"
# By name; a value, or a pattern of one. With what the runtime itself sets.
ALL = {
    "AWS_LAMBDA_RUNTIME_API": re.compile(r"127\.0\.0\.1:\d+"), "LAMBDA_TASK_ROOT": re.compile(r"/.*/code"),
    "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "128",
    "AWS_LAMBDA_LOG_STREAM_NAME": re.compile(r"\d{4}/\d\d/\d\d/\[\$LATEST\][0-9a-f]{32}"), "AWS_LAMBDA_INITIALIZATION_TYPE": "on-demand",
    "AWS_REGION": "us-east-1", "AWS_DEFAULT_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_SESSION_TOKEN": "test",
    "AWS_ENDPOINT_URL": re.compile(r"http://127\.0\.0\.1:\d+"), "AWS_XRAY_CONTEXT_MISSING": "LOG_ERROR", "AWS_XRAY_DAEMON_ADDRESS": "127.0.0.1:2000",
    "_AWS_XRAY_DAEMON_ADDRESS": "127.0.0.1", "_AWS_XRAY_DAEMON_PORT": "2000", "AWS_LAMBDA_LOG_FORMAT": "Text", "TZ": ":UTC",
    "PATH": re.compile("(/[^:]+:)*" + re.escape(LAMBDAS_PATH)), "LD_LIBRARY_PATH": re.compile(r"(/.*/code):\1/lib:/opt/lib"), "HOME": "/home/nobody",
    "SLUICE_INSTANCE": re.compile(r"\d+"), "LAMBDA_RUNTIME_DIR": re.compile("/.*"),
}
TRACE = {"_X_AMZN_TRACE_ID": re.compile(r"Root=1-[0-9a-f]{8}-[0-9a-f]{24};Parent=[0-9a-f]{16};Sampled=[01]")}
EACH = {
    "node": {**TRACE, "_HANDLER": "index.handler", "LANG": "en_US.UTF-8", "AWS_EXECUTION_ENV": "AWS_Lambda_nodejs",
             "NODE_PATH": re.compile("/opt/nodejs/node_modules:/.*/nodejs/node_modules")},
    "python": {**TRACE, "_HANDLER": "app.handler", "LANG": "en_US.UTF-8", "AWS_EXECUTION_ENV": "AWS_Lambda_python", "PYTHONPATH": re.compile("/.*/python")},
    "provided": {"_HANDLER": "bootstrap", "LANG": "C", "MINE": "1"},
}


class EnvironmentTest(sluice_daemon.DaemonTest):
    def test_the_whole_of_it(self):
        elsewhere = {"HOME": "/home/nobody", "LANG": "de_DE.UTF-8", "TZ": "Europe/Berlin", "AWS_SECRET_ACCESS_KEY": "secret", "EDITOR": "ed"}
        daemon = self.prepare(CONFIG, http=True, environment=elsewhere)
        code = daemon.folder / "code"
        code.mkdir()
        for name, text in (("index.js", NODE), ("app.py", PYTHON), ("bootstrap", BOOTSTRAP)):
            (code / name).write_text(text)
        (code / "bootstrap").chmod(0o755)
        daemon.start()
        for function, its_own in EACH.items():
            with self.subTest(function):
                told = daemon.invoke(function)
                answer = json.loads(told.body)
                if function in ("node", "python"):
                    self.assertEqual(answer["env"]["_X_AMZN_TRACE_ID"], told.headers["X-Amzn-Trace-Id"])
                wanted = {**ALL, **its_own, "AWS_LAMBDA_FUNCTION_NAME": function, "SLUICE_FUNCTION": function, "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{function}"}
                found = answer["env"]
                found.pop("LC_CTYPE", None)     # python's own, where the host has no such LANG
                self.assertEqual(sorted(found), sorted(wanted))
                for name, value in wanted.items():
                    if isinstance(value, str):
                        self.assertEqual(found[name], value, name)
                    else:
                        self.assertRegex(found[name], f"^(?:{value.pattern})$", name)
                self.assertEqual(answer.get("own"), answer.get("found"))

    def test_events_have_the_trace_ids_of_who_sent_them(self):
        daemon = self.prepare("""
functions: {f: {runtime: python, handler: app.handler, code: code, retry: {attempts: 2, backoff: 1s..1s}}}
rules: {all: {pattern: {source: [shop]}, targets: [{function: f}]}}
""", http=True)
        (daemon.folder / "code").mkdir()
        (daemon.folder / "code" / "app.py").write_text("import os\ndef handler(event, context): print('<' + os.environ['_X_AMZN_TRACE_ID'] + '>'); raise RuntimeError\n")
        daemon.start()
        root, whole = "Root=1-5759e988-bd862e3fe1be46a994272793", "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=0123456789abcdef;Sampled=1"
        seen = lambda: re.findall("<(Root=.*)>", daemon.sluice("function", "logs", "f"))
        def sent(send, wanted):
            """Both attempts have the same."""
            before = len(seen()) if daemon.balance("f")["dead_lettered"] else 0
            dead = daemon.balance("f")["dead_lettered"]
            wanted = send() or wanted
            daemon.wait_balance("f", dead_lettered=dead + 1, pending=0)
            first, second = seen()[before:]
            self.assertEqual(first, second)
            self.assertRegex(first, f"^{wanted}$")
        def invoke(**headers):
            return daemon.invoke("f", x_amz_invocation_type="Event", **headers).headers["X-Amzn-Trace-Id"]
        def put(**more):
            entry = {"Source": "shop", "DetailType": "t", "Detail": "{}", **more}
            answer = daemon.http("POST", "/", json.dumps({"Entries": [entry]}), {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "AWSEvents.PutEvents"})
            self.assertEqual(json.loads(answer.body)["FailedEntryCount"], 0)
        sent(lambda: invoke(), None)
        sent(lambda: self.assertRegex(invoke(x_amzn_trace_id=root), f"^{root};Parent="), f"{root};Parent=[0-9a-f]{{16}};Sampled=0")
        sent(lambda: self.assertEqual(invoke(x_amzn_trace_id=whole), whole), whole)
        sent(lambda: put(), TRACE["_X_AMZN_TRACE_ID"].pattern)
        sent(lambda: put(TraceHeader=whole), whole)
        sent(lambda: daemon.http("POST", "/events", b"{}", {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "shop", "ce-type": "t", "Content-Type": "application/json",
                                 "ce-traceparent": "00-5759e988bd862e3fe1be46a994272793-0123456789abcdef-01"}) and None, whole)


if __name__ == "__main__":
    unittest.main(verbosity=2)
