"""Lambda functions on real runtimes: our node and python bootstraps, a runtime in bash and curl, and AWS's own clients where they are installed,
each through the same list; tests/README.md has it as a table.

After each test no process, socket or odd file is left (DaemonTest sees to it), and nothing of the function's in its temporary directory."""

import base64
import http.client
import json
import os
import pathlib
import shutil
import struct
import sys
import threading
import unittest
import zlib

import harness
import runtime_api_server
import sluice_daemon

FUNCTIONS = pathlib.Path(__file__).parent / "lambda"
BOOTSTRAPS = pathlib.Path(__file__).parents[2] / "consumers/runtimes"
RESPONSE_BYTES_MAX = 6 * 1024 * 1024 + 100
CAUSE_HEADER = "lambda-runtime-function-xray-error-cause"
CAUSE_BYTES_MAX = 1024 * 1024 - 1    # of its value: clients leave out what is longer
CURL_CAUSE_BYTES_MAX = CAUSE_BYTES_MAX - 1024    # their libcurl sends no head of more than a mebibyte


def function(**more):
    return {"timeout": "20s", "scale": {"max": 2}, **more}


class Runtime:
    """What all of them do; the classes below say what differs."""

    keys = {}                    # of the function in the configuration
    code = ""                    # folder of FUNCTIONS; copied, so that what is left of its processes can be told by their place
    handler = ""
    killed_leave = 0             # files and folders of an instance that is killed at its timeout; they stay, as on Lambda /tmp outlives a reset

    def function_keys(self, handler):
        """`handler`: another than usual."""
        return {**self.keys, "handler": handler or self.handler}

    def start_function(self, rules="", environment=None, handler="", **more):
        self.killed = 0          # instances, at their timeouts
        self.daemon = daemon = self.prepare("", http=True)
        files = daemon.folder / "tmp"
        files.mkdir()
        keys = function(**{"code": "code", **self.function_keys(handler), "environment": {"TMPDIR": str(files), **(environment or {})}, **more})
        daemon.configure(f"functions: {json.dumps({'f': keys})}\n{rules}")
        shutil.copytree(FUNCTIONS / self.code, daemon.folder / "code")
        self.addCleanup(self.check_no_file_left, daemon, files)
        daemon.start()
        return daemon

    def check_no_file_left(self, daemon, files):
        if daemon.process is not None:
            daemon.stop()
            daemon.check_nothing_left()
        self.assertEqual([path for path in daemon.folder.rglob("*") if path.is_socket()], [])
        left = list(files.iterdir())
        self.assertEqual(len(left), self.killed * self.killed_leave, left)

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

    def assert_exited(self, error, status):
        self.assertEqual(error["errorType"], "Runtime.ExitError")
        how = f"Runtime exited with error: exit status {status}" if status else "Runtime exited without providing a reason"
        self.assertRegex(error["errorMessage"], f"^RequestId: [0-9a-f-]{{36}} Error: {how}$")

    def test_exit_in_init(self):
        for status in (0, 3):
            self.start_function(environment={"INIT": "exit", "INIT_STATUS": str(status)})
            self.assert_exited(self.invoke_failed({}), status)

    def test_exit_in_the_handler(self):
        self.start_function()
        for status in (0, 5):
            self.assert_exited(self.invoke_failed({"do": "exit", "status": status}), status)
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
        self.killed = 1
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


class DiesOfInitErrors:
    """A runtime that posts nothing of an INIT that fails: its process ends, and says why in the log."""

    init_error_status = None

    def test_init_error(self):
        self.start_function(environment={"INIT": "throw"})
        self.assert_exited(self.invoke_failed({}), self.init_error_status)
        self.assertIn("no init today", self.daemon.sluice("function", "logs", "f"))


class Overheard:
    """A client that is told of a Runtime API of our own, too: command() starts it."""

    def as_sent(self, event):
        """What the client posts of this event: a Runtime API of our own listens, beside the daemon."""
        api = runtime_api_server.RuntimeApi()
        self.addCleanup(api.close)
        client = harness.Client(self.command(), self.daemon.folder / "code", self.handler, api)
        try:
            api.offer("request", json.dumps(event).encode())
            return api.report("request")
        finally:
            client.close()


