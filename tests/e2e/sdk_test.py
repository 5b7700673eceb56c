"""Unmodified AWS clients against the HTTP port: Debian's aws, boto3, and the JS SDK v3 where it is installed (official_client()).

Each does the same: all invocation types, a function error, a function that is not there, PutEvents, what tools list and poll."""

import base64
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

import sluice_daemon
from lambda_test import official_client

FUNCTIONS = pathlib.Path(__file__).parent / "lambda"
AWS = "/usr/bin/aws"             # Debian's, whatever else is in PATH
PYTHON = "/usr/bin/python3"      # whose boto3 is Debian's
JS_SDK = official_client("js_sdk")
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1", "AWS_REGION": "us-east-1",
               "AWS_EC2_METADATA_DISABLED": "true", "AWS_PAGER": "", "HOME": "/nonexistent"}

BOTO3 = """
import base64, json, sys
import boto3
from botocore.config import Config
def client(name):
    return boto3.client(name, endpoint_url=sys.argv[1], config=Config(retries={"max_attempts": 1}))
def invoke(payload, **more):
    try:
        answer = client("lambda").invoke(FunctionName=more.pop("FunctionName", "f"), Payload=json.dumps(payload), **more)
    except client("lambda").exceptions.ResourceNotFoundException as error:
        return {"error": error.response["Error"]["Code"], "status": error.response["ResponseMetadata"]["HTTPStatusCode"]}
    return {"status": answer["StatusCode"], "body": answer["Payload"].read().decode(), "failed": answer.get("FunctionError"),
            "version": answer.get("ExecutedVersion"), "log": answer.get("LogResult")}
stream = client("lambda").invoke(FunctionName="f", Payload='{"n": 7}')  # the one that warms
print(json.dumps({
    "sync": invoke({"n": 1}), "event": invoke({"n": 2}, InvocationType="Event"), "dry": invoke({}, InvocationType="DryRun"),
    "tail": invoke({"do": "log", "message": "seen"}, LogType="Tail"), "error": invoke({"do": "error"}),
    "absent": invoke({}, FunctionName="absent"),
    "arn": invoke({"n": 3}, FunctionName="arn:aws:lambda:us-east-1:000000000000:function:f", Qualifier="$LATEST"),
    "functions": [f["FunctionName"] for f in client("lambda").list_functions()["Functions"]],
    "state": client("lambda").get_function(FunctionName="f")["Configuration"]["State"],
    "events": client("events").put_events(Entries=[
        {"Source": "a", "DetailType": "t", "Detail": '{"n": 1}'}, {"Source": "a", "DetailType": "t", "Detail": "no JSON"}]),
}, default=str))
"""

JS = """
const { LambdaClient, InvokeCommand, InvokeWithResponseStreamCommand, ListFunctionsCommand, GetFunctionCommand } = require('@aws-sdk/client-lambda');
const { EventBridgeClient, PutEventsCommand } = require('@aws-sdk/client-eventbridge');
const lambda = new LambdaClient({ endpoint: process.argv[2], maxAttempts: 1 }), events = new EventBridgeClient({ endpoint: process.argv[2], maxAttempts: 1 });
const text = (bytes) => Buffer.from(bytes ?? []).toString();
async function invoke(payload, more = {}) {
    try {
        const answer = await lambda.send(new InvokeCommand({ FunctionName: 'f', Payload: JSON.stringify(payload), ...more }));
        return { status: answer.StatusCode, body: text(answer.Payload), failed: answer.FunctionError ?? null, version: answer.ExecutedVersion ?? null,
                 log: answer.LogResult ?? null };
    } catch (error) {
        return { error: error.name, status: error.$metadata.httpStatusCode };
    }
}
async function stream(payload) {
    const answer = await lambda.send(new InvokeWithResponseStreamCommand({ FunctionName: 'f', Payload: JSON.stringify(payload) }));
    let body = '', complete = null;
    for await (const part of answer.EventStream) {
        if (part.PayloadChunk) body += text(part.PayloadChunk.Payload);
        if (part.InvokeComplete) complete = part.InvokeComplete;
    }
    return { body, error: complete?.ErrorCode ?? null };
}
(async () => console.log(JSON.stringify({
    sync: await invoke({ n: 1 }), event: await invoke({ n: 2 }, { InvocationType: 'Event' }), dry: await invoke({}, { InvocationType: 'DryRun' }),
    tail: await invoke({ do: 'log', message: 'seen' }, { LogType: 'Tail' }), error: await invoke({ do: 'error' }),
    absent: await invoke({}, { FunctionName: 'absent' }),
    arn: await invoke({ n: 3 }, { FunctionName: 'arn:aws:lambda:us-east-1:000000000000:function:f', Qualifier: '$LATEST' }),
    functions: (await lambda.send(new ListFunctionsCommand({}))).Functions.map((f) => f.FunctionName),
    state: (await lambda.send(new GetFunctionCommand({ FunctionName: 'f' }))).Configuration.State,
    events: await events.send(new PutEventsCommand({ Entries: [
        { Source: 'a', DetailType: 't', Detail: '{"n": 1}' }, { Source: 'a', DetailType: 't', Detail: 'no JSON' }] })),
    stream: await stream({ n: 9 }), streamError: await stream({ do: 'error' }),
})))();
"""


