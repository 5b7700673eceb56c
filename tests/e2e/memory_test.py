"""Memory limits, the START, END and REPORT lines of invocations, and what functions cost by their sums.

Where the machine gives the daemon no cgroup, the tests of those are skipped and say so; the way without is tested everywhere."""

import collections
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import unittest

import sluice_daemon
from sluice_daemon import configuration, event, rule

MIB = 1 << 20
RECORDER = sluice_daemon.program("tests/helpers/native_recorder")
HOG = "b'x' * 300_000_000"
REPORT = re.compile(
    r"REPORT RequestId: ([0-9a-f-]{36})\tDuration: (\d+\.\d\d) ms\tBilled Duration: (\d+) ms\tMemory Size: (\d+) MB\t"
    r"Max Memory Used: (\d+) MB\t(?:Init Duration: (\d+\.\d\d) ms\t)?(?:Status: (error|timeout)\t(?:Error Type: (\S+)\t)?)?")

Report = collections.namedtuple("Report", "id duration billed size used init status error_type")


def python(script, **more):
    return {"command": [sys.executable, "-c", script], "protocol": "stdio", **more}


def log_lines(daemon, function):
    """(instance, text) of each line of its log."""
    done = daemon.run("function", "logs", "--bytes", "1048576", function)
    return [tuple(line.split(" ", 2)[1:]) for line in done.stdout.splitlines()] if done.status == 0 else []


def reports(daemon, function):
    found = []
    for _, text in log_lines(daemon, function):
        if text.startswith("REPORT"):
            match = REPORT.fullmatch(text)
            if match is None:
                raise AssertionError(f"not a REPORT line: {text!r}")
            ident, duration, billed, size, used, init, status, error_type = match.groups()
            found.append(Report(ident, float(duration), int(billed), int(size), int(used), init and float(init), status, error_type))
    return found


class MemoryTest(sluice_daemon.DaemonTest):
    def start_functions(self, limits=None, wrapper=(), **functions):
        environment = {} if limits is None else {"SLUICE_MEMORY_LIMITS": limits}
        daemon = self.prepare(configuration(functions), environment=environment, wrapper=wrapper)
        daemon.start()
        return daemon

    def limits(self, daemon):
        """(by, folder, reason) of the daemon's present run."""
        line = daemon.wait_log("event=memory-limits")
        return re.search(r'by=(\S+) folder="(.*?)" reason="(.*)"', line).groups()

    def start_in_cgroups(self, **functions):
        daemon = self.start_functions(**functions)
        by, folder, reason = self.limits(daemon)
        if by == "rlimit":
            self.skipTest(f"no cgroup is given to the daemon here: {reason}")
        return daemon, pathlib.Path(folder)

    def dead_letter(self, daemon, function):
        daemon.wait_balance(function, dead_lettered=1, pending=0)
        row = daemon.json("dead-letter", "list", function)["dead_letters"][0]
        return daemon.json("dead-letter", "show", function, row["delivery"])


def instance_folders(folder):
    return [entry.name for entry in folder.iterdir() if entry.is_dir()] if folder.exists() else []


