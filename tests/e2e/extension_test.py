"""An external extension made with AWS's own Rust crate (tests/runtimes/official/rust_extension), beside a function in python: it hears of each
invocation, gets telemetry or logs by the crate's own server, and has its time at the end."""

import json
import os
import shutil
import signal
import socket
import sys
import time
import unittest

import sluice_daemon
from lambda_test import official_client

CLIENT = "rust_extension"
FUNCTION = """
import time

def handler(event, context):
    print("said", event["n"])
    if event.get("fail"):
        raise ValueError("as asked")
    time.sleep(event.get("sleep", 0))
    return {"id": context.aws_request_id}
"""
# What starts the function starts its extensions; the function's runtime comes once they are registered.
WRAPPER = """#!/bin/bash
extensions/agent &
until [[ -e $REGISTERED ]]; do sleep 0.01; done
rm "$REGISTERED"
exec "$@"
"""
SPINDOWN_MS = 2000


class ExtensionTest(sluice_daemon.DaemonTest):
    def start_function(self, subscribes="telemetry", linger_ms=0, **more):
        daemon = self.daemon = sluice_daemon.Daemon("functions: {}", http=True)
        self.addCleanup(daemon.close)
        code = daemon.folder / "code"
        (code / "extensions").mkdir(parents=True)
        shutil.copy(official_client(CLIENT)[0], code / "extensions/agent")
        (code / "app.py").write_text(FUNCTION)
        (code / "wrapper").write_text(WRAPPER)
        (code / "wrapper").chmod(0o755)
        self.heard_file = daemon.folder / "heard"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        environment = {"AWS_LAMBDA_EXEC_WRAPPER": "./wrapper", "PORT": port, "HEARD": str(self.heard_file), "REGISTERED": str(daemon.folder / "registered"),
                       "SUBSCRIBES": subscribes, "LINGER_MS": linger_ms}
        keys = {"runtime": "python", "handler": "app.handler", "code": "code", "timeout": "20s", "scale": {"max": 1}, "environment": environment, **more}
        daemon.configure("functions: " + json.dumps({"f": keys}))
        daemon.start()

    def invoke(self, n, **payload):
        return self.daemon.invoke("f", {"n": n, **payload})

    def heard(self, kind, name=None):
        lines = [json.loads(line) for line in self.heard_file.read_text().splitlines()] if self.heard_file.exists() else []
        return [line for line in lines if kind in line and name in (None, line[kind])]

    def wait_heard(self, kind, name, count):
        def enough():
            found = self.heard(kind, name)
            return found if len(found) >= count else None
        return self.daemon.wait_for(enough, f"{count} of {kind} {name}")

    def test_it_hears_of_each_invocation_and_gets_telemetry(self):
        self.start_function()
        ids = [self.invoke(n, fail=n == 1).headers["x-amzn-RequestId"] for n in range(3)]
        invokes = self.wait_heard("event", "INVOKE", 3)
        self.assertEqual([event["id"] for event in invokes], ids)
        self.assertEqual(invokes[0]["arn"], "arn:aws:lambda:us-east-1:000000000000:function:f")
        self.assertTrue(all(15000 < event["left"] <= 20000 for event in invokes), invokes)
        self.assertTrue(invokes[0]["trace"].startswith("Root=1-"))
        reports = self.wait_heard("telemetry", "platform.report", 3)
        self.assertEqual([(report["id"], report["status"]) for report in reports], [(ids[0], "Success"), (ids[1], "Error"), (ids[2], "Success")])
        self.assertTrue(all(report["billed"] >= 1 and report["memory"] >= 1 for report in reports), reports)
        self.assertEqual([report["init"] is not None for report in reports], [True, False, False])
        self.assertEqual([record["id"] for record in self.heard("telemetry", "platform.start")], ids)
        done = self.heard("telemetry", "platform.runtimeDone")
        self.assertEqual([(record["id"], record["status"], record["error"]) for record in done],
                         [(ids[0], "Success", None), (ids[1], "Error", "ValueError"), (ids[2], "Success", None)])
        self.assertTrue(self.heard("telemetry", "platform.initStart")[0]["version"].startswith("python:"))
        self.assertEqual(len(self.heard("telemetry", "platform.initReport")), 1)
        lines = [record["line"] for record in self.wait_heard("telemetry", "function", 3) if record["line"].startswith("said")]
        self.assertEqual([line.strip() for line in lines], ["said 0", "said 1", "said 2"])

    def test_it_gets_logs_by_the_older_api(self):
        self.start_function(subscribes="logs")
        request = self.invoke(5).headers["x-amzn-RequestId"]
        self.assertEqual(self.wait_heard("log", "platform.start", 1)[0]["id"], request)
        self.assertEqual(self.wait_heard("log", "function", 1)[0]["line"].strip(), "said 5")

    def test_it_has_its_time_when_the_instance_ends(self):
        self.start_function(linger_ms=700)
        self.invoke(1)
        self.wait_heard("telemetry", "platform.report", 1)
        began = time.monotonic()
        self.daemon.stop()
        took_ms = (time.monotonic() - began) * 1000
        shutdown = self.heard("event", "SHUTDOWN")
        self.assertEqual([event["reason"] for event in shutdown], ["spindown"])
        self.assertTrue(SPINDOWN_MS - 500 < shutdown[0]["left"] <= SPINDOWN_MS, shutdown)
        self.assertEqual(len(self.heard("event", "done")), 1)
        self.assertGreaterEqual(took_ms, 700)
        self.daemon.check_nothing_left()

    def test_one_that_takes_longer_is_killed_in_time(self):
        self.start_function(linger_ms=60000)
        self.invoke(1)
        self.daemon.stop()
        self.assertEqual((len(self.heard("event", "SHUTDOWN")), len(self.heard("event", "done"))), (1, 0))
        self.daemon.check_nothing_left()

    def test_it_hears_of_the_end_by_a_timeout(self):
        self.start_function(linger_ms=100, timeout="1s")
        self.invoke(1)                     # the init is over
        error = json.loads(self.invoke(2, sleep=60).body)
        self.assertEqual(error["errorType"], "Sandbox.Timedout")
        self.assertEqual([event["reason"] for event in self.wait_heard("event", "SHUTDOWN", 1)], ["timeout"])
        self.wait_heard("event", "done", 1)
        self.assertEqual(self.invoke(3).status, 200)

    def test_it_hears_of_the_end_of_a_frozen_instance(self):
        self.start_function(linger_ms=100, scale={"max": 1, "idle-freeze": True})
        self.invoke(1)
        self.daemon.stop()
        self.assertEqual((len(self.heard("event", "SHUTDOWN")), len(self.heard("event", "done"))), (1, 1))

    def test_one_that_dies_is_not_waited_for(self):
        self.start_function()
        self.invoke(1)
        agent = next(pid for pid, command in sluice_daemon.processes_in(self.daemon.folder).items() if command.endswith("extensions/agent"))
        os.kill(agent, signal.SIGKILL)
        for n in range(3):
            self.assertEqual(self.invoke(n).status, 200)
        self.assertEqual(len(self.daemon.json("function", "show", "f")["instances"]), 1)


if __name__ == "__main__":
    if official_client(CLIENT) is None:
        print("AWS's extension client for rust is not in SLUICE_OFFICIAL_RUNTIMES; tests/runtimes/official/install.sh FOLDER installs it")
        sys.exit(77)
    unittest.main(verbosity=2)
