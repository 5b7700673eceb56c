"""Lambda functions on real runtimes: our node and python bootstraps, a runtime in bash and curl, and AWS's own clients where they are installed,
each through the same list.

After each test no process, socket or odd file is left (DaemonTest sees to it)."""

import base64
import json
import os
import pathlib
import shutil
import sys
import threading
import unittest

import sluice_daemon

FUNCTIONS = pathlib.Path(__file__).parent / "lambda"
RESPONSE_BYTES_MAX = 6 * 1024 * 1024 + 100


def function(**more):
    return {"timeout": "20s", "scale": {"max": 2}, **more}


class Runtime:
    """What all of them do; the classes below say what differs."""

    keys = {}                    # of the function in the configuration
    code = ""                    # folder of FUNCTIONS; copied, so that what is left of its processes can be told by their place

    def start_function(self, rules="", name="f", **more):
        keys = function(**{"code": "code", **self.keys, **more})
        self.daemon = self.prepare(f"functions: {json.dumps({name: keys})}\n{rules}", http=True)
        shutil.copytree(FUNCTIONS / self.code, self.daemon.folder / "code")
        self.daemon.start()
        return self.daemon

    def invoke(self, payload, **headers):
        return self.daemon.invoke("f", payload, **headers)

    def invoke_ok(self, payload, **headers):
        answer = self.invoke(payload, **headers)
        self.assertEqual((answer.status, answer.headers.get("X-Amz-Function-Error")), (200, None), answer.body)
        return json.loads(answer.body)

    def invoke_failed(self, payload, **headers):
        answer = self.invoke(payload, **headers)
        self.assertEqual((answer.status, answer.headers.get("X-Amz-Function-Error")), (200, "Unhandled"), answer.body)
        return json.loads(answer.body)

    def test_five_hundred_invokes(self):
        self.start_function()
        for number in range(500):
            self.assertEqual(self.invoke_ok({"n": number}), {"n": number})
        self.assertEqual(len(self.daemon.json("function", "show", "f")["instances"]), 1)

    def test_sixteen_callers_at_once_share_two_instances(self):
        self.start_function(scale={"max": 16})
        wrong = []
        def call(number):
            for turn in range(20):
                answer = self.invoke({"n": [number, turn]})
                if answer.status != 200 or json.loads(answer.body) != {"n": [number, turn]}:
                    wrong.append(answer)
        threads = [threading.Thread(target=call, args=(number,)) for number in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(wrong, [])

    def test_context(self):
        self.start_function()
        context = self.invoke_ok({"do": "context"})
        self.assertRegex(context["id"], "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")
        self.assertEqual((context["name"], context["arn"]), ("f", "arn:aws:lambda:us-east-1:000000000000:function:f"))
        self.assertTrue(15000 < context["left"] <= 20000, context)

    def test_handler_error_reaches_the_caller_as_it_was_posted(self):
        self.start_function()
        error = self.invoke_failed({"do": "error"})
        self.assertEqual((error["errorType"], error["errorMessage"]), ("TypeError", "said so"))
        self.assertEqual(self.invoke_ok({"after": 1}), {"after": 1})

    def test_error_of_a_megabyte(self):
        self.start_function()
        error = self.invoke_failed({"do": "error", "message": "m" * 1000000})
        self.assertTrue(error["errorMessage"].startswith("mmm"), error["errorMessage"][:50])
        self.assertEqual(self.invoke_ok({"after": 1}), {"after": 1})

    def test_exit_in_init(self):
        self.start_function(environment={"INIT": "exit"})
        error = self.invoke_failed({})
        self.assertEqual(error["errorType"], "Runtime.ExitError")
        self.assertRegex(error["errorMessage"], "^RequestId: [0-9a-f-]{36} Error: Runtime exited with error: exit status 3$")

    def test_exit_in_the_handler(self):
        self.start_function()
        for status, text in ((0, "Runtime exited without providing a reason"), (5, "Runtime exited with error: exit status 5")):
            error = self.invoke_failed({"do": "exit", "status": status})
            self.assertEqual(error["errorType"], "Runtime.ExitError")
            self.assertRegex(error["errorMessage"], f"^RequestId: [0-9a-f-]{{36}} Error: {text}$")
        self.assertEqual(self.invoke_ok({"after": 1}), {"after": 1})

    def test_answer_of_exactly_the_limit_and_one_byte_more(self):
        self.start_function()
        self.assertEqual(len(self.invoke_ok({"do": "big", "bytes": RESPONSE_BYTES_MAX})), RESPONSE_BYTES_MAX - 2)
        error = self.invoke_failed({"do": "big", "bytes": RESPONSE_BYTES_MAX + 1})
        self.assertEqual(error, {"errorType": "Function.ResponseSizeTooLarge", "errorMessage":
                                 "Response payload size exceeded maximum allowed payload size (6291556 bytes)."})
        self.assertEqual(self.invoke_ok({"after": 1}), {"after": 1})

    def test_payload_of_five_megabytes(self):
        self.start_function()
        payload = {"do": "size", "text": "y" * 5000000}
        self.assertEqual(self.invoke_ok(payload), len(json.dumps(payload, separators=(",", ":"))))

    def test_timeout(self):
        self.start_function(timeout="2s")
        error = self.invoke_failed({"do": "sleep", "ms": 60000})
        self.assertEqual(error["errorType"], "Sandbox.Timedout")
        self.assertRegex(error["errorMessage"], "^RequestId: [0-9a-f-]{36} Error: Task timed out after 2.00 seconds$")
        self.assertEqual(self.invoke_ok({"after": 1}), {"after": 1})

    def test_the_daemon_stops_while_it_is_idle(self):
        self.start_function()
        self.invoke_ok({})
        self.daemon.stop()
        self.daemon.check_nothing_left()

    def test_the_daemon_stops_while_it_is_busy(self):
        self.start_function()
        self.invoke_ok({})
        answers = []
        caller = threading.Thread(target=lambda: answers.append(self.invoke({"do": "sleep", "ms": 1500})))
        caller.start()
        self.daemon.wait_show("f", lambda shown: shown["invokes"]["running"] == 1, "the invocation runs")
        self.daemon.stop()
        caller.join()
        self.assertEqual((answers[0].status, answers[0].body.strip()), (200, b'"slept"'))
        self.daemon.check_nothing_left()

    def test_children_left_behind_end_with_the_instance(self):
        self.start_function(scale={"max": 1, "idle": "100ms"})
        self.assertEqual(self.invoke_ok({"do": "children"}), "left")
        self.daemon.wait_for(lambda: sluice_daemon.processes_in(self.daemon.folder).keys() <= {self.daemon.process.pid, self.spawner()},
                             "only the daemon and its spawner are left")

    def spawner(self):
        return next((pid for pid, command in sluice_daemon.processes_in(self.daemon.folder).items() if "--spawner" in command), None)

    def test_idle_freeze(self):
        self.start_function(scale={"max": 1, "idle": "3s", "idle-freeze": True})
        for number in range(3):
            self.assertEqual(self.invoke_ok({"n": number}), {"n": number})
            instances = self.daemon.json("function", "show", "f")["instances"]
            stat = pathlib.Path(f"/proc/{instances[0]['pid']}/stat")
            self.daemon.wait_for(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T", "its process is stopped")
        self.daemon.wait_show("f", lambda shown: not shown["instances"], "the idle instance has ended")

    def test_log_tail(self):
        self.start_function()
        answer = self.invoke({"do": "log", "message": "a line of its own"}, x_amz_log_type="Tail")
        tail = base64.b64decode(answer.headers["X-Amz-Log-Result"]).decode()
        self.assertRegex(tail, r"^START RequestId: [0-9a-f-]{36} Version: \$LATEST\n")
        self.assertIn("a line of its own", tail)
        self.assertRegex(tail, r"REPORT RequestId: [0-9a-f-]{36}\tDuration: [0-9.]+ ms\tBilled Duration: [0-9]+ ms\tMemory Size: 128 MB\t")

    def test_asynchronous_invoke(self):
        self.start_function()
        answer = self.invoke({"do": "log", "message": "later"}, x_amz_invocation_type="Event")
        self.assertEqual((answer.status, answer.body), (202, b""))
        self.daemon.wait_balance("f", accepted=1, succeeded=1, pending=0)
        self.assertIn("later", self.daemon.sluice("function", "logs", "f"))

    def test_events_of_rules(self):
        self.start_function(rules="rules: {all: {pattern: {source: [a]}, targets: [{function: f}]}}\n")
        self.daemon.put(*({"source": "a", "detail-type": "t", "detail": {"n": n}} for n in range(50)))
        self.daemon.wait_balance("f", accepted=50, succeeded=50, pending=0)

    def test_a_caller_that_hangs_up_is_forgotten(self):
        self.start_function(scale={"max": 1})
        self.invoke_ok({})
        with self.assertRaises(TimeoutError):
            self.daemon.invoke("f", {"do": "sleep", "ms": 3000}, deadline_s=0.5)
        self.daemon.wait_show("f", lambda shown: shown["invokes"]["running"] == 0, "what it had asked for is over")
        self.assertEqual(self.invoke_ok({"after": 1}), {"after": 1})

    def test_more_than_may_run_at_once(self):
        self.start_function(scale={"max": 1})
        caller = threading.Thread(target=lambda: self.invoke({"do": "sleep", "ms": 2000}))
        caller.start()
        self.daemon.wait_show("f", lambda shown: shown["invokes"]["running"] == 1, "the invocation runs")
        answer = self.invoke({})
        caller.join()
        self.assertEqual((answer.status, answer.headers["x-amzn-ErrorType"]), (429, "TooManyRequestsException"))
        self.assertEqual(json.loads(answer.body)["Reason"], "ReservedFunctionConcurrentInvocationLimitExceeded")


class SaysInitErrors:
    """A runtime whose INIT can fail without the end of its process: it posts the error."""

    def test_init_error(self):
        self.start_function(environment={"INIT": "throw"})
        error = self.invoke_failed({})
        self.assertIn("no init today", error["errorMessage"])


class Streams:
    """A runtime whose handlers can answer bit by bit."""

    stream_handler = ""

    def stream(self, payload):
        path = "/2021-11-15/functions/s/response-streaming-invocations"
        return self.daemon.http("POST", path, json.dumps(payload).encode())

    def test_streaming(self):
        self.start_function(name="s", handler=self.stream_handler)
        whole = self.stream({})
        self.assertEqual((whole.status, whole.headers["Content-Type"]), (200, "application/vnd.amazon.eventstream"))
        self.assertIn(b"first ", whole.body)
        self.assertIn(b"second", whole.body)
        self.assertIn(b"InvokeComplete", whole.body)
        broken = self.stream({"do": "error"})
        self.assertIn(b"first ", broken.body)
        self.assertIn(b"ErrorCode", broken.body)
        self.assertIn(b"in the middle", broken.body)


class NodeTest(Runtime, SaysInitErrors, Streams, sluice_daemon.DaemonTest):
    keys = {"runtime": "nodejs", "handler": "index.handler"}
    code = "nodejs"
    stream_handler = "index.stream"


class PythonTest(Runtime, SaysInitErrors, sluice_daemon.DaemonTest):
    keys = {"runtime": "python", "handler": "app.handler"}
    code = "python"


class ProvidedTest(Runtime, SaysInitErrors, sluice_daemon.DaemonTest):
    keys = {"runtime": "provided"}
    code = "provided"

    def test_error_header_of_a_megabyte(self):
        self.start_function()
        error = self.invoke_failed({"do": "error", "cause_bytes": 1000000})
        self.assertEqual((error["errorType"], error["errorMessage"]), ("TypeError", "said so"))
        self.assertEqual(self.invoke_ok({"after": 1}), {"after": 1})


class Official(Runtime):
    """AWS's own runtime clients, installed by tests/runtimes/official/install.sh into $SLUICE_OFFICIAL_RUNTIMES."""

    client = ""                  # its name there
    handler = []                 # what its command takes besides

    def start_function(self, **more):
        command = official_client(self.client)
        return super().start_function(**{"command": command + self.handler, "handler": "".join(self.handler) or "any", **more})


class OfficialNodeTest(Official, SaysInitErrors, sluice_daemon.DaemonTest):
    client = "node"
    handler = ["index.handler"]
    code = "nodejs"


class OfficialPythonTest(Official, SaysInitErrors, sluice_daemon.DaemonTest):
    client = "python"
    handler = ["app.handler"]
    code = "python"


class Compiled(Official):
    code = "provided"            # not looked at: the function is in the program

    def test_panic_in_the_handler(self):
        self.start_function()
        error = self.invoke_failed({"do": "panic"})
        self.assertIn("panicked as asked", error["errorMessage"])
        self.assertEqual(self.invoke_ok({"after": 1}), {"after": 1})


class OfficialGoTest(Compiled, sluice_daemon.DaemonTest):
    client = "go"


class OfficialRustTest(Compiled, sluice_daemon.DaemonTest):
    client = "rust"


def official_client(name):
    """The words of its command; None when it is not there."""
    clients = pathlib.Path(os.environ.get("SLUICE_OFFICIAL_RUNTIMES") or "/nonexistent", "clients.json")
    return json.loads(clients.read_text()).get(name) if clients.exists() else None


if __name__ == "__main__":
    wanted = globals().get(sys.argv[1] if len(sys.argv) > 1 else "")
    if wanted is not None and issubclass(wanted, Official) and official_client(wanted.client) is None:
        print(f"AWS's client for {wanted.client} is not in SLUICE_OFFICIAL_RUNTIMES; tests/runtimes/official/install.sh FOLDER installs it")
        sys.exit(77)
    unittest.main(verbosity=2)
