"""consumers/runtimes/python: the table of handlers, compared with AWS's own client, and what only ours is asked."""

import json
import os
import random
import subprocess
import sys
import tempfile
import time
import unittest

import alike
from alike import CONTEXT, JSON_LOGS
import harness
from harness import Case

PYTHON = os.environ.get("SLUICE_PYTHON") or sys.executable
BOOTSTRAP = harness.ROOT / "consumers/runtimes/python/bootstrap.py"
FUNCTIONS = harness.HERE / "functions/python"
OURS = [PYTHON, str(BOOTSTRAP)]
OLD = {"AWS_EXECUTION_ENV": "AWS_Lambda_python3.11"}
NEW = {"AWS_EXECUTION_ENV": "AWS_Lambda_python3.12"}


def simple(*names, module="index", **more):
    return [Case(name, f"{module}.{name}", **{"environment": OLD, **more}) for name in names]


CASES = [
    Case("echo", "index.echo", environment=OLD, events=['{"a":[1,2.5,"ü",1e400,true,null]}', '"text"', "null", " [ ] ", "12345678901234567890123", '"\\u00fc"']),
    Case("an event that is no JSON", "index.echo", environment=OLD, events=["{no", "", "{} x", '"\\x"'],
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
    Case("logging imported before the runtime", "logs.levels", environment={**OLD, "PYTHONPATH": str(FUNCTIONS / "site")}),
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


RUNTIME = alike.Runtime("python", OURS, harness.official("python"), "awslambdaric", FUNCTIONS, CASES)


class Table(alike.Table, unittest.TestCase):
    runtime = RUNTIME


class Official(alike.Official, unittest.TestCase):
    runtime = RUNTIME


class Ours(alike.Ours, harness.RuntimeTest):
    command = OURS
    functions = FUNCTIONS
    echoed = ['{"a": "u"}', json.dumps("ü" * 10000), "null"]
    echo_environment = OLD
    exits_idle = ("term.ready", "at exit\n")
    waits = "term.handler"
    decides = "term.own"
    fails_with = 1
    says_no_api = "no next invocation: the Runtime API at %s"
    says_refused = "[ERROR] the Runtime API refused the response of %s: %d"

    def test_a_function_may_be_named_as_the_bootstrap_is(self):
        self.given("bootstrap.handler")
        self.assertEqual(b'"the function\'s own"', self.invoke().body)

    def test_what_json_cannot_hold_is_a_marshal_error(self):
        for handler, environment in (("index.deep", OLD), ("index.surrogate", NEW)):
            with self.subTest(handler):
                self.given(handler, environment)
                self.assertEqual("Runtime.MarshalError", json.loads(self.invoke("first").body)["errorType"])
                self.assertEqual("Runtime.MarshalError", json.loads(self.invoke("second").body)["errorType"])

    def test_the_interpreter_is_asked_for_as_little_as_this(self):
        """What a cold start pays for: nothing slow is loaded until the function does."""
        bare = subprocess.run([PYTHON, "-c", "import sys; print(*sys.modules)"], stdout=subprocess.PIPE, text=True, check=True)
        self.given("bare.modules")
        self.assertEqual(["_json", "_socket"], sorted(set(json.loads(self.invoke().body)) - set(bare.stdout.split()) - {"bare", "sluice_runtime"}))

    def given_meeting(self, count):
        folder = tempfile.TemporaryDirectory(prefix="sluice-runtime-")
        self.addCleanup(folder.cleanup)
        api = self.given("meeting.meets", {"AWS_LAMBDA_MAX_CONCURRENCY": str(count)})
        api.parked(count)
        return api, folder.name

    def test_several_invocations_at_once_are_in_processes_of_their_own(self):
        api, folder = self.given_meeting(3)
        for name in "abc":
            api.offer(name, json.dumps({"folder": folder, "name": name, "of": 3}).encode(), trace_id=f"Root={name}")
        answers = [json.loads(api.report(name).body) for name in "abc"]
        self.assertEqual(["Root=a", "Root=b", "Root=c"], [answer["trace"] for answer in answers])
        self.assertEqual(3, len({answer["pid"] for answer in answers} - {self.client.process.pid}))
        self.assertEqual([answer["pid"] for answer in answers], [answer["loaded by"] for answer in answers])
        api.parked(3)
        self.client.terminate()
        self.assertEqual(0, self.client.wait())
        for answer in answers:
            self.assertFalse(os.path.exists(f"/proc/{answer['pid']}"))

    def test_a_worker_that_exits_fails_its_own_invocation_and_is_replaced(self):
        api, folder = self.given_meeting(2)
        api.offer("a", json.dumps({"folder": folder, "name": "a", "of": 2, "exits": 6}).encode())
        api.offer("b", json.dumps({"folder": folder, "name": "b", "of": 2}).encode())
        self.assertEqual({"errorType": "Runtime.ExitError", "errorMessage": "RequestId: a Error: Runtime exited with error: exit status 6"},
                         json.loads(api.report("a").body))
        self.assertEqual("response", api.report("b").kind)
        api.parked(2)
        self.assertEqual("c", json.loads(self.invoke("c", json.dumps({"folder": folder, "name": "c", "of": 1}).encode()).body)["name"])

    def test_workers_that_cannot_load_the_function_end_all(self):
        api = self.given("throwing.handler", {"AWS_LAMBDA_MAX_CONCURRENCY": "3"})
        self.assertEqual("while loading", json.loads(api.report(None).body)["errorMessage"])
        self.assertEqual(1, self.client.wait())

    def test_when_the_runtime_api_goes_all_workers_end(self):
        api, _ = self.given_meeting(3)
        api.close()
        self.assertEqual(0, self.client.wait())

    def test_framed_logs_keep_their_line_breaks(self):
        report, frames = self.frames("logs.levels", {"AWS_LAMBDA_LOG_LEVEL": "DEBUG"})
        self.assertEqual(b'"logged"', report.body)
        self.assertEqual([0xA55A0013, 0xA55A000F, 0xA55A000B, 0xA55A000F, 0xA55A0013, 0xA55A0017, 0xA55A001B, 0xA55A0013],
                         [frame[0] for frame in frames[:8]])
        self.assertTrue(frames[8][2].endswith("\trequest\ttwo\nlines\n"), frames[8])
        self.assertLess(abs(time.time() * 1e6 - frames[0][1]), 60e6)

    def test_framed_errors_as_json(self):
        _, frames = self.frames("index.throws", JSON_LOGS)
        self.assertEqual((0xA55A0016, "ValueError"), (frames[0][0], json.loads(frames[0][2])["errorType"]))

    def test_events_and_results_are_as_json_would_have_them(self):
        """The C halves of json are used without their Python halves: generated values must come out as json's own."""
        sys.path.insert(0, str(BOOTSTRAP.parent))
        sys.dont_write_bytecode = True
        import sluice_runtime

        seed = random.randrange(1 << 32)
        choose = random.Random(seed)
        for _ in range(2000):
            value = generated(choose, 4)
            text = json.dumps(value, ensure_ascii=choose.random() < 0.5, indent=choose.choice([None, 1]))
            self.assertEqual(json.dumps(value), json.dumps(sluice_runtime.from_json(text)), f"seed {seed}: {text}")
            self.assertEqual(json.dumps(value, ensure_ascii=sluice_runtime.ENSURE_ASCII), sluice_runtime.to_json(value), f"seed {seed}: {text}")
            at = choose.randrange(len(text))
            broken = text[:at] + choose.choice('{}[]",: \\x') + text[at + choose.randrange(2):]
            self.assertEqual(outcome(json.loads, broken), outcome(sluice_runtime.from_json, broken), f"seed {seed}: {broken}")


def generated(choose, depth):
    kind = choose.randrange(9 if depth else 6)
    if kind < 6:
        return [None, True, choose.randrange(-1 << 70, 1 << 70), choose.uniform(-1e9, 1e9), "aü☃\n\"\\"[:choose.randrange(7)], ""][kind]
    if kind == 6:
        return {str(choose.randrange(99)): generated(choose, depth - 1) for _ in range(choose.randrange(5))}
    return [generated(choose, depth - 1) for _ in range(choose.randrange(5))]


def outcome(parse, text):
    try:
        return json.dumps(parse(text))
    except Exception as error:
        return f"{type(error).__name__}: {error}"


if __name__ == "__main__":
    alike.main(RUNTIME)
