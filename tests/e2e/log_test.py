"""What stands in a Lambda function's log beside what it prints: INIT_START, INIT_REPORT, START, END and REPORT as text, or all of it as JSON."""

import base64
import json
import re
import unittest

import sluice_daemon

NODE = """
exports.handler = async (event) => {
  console.log('said %s', event.n, { a: 1 });
  console.debug('not said as JSON');
  if (event.fail) throw new TypeError('as asked');
  return event.n;
};
"""
PYTHON = """
import logging, os, sys, time
if os.environ.get("INIT") == "exit":
    print("about to exit", flush=True)
    os._exit(3)
if os.environ.get("INIT") == "throw":
    raise ImportError("no init today")
if os.environ.get("INIT") == "hang":
    print("about to hang", flush=True)
    time.sleep(600)

def handler(event, context):
    logging.getLogger().info("said %s", event["n"])
    logging.getLogger("mine").debug("whispered")
    if "sleep" in event:
        logging.getLogger().warning("sleeps")
        time.sleep(event["sleep"])
    if event.get("fail"):
        raise ValueError("as asked")
    return event["n"]
"""
FUNCTIONS = """
functions:
  node: {runtime: nodejs, handler: index.handler, timeout: 20s}
  jsnode: {runtime: nodejs, handler: index.handler, timeout: 20s, log: {format: json}}
  jspython: {runtime: python, handler: app.handler, timeout: 20s, log: {format: json, level: debug}}
  jsstdio: {command: [./count.sh], protocol: stdio, timeout: 20s, log: {format: json}}
  count: {command: [./count.sh], protocol: stdio, timeout: 20s}
  unreported: {command: [./count.sh], protocol: stdio, timeout: 20s, log: {report: none}}
  fails: {command: [sh, -c, 'echo going wrong >&2; exit 3'], protocol: stdio, timeout: 20s}
  late: {command: [sh, -c, 'echo begun >&2; sleep 60'], protocol: stdio, timeout: 1s}
  latelines: {command: [sh, -c, 'read -r line; echo begun >&2; sleep 60'], protocol: stdio-lines, timeout: 1s, log: {report: all}}
  sleeps: {runtime: python, handler: app.handler, timeout: 1s, retry: {attempts: 1}}
  jssleeps: {runtime: python, handler: app.handler, timeout: 1s, log: {format: json}}
  lines: {command: [./echo.sh], protocol: stdio-lines, timeout: 20s}
  quiet: {runtime: python, handler: app.handler, timeout: 20s, environment: {INIT: exit}, log: {report: none}}
  exits: {runtime: python, handler: app.handler, timeout: 20s, environment: {INIT: exit}}
  throws: {runtime: python, handler: app.handler, timeout: 20s, environment: {INIT: throw}}
  jsthrows: {runtime: python, handler: app.handler, timeout: 20s, environment: {INIT: throw}, log: {format: json}}
  hangs: {runtime: python, handler: app.handler, timeout: 1s, environment: {INIT: hang}}
"""
INIT_START = r"INIT_START Runtime Version: %s:sluice\.v[0-9.]+\tRuntime Version ARN: arn:aws:lambda:us-east-1::runtime:[0-9a-f]{64}"
TIMED_OUT = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\.[0-9]{3}Z ID Task timed out after 1\.00 seconds$"
REPORT = r"REPORT RequestId: [0-9a-f-]{36}\tDuration: "