class Limits(MemoryTest):
    def test_what_allocates_beyond_its_limit_is_killed_and_dead_lettered_with_the_reason(self):
        script = f"import sys\nfor line in sys.stdin:\n  if '\"n\":1' in line.replace(' ', ''): x = {HOG}\n  print('1', flush=True)"
        more = {"memory": "64MiB", "retry": {"attempts": 1}}
        daemon, folder = self.start_in_cgroups(
            once=python(f"import sys; sys.stdin.read(); print('read', file=sys.stderr, flush=True); x = {HOG}", **more),
            shell={"command": ["sh", "-c", f"{sys.executable} -c \"x = {HOG}\"; exit 5"], "protocol": "stdio", **more},
            lines={**python(script, **more), "protocol": "stdio-lines"})
        daemon.put(event("lines", 0))
        daemon.wait_balance("lines", succeeded=1, pending=0)
        daemon.put(event("once", 1), event("shell", 1), event("lines", 1))
        for name in ("once", "shell", "lines"):
            with self.subTest(name):
                letter = self.dead_letter(daemon, name)
                self.assertEqual(("Runtime.ExitError", "Runtime exited with error: signal: killed"), (letter["reason"], letter["message"]))
                texts = [text for _, text in log_lines(daemon, name)]
                self.assertIn("sluice: out of memory: killed at its limit of 64 MiB", texts)
                line = daemon.wait_log(f"function={name} event=out-of-memory")
                self.assertIn(f"limit_bytes={64 * MIB}", line)
        report, = reports(daemon, "once")
        self.assertEqual((64, "error", "Runtime.ExitError"), (report.size, report.status, report.error_type))
        self.assertTrue(56 <= report.used <= 64, report)
        daemon.put(event("lines", 2)) # the next instance serves
        daemon.wait_balance("lines", succeeded=2, pending=0)
        alive = {str(row["instance"]) for row in daemon.json("function", "show", "lines")["instances"]}
        daemon.wait_for(lambda: set(instance_folders(folder)) == alive, "only folders of living instances are left")
        daemon.stop()
        self.assertFalse(folder.exists())

    def test_within_its_limit_a_function_runs_and_children_count(self):
        script = "import subprocess, sys; x = b'x' * 20_000_000; subprocess.run([sys.executable, '-c', \"x = b'x' * 30_000_000\"], check=True)"
        daemon, _ = self.start_in_cgroups(once=python(script, memory="128MiB", timeout="20s"))
        daemon.put(event("once"))
        daemon.wait_balance("once", succeeded=1, pending=0)
        report, = reports(daemon, "once")
        self.assertEqual(128, report.size)
        self.assertTrue(48 <= report.used < 128, report)

    def test_what_daemon_and_spawner_left_when_both_were_killed_is_found_by_the_next(self):
        daemon, folder = self.start_in_cgroups(
            lines={"command": ["sh", "-c", "setsid sleep 1001 & read -r line; echo '{}'; read -r line"], "protocol": "stdio-lines",
                   "memory": "64MiB"})
        daemon.put(event("lines"))
        daemon.wait_balance("lines", succeeded=1, pending=0)
        def sleepers():
            return [pid for pid, text in sluice_daemon.processes_in(daemon.folder).items() if "sleep 1001" in text and "sh" not in text]
        daemon.wait_for(lambda: len(sleepers()) == 1, "its child runs")
        spawner = next(pid for pid, text in sluice_daemon.processes_in(daemon.folder).items() if "--spawner" in text)
        os.kill(spawner, signal.SIGSTOP) # else it would clean up when the daemon is gone
        daemon.process.kill()
        os.kill(spawner, signal.SIGKILL)
        daemon.wait_exit()
        self.assertEqual(1, len(sleepers()))
        self.assertTrue(folder.exists())
        daemon.start()
        daemon.wait_for(lambda: not sleepers(), "the child is killed")
        daemon.put(event("lines"))
        daemon.wait_balance("lines", succeeded=2, pending=0)
        self.assertEqual(1, len(instance_folders(folder)))

    @unittest.skipUnless(os.geteuid() == 0, "only root may write to the groups here")
    def test_groups_that_a_function_makes_in_its_own_go_with_it(self):
        daemon, folder = self.start_in_cgroups(
            nests={"command": ["true"], "protocol": "stdio", "memory": "64MiB"}) # the folder is known only now
        self.assertTrue(folder.exists())
        daemon.configure(configuration({"nests": {
            "command": ["sh", "-c", f"cat >/dev/null; for own in {folder}/*/; do mkdir -p \"$own/sub/7\"; setsid sleep 1002 & "
                        "echo $! >\"$own/sub/7/cgroup.procs\"; done"], "protocol": "stdio", "memory": "64MiB"}}))
        daemon.sluice("config", "reload")
        daemon.put(event("nests"))
        daemon.wait_balance("nests", succeeded=1, pending=0)
        daemon.wait_for(lambda: not instance_folders(folder), "the instance's group is gone, with those in it")
        daemon.stop()
        self.assertFalse(folder.exists())

    def test_a_daemon_that_stops_after_its_spawner_was_killed_leaves_no_folder(self):
        daemon, folder = self.start_in_cgroups(
            lines={"command": ["sh", "-c", "read -r line; echo '{}'; read -r line"], "protocol": "stdio-lines", "memory": "64MiB"})
        daemon.put(event("lines"))
        daemon.wait_balance("lines", succeeded=1, pending=0)
        os.kill(next(pid for pid, text in sluice_daemon.processes_in(daemon.folder).items() if "--spawner" in text), signal.SIGKILL)
        daemon.wait_log("event=spawner-lost")
        daemon.stop()
        self.assertFalse(folder.exists())

    def assert_each_process_is_limited(self, daemon):
        daemon.put(event("once"), event("child"))
        self.assertIn("MemoryError", self.dead_letter(daemon, "once")["output"])
        daemon.wait_balance("child", succeeded=1, pending=0)

    def limited(self):
        return {"once": python(f"import sys; sys.stdin.read(); x = {HOG}", memory="128MiB", retry={"attempts": 1}, timeout="20s"),
                "child": python("x = b'x' * 1_000_000", memory="128MiB", timeout="20s")}

    def test_without_cgroups_an_allocation_beyond_the_limit_fails(self):
        daemon = self.start_functions(limits="rlimit", **self.limited())
        self.assertEqual(("rlimit", "", "asked for"), self.limits(daemon))
        self.assert_each_process_is_limited(daemon)

    def test_where_cgroups_cannot_be_written_the_line_says_why_and_limits_hold_all_the_same(self):
        script = ('for at in $(awk \'$3 ~ /^cgroup2?$/ {print $2}\' /proc/mounts); do mount -o bind "$at" "$at" && '
                  'mount -o remount,bind,ro "$at" || exit 1; done; exec "$@"')
        wrapper = ["unshare", "--mount", "sh", "-c", script, "sh"]
        if subprocess.run([*wrapper, "true"], capture_output=True).returncode != 0:
            self.skipTest("mounts cannot be made read-only here")
        daemon = self.start_functions(wrapper=wrapper, **self.limited())
        by, folder, reason = self.limits(daemon)
        self.assertEqual(("rlimit", ""), (by, folder))
        self.assertRegex(reason, r"cgroup v2: .+; v1: .+")
        self.assert_each_process_is_limited(daemon)

    def test_there_is_no_limit_unless_it_is_set(self):
        daemon = self.start_functions(once=python(f"x = {HOG}", timeout="20s"))
        daemon.put(event("once"))
        daemon.wait_balance("once", succeeded=1, pending=0)
        report, = reports(daemon, "once")
        self.assertTrue(280 <= report.used <= 400, report)
        self.assertEqual(report.used, report.size) # of which there is none: what it used