class SendsCauses(Overheard):
    """A runtime that tells X-Ray of an error, in a header as long as the error is."""

    causes_max = CAUSE_BYTES_MAX

    def test_error_header_of_a_megabyte(self):
        self.start_function()
        short = self.as_sent({"do": "error", "message": "m"})
        event = {"do": "error", "message": "m" * (self.causes_max - len(short.headers[CAUSE_HEADER]) + 1)}
        self.assertEqual(len(self.as_sent(event).headers[CAUSE_HEADER]), self.causes_max)
        error = self.invoke_failed(event)
        self.assertEqual((error["errorType"], error["errorMessage"]), ("TypeError", event["message"]))
        self.assertEqual(self.invoke_ok({"after": 1}), {"after": 1})

    def test_error_too_long_for_a_header(self):
        self.start_function()
        event = {"do": "error", "message": "m" * 2000000}
        self.assertEqual(self.as_sent(event).headers.get(CAUSE_HEADER, ""), "")
        self.assertEqual(self.invoke_failed(event)["errorMessage"], event["message"])
        self.assertEqual(self.invoke_ok({"after": 1}), {"after": 1})


def stream_events(file):
    """The (type, payload) of application/vnd.amazon.eventstream as they come, checked to the last byte."""
    while head := file.read(12):
        total, headers_len, head_sum = struct.unpack(">III", head)
        rest = file.read(total - 12)
        assert zlib.crc32(head[:8]) == head_sum and len(rest) == total - 12, (head, len(rest))
        assert zlib.crc32(head + rest[:-4]) == struct.unpack(">I", rest[-4:])[0], head
        headers, found = rest[:headers_len], {}
        while headers:
            name, headers = headers[1:1 + headers[0]], headers[1 + headers[0]:]
            assert headers[0] == 7, headers  # a string
            length, = struct.unpack(">H", headers[1:3])
            found[name], headers = headers[3:3 + length], headers[3 + length:]
        assert found[b":message-type"] == b"event", found
        yield found[b":event-type"].decode(), rest[headers_len:-4]


class StreamDoor:
    """InvokeWithResponseStream."""

    def stream(self, payload, on_first=lambda: None):
        """What was streamed, and its end. on_first(): once the first piece is here."""
        host, port = self.daemon.ready["http"].rsplit(":", 1)
        connection = http.client.HTTPConnection(host, int(port), timeout=sluice_daemon.DEADLINE_S)
        self.addCleanup(connection.close)
        connection.request("POST", "/2021-11-15/functions/f/response-streaming-invocations", json.dumps(payload).encode())
        answer = connection.getresponse()
        self.assertEqual((answer.status, answer.headers["Content-Type"]), (200, "application/vnd.amazon.eventstream"))
        body, end = b"", None
        for kind, piece in stream_events(answer):
            self.assertIsNone(end, "something comes behind the end")
            if kind == "InvokeComplete":
                end = json.loads(piece)
                continue
            self.assertEqual(kind, "PayloadChunk")
            if not body:
                on_first()
            body += piece
        connection.close()
        self.assertIsNotNone(end, "the stream has no end")
        return body, end


class AnswersWhole(StreamDoor):
    """A runtime without streaming: its answers are whole, to a caller who would take them bit by bit too."""

    def test_it_has_no_streaming(self):
        self.start_function(handler="app.stream")
        self.assertEqual(self.invoke_failed({})["errorType"], "Runtime.MarshalError")

    def test_whole_answers_by_the_streaming_door(self):
        self.start_function()
        self.assertEqual(self.stream({"n": 1}), (b'{"n": 1}', {}))
        body, end = self.stream({"do": "error"})
        self.assertEqual((body, end["ErrorCode"]), (b"", "TypeError"))
        self.assertIn("said so", end["ErrorDetails"])
        self.assertEqual(self.stream({"do": "exit", "status": 5})[1]["ErrorCode"], "Runtime.ExitError")