class LogTest(sluice_daemon.DaemonTest):
    def setUp(self):
        self.daemon = sluice_daemon.Daemon(FUNCTIONS, http=True)
        self.addCleanup(self.daemon.close)
        (self.daemon.folder / "index.js").write_text(NODE)
        (self.daemon.folder / "app.py").write_text(PYTHON)
        (self.daemon.folder / "count.sh").write_text("#!/bin/sh\necho counted >&2\nwc -c\n")
        (self.daemon.folder / "echo.sh").write_text("#!/bin/bash\nwhile read -r line; do echo \"saw $line\" >&2; echo \"$line\"; done\n")
        for name in ("count.sh", "echo.sh"):
            (self.daemon.folder / name).chmod(0o755)
        self.daemon.start()

    def invoke(self, function, **payload):
        answer = self.daemon.invoke(function, {"n": 7, **payload}, x_amz_log_type="Tail")
        self.assertEqual(answer.status, 200, answer.body)
        return answer, base64.b64decode(answer.headers["X-Amz-Log-Result"]).decode()

    def lines(self, function):
        """What is in its log, without the daemon's own time and number before each line."""
        return [line.split(" ", 2)[2] for line in self.daemon.sluice("function", "logs", function).splitlines()]

    def expect(self, function, *patterns):
        lines = self.lines(function)
        self.assertEqual(len(lines), len(patterns), lines)
        for line, pattern in zip(lines, patterns):
            self.assertRegex(line, f"^{pattern}")

    def test_a_cold_start_begins_with_init_start(self):
        self.invoke("node")
        self.invoke("node")
        self.expect("node", INIT_START % "nodejs", "START RequestId: ", ".*said 7", ".*not said", "END RequestId: ", REPORT + ".*Init Duration: ",
                    "START RequestId: ", ".*said 7", ".*not said", "END RequestId: ", REPORT + r"(?!.*Init Duration)")

    def test_an_init_that_ends_the_process(self):
        error = json.loads(self.invoke("exits")[0].body)
        self.assertEqual(error["errorType"], "Runtime.ExitError")
        self.expect("exits", INIT_START % "python", "about to exit", "INIT_REPORT Init Duration: [0-9]+\\.[0-9]{2} ms\tPhase: init\tStatus: error\tError Type: Runtime.ExitError$",
                    "about to exit", "INIT_REPORT Init Duration: [0-9]+\\.[0-9]{2} ms\tPhase: invoke\tStatus: error\tError Type: Runtime.ExitError$",
                    "START RequestId: ", "END RequestId: ", REPORT + ".*Status: error\tError Type: Runtime.ExitError\t$")

    def test_an_init_that_says_that_it_failed(self):
        self.invoke("throws")
        lines = self.lines("throws")
        self.assertRegex(lines[0], INIT_START % "python")
        reports = [line for line in lines if line.startswith("INIT_REPORT")]
        self.assertEqual(len(reports), 1, lines)          # not once more when the process ends
        self.assertRegex(reports[0], "ms\tPhase: init\tStatus: error\tError Type: Runtime.[A-Z][A-Za-z]+$")
        self.assertTrue(any("no init today" in line for line in lines[:lines.index(reports[0])]), lines)
        self.assertEqual([line.split()[0] for line in lines[lines.index(reports[0]):]], ["INIT_REPORT", "START", "END", "REPORT"])

    def test_an_init_that_takes_too_long(self):
        error = json.loads(self.invoke("hangs")[0].body)
        self.assertEqual(error["errorType"], "Sandbox.Timedout")
        self.expect("hangs", INIT_START % "python", "about to hang", "INIT_REPORT Init Duration: 10[0-9]{3}\\.[0-9]{2} ms\tPhase: init\tStatus: timeout$",
                    "about to hang", "INIT_REPORT Init Duration: 1[0-9]{3}\\.[0-9]{2} ms\tPhase: invoke\tStatus: timeout$",
                    "START RequestId: ", TIMED_OUT.replace("ID", "[0-9a-f-]{36}"), "END RequestId: ", REPORT + ".*Status: timeout\t$")

    def test_without_reports_there_is_none_of_it(self):
        self.invoke("quiet")
        self.assertEqual(self.lines("quiet"), ["about to exit"] * 2)

    def test_one_that_is_told_to_end_while_it_starts_has_not_failed(self):
        self.daemon.invoke("hangs", {}, x_amz_invocation_type="Event")
        log = self.daemon.folder / "data/logs/hangs.log"
        self.daemon.wait_for(lambda: log.exists() and "about to hang" in log.read_text(), "its init hangs")
        self.daemon.stop()
        self.assertNotIn("INIT_REPORT", log.read_text())

    def of_request(self, pattern, answer):
        return re.sub(r"\bID\b", answer.headers["x-amzn-RequestId"], pattern)

    def expect_tail(self, function, *patterns, **payload):
        answer, tail = self.invoke(function, **payload)
        lines = tail.splitlines()
        self.assertEqual(len(lines), len(patterns), tail)
        for line, pattern in zip(lines, patterns):
            self.assertRegex(line, "^" + self.of_request(pattern, answer))
        return answer

    def test_the_log_tail_of_a_process_is_whole(self):
        report = "REPORT RequestId: ID\tDuration: [0-9.]+ ms\tBilled Duration: [0-9]+ ms\tMemory Size: [0-9]+ MB\tMax Memory Used: [1-9][0-9]* MB\tInit Duration: "
        whole = ("START RequestId: ID Version: ", "counted$", "END RequestId: ID$", report)
        self.expect_tail("count", *whole)
        self.assertEqual([line.split()[0] for line in self.lines("count")], ["START", "counted", "END", "REPORT"])    # in its log, too, once
        self.expect_tail("unreported", *whole)
        self.assertEqual(self.lines("unreported"), ["counted"])
        answer = self.expect_tail("fails", "START", "going wrong$", "END RequestId: ID$", report + ".*Status: error\tError Type: Runtime.ExitError\t$")
        self.assertEqual(answer.headers["X-Amz-Function-Error"], "Unhandled")
        self.assertEqual([json.loads(line)["type"] if line[0] == "{" else line for line in self.invoke("jsstdio")[1].splitlines()],
                         ["platform.start", "counted", "platform.report"])

    def test_the_log_tail_of_a_filter_is_whole(self):
        self.expect_tail("lines", "START RequestId: ID", "saw ", "END RequestId: ID$", "REPORT RequestId: ID\tDuration: .*Init Duration: ")
        self.expect_tail("lines", "START RequestId: ID", "saw ", "END RequestId: ID$", r"REPORT RequestId: ID\tDuration: (?!.*Init Duration)")
        self.assertEqual(len(self.lines("lines")), 2)         # log.report is none there: only what it printed

    def test_the_log_tail_of_an_init_that_failed_is_whole(self):
        init = "INIT_REPORT Init Duration: [0-9.]+ ms\tPhase: %s\tStatus: "
        report = "REPORT RequestId: ID\tDuration: [1-9][0-9.]* ms\tBilled Duration: [1-9][0-9]* ms\tMemory Size: 128 MB\tMax Memory Used: [1-9][0-9]* MB\tStatus: "
        around = ("START RequestId: ID Version: ", "END RequestId: ID$")
        failed = ("about to exit$", init % "invoke" + "error\tError Type: Runtime.ExitError$", *around, report + "error\tError Type: Runtime.ExitError\t$")
        answer = self.expect_tail("exits", *failed)
        self.assertEqual(answer.headers["X-Amz-Function-Error"], "Unhandled")
        self.expect_tail("quiet", *failed)              # whatever log.report says
        tail = self.invoke("throws")[1].splitlines()
        self.assertTrue("no init today" in "".join(tail[:-4]), tail)
        self.assertEqual([line.split()[0] for line in tail[-4:]], ["INIT_REPORT", "START", "END", "REPORT"])
        tail = [json.loads(line) for line in self.invoke("jsthrows")[1].splitlines() if "platform." in line]
        self.assertEqual([line["type"] for line in tail], ["platform.initReport", "platform.start", "platform.report"])
        begun, ended = around
        self.expect_tail("hangs", "about to hang$", init % "invoke" + "timeout$", begun, TIMED_OUT, ended, report + "timeout\t$")

    def test_the_log_tail_of_what_cannot_be_started_is_whole(self):
        (self.daemon.folder / "count.sh").chmod(0o644)
        self.expect_tail("count", "START RequestId: ID Version: ", "END RequestId: ID$")

    def test_the_log_tail_of_one_that_is_killed_at_its_timeout_is_whole(self):
        whole = ("START RequestId: ID", "%s$", TIMED_OUT, "END RequestId: ID$",
                 r"REPORT RequestId: ID\tDuration: %s ms\tBilled Duration: %s ms\tMemory Size: [1-9][0-9]* MB\tMax Memory Used: [1-9][0-9]* MB\t%sStatus: timeout\t$")
        cold = ("[0-9.]+", "[0-9]+", r"Init Duration: [0-9.]+ ms\t")
        for function, said, duration, payload in (("late", "begun", cold, {}), ("latelines", "begun", cold, {}),
                                                  ("sleeps", r"\[WARNING\].*sleeps", ("1000.00", "[0-9]+", cold[2]), {"sleep": 60})):
            *around, report = whole
            tail = [around[0], around[1] % said, *around[2:], report % duration]
            answer = self.expect_tail(function, *tail, **payload)
            self.assertEqual((answer.headers["X-Amz-Function-Error"], json.loads(answer.body)["errorType"]), ("Unhandled", "Sandbox.Timedout"))
            self.expect(function, *([INIT_START % "python"] if function == "sleeps" else []),
                        *(self.of_request(line, answer) for line in tail))

    def test_what_a_timeout_takes_is_the_timeout(self):
        self.invoke("sleeps")
        warm = r"REPORT RequestId: ID\tDuration: 1000\.00 ms\tBilled Duration: 1000 ms\tMemory Size: 128 MB\tMax Memory Used: [1-9][0-9]* MB\tStatus: timeout\t$"
        self.expect_tail("sleeps", "START", ".*sleeps$", TIMED_OUT, "END", warm, sleep=60)
        self.daemon.invoke("sleeps", {"n": 7, "sleep": 60}, x_amz_invocation_type="Event")
        def reported():
            return [line for line in self.lines("sleeps") if line.startswith("REPORT")][2:]
        report, = self.daemon.wait_for(reported, "the report of the asynchronous one")
        self.assertRegex(report, REPORT + r"1000\.00 ms\t.*Status: timeout\t$")

    def test_a_timeout_as_json(self):
        answer, tail = self.invoke("jssleeps", sleep=60)
        lines = [json.loads(line) for line in tail.splitlines()]
        self.assertEqual([line.get("type", line.get("level")) for line in lines], ["platform.start", "INFO", "WARNING", "platform.report"])
        self.assertEqual((lines[3]["record"]["requestId"], lines[3]["record"]["status"], lines[3]["record"]["metrics"]["durationMs"]),
                         (answer.headers["x-amzn-RequestId"], "timeout", 1000))

    def test_json_of_node(self):
        answer, tail = self.invoke("jsnode")
        request = answer.headers["x-amzn-RequestId"]
        lines = [json.loads(line) for line in self.lines("jsnode")]
        self.assertEqual([line.get("type", line.get("level")) for line in lines], ["platform.initStart", "platform.start", "INFO", "platform.report"])
        start, begin, said, report = lines
        self.assertRegex(start["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        self.assertEqual((start["record"]["initializationType"], start["record"]["phase"], start["record"]["functionName"]), ("on-demand", "init", "jsnode"))
        self.assertTrue(start["record"]["runtimeVersion"].startswith("nodejs:"))
        self.assertEqual(begin["record"], {"requestId": request, "version": "$LATEST"})
        self.assertEqual(said.keys(), {"timestamp", "level", "requestId", "message"})
        self.assertEqual((said["requestId"], said["message"]), (request, "said 7 { a: 1 }"))
        self.assertEqual((report["record"]["requestId"], report["record"]["status"]), (request, "success"))
        self.assertTrue(report["record"]["metrics"].keys() >= {"durationMs", "billedDurationMs", "memorySizeMB", "maxMemoryUsedMB", "initDurationMs"})
        self.assertEqual([json.loads(line)["type" if "platform" in line else "level"] for line in tail.splitlines()],
                         ["platform.start", "INFO", "platform.report"])
        begun, said = [json.loads(line) for line in tail.splitlines()[:2]]
        self.assertLessEqual(begun["time"], said["timestamp"])

    def test_json_of_python(self):
        answer, _ = self.invoke("jspython", fail=True)
        self.assertEqual(answer.headers["X-Amz-Function-Error"], "Unhandled")
        lines = [json.loads(line) for line in self.lines("jspython")]
        said = [line for line in lines if "level" in line]
        self.assertEqual([(line["level"], line["message"] if "message" in line else line["errorMessage"]) for line in said],
                         [("INFO", "said 7"), ("DEBUG", "whispered"), ("ERROR", "as asked")])
        self.assertEqual({line["requestId"] for line in said}, {answer.headers["x-amzn-RequestId"]})
        self.assertEqual((said[1]["logger"], said[2]["errorType"]), ("mine", "ValueError"))
        report = lines[-1]
        self.assertEqual((report["type"], report["record"]["status"], report["record"]["errorType"]), ("platform.report", "error", "Runtime.Unknown"))

    def test_another_format_is_for_another_process(self):
        self.invoke("jspython")
        self.daemon.configure(FUNCTIONS.replace("level: debug", "level: info"))
        def debug_is_left_out():
            return "whispered" not in self.invoke("jspython")[1]
        self.daemon.wait_for(debug_is_left_out, "a process with the new level")

    def test_json_of_an_init_that_failed_and_of_a_process(self):
        self.invoke("jsthrows")
        report = [json.loads(line) for line in self.lines("jsthrows") if "platform.initReport" in line]
        self.assertEqual(len(report), 1)
        self.assertEqual((report[0]["record"]["status"], report[0]["record"]["phase"]), ("error", "init"))
        self.assertTrue(report[0]["record"]["errorType"].startswith("Runtime."))
        self.invoke("jsstdio")
        self.daemon.wait_for(lambda: len(self.lines("jsstdio")) == 3, "its report is written")
        begin, said, report = self.lines("jsstdio")
        self.assertEqual((json.loads(begin)["type"], said, json.loads(report)["type"]), ("platform.start", "counted", "platform.report"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