class Clients(sluice_daemon.DaemonTest):
    def setUp(self):
        self.daemon = self.prepare(
            "functions:\n  f: {runtime: python, handler: app.handler, code: code, timeout: 20s}\n"
            "  sink: {command: [cat], protocol: stdio}\nrules: {a: {pattern: {source: [a]}, targets: [{function: sink}]}}\n", http=True)
        shutil.copytree(FUNCTIONS / "python", self.daemon.folder / "code")
        self.daemon.start()
        self.url = "http://" + self.daemon.ready["http"]

    def run_client(self, *command, environment=None, ok=True):
        done = subprocess.run(command, env={"PATH": "/usr/bin:/bin", **CREDENTIALS, **(environment or {})}, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True, timeout=sluice_daemon.DEADLINE_S * 2)
        if ok:
            self.assertEqual(done.returncode, 0, done.stderr)
        return done

    def check_sdk(self, seen):
        self.assertEqual((seen["sync"]["status"], json.loads(seen["sync"]["body"]), seen["sync"]["failed"]), (200, {"n": 1}, None))
        self.assertEqual(seen["sync"]["version"], "$LATEST")
        self.assertEqual((seen["event"]["status"], seen["event"]["body"]), (202, ""))
        self.assertEqual(seen["dry"]["status"], 204)
        self.assertIn("seen", base64.b64decode(seen["tail"]["log"]).decode())
        self.assertEqual((seen["error"]["status"], seen["error"]["failed"], json.loads(seen["error"]["body"])["errorType"]),
                         (200, "Unhandled", "TypeError"))
        self.assertEqual((seen["absent"]["error"], seen["absent"]["status"]), ("ResourceNotFoundException", 404))
        self.assertEqual(json.loads(seen["arn"]["body"]), {"n": 3})
        self.assertEqual((sorted(seen["functions"]), seen["state"]), (["f", "sink"], "Active"))
        self.assertEqual(seen["events"]["FailedEntryCount"], 1)
        self.assertIn("EventId", seen["events"]["Entries"][0])
        self.assertEqual(seen["events"]["Entries"][1]["ErrorCode"], "MalformedDetail")
        self.daemon.wait_balance("f", accepted=1, succeeded=1, pending=0)
        self.daemon.wait_balance("sink", accepted=1, succeeded=1, pending=0)

    def test_boto3(self):
        self.check_sdk(json.loads(self.run_client(PYTHON, "-c", BOTO3, self.url).stdout))

    def aws(self, *arguments, ok=True):
        return self.run_client(AWS, "--endpoint-url", self.url, "--output", "json", *arguments, ok=ok)

    def test_debians_aws(self):
        with tempfile.TemporaryDirectory() as folder:
            out = os.path.join(folder, "out.json")
            def invoke(payload, *more, name="f", ok=True):
                done = self.aws("lambda", "invoke", "--function-name", name, "--cli-binary-format", "raw-in-base64-out",
                                "--payload", json.dumps(payload), *more, out, ok=ok)
                return json.loads(done.stdout) if ok else done
            self.assertEqual(invoke({"n": 1})["StatusCode"], 200)
            self.assertEqual(json.loads(pathlib.Path(out).read_text()), {"n": 1})
            self.assertEqual(invoke({"n": 2}, "--invocation-type", "Event")["StatusCode"], 202)
            self.assertEqual(invoke({}, "--invocation-type", "DryRun")["StatusCode"], 204)
            tail = invoke({"do": "log", "message": "seen"}, "--log-type", "Tail")
            self.assertIn("seen", base64.b64decode(tail["LogResult"]).decode())
            self.assertEqual(invoke({"do": "error"})["FunctionError"], "Unhandled")
            absent = invoke({}, name="absent", ok=False)
            self.assertNotEqual(absent.returncode, 0)
            self.assertIn("ResourceNotFoundException", absent.stderr)
        listed = json.loads(self.aws("lambda", "list-functions").stdout)["Functions"]
        self.assertEqual(sorted(f["FunctionName"] for f in listed), ["f", "sink"])
        self.aws("lambda", "wait", "function-active", "--function-name", "f")
        put = json.loads(self.aws("events", "put-events", "--entries",
                                  '[{"Source": "a", "DetailType": "t", "Detail": "{\\"n\\": 1}"}]').stdout)
        self.assertEqual(put["FailedEntryCount"], 0)
        self.daemon.wait_balance("f", accepted=1, succeeded=1, pending=0)
        self.daemon.wait_balance("sink", accepted=1, succeeded=1, pending=0)

    @unittest.skipUnless(JS_SDK, "the JS SDK v3 is not in SLUICE_OFFICIAL_RUNTIMES; tests/runtimes/official/install.sh FOLDER installs it")
    def test_js_sdk(self):
        seen = json.loads(self.run_client("node", "-e", JS, "-", self.url, environment={
            "NODE_PATH": JS_SDK[0], "PATH": os.environ["PATH"]}).stdout)
        self.check_sdk(seen)
        self.assertEqual((json.loads(seen["stream"]["body"]), seen["stream"]["error"]), ({"n": 9}, None))
        self.assertIsNotNone(seen["streamError"]["error"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
