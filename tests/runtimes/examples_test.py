"""The Lambda functions of consumers/examples, as they stand there."""

import json
import shutil
import sys
import unittest

import harness
import nodejs_test
import python_test

EXAMPLES = harness.ROOT / "consumers/examples"


class Examples(harness.RuntimeTest):
    def answers(self, folder, command, handler, event):
        self.command, self.functions = command, EXAMPLES / folder
        self.given(handler)
        answers = []
        for number in range(3):
            answers.append(json.loads(self.invoke(f"request-{number}", event).body))
        return answers

    @unittest.skipUnless(nodejs_test.NODE, "node is not installed")
    def test_node(self):
        self.assertEqual([{"greeting": "Hello, Ada"}] * 3, self.answers("lambda-node", nodejs_test.OURS, "index.handler", b'{"name":"Ada"}'))
        self.assertRegex(self.client.output(), r"\trequest-0\tINFO\tgreeting Ada, \d+ ms left\n")

    def test_python(self):
        self.assertEqual([{"greeting": "Hello, Ada"}] * 3, self.answers("lambda-python", python_test.OURS, "hello.handler", b'{"name":"Ada"}'))
        self.assertRegex(self.client.output(), r"^\[INFO\]\t\S+Z\trequest-0\tgreeting Ada, \d+ ms left\n")

    @unittest.skipUnless(shutil.which("curl"), "curl is not installed")
    def test_bash(self):
        self.assertEqual([{"bytes": 14}] * 3, self.answers("lambda-bash", ["./bootstrap"], "any", b'{"name":"Ada"}'))
        self.assertEqual("".join(f"invocation request-{number}\n" for number in range(3)), self.client.output())
        self.api.parked()
        self.api.close()
        self.assertEqual(0, self.client.wait())
        self.assertIn("curl", self.client.output())


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    unittest.main(verbosity=2)
