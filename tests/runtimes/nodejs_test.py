"""consumers/runtimes/nodejs/bootstrap.cjs: the table of handlers, compared with AWS's own client, and what only ours is asked."""

import json
import os
import shutil
import signal
import subprocess
import sys
import unittest

import harness
from harness import Case
import runtime_api_server
from runtime_api_server import RuntimeApi

NODE = os.environ.get("SLUICE_NODE") or shutil.which("node")
BOOTSTRAP = harness.ROOT / "consumers/runtimes/nodejs/bootstrap.cjs"
FUNCTIONS = harness.HERE / "functions/nodejs"
OURS = [NODE, str(BOOTSTRAP)]
JSON_LOGS = {"AWS_LAMBDA_LOG_FORMAT": "JSON"}
CONTEXT = {
    "client_context": '{"client":{"installation_id":"i","app_title":"t"},"custom":{"a":"grüße"},"env":{"b":"c"}}',
    "cognito_identity": '{"cognitoIdentityId":"id","cognitoIdentityPoolId":"pool"}',
    "aws_tenant_id": "tenant-1",
}


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


class Table(unittest.TestCase):
    maxDiff = None
    golden = harness.Golden("nodejs")

    def test_ours_does_as_the_golden_file_says(self):
        for case in CASES:
            with self.subTest(case.label):
                self.assertEqual(self.golden.of_ours(case.label), harness.run(OURS, FUNCTIONS, case))

    def test_the_official_client_does_as_the_golden_file_says(self):
        command = official()
        if command is None:
            self.skipTest("aws-lambda-ric is not in SLUICE_OFFICIAL_RUNTIMES")
        for case in CASES:
            with self.subTest(case.label):
                self.assertEqual(self.golden.of_official(case.label), harness.run(command, FUNCTIONS, case))


def official():
    program = harness.official("node", "node_modules", "aws-lambda-ric", "bin", "index.mjs")
    return program and [NODE, str(program)]


def write_golden():
    outcomes = {case.label: (harness.run(OURS, FUNCTIONS, case), harness.run(official(), FUNCTIONS, case)) for case in CASES}
    Table.golden.write(CASES, outcomes)


if __name__ == "__main__":
    if NODE is None:
        print("node is not installed")
        sys.exit(77)
    if os.environ.get("SLUICE_GOLDEN_WRITE"):
        write_golden()
    else:
        unittest.main()