class Streams(StreamDoor):
    """A runtime whose handlers can answer bit by bit."""

    stream_handler = "stream"
    prelude = b""                # before what the handler streams

    def start_stream(self, **more):
        self.start_function(handler=self.stream_handler, **more)

    def go(self):
        """The function goes on behind its first piece."""
        (self.daemon.folder / "code" / "go").touch()

    def stream_failed(self, event):
        """The ErrorCode and ErrorDetails of a stream that fails behind its first piece."""
        (self.daemon.folder / "code" / "go").unlink(missing_ok=True)
        body, end = self.stream({**event, "after": "go"}, self.go)
        self.assertEqual(body, self.prelude + b"first ")
        return end["ErrorCode"], end["ErrorDetails"]

    def test_streaming(self):
        self.start_stream()
        self.assertEqual(self.stream({"after": "go"}, self.go), (self.prelude + b"first second", {}))

    def test_a_stream_that_fails_in_the_middle(self):
        self.start_stream()
        for turn in range(3):    # by the same process
            code, details = self.stream_failed({"do": "error"})
            self.assertEqual(code, "TypeError")
            self.assertIn("in the middle", details)
        self.assertEqual(self.stream({}), (self.prelude + b"first second", {}))
        self.assertEqual(len(self.daemon.json("function", "show", "f")["instances"]), 1)

    def test_a_stream_whose_process_ends_in_the_middle(self):
        self.start_stream()
        for status in (0, 5):
            code, details = self.stream_failed({"do": "exit", "status": status})
            self.assertEqual(code, "Runtime.TruncatedResponse", details)
        self.assertEqual(self.stream({}), (self.prelude + b"first second", {}))

    def test_a_stream_that_takes_too_long(self):
        self.start_stream(timeout="2s")
        code, details = self.stream_failed({"do": "sleep", "ms": 60000})
        self.killed = 1
        self.assertEqual(code, "Sandbox.Timedout")
        self.assertIn("Task timed out after 2.00 seconds", details)
        self.assertEqual(self.stream({}), (self.prelude + b"first second", {}))

    def test_a_stream_of_twenty_megabytes(self):
        self.start_stream()
        body, end = self.stream({"do": "big", "bytes": 20000000})
        self.assertTrue(body == self.prelude + b"first " + b"x" * 20000000 + b"second", len(body))
        self.assertEqual(end, {})

    def test_a_stream_by_the_functions_url(self):
        self.start_stream(url={"stream": True})
        answer = self.daemon.http("GET", "/url/f/")
        self.assertEqual((answer.status, answer.body), (200, b"first second"))
        self.assertEqual(answer.headers["Content-Type"], "application/octet-stream")

    def test_a_stream_for_a_caller_of_whole_answers(self):
        self.start_stream()
        self.assertEqual(self.invoke({}).body, self.prelude + b"first second")
        error = self.invoke_failed({"do": "big", "bytes": RESPONSE_BYTES_MAX})
        self.assertEqual(error["errorType"], "Function.ResponseSizeTooLarge")
        self.assertEqual(self.invoke({}).body, self.prelude + b"first second")

    def test_a_stream_that_fails_for_a_caller_of_whole_answers(self):
        self.start_stream()
        error = self.invoke_failed({"do": "error"})
        self.assertEqual((error["errorType"], error["errorMessage"]), ("TypeError", "in the middle"))
        self.assertEqual(self.invoke({}).body, self.prelude + b"first second")


class NodeTest(Runtime, SaysInitErrors, SendsCauses, Streams, sluice_daemon.DaemonTest):
    keys = {"runtime": "nodejs"}
    handler = "index.handler"
    code = "nodejs"
    stream_handler = "index.stream"

    def command(self):
        return [shutil.which("node"), str(BOOTSTRAPS / "nodejs/bootstrap.cjs")]


class PythonTest(Runtime, SaysInitErrors, SendsCauses, AnswersWhole, sluice_daemon.DaemonTest):
    keys = {"runtime": "python"}
    handler = "app.handler"
    code = "python"

    def command(self):
        return [shutil.which("python3"), str(BOOTSTRAPS / "python/bootstrap.py")]


class ProvidedTest(Runtime, SaysInitErrors, Streams, sluice_daemon.DaemonTest):
    keys = {"runtime": "provided"}
    handler = "any"
    code = "provided"

    killed_leave = 1             # its folder

    def test_error_header_of_a_megabyte(self):
        self.start_function()
        error = self.invoke_failed({"do": "error", "cause_bytes": CAUSE_BYTES_MAX})
        self.assertEqual((error["errorType"], error["errorMessage"]), ("TypeError", "said so"))
        self.assertEqual(self.invoke_ok({"after": 1}), {"after": 1})


