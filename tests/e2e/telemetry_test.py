"""Extensions and telemetry through the daemon: a function with an agent in it hears what AWS would tell it."""

import concurrent.futures
import json
import pathlib
import shutil
import unittest

import sluice_daemon

FUNCTION = pathlib.Path(__file__).parent / "lambda" / "telemetry"
CONFIG = """functions:
  f: {runtime: python, handler: app.handler, code: code, timeout: 20s, scale: {max: 1}}
"""
PROVISIONED = """functions:
  f: {runtime: python, handler: app.handler, code: code, timeout: 20s, scale: {min: 1, max: 2}}
"""
BOTH = """import os, pathlib, time

def handler(event, context):
    pathlib.Path(f"begun-{os.getpid()}").touch()
    while len(list(pathlib.Path(".").glob("begun-*"))) < 2:  # until the function's own timeout
        time.sleep(0.01)
    return os.environ["AWS_LAMBDA_INITIALIZATION_TYPE"]
"""


class TelemetryTest(sluice_daemon.DaemonTest):
    def test_an_agent_hears_of_its_functions_life(self):
        daemon = self.prepare(CONFIG, http=True)
        shutil.copytree(FUNCTION, daemon.folder / "code")
        daemon.start()
        first = json.loads(daemon.invoke("f", {"say": "a line \"of\" its own"}).body)["id"]
        failed = daemon.invoke("f", {"fail": True})
        self.assertEqual(failed.headers["X-Amz-Function-Error"], "Unhandled")
        told = json.loads(daemon.invoke("f", {"until": 2}).body)
        records = told["records"]
        types = [record["type"] for record in records if record["type"] != "function"]
        self.assertEqual(types[:5], ["platform.initStart", "platform.telemetrySubscription", "platform.initRuntimeDone", "platform.extension",
                                     "platform.initReport"], types)
        self.assertEqual(types[5:], ["platform.start", "platform.runtimeDone", "platform.report"] * 2 + ["platform.start"])
        self.assertIn("a line \"of\" its own", [record["record"] for record in records if record["type"] == "function"])
        reports = [record["record"] for record in records if record["type"] == "platform.report"]
        self.assertEqual((reports[0]["requestId"], reports[0]["status"]), (first, "success"))
        metrics = reports[0]["metrics"]
        self.assertTrue(metrics["durationMs"] > 0 and metrics["initDurationMs"] > 0 and metrics["maxMemoryUsedMB"] > 0, metrics)
        self.assertGreaterEqual(metrics["billedDurationMs"], metrics["durationMs"] + metrics["initDurationMs"])
        self.assertEqual((reports[1]["status"], "initDurationMs" in reports[1]["metrics"]), ("error", False))
        done = [record["record"] for record in records if record["type"] == "platform.runtimeDone"]
        self.assertEqual([record["status"] for record in done], ["success", "error"])
        self.assertEqual(done[1]["errorType"], "ValueError")
        self.assertEqual([event["eventType"] for event in told["heard"]], ["INVOKE"] * 3)
        self.assertEqual((told["heard"][0]["requestId"], told["heard"][2]["requestId"]), (first, told["id"]))

    def test_only_those_that_keep_scale_min_are_provisioned(self):
        """Two at once: one finds the instance that waits, for the other one is started."""
        daemon = self.prepare(PROVISIONED, http=True)
        (daemon.folder / "code").mkdir()
        (daemon.folder / "code" / "app.py").write_text(BOTH)
        daemon.start()
        daemon.wait_show("f", lambda shown: [row["state"] for row in shown["instances"]] == ["ready"], "one waits")
        with concurrent.futures.ThreadPoolExecutor(2) as callers:
            answers = list(callers.map(lambda _: daemon.invoke("f"), range(2)))
        self.assertEqual(sorted(json.loads(answer.body) for answer in answers), ["on-demand", "provisioned-concurrency"])

    def test_an_agent_gets_reports_that_are_not_in_the_log(self):
        daemon = sluice_daemon.Daemon(CONFIG.replace("timeout: 20s", "timeout: 20s, log: {report: none}"), http=True)
        self.addCleanup(daemon.close)
        shutil.copytree(FUNCTION, daemon.folder / "code")
        daemon.start()
        first = json.loads(daemon.invoke("f", {"say": "a line"}).body)["id"]
        records = json.loads(daemon.invoke("f", {"until": 1}).body)["records"]
        self.assertEqual([record["record"]["requestId"] for record in records if record["type"] == "platform.report"], [first])
        self.assertNotIn("REPORT", daemon.sluice("function", "logs", "f"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
