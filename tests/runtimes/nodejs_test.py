"""consumers/runtimes/nodejs/bootstrap.cjs: the table of handlers, compared with AWS's own client, and what only ours is asked."""

import json
import os
import shutil
import sys
import time
import unittest

import alike
from alike import CONTEXT, JSON_LOGS
import harness
from harness import Case

NODE = os.environ.get("SLUICE_NODE") or shutil.which("node")
BOOTSTRAP = harness.ROOT / "consumers/runtimes/nodejs/bootstrap.cjs"
FUNCTIONS = harness.HERE / "functions/nodejs"
OURS = [NODE, str(BOOTSTRAP)]


def simple(*names, **more):
    return [Case(name, f"index.{name}", **more) for name in names]


CASES = [
    Case("echo", "index.echo", events=['{"a":[1,2.5,"ü"]}', '"text"', "null", " [ ] "]),
    Case("an event that is no JSON", "index.echo", events=["{no", "{}"]),
    *simple("plain", "nothing", "text", "odd", "bigint", "circular", "thenable"),
    Case("a large event and a large response", "index.length", events=[json.dumps({"text": "ü" * 2500000})]),
    Case("a response of 5 MB", "index.large", events=['{"size":5000000}']),
    *simple("callback", "callbackSync", "callbackTwice", "callbackError", "callbackString", "callbackWaits", "callbackDoesNotWait",
            "callbackCircular", "succeed", "fail", "failNothing", "done", "neverAnswers", "promiseNeverSettles", events=["{}", '{"n":2}']),
    *simple("throws", "throwsSync", "throwsText", "throwsNumber", "throwsObject", "throwsLookalike", "throwsMultiline", "throwsOwnClass",
            "throwsHostile", "throwsLong", events=['{"why":"reasons"}', "{}"]),
    *simple("throwsUndefined"),
    *simple("uncaught", "unhandled", "exits", "exitsClean", ends=True),
    Case("context", "index.context", headers=CONTEXT),
    Case("context with nothing", "index.context", headers={"trace_id": None}),
    Case("no deadline", "index.remaining", headers={"deadline_ms": None}),
    Case("a client context that is no JSON", "index.context", headers={"client_context": "{no"}),
    *simple("environment", "counts", events=["{}", "{}", "{}"]),
    *simple("logs", "logsErrors"),
    Case("logs as JSON", "index.logs", environment=JSON_LOGS),
    Case("errors logged as JSON", "index.logsErrors", environment=JSON_LOGS, headers={"aws_tenant_id": "tenant-1"}),
    Case("a thrown error logged as JSON", "index.throwsOwnClass", environment=JSON_LOGS),
    *(Case(f"log level {level} {form}", "index.logs", environment={"AWS_LAMBDA_LOG_FORMAT": form, "AWS_LAMBDA_LOG_LEVEL": level})
      for level in ("debug", "WARN", "FATAL") for form in ("JSON", "Text")),
    *simple("streams", "streamsObject", "streamsHttp", "streamsPipeline", "streamsEndText", "streamsEmpty", "streamsReturns", "streamsFailsEarly",
            "streamsFailsMidway", "streamsNotAsync", "streamsTwice", "streamsLarge", events=["{}", '{"n":2}']),
    Case("a nested export", "index.nested.deeper.handler"),
    Case("a file in a folder", "src/app.handler"),
    Case("a .cjs two folders down", "src/deep/inner.handler"),
    Case("an ES module", "esm/index.handler"),
    Case("an ES module's default export", "esm/index.default"),
    Case("an ES module that streams", "esm/index.streams"),
    Case("package.json says module", "module/index.handler"),
    Case("inside the default export", "module/index.default.handler"),
    Case("a package of a function's own", "package/index.handler"),
    Case("an installed package as the handler", "installed.handler"),
    Case("logs while loading", "logging.handler"),
    *(Case(label, handler, init=True) for label, handler in [
        ("no such file", "nowhere.handler"), ("no such export", "index.nowhere"), ("an export that is no function", "index.notAFunction"),
        ("a handler without a dot", "index"), ("a handler with two dots", "../index.handler"), ("no such folder", "nowhere/index.handler"),
        ("a module that is missing", "missing.handler"), ("an ES module that is missing", "missingmodule.handler"),
        ("a syntax error", "syntax.handler"), ("throws while loading", "throwing.handler"),
    ]),
    Case("init errors logged as JSON", "throwing.handler", init=True, environment=JSON_LOGS),
    Case("exits while loading", "exiting.handler", init=False, events=[], ends=True),
]


RUNTIME = alike.Runtime("nodejs", OURS, harness.official("node"), "aws-lambda-ric", FUNCTIONS, CASES)


class Table(alike.Table, unittest.TestCase):
    runtime = RUNTIME


class Official(alike.Official, unittest.TestCase):
    runtime = RUNTIME