class Reports(MemoryTest):
    def test_what_a_process_prints_stands_between_start_and_end(self):
        daemon = self.start_functions(once=python("import sys; sys.stdin.read(); print('hello', file=sys.stderr)", memory="100MiB"))
        daemon.put(event("once"))
        daemon.wait_balance("once", succeeded=1, pending=0)
        texts = [text for _, text in log_lines(daemon, "once")]
        report, = reports(daemon, "once")
        self.assertEqual([f"START RequestId: {report.id} Version: $LATEST", "hello", f"END RequestId: {report.id}"], texts[:-1])
        self.assertEqual((100, None, None), (report.size, report.status, report.error_type))
        self.assertIsNotNone(report.init)
        self.assertEqual(report.billed, max(1, -int(-(report.init + report.duration) // 1)))
        self.assertTrue(1 < report.duration < 30000, report)

    def test_attempts_of_a_delivery_have_one_request_id_and_other_deliveries_others(self):
        failing = python("import sys; sys.exit(3)", retry={"attempts": 3, "backoff": "1ms..1ms"})
        functions = {"a": failing, "b": failing}
        daemon = self.start(configuration(functions, {"all": rule("x", *functions)}))
        daemon.put(event("x"), event("x"))
        ids = {}
        for name in functions:
            daemon.wait_balance(name, dead_lettered=2, pending=0)
            found = reports(daemon, name)
            self.assertEqual({("error", "Runtime.ExitError")}, {(report.status, report.error_type) for report in found})
            ids[name] = collections.Counter(report.id for report in found)
            self.assertEqual([3, 3], list(ids[name].values()))
        self.assertFalse(ids["a"].keys() & ids["b"].keys())

    def test_a_timeout_is_reported_as_one(self):
        daemon = self.start_functions(once={"command": ["sleep", "100"], "protocol": "stdio", "timeout": "300ms", "retry": {"attempts": 1}})
        daemon.put(event("once"))
        daemon.wait_balance("once", dead_lettered=1, pending=0)
        report = daemon.wait_for(lambda: reports(daemon, "once"), "the report")[0]
        self.assertEqual(("timeout", None), (report.status, report.error_type))
        # Its time began when it was handed over: before the process was up.
        self.assertTrue(290 <= report.init + report.duration < 10000, report)

    @unittest.skipIf(os.environ.get("SLUICE_TEST_SLOWNESS", "1") != "1", "ThreadSanitizer makes vfork a fork, which cannot say why an exec failed")
    def test_a_process_that_cannot_be_started_has_run_nothing(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        script = pathlib.Path(folder.name) / "gone.sh"
        script.write_text("#!/bin/sh\n")
        script.chmod(0o755)
        daemon = self.start_functions(once={"command": [str(script)], "protocol": "stdio"})
        script.unlink()
        daemon.put(event("once"))
        daemon.wait_show("once", lambda shown: any(end["reason"] == "spawn-failed" for end in shown["ends"]), "it cannot be started")
        self.assertEqual([], daemon.json("function", "show", "once")["usage"])
        self.assertEqual([], log_lines(daemon, "once"))

    def test_filters_and_native_functions_are_reported_where_it_is_asked_for(self):
        lines = python("import sys\nfor line in sys.stdin: print('{\"error\":{\"type\":\"Function.Odd\"}}' if 'odd' in line else 1, flush=True)",
                       retry={"attempts": 1}) | {"protocol": "stdio-lines"}
        native = {"command": [RECORDER, "got"], "protocol": "native", "batch": {"size": 10}}
        asked = {"log": {"report": "all"}}
        daemon = self.start_functions(lines={**lines, **asked}, native={**native, **asked}, silent=lines, quiet=native,
                                      asked_not=python("pass") | {"log": {"report": "none"}})
        for name in ("lines", "native", "silent", "quiet", "asked_not"):
            for number in range(3):
                daemon.put(event(name, number))
                daemon.wait_balance(name, succeeded=number + 1, pending=0)
        for name in ("lines", "native"):
            with self.subTest(name):
                found = reports(daemon, name)
                self.assertEqual(3, len({report.id for report in found}))
                self.assertIsNotNone(found[0].init)
                self.assertTrue(all(1 <= report.used <= 300 for report in found), found)
        for name in ("silent", "quiet", "asked_not"):
            with self.subTest(name):
                self.assertEqual([], [text for _, text in log_lines(daemon, name) if "RequestId" in text])
                self.assertEqual(3, daemon.json("function", "show", name)["usage"][0]["invocations"])
        daemon.put(event("lines", detail={"is": "odd"}))
        daemon.wait_balance("lines", dead_lettered=1, pending=0)
        self.assertEqual(("error", "Function.Odd"), reports(daemon, "lines")[-1][-2:])


LAMBDA = """
import time
def handler(event, context):
    held = b"x" * (event["mb"] << 20)
    time.sleep(event.get("s", 0.12))  # longer than what passes between two looks at its memory
    return len(held)
"""


class Lambda(MemoryTest):
    def start_lambda(self, **more):
        function = {"runtime": "python", "handler": "app.handler", "code": ".", "timeout": "20s", "scale": {"max": 1}, **more}
        self.daemon = self.prepare(f"functions: {json.dumps({'f': function})}\n", http=True)
        (self.daemon.folder / "app.py").write_text(LAMBDA)
        self.daemon.start()
        return self.daemon

    def invoke(self, **event):
        answer = self.daemon.invoke("f", event)
        return answer.headers.get("X-Amz-Function-Error"), json.loads(answer.body)

    def test_each_invocation_is_told_its_own_memory(self):
        for more, size in (({}, 128), ({"memory": "256MiB"}, 256)):
            with self.subTest(**more):
                daemon = self.start_lambda(**more)
                for mb in (1, 60, 1):
                    self.assertEqual((None, mb << 20), self.invoke(mb=mb))
                first, most, last = reports(daemon, "f")
                self.assertEqual({size}, {first.size, most.size, last.size})
                self.assertTrue(first.used >= 4 and 60 <= most.used < first.used + 80, (first, most))
                self.assertTrue(last.used < most.used - 40, (most, last))
                self.assertEqual([True, False, False], [report.init is not None for report in (first, most, last)])
                self.assertTrue(first.billed >= first.init + first.duration, first)
                usage, = daemon.json("function", "show", "f")["usage"]
                self.assertEqual((3, 0, 1), tuple(usage[key] for key in ("invocations", "failures", "cold_starts")))
                self.assertEqual(first.billed + most.billed + last.billed, usage["billed_ms"])
                self.assertAlmostEqual(usage["billed_ms"] * size / 1024 / 1000, usage["gb_seconds"], places=6)

    def test_one_that_is_killed_at_its_limit_says_so_and_the_next_runs(self):
        daemon = self.start_lambda(memory="96MiB")
        by, _, reason = self.limits(daemon)
        if by == "rlimit":
            self.skipTest(f"no cgroup is given to the daemon here: {reason}")
        kind, error = self.invoke(mb=500)
        self.assertEqual(("Unhandled", "Runtime.ExitError"), (kind, error["errorType"]))
        report = daemon.wait_for(lambda: reports(daemon, "f"), "the report")[0]
        self.assertEqual(f"RequestId: {report.id} Error: Runtime exited with error: signal: killed", error["errorMessage"])
        self.assertEqual((96, "error"), (report.size, report.status))
        self.assertIn("sluice: out of memory: killed at its limit of 96 MiB", [text for _, text in log_lines(daemon, "f")])
        self.assertEqual((None, 1 << 20), self.invoke(mb=1))

    def test_a_timeout_stands_in_the_report(self):
        daemon = self.start_lambda(timeout="1s")
        kind, error = self.invoke(mb=1, s=60)
        self.assertEqual(("Unhandled", "Sandbox.Timedout"), (kind, error["errorType"]))
        report = daemon.wait_for(lambda: reports(daemon, "f"), "the report")[0]
        self.assertEqual("timeout", report.status)
        self.assertTrue(900 <= report.duration < 20000, report)


class Cost(MemoryTest):
    def assert_sums(self, daemon, function, found):
        usage, = daemon.json("function", "show", function)["usage"]
        self.assertEqual(len(found), usage["invocations"])
        self.assertEqual(sum(report.status is not None for report in found), usage["failures"])
        self.assertEqual(sum(report.billed for report in found), usage["billed_ms"])
        self.assertAlmostEqual(sum(report.duration for report in found), usage["duration_ms"], delta=0.006 * len(found))
        self.assertAlmostEqual(sum(report.init or 0 for report in found), usage["init_ms"], delta=0.006 * len(found))
        self.assertEqual(sum(report.init is not None for report in found), usage["cold_starts"])
        self.assertAlmostEqual(sum(report.billed * report.size for report in found) / 1024 / 1000, usage["gb_seconds"], places=6)
        self.assertEqual(max(report.used for report in found), -(-usage["memory_peak_bytes"] // MIB))
        return usage

    def test_the_sums_of_a_day_are_those_of_the_report_lines_also_after_a_restart(self):
        script = "import json, sys; sys.exit(json.load(sys.stdin)['detail']['n'] % 3 == 0)"
        daemon = self.start_functions(once=python(script, memory="96MiB", retry={"attempts": 1}, timeout="20s"),
                                      lines={"command": ["sh", "-c", "while read -r line; do echo 1; done"], "protocol": "stdio-lines",
                                             "log": {"report": "all"}})
        daemon.put(*(event("once", number) for number in range(12)), *(event("lines", number) for number in range(5)))
        daemon.wait_balance("once", succeeded=8, dead_lettered=4, pending=0)
        daemon.wait_balance("lines", succeeded=5, pending=0)
        before = {name: self.assert_sums(daemon, name, reports(daemon, name)) for name in ("once", "lines")}
        self.assertEqual((12, 4, 12), tuple(before["once"][key] for key in ("invocations", "failures", "cold_starts")))
        self.assertEqual(0, before["lines"]["failures"])
        daemon.restart()
        for name, usage in before.items():
            self.assertEqual([usage], daemon.json("function", "show", name)["usage"])
        daemon.put(event("once", 1))
        daemon.wait_balance("once", succeeded=9, pending=0)
        self.assert_sums(daemon, "once", reports(daemon, "once"))

    def test_sums_are_saved_while_the_daemon_runs(self):
        daemon = self.start_functions(once=python("pass", timeout="20s"))
        daemon.put(event("once"))
        daemon.wait_balance("once", succeeded=1, pending=0)
        usage = daemon.json("function", "show", "once")["usage"]
        daemon.wait_for(lambda: list((daemon.data / "usage").glob("*.tsv")), "the file of the day")
        daemon.kill()
        daemon.start()
        self.assertEqual(usage, daemon.json("function", "show", "once")["usage"])

    def test_many_invocations_at_once_in_one_instance_are_not_billed_twice(self):
        daemon = self.start_functions(lines={"command": ["sh", "-c", "while read -r line; do echo 1; done"], "protocol": "stdio-lines",
                                             "concurrency": 100, "scale": {"max": 1}})
        daemon.put(*(event("lines", number) for number in range(3000)))
        row = daemon.wait_balance("lines", succeeded=3000, pending=0)
        self.assertEqual(3000, row["accepted"])
        usage, = daemon.json("function", "show", "lines")["usage"]
        lived_ms = 1000 * float(subprocess.run(["ps", "-o", "etimes=", "-p", str(self.only_pid(daemon, "lines"))],
                                               capture_output=True, text=True, check=True).stdout) + 1000
        self.assertTrue(30 <= usage["invocations"] <= 3000, usage) # one is what is handed over at once
        self.assertEqual((0, 1), (usage["failures"], usage["cold_starts"]))
        self.assertTrue(0 < usage["billed_ms"] <= lived_ms, (usage, lived_ms))
        self.assertTrue(0 < usage["memory_peak_bytes"] < 64 * MIB, usage)

    def only_pid(self, daemon, function):
        instance, = daemon.json("function", "show", function)["instances"]
        return instance["pid"]

    def test_function_show_prints_days_and_their_sum(self):
        daemon = self.start_functions(once=python("pass", timeout="20s"))
        self.assertNotIn("GB-SECONDS", daemon.sluice("function", "show", "once"))
        daemon.put(event("once"))
        daemon.wait_balance("once", succeeded=1, pending=0)
        daemon.stop()
        day, = (daemon.data / "usage").glob("*.tsv")
        (daemon.data / "usage" / "2026-01-01.tsv").write_text("other\t1\t0\t1\t1\t1\t1\t1\t1\nonce\t7\t2\t3000\t4000000\t1048576000\t2097152\t7\t500\n")
        daemon.start()
        self.assertEqual(1, len(daemon.json("function", "show", "once")["usage"]))
        rows = daemon.json("function", "show", "--days", "400", "once")["usage"]
        self.assertEqual([day.stem, "2026-01-01"], [row["day"] for row in rows])
        self.assertEqual({"day": "2026-01-01", "invocations": 7, "failures": 2, "duration_ms": 3.0, "billed_ms": 4000, "gb_seconds": 1.024,
                          "memory_peak_bytes": 2 * MIB, "cold_starts": 7, "init_ms": 0.5}, rows[1])
        table = [line.split() for line in daemon.sluice("function", "show", "--days", "400", "once").splitlines()]
        self.assertIn("8", next(line for line in table if line[:1] == ["all"]))
        self.assertEqual(2, daemon.run("function", "show", "--days", "0", "once").status)


if __name__ == "__main__":
    unittest.main(verbosity=2)
