"""AWS_LAMBDA_EXEC_WRAPPER: node and python are started through it, with the command that would have run; what cannot be run fails the init
as on Lambda."""

import base64
import json
import unittest

import sluice_daemon

NODE = "exports.handler = async (event, context) => ({ by: process.env.WRAPPED_BY, n: event.n, extra: process.execArgv });\n"
PYTHON = "import os\ndef handler(event, context):\n    return {'by': os.environ.get('WRAPPED_BY'), 'n': event['n']}\n"
BOOTSTRAP = """#!/bin/bash
api=http://$AWS_LAMBDA_RUNTIME_API/2018-06-01/runtime/invocation
while curl -sS -D head -o event "$api/next"; do
    id=$(tr -d '\\r' <head | sed -n 's/^lambda-runtime-aws-request-id: //Ip')
    curl -sS -o answer -d "{\\"by\\":\\"${WRAPPED_BY:-nobody}\\"}" "$api/$id/response"
done
"""
# As the wrappers of AWS's documentation: arguments go between the interpreter and its own.
WRAPPER = """#!/bin/bash
export WRAPPED_BY=$AWS_LAMBDA_EXEC_WRAPPER
echo "wrapper of $AWS_LAMBDA_FUNCTION_NAME runs $(basename "$1") $(basename "$2") and has $# words"
interpreter=$1
shift
exec "$interpreter" $EXTRA "$@"
"""
FUNCTIONS = """
functions:
  node: {runtime: nodejs, code: code, handler: index.handler, timeout: 20s, environment: {AWS_LAMBDA_EXEC_WRAPPER: DIR/code/wrapper, EXTRA: --no-warnings}}
  python: {runtime: python, code: code, handler: app.handler, timeout: 20s, environment: {AWS_LAMBDA_EXEC_WRAPPER: wrapper}}
  empty: {runtime: python, code: code, handler: app.handler, timeout: 20s, environment: {AWS_LAMBDA_EXEC_WRAPPER: ''}}
  provided: {runtime: provided, code: code, timeout: 20s, environment: {AWS_LAMBDA_EXEC_WRAPPER: wrapper}}
  missing: {runtime: nodejs, code: code, handler: index.handler, timeout: 20s, environment: {AWS_LAMBDA_EXEC_WRAPPER: DIR/code/missing}}
  folder: {runtime: python, code: code, handler: app.handler, timeout: 20s, environment: {AWS_LAMBDA_EXEC_WRAPPER: ../code/folder}}
  text: {runtime: python, code: code, handler: app.handler, timeout: 20s, environment: {AWS_LAMBDA_EXEC_WRAPPER: ./text}}
  late: {runtime: python, code: code, handler: app.handler, timeout: 20s, environment: {AWS_LAMBDA_EXEC_WRAPPER: ./late}}
"""


class WrapperTest(sluice_daemon.DaemonTest):
    def setUp(self):
        self.daemon = sluice_daemon.Daemon("functions: {}", http=True)
        self.addCleanup(self.daemon.close)
        code = self.daemon.folder / "code"
        code.mkdir()
        for name, text in (("index.js", NODE), ("app.py", PYTHON), ("bootstrap", BOOTSTRAP), ("wrapper", WRAPPER)):
            (code / name).write_text(text)
        for name in ("missing", "folder", "text", "late"):
            (code / name).write_text(WRAPPER)
        for name in ("bootstrap", "wrapper", "missing", "folder", "text", "late"):
            (code / name).chmod(0o755)
        self.daemon.configure(FUNCTIONS.replace("DIR", str(self.daemon.folder)))
        self.daemon.start()

    def invoke(self, function):
        answer = self.daemon.invoke(function, {"n": 7}, x_amz_log_type="Tail")
        self.assertEqual(answer.status, 200, answer.body)
        return json.loads(answer.body), base64.b64decode(answer.headers["X-Amz-Log-Result"]).decode()

    def test_node_and_python_are_started_through_it(self):
        self.assertEqual(self.invoke("node")[0], {"by": f"{self.daemon.folder}/code/wrapper", "n": 7, "extra": ["--no-warnings"]})
        self.assertIn("wrapper of node runs node bootstrap.cjs and has 2 words", self.daemon.sluice("function", "logs", "node"))
        self.assertEqual(self.invoke("python")[0], {"by": "wrapper", "n": 7})   # a relative one stands in the function's folder
        self.assertIn("wrapper of python runs python3 bootstrap.py and has 2 words", self.daemon.sluice("function", "logs", "python"))

    def test_an_empty_one_is_none_and_provided_has_none(self):
        self.assertEqual(self.invoke("empty")[0], {"by": None, "n": 7})
        self.assertEqual(self.invoke("provided")[0], {"by": "nobody"})

    def test_one_that_is_not_there_is_refused_with_its_place(self):
        (self.daemon.folder / "code/missing").unlink()
        (self.daemon.folder / "code/text").chmod(0o644)
        done = self.daemon.run("config", "check", str(self.daemon.path))
        self.assertEqual(done.status, 1)
        lines = self.daemon.path.read_text().splitlines()
        for name, why in (("missing", "does not exist"), ("text", "is not executable; chmod \\+x it")):
            line = next(number for number, text in enumerate(lines, 1) if text.startswith(f"  {name}:"))
            self.assertRegex(done.stderr, rf"sluice\.yaml:{line}:\d+: error: AWS_LAMBDA_EXEC_WRAPPER is .*/{name}, which {why}")

    def test_one_that_cannot_be_run_fails_the_init(self):
        code = self.daemon.folder / "code"
        for name in ("missing", "folder"):
            (code / name).unlink()
        (code / "folder").mkdir()
        (code / "text").chmod(0o644)
        for function, status, says in (("missing", 127, f"'{code}/missing' does not exist, seen from"), ("folder", 127, "'../code/folder' is not a file"),
                                       ("text", 126, "'./text' is not executable")):
            with self.subTest(function):
                error, _ = self.invoke(function)
                self.assertEqual(error["errorType"], "Runtime.ExitError")
                self.assertRegex(error["errorMessage"], f"^RequestId: [0-9a-f-]{{36}} Error: Runtime exited with error: exit status {status}$")
                log = self.daemon.sluice("function", "logs", function)
                self.assertIn(f"AWS_LAMBDA_EXEC_WRAPPER of function '{function}': {says}", log)
                self.assertRegex(log, "; (give the path of an executable file|chmod \\+x it)")

    def test_one_that_was_lost_is_found_by_the_next_start(self):
        late = self.daemon.folder / "code/late"
        late.unlink()
        self.assertEqual(self.invoke("late")[0]["errorType"], "Runtime.ExitError")
        late.write_text("#!/bin/sh\nWRAPPED_BY=late exec \"$@\"\n")
        late.chmod(0o755)
        self.assertEqual(self.invoke("late")[0], {"by": "late", "n": 7})


if __name__ == "__main__":
    unittest.main(verbosity=2)