class Ours(alike.Ours, harness.RuntimeTest):
    command = OURS
    functions = FUNCTIONS
    echoed = ['{"a":"ü"}', json.dumps("ü" * 10000, ensure_ascii=False), "null"]
    exits_idle = ("finalizes.handler", "exit 0\n")
    waits = "index.waits"
    decides = "term.handler"
    fails_with = 129
    says_no_api = "no next invocation from the Runtime API at %s"
    says_refused = "\t%s\tERROR\tthe Runtime API refused the response: %d"

    def test_an_error_too_long_for_a_header_is_reported_without_it(self):
        self.given("index.throwsHuge")
        report = self.invoke()
        self.assertEqual("h" * 1500000, json.loads(report.body)["errorMessage"])
        self.assertNotIn("lambda-runtime-function-xray-error-cause", report.headers)

    def test_a_rejection_while_loading_is_an_init_error(self):
        api = self.given("rejecting.handler")
        body = json.loads(api.report(None).body)
        self.assertEqual(("Runtime.UnhandledPromiseRejection", "Error: while loading, rejected"), (body["errorType"], body["errorMessage"]))
        self.assertEqual(128, self.client.wait())
        self.assertEqual(1, len(api.reports))

    def stream_error(self, report):
        import base64

        return json.loads(base64.b64decode(report.trailers["lambda-runtime-function-error-body"]))

    def test_a_stream_that_is_never_ended_fails_when_nothing_is_left_to_end_it(self):
        self.given("index.streamsNeverEnds")
        for request_id in ("first", "second"):
            report = self.invoke(request_id)
            self.assertEqual((b"half", "Response stream is not finished."), (report.body, self.stream_error(report)["errorMessage"]))

    def test_a_stream_whose_source_breaks_ends_with_its_error(self):
        self.given("index.streamsDestroyed")
        for request_id in ("first", "second"):
            report = self.invoke(request_id)
            self.assertEqual((b"half", "RangeError", "the source broke"),
                             (report.body, report.trailers["lambda-runtime-function-error-type"], self.stream_error(report)["errorMessage"]))

    def test_a_stream_with_status_and_headers_but_no_body_has_its_prelude(self):
        self.given("index.streamsHttpEmpty")
        report = self.invoke()
        self.assertEqual(b'{"statusCode":204}' + bytes(8), report.body)
        self.assertEqual("application/vnd.awslambda.http-integration-response", report.headers["content-type"])

    def test_several_invocations_at_once_each_know_who_they_are(self):
        api = self.given("index.meets", {"AWS_LAMBDA_MAX_CONCURRENCY": "3"})
        api.parked(3)
        for round_number in range(3):
            names = [f"{round_number}-{name}" for name in "abc"]
            for name in names:
                api.offer(name, json.dumps({"name": name, "of": 3}).encode(), trace_id=f"Root={name}", aws_tenant_id=f"tenant {name}")
            for name in names:
                self.assertEqual({"name": name, "same": True, "trace": f"Root={name}", "tenant": f"tenant {name}"}, json.loads(api.report(name).body))
        lines = [line.split("\t") for line in self.client.output().splitlines()]
        self.assertEqual(18, len(lines))
        for line in lines:
            self.assertEqual(line[1], line[3].split(" ")[1])
        api.parked(3)
        self.client.terminate()
        self.assertEqual(0, self.client.wait())

    def test_of_several_invocations_the_one_that_throws_fails_alone(self):
        api = self.given("index.meetsThenThrows", {"AWS_LAMBDA_MAX_CONCURRENCY": "3"})
        for name in "abc":
            api.offer(name, json.dumps({"name": name, "of": 3, "throws": name == "b"}).encode())
        self.assertEqual(["response", "error", "response"], [api.report(name).kind for name in "abc"])

    def test_of_several_invocations_an_uncaught_error_is_reported_for_its_own(self):
        self.given("index.uncaughtAmongOthers", {"AWS_LAMBDA_MAX_CONCURRENCY": "2"})
        self.api.offer("calm", b"{}")
        self.api.was_taken("calm")
        self.api.offer("bad", b'{"throws":true}')
        self.assertEqual("of one", json.loads(self.api.report("bad").body)["errorMessage"])
        self.assertEqual(129, self.client.wait())
        self.assertEqual(["bad"], [report.request_id for report in self.api.reports])

    def test_framed_logs_keep_their_line_breaks(self):
        report, frames = self.frames("index.logs")
        self.assertEqual(b'"logged"', report.body)
        self.assertEqual([0xA55A000F, 0xA55A000F, 0xA55A000B, 0xA55A0013, 0xA55A0017, 0xA55A0007, 0xA55A001B], [frame[0] for frame in frames[:7]])
        self.assertTrue(frames[3][2].endswith("\trequest\tWARN\twarn\nof two lines\n"), frames[3])
        self.assertLess(abs(time.time() * 1e6 - frames[0][1]), 60e6)

    def test_framed_logs_as_json(self):
        _, frames = self.frames("index.logs", JSON_LOGS)
        self.assertEqual((0xA55A0012, "warn\nof two lines"), (frames[3][0], json.loads(frames[3][2])["message"]))


if __name__ == "__main__":
    if NODE is None:
        print("node is not installed")
        sys.exit(77)
    alike.main(RUNTIME)
