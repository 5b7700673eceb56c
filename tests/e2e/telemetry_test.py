"""Extensions and telemetry through the daemon: a function with an agent in it hears what AWS would tell it."""

import json
import pathlib
import shutil
import unittest

import sluice_daemon

FUNCTION = pathlib.Path(__file__).parent / "lambda" / "telemetry"
CONFIG = """functions:
  f: {runtime: python, handler: app.handler, code: code, timeout: 20s, scale: {max: 1}}
"""


class TelemetryTest(sluice_daemon.DaemonTest):
    def test_an_agent_hears_of_its_functions_life(self):
        daemon = sluice_daemon.Daemon(CONFIG, http=True)
        self.addCleanup(daemon.close)
        shutil.copytree(FUNCTION, daemon.folder / "code")
        daemon.start()
        first = json.loads(daemon.invoke("f", {"say": "a line \"of\" its own"}).body)["id"]
        failed = daemon.invoke("f", {"fail": True})
        self.assertEqual(failed.headers["X-Amz-Function-Error"], "Unhandled")
        told = json.loads(daemon.invoke("f", {"until": 2}).body)
        records = told["records"]
        types = [record["type"] for record in records if record["type"] != "function"]
        self.assertEqual(types[:5], ["platform.initStart", "platform.telemetrySubscription", "platform.extension", "platform.initRuntimeDone",
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


if __name__ == "__main__":
    unittest.main(verbosity=2)
