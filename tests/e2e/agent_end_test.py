"""What an external extension hears when its function's runtime ends by itself or fails, and the time that it has then. (With an agent of our own, so that
this is never skipped; extension_test.py has AWS's.)"""

import json
import os
import signal
import time
import unittest

import sluice_daemon

FUNCTION = """
import os, pathlib, time

if os.path.exists("no-init"):
    how = pathlib.Path("no-init").read_text()
    if how == "exit":
        os._exit(7)
    raise RuntimeError("as asked")

def handler(event, context):
    if "exit" in event:
        os._exit(event["exit"])
    time.sleep(event.get("sleep", 0))
    return {"pid": os.getpid()}
"""
# Each request is a connection of its own: who comes when the runtime is gone has to be let in, too.
AGENT = """#!/usr/bin/env python3
import http.client, http.server, json, os, threading, time

class Subscriber(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        for record in json.loads(self.rfile.read(int(self.headers["Content-Length"]))):
            say({"event": record["type"], "record": record["record"]})
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass

def ask(method, path, body=None, at="/2020-01-01/extension", **headers):
    connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    connection.request(method, at + path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    return answer.headers, answer.read()

def say(what):
    with open("heard", "a") as file:
        file.write(json.dumps(what) + "\\n")

registered, _ = ask("POST", "/register", '{"events": ["INVOKE", "SHUTDOWN"]}', Lambda_Extension_Name="agent")
me = registered["Lambda-Extension-Identifier"]
server = http.server.HTTPServer(("127.0.0.1", 0), Subscriber)
threading.Thread(target=server.serve_forever, daemon=True).start()
ask("PUT", "/telemetry", json.dumps({
    "schemaVersion": "2022-07-01", "types": ["platform"], "buffering": {"timeoutMs": 25},
    "destination": {"protocol": "HTTP", "URI": f"http://sandbox.localdomain:{server.server_port}/"}}), "/2022-07-01", Lambda_Extension_Identifier=me)
open("registered", "w").close()
while True:
    event = json.loads(ask("GET", "/event/next", Lambda_Extension_Identifier=me)[1])
    say({"event": event["eventType"], "reason": event.get("shutdownReason"), "left": event["deadlineMs"] - time.time() * 1000})
    if event["eventType"] == "SHUTDOWN":
        time.sleep(float(os.environ["LINGER_S"]))
        say({"event": "done"})
        if os.environ["AT_END"] == "exit":
            break
"""
WRAPPER = """#!/bin/bash
$SESSION extensions/agent &
until [[ -e registered ]]; do sleep 0.01; done
rm registered
exec "$@"
"""
SHUTDOWN_MS = 2000