class Official(Runtime):
    """AWS's own runtime clients, installed by tests/runtimes/official/install.sh into $SLUICE_OFFICIAL_RUNTIMES."""

    client = ""                  # its name there

    def command(self):
        return official_client(self.client)

    def function_keys(self, handler):
        return {"command": self.command() + [handler or self.handler], "handler": handler or self.handler}


class OfficialNodeTest(Official, SaysInitErrors, SendsCauses, Streams, sluice_daemon.DaemonTest):
    causes_max = CURL_CAUSE_BYTES_MAX
    client = "node"
    handler = "index.handler"
    stream_handler = "index.stream"
    code = "nodejs"

    def test_error_too_long_for_a_header(self):
        """Its client leaves nothing out: libcurl refuses, nothing is posted, and it takes the same event again until the time is over."""
        self.start_function(timeout="2s")
        self.assertEqual(self.invoke_failed({"do": "error", "message": "m" * 2000000})["errorType"], "Sandbox.Timedout")
        self.assertEqual(self.invoke_ok({"after": 1}), {"after": 1})


class OfficialPythonTest(Official, SaysInitErrors, SendsCauses, AnswersWhole, sluice_daemon.DaemonTest):
    causes_max = CURL_CAUSE_BYTES_MAX
    client = "python"
    handler = "app.handler"
    code = "python"


class Compiled(Official, DiesOfInitErrors, Streams):
    handler = "any"              # it looks at _HANDLER for "stream" and at no argument
    code = "provided"            # not looked at: the function is in the program

    def test_panic_in_the_handler(self):
        self.start_function()
        error = self.invoke_failed({"do": "panic"})
        self.assertIn("panicked as asked", error["errorMessage"])
        self.assertEqual(self.invoke_ok({"after": 1}), {"after": 1})


class OfficialGoTest(Compiled, SendsCauses, sluice_daemon.DaemonTest):
    client = "go"
    init_error_status = 2        # of a panic

    def test_its_own_form_of_a_streamed_http_response(self):
        for stream in (True, False):
            self.start_function(handler="url", url={"stream": stream})
            answer = self.daemon.http("GET", "/url/f/")
            self.assertEqual((answer.status, answer.headers["X-A"], answer.body), (207, "b", b"first second"))

    def test_a_stream_of_twenty_megabytes(self):
        """Its client does not say that it streams: the limit of whole responses holds."""
        self.start_stream()
        body, end = self.stream({"do": "big", "bytes": 20000000})
        self.assertTrue(body.startswith(b"first xxx") and len(body) <= RESPONSE_BYTES_MAX, len(body))
        self.assertEqual(end["ErrorCode"], "Function.ResponseSizeTooLarge")
        self.assertEqual(self.stream({}), (b"first second", {}))


class OfficialRustTest(Compiled, Overheard, sluice_daemon.DaemonTest):
    client = "rust"
    init_error_status = 1        # of main() that returns Err
    prelude = b'{"statusCode":200,"headers":{"content-type":"application/octet-stream"},"cookies":[]}' + bytes(8)
    # Its client writes what should be trailers into the body, which then ends as if it were whole.
    failed = (prelude + b"first Lambda-Runtime-Function-Error-Type: Runtime.StreamError\r\nLambda-Runtime-Function-Error-Body: "
              + base64.b64encode(b"user body write aborted") + b"\r\n")

    def test_a_stream_that_fails_in_the_middle(self):
        self.start_stream()
        for turn in range(3):
            self.assertEqual(self.stream({"do": "error", "after": "go"}, self.go), (self.failed, {}))
        self.assertEqual(self.stream({}), (self.prelude + b"first second", {}))

    def test_a_stream_that_fails_for_a_caller_of_whole_answers(self):
        self.start_stream()
        self.assertEqual(self.invoke({"do": "error"}).body, self.failed)
        self.assertEqual(self.invoke({}).body, self.prelude + b"first second")

    def test_it_tells_xray_nothing(self):
        """So there is no long header of it."""
        self.start_function()
        self.assertNotIn(CAUSE_HEADER, self.as_sent({"do": "error", "message": "m" * 1000}).headers)


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
