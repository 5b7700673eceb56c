"""What node's and python's runtimes are asked alike: the table of handlers against its golden file, and how a process waits, fails and ends.

    RUNTIME = alike.Runtime(...)
    class Table(alike.Table, unittest.TestCase): runtime = RUNTIME
    class Official(alike.Official, unittest.TestCase): runtime = RUNTIME
    class Ours(alike.Ours, harness.RuntimeTest): ...        # and what only this one is asked
    alike.main(RUNTIME)"""

import dataclasses
import functools
import json
import os
import signal
import sys
import unittest

import harness
import runtime_api_server

JSON_LOGS = {"AWS_LAMBDA_LOG_FORMAT": "JSON"}
CONTEXT = {
    "client_context": '{"client":{"installation_id":"i","app_title":"t"},"custom":{"a":"grüße"},"env":{"b":"c"}}',
    "cognito_identity": '{"cognitoIdentityId":"id","cognitoIdentityPoolId":"pool"}',
    "aws_tenant_id": "tenant-1",
}


@dataclasses.dataclass
class Runtime:
    name: str                    # of its golden file
    ours: list                   # commands
    official: list               # None: it is not installed
    official_name: str
    functions: object            # the folder of handlers
    cases: list

    @functools.cached_property
    def golden(self):
        return harness.Golden(self.name)

    def run(self, command, case):
        return harness.run(command, self.functions, case)

    def write_golden(self):
        self.golden.write(self.cases, {case.label: (self.run(self.ours, case), self.run(self.official, case)) for case in self.cases})


class Table:
    maxDiff = None
    runtime = None

    def test_ours_does_as_the_golden_file_says(self):
        for case in self.runtime.cases:
            with self.subTest(case.label):
                self.assertEqual(self.runtime.golden.of_ours(case.label), self.runtime.run(self.runtime.ours, case))


class Official:
    """AWS's own client through the same table: whether the golden file is true."""

    maxDiff = None
    runtime = None

    def test_the_official_client_does_as_the_golden_file_says(self):
        for case in self.runtime.cases:
            with self.subTest(case.label):
                self.assertEqual(self.runtime.golden.of_official(case.label), self.runtime.run(self.runtime.official, case))


class Ours:
    """`index.echo` and `index.large` are in both folders of handlers; the rest is said by the subclass."""

    echoed = None                # events that come back as they are, to the byte
    echo_environment = None
    exits_idle = None            # a handler, and what its process prints when it is told to end
    waits = None                 # a handler that says "waits" and answers "finished" at SIGUSR2
    decides = None               # a handler whose module ends its process with 7 at SIGTERM, saying "own SIGTERM"
    fails_with = None            # the status of a process that the Runtime API has failed
    says_no_api = None           # %s: its address
    says_refused = None          # %s, %d: the request and the status

    def test_answers_are_understood_however_they_are_sent(self):
        for answers in (runtime_api_server.CHUNKED, runtime_api_server.CLOSING, runtime_api_server.DRIBBLING):
            with self.subTest(answers):
                self.given("index.echo", self.echo_environment, answers=answers)
                for number, event in enumerate(self.echoed):
                    report = self.invoke(f"request-{number}", event.encode())
                    self.assertEqual(event.encode(), report.body)
                self.complains_not()

    def test_500_invocations_take_one_connection_and_two_requests_each(self):
        api = self.given("index.echo")
        for number in range(500):
            self.assertEqual({"n": number}, json.loads(self.invoke(f"request-{number}", b'{"n":%d}' % number).body))
        api.parked()
        self.assertEqual((1, 1001), (api.connections, api.requests))
        self.complains_not()

    def test_sigterm_ends_an_idle_process_and_what_it_does_at_its_exit_is_done(self):
        handler, words = self.exits_idle
        self.given(handler)
        self.invoke()
        self.api.parked()
        self.client.terminate()
        self.assertEqual(0, self.client.wait())
        self.assertEqual(words, self.client.output().split("\t")[-1])

    def test_sigterm_lets_an_invocation_end_first(self):
        api = self.given(self.waits)
        api.offer("request", b"{}")
        self.said("waits")
        self.client.terminate()
        self.client.process.send_signal(signal.SIGUSR2)
        self.assertEqual(b'"finished"', api.report("request").body)
        self.assertEqual(0, self.client.wait())

    def test_the_functions_own_handling_of_sigterm_decides(self):
        self.given(self.decides)
        self.invoke()
        self.api.parked()
        self.client.terminate()
        self.assertEqual(7, self.client.wait())
        self.assertIn("own SIGTERM", self.client.output())

    def test_a_parked_request_that_is_hung_up_on_is_asked_again(self):
        api = self.given("index.echo")
        api.parked()
        api.hang_up()
        self.assertEqual(b"{}", self.invoke().body)
        self.assertEqual(2, api.connections)

    def test_when_the_runtime_api_goes_the_process_ends_in_order(self):
        api = self.given("index.echo")
        self.invoke()
        api.parked()
        api.close()
        self.assertEqual(0, self.client.wait())
        self.assertEqual("", self.client.output())

    def test_without_a_runtime_api_the_process_fails_and_says_so(self):
        api = runtime_api_server.RuntimeApi()
        api.close()
        client = harness.Client(self.command, self.functions, "index.echo", api)
        self.addCleanup(client.close)
        self.assertEqual(self.fails_with, client.wait())
        self.assertIn(self.says_no_api % api.address, client.output())

    def test_a_runtime_api_that_fails_ends_the_process(self):
        self.given("index.echo", refuse={"next": 500})
        self.assertEqual(self.fails_with, self.client.wait())
        self.assertIn("500", self.client.output())

    def test_a_refused_response_is_logged_and_the_next_invocation_works(self):
        api = self.given("index.large", refuse={"refused": 400})
        self.invoke("refused", b'{"size":3}')
        self.invoke("large", b'{"size":7000000}')
        self.assertEqual(b'"xxx"', self.invoke("after", b'{"size":3}').body)
        api.parked()
        output = self.client.output()
        self.assertIn(self.says_refused % ("refused", 400), output)
        self.assertIn(self.says_refused % ("large", 413), output)


def main(runtime):
    """`official` as the argument: only the comparison with AWS's client; 77 (skipped) without it. Else all but that."""
    if os.environ.get("SLUICE_GOLDEN_WRITE"):
        runtime.write_golden()
    elif sys.argv[1:] == ["official"]:
        if runtime.official is None:
            print(f"{runtime.official_name} is not in SLUICE_OFFICIAL_RUNTIMES; tests/runtimes/official/install.sh FOLDER installs it")
            sys.exit(77)
        unittest.main(argv=[sys.argv[0], "Official"])
    else:
        unittest.main(argv=[sys.argv[0], *(sys.argv[1:] or ["Table", "Ours"])])