class AgentEndTest(sluice_daemon.DaemonTest):
    def start_function(self, linger_s=0.0, at_end="exit", session="", no_init=None, **more):
        daemon = self.daemon = sluice_daemon.Daemon("functions: {}", http=True)
        self.addCleanup(daemon.close)
        self.code = daemon.folder / "code"
        (self.code / "extensions").mkdir(parents=True)
        (self.code / "app.py").write_text(FUNCTION)
        for name, text in (("extensions/agent", AGENT), ("wrapper", WRAPPER)):
            (self.code / name).write_text(text)
            (self.code / name).chmod(0o755)
        if no_init is not None:
            (self.code / "no-init").write_text(no_init)
        environment = {"AWS_LAMBDA_EXEC_WRAPPER": "./wrapper", "LINGER_S": str(linger_s), "AT_END": at_end, "SESSION": session}
        keys = {"runtime": "python", "handler": "app.handler", "code": "code", "timeout": "20s", "scale": {"max": 1}, "environment": environment, **more}
        daemon.configure("functions: " + json.dumps({"f": keys}))
        daemon.start()

    def invoke(self, **payload):
        return json.loads(self.daemon.invoke("f", payload).body)

    def heard(self, event):
        path = self.code / "heard"
        lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
        return [line for line in lines if line["event"] == event]

    def wait_heard(self, event, count=1):
        def enough():
            found = self.heard(event)
            return found if len(found) >= count else None
        return self.daemon.wait_for(enough, f"{count} of {event}")

    def check_shutdown(self, reason):
        told = self.wait_heard("SHUTDOWN")[0]
        self.assertEqual(told["reason"], reason)
        self.assertTrue(SHUTDOWN_MS - 1000 < told["left"] <= SHUTDOWN_MS, told)

    def wait_no_agent(self):
        def none():
            return not [command for command in sluice_daemon.processes_in(self.daemon.folder).values() if command.endswith("extensions/agent")]
        self.daemon.wait_for(none, "no agent is left")

    def check_another_instance_works(self):
        self.assertIn("pid", self.invoke())

    def test_the_runtime_exits_in_an_invocation(self):
        self.start_function(linger_s=1)
        self.invoke()
        began = time.monotonic()
        self.assertEqual(self.invoke(exit=3)["errorMessage"].split("Error: ")[1], "Runtime exited with error: exit status 3")
        self.assertLess(time.monotonic() - began, 0.9)  # who waits for the answer does not wait for extensions
        self.check_shutdown("failure")
        self.wait_heard("done")
        self.check_another_instance_works()

    def test_the_runtime_is_killed_between_invocations(self):
        self.start_function(linger_s=0.3)
        os.kill(self.invoke()["pid"], signal.SIGKILL)
        self.check_shutdown("failure")
        self.wait_heard("done")
        self.check_another_instance_works()

    def test_the_runtime_exits_in_its_init(self):
        self.start_function(linger_s=0.3, no_init="exit")
        self.assertEqual(self.invoke()["errorType"], "Runtime.ExitError")
        self.check_shutdown("failure")
        self.wait_heard("done")
        (self.code / "no-init").unlink()
        self.check_another_instance_works()

    def test_the_init_fails(self):
        self.start_function(linger_s=0.3, no_init="raise")
        self.assertEqual(self.invoke()["errorType"], "RuntimeError")
        self.check_shutdown("failure")
        self.wait_heard("done")

    def test_an_invocation_takes_too_long(self):
        self.start_function(linger_s=0.3, timeout="1s")
        self.invoke()
        self.assertEqual(self.invoke(sleep=60)["errorType"], "Sandbox.Timedout")
        self.check_shutdown("timeout")
        self.wait_heard("done")
        self.check_another_instance_works()

    def test_what_it_is_told_of_one_that_takes_too_long(self):
        """It is over when its time is, though the function goes on beside the agent for a while, and answers then."""
        self.start_function(linger_s=1, timeout="1s")
        self.invoke()
        self.assertEqual(self.invoke(sleep=1.3)["errorType"], "Sandbox.Timedout")
        self.wait_heard("done")
        told = [(line["event"], line["record"]["status"]) for line in (self.heard("platform.runtimeDone") + self.heard("platform.report"))]
        self.assertEqual(told, [("platform.runtimeDone", "success"), ("platform.runtimeDone", "timeout"),
                                ("platform.report", "success"), ("platform.report", "timeout")])
        report = self.heard("platform.report")[1]["record"]
        self.assertEqual((report["metrics"]["durationMs"], report["metrics"]["billedDurationMs"]), (1000, 1000))
        self.assertNotIn("errorType", report)
        log = [line.split(" ", 2)[2].split()[0] for line in self.daemon.sluice("function", "logs", "f").splitlines()]
        self.assertEqual((log.count("START"), log.count("END"), log.count("REPORT")), (2, 2, 2), log)

    def test_one_that_asks_for_more_is_not_waited_for(self):
        self.start_function(at_end="next")
        self.invoke()
        self.invoke(exit=0)
        self.wait_heard("done")
        began = time.monotonic()
        self.wait_no_agent()
        self.assertLess(time.monotonic() - began, SHUTDOWN_MS / 1000 - 0.5)

    def test_one_that_takes_longer_is_killed_in_time(self):
        self.start_function(linger_s=60)
        self.invoke()
        self.invoke(exit=1)
        self.check_shutdown("failure")
        began = time.monotonic()
        self.wait_no_agent()
        self.assertLess(time.monotonic() - began, SHUTDOWN_MS / 1000 + 1)
        self.assertEqual(self.heard("done"), [])
        self.check_another_instance_works()

    def test_one_that_has_left_the_group(self):
        self.start_function(linger_s=0.3, session="setsid")
        self.invoke()
        self.invoke(exit=1)
        self.check_shutdown("failure")
        self.wait_heard("done")
        self.check_another_instance_works()

    def test_a_frozen_instance(self):
        self.start_function(linger_s=0.1, scale={"max": 1, "idle-freeze": True})
        os.kill(self.invoke()["pid"], signal.SIGKILL)
        self.check_shutdown("failure")
        self.wait_heard("done")

    def test_the_daemon_ends_meanwhile(self):
        self.start_function(linger_s=60)
        self.invoke()
        self.invoke(exit=1)
        self.wait_heard("SHUTDOWN")
        self.daemon.stop()
        self.daemon.check_nothing_left()

    def test_the_daemon_dies_meanwhile(self):
        self.start_function(linger_s=60)
        self.invoke()
        self.invoke(exit=1)
        self.wait_heard("SHUTDOWN")
        self.daemon.kill()
        self.daemon.check_no_process_left()

    def test_an_orderly_end_is_as_it_was(self):
        self.start_function(linger_s=0.3)
        self.invoke()
        self.daemon.stop()
        self.assertEqual(([event["reason"] for event in self.heard("SHUTDOWN")], len(self.heard("done"))), (["spindown"], 1))
        self.daemon.check_nothing_left()


if __name__ == "__main__":
    unittest.main(verbosity=2)
