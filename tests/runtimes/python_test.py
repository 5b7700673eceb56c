"""consumers/runtimes/python/bootstrap.py: the table of handlers, compared with AWS's own client, and what only ours is asked."""

import json
import os
import sys
import unittest

import harness
from harness import Case
import runtime_api_server
from runtime_api_server import RuntimeApi

PYTHON = os.environ.get("SLUICE_PYTHON") or sys.executable
BOOTSTRAP = harness.ROOT / "consumers/runtimes/python/bootstrap.py"
FUNCTIONS = harness.HERE / "functions/python"
OURS = [PYTHON, str(BOOTSTRAP)]
JSON_LOGS = {"AWS_LAMBDA_LOG_FORMAT": "JSON"}
OLD = {"AWS_EXECUTION_ENV": "AWS_Lambda_python3.11"}
NEW = {"AWS_EXECUTION_ENV": "AWS_Lambda_python3.12"}
CONTEXT = {
    "client_context": '{"client":{"installation_id":"i","app_title":"t"},"custom":{"a":"grüße"},"env":{"b":"c"}}',
    "cognito_identity": '{"cognitoIdentityId":"id","cognitoIdentityPoolId":"pool"}',
    "aws_tenant_id": "tenant-1",
}


def simple(*names, module="index", **more):
    return [Case(name, f"{module}.{name}", **{"environment": OLD, **more}) for name in names]


CASES = [
    Case("echo", "index.echo", environment=OLD, events=['{"a":[1,2.5,"ü",1e400,true,null]}', '"text"', "null", " [ ] ", "12345678901234567890123", '"\\u00fc"']),
    Case("an event that is no JSON", "index.echo", environment=OLD, events=["{no", "", "{} x", '"\\x"', "[1,]"],
         differs="the words are those of json, AWS's of simplejson"),
    *simple("nothing", "text", "kinds", "named", "decimal_alone", "key_of_bytes", "a_set", "a_date", "circular", "odd_key", "raw", "raw_text",
            "generator", events=["{}", "{}"]),
    Case("coroutine", "index.coroutine", environment={**OLD, "PYTHONWARNINGS": "ignore"}),
    Case("text as from Python 3.12", "index.text", environment=NEW),
    Case("kinds as from Python 3.12", "index.kinds", environment=NEW),
    Case("a large event and a large response", "index.length", environment=OLD, events=[json.dumps({"text": "ü" * 2500000}, ensure_ascii=False)]),
    Case("a response of 5 MB", "index.large", environment=OLD, events=['{"size":5000000}']),
    *simple("throws", "throws_deep", "throws_nothing", "throws_own_class", "throws_long", "throws_huge", "throws_hostile",
            events=['{"why":"reasons"}', "{}"]),
    *simple("exits", "exits_with_words", "exits_hard", ends=True),
    Case("context", "index.context", environment=OLD, headers=CONTEXT),
    Case("context with nothing", "index.context", environment=OLD, headers={"trace_id": None}),
    Case("a client context that is no JSON", "index.context", environment=OLD, headers={"client_context": "{no"}),
    *simple("context_log", "environment", "counts", "instance", "method", "prints", "child_prints", events=["{}", "{}"]),
    *simple("not_callable"),
    *simple("levels", "lower", "exception", "handlers", "own_format", module="logs"),
    *(Case(f"{name} as JSON", f"logs.{name}", environment={**OLD, **JSON_LOGS}, headers={"aws_tenant_id": "tenant-1"})
      for name in ("levels", "lower", "exception")),
    *(Case(f"log level {level} {form}", "logs.levels", environment={**OLD, "AWS_LAMBDA_LOG_FORMAT": form, "AWS_LAMBDA_LOG_LEVEL": level})
      for level in ("TRACE", "info", "FATAL") for form in ("JSON", "Text")),
    Case("a thrown error logged as JSON", "index.throws_deep", environment={**OLD, **JSON_LOGS}),
    Case("a file in a folder", "src/app.handler"),
    Case("a file in a folder, dotted", "src.app.handler"),
    Case("a package", "package.handler"),
    Case("a module of a package", "package.inner.handler"),
    *(Case(label, handler, init=True, environment=OLD) for label, handler in [
        ("no such file", "nowhere.handler"), ("no such function", "index.nowhere"), ("a handler without a dot", "index"),
        ("a built-in module", "sys.exit"), ("a module that is missing", "missing.handler"), ("a part of a package that is missing", "missingmodule.handler"),
        ("a syntax error", "syntax.handler"), ("an indentation error", "indented.handler"), ("throws while loading", "throwing.handler"),
    ]),
    Case("init errors logged as JSON", "throwing.handler", init=True, environment={**OLD, **JSON_LOGS}),
    Case("exits while loading", "exiting.handler", events=[], ends=True),
    Case("exits hard while loading", "exiting_hard.handler", events=[], ends=True),
]


class Table(unittest.TestCase):
    maxDiff = None
    golden = harness.Golden("python")

    def test_ours_does_as_the_golden_file_says(self):
        for case in CASES:
            with self.subTest(case.label):
                self.assertEqual(self.golden.of_ours(case.label), harness.run(OURS, FUNCTIONS, case))

    def test_the_official_client_does_as_the_golden_file_says(self):
        command = official()
        if command is None:
            self.skipTest("awslambdaric is not in SLUICE_OFFICIAL_RUNTIMES")
        for case in CASES:
            with self.subTest(case.label):
                self.assertEqual(self.golden.of_official(case.label), harness.run(command, FUNCTIONS, case))


def official():
    program = harness.official("python", "bin", "python3")
    return program and [str(program), "-m", "awslambdaric"]


def write_golden():
    outcomes = {case.label: (harness.run(OURS, FUNCTIONS, case), harness.run(official(), FUNCTIONS, case)) for case in CASES}
    Table.golden.write(CASES, outcomes)


if __name__ == "__main__":
    if os.environ.get("SLUICE_GOLDEN_WRITE"):
        write_golden()
    else:
        unittest.main()
