"""The `sluice` tool without a daemon: usage errors, help, the checks it makes itself, and, with a stand-in for the client library
(cli_stub.c), what it asks and prints. Usage: cli_test.py SLUICE SLUICE_STUB SOURCE_DIR"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest

SLUICE = SLUICE_STUB = SOURCE_DIR = ""

EVENT = {"source": "shop", "detail-type": "order.paid", "detail": {"order": 7}}


def run(*arguments, binary=None, stdin=None, env=None):
    environment = {key: value for key, value in os.environ.items() if key != "SLUICE_URL"}
    environment["TZ"] = "UTC"
    environment.update(env or {})
    return subprocess.run([binary or SLUICE, *arguments], input=stdin, env=environment,
                          stdin=None if stdin else subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)


class Usage(unittest.TestCase):
    WRONG = [
        ([], "no command"),
        (["evnt"], "no command 'evnt'"),
        (["event"], "'event' needs a verb: put, tail, show"),
        (["event", "puts"], "no command 'event puts'; the verbs are put, tail, show"),
        (["event", "show"], "event show needs ID"),
        (["event", "show", "a", "b"], "unexpected argument 'b'"),
        (["balance", "now"], "unexpected argument 'now'"),
        (["event", "put"], "needs --source, --type and --detail"),
        (["event", "put", "--source", "s", "--type", "t"], "needs --source, --type and --detail"),
        (["event", "put", "x.jsonl"], "a file is given with --file"),
        (["event", "put", "--file", "a", "-"], "both --file and -"),
        (["event", "put", "--file", "a", "--source", "s"], "do not go with a file"),
        (["event", "put", "-", "--timeout", "soon"], "--timeout: 'soon' is not a whole number from 1 to 86400"),
        (["event", "tail", "--max", "0"], "--max: '0' is not a whole number from 1 up"),
        (["event", "tail", "-n"], "--max needs a value"),
        (["event", "tail", "--source", "s"], "event tail takes no --source"),
        (["status", "--verbose"], "no option '--verbose'"),
        (["status", "-x"], "no option '-x'"),
        (["status", "--json=yes"], "--json takes no value"),
        (["status", "--json", "--json"], "--json is given twice"),
        (["rule", "test", "--event", "{}"], "rule test needs --pattern PATTERN"),
        (["function", "logs", "f", "--follow", "--json"], "does not go with --json"),
        (["function", "logs", "f", "--bytes", "2000000"], "from 1 to 1048576"),
        (["dead-letter", "purge"], "dead-letter purge needs FUNCTION"),
        (["config", "check"], "config check needs PATH"),
        (["help", "evnt"], "no command 'evnt'"),
    ]

    def test_wrong_usage_says_the_one_thing_that_is_wrong_and_exits_2(self):
        for arguments, message in self.WRONG:
            with self.subTest(arguments=arguments):
                result = run(*arguments)
                self.assertEqual(2, result.returncode, result)
                self.assertEqual("", result.stdout)
                self.assertIn(message, result.stderr)
                self.assertEqual(1, result.stderr.count("\n"), result.stderr)
                self.assertTrue(result.stderr.startswith("sluice: "))

    def test_help_goes_to_stdout_and_names_every_command(self):
        everything = run("help")
        self.assertEqual(0, everything.returncode)
        for name in ("event put", "event tail", "function logs", "rule test", "dead-letter redrive", "config check", "balance",
                     "status"):
            self.assertIn(name, everything.stdout)
        self.assertEqual(everything.stdout, run("--help").stdout)
        one = run("event", "put", "--help")
        self.assertEqual((0, ""), (one.returncode, one.stderr))
        self.assertIn("sluice event put [--source SOURCE]", one.stdout)
        self.assertEqual(one.stdout, run("help", "event", "put").stdout)
        self.assertIn("sluice event tail", run("event", "--help").stdout)

    def test_the_version_needs_no_command(self):
        self.assertRegex(run("--version").stdout, r"^sluice \d+\.\d+\.\d+\n$")

    def test_the_man_page_has_the_synopsis_of_the_command_table(self):
        page = pathlib.Path(SOURCE_DIR, "broker/cli/sluice.1").read_text()
        block = re.search(r'^\.\\" The lines up to.*?\n(.*?)^\.\\" End of what', page, re.S | re.M).group(1)
        self.assertEqual(run("help", "--mdoc").stdout, block)

    def test_output_that_cannot_be_written_is_a_failure(self):
        with open("/dev/full", "w") as full:
            result = subprocess.run([SLUICE, "help"], stdout=full, stderr=subprocess.PIPE, text=True)
        self.assertEqual(1, result.returncode)
        self.assertIn("cannot write to stdout", result.stderr)

    def test_without_a_daemon_a_call_fails_and_names_the_socket(self):
        with tempfile.TemporaryDirectory() as folder:
            url = f"ipc://{folder}/none.sock"
            result = run("status", "--url", url)
            self.assertEqual((1, ""), (result.returncode, result.stdout))
            self.assertIn(url, result.stderr)


class RuleTest(unittest.TestCase):
    CASES = [
        ("literal", '{"source":["shop"]}', EVENT, 0),
        ("other literal", '{"source":["files"]}', EVENT, 1),
        ("nested", '{"detail":{"order":[{"numeric":[">",5]}]}}', EVENT, 0),
        ("no field is required", '{"a":[1]}', {"a": 1}, 0),
        ("absent", '{"b":[{"exists":false}]}', {"a": 1}, 0),
    ]

    def test_match_is_0_and_no_match_1(self):
        for label, pattern, event, status in self.CASES:
            with self.subTest(label):
                result = run("rule", "test", "--pattern", pattern, "--event", json.dumps(event))
                self.assertEqual((status, ""), (result.returncode, result.stderr))
                self.assertEqual("no match\n" if status else "match\n", result.stdout)
                result = run("rule", "test", "--json", f"--pattern={pattern}", "--event", json.dumps(event))
                self.assertEqual({"match": status == 0}, json.loads(result.stdout))

    def test_what_is_not_valid_is_2_with_the_reason(self):
        for pattern, event, message in [
                ('{"source":"shop"}', "{}", "pattern: "),
                ('{"source":[}', "{}", "pattern: "),
                ('{"source":["shop"]}', "[]", "event: "),
                ('{"source":["shop"]}', '{"a":1', "event: "),
                ('{"source":["shop"]}', "", "event: "),
                ("@/none/at/all", "{}", "/none/at/all"),
        ]:
            with self.subTest(pattern=pattern, event=event):
                result = run("rule", "test", "--pattern", pattern, "--event", event)
                self.assertEqual((2, ""), (result.returncode, result.stdout))
                self.assertIn(message, result.stderr)

    def test_pattern_and_event_are_read_from_files(self):
        with tempfile.TemporaryDirectory() as folder:
            pattern, event = pathlib.Path(folder, "pattern.json"), pathlib.Path(folder, "event.json")
            pattern.write_text('{\n  "source": ["shop"]\n}\n')
            event.write_text(json.dumps(EVENT, indent=2))
            self.assertEqual(0, run("rule", "test", "--pattern", f"@{pattern}", "--event", f"@{event}").returncode)


class ConfigCheck(unittest.TestCase):
    GOOD = """
functions:
  count: {command: [wc, -c], protocol: stdio}
rules:
  all: {pattern: {source: [shop]}, targets: [{function: count}]}
"""

    def check(self, text, *options):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "sluice.yaml")
            path.write_text(text)
            return run("config", "check", str(path), *options)

    def test_a_valid_one_is_0_with_its_counts(self):
        result = self.check(self.GOOD)
        self.assertEqual((0, ""), (result.returncode, result.stderr))
        self.assertIn("functions 1, rules 1", result.stdout)
        self.assertEqual({"valid": True, "functions": 1, "rules": 1}, json.loads(self.check(self.GOOD, "--json").stdout))

    def test_a_mistake_is_1_with_its_place(self):
        result = self.check(self.GOOD.replace("command:", "comand:"))
        self.assertEqual((1, ""), (result.returncode, result.stdout))
        self.assertRegex(result.stderr, r"sluice\.yaml:3:\d+: error: .*comand")
        answer = json.loads(self.check(self.GOOD.replace("command:", "comand:"), "--json").stdout)
        self.assertFalse(answer["valid"])
        self.assertGreaterEqual(answer["errors_count"], 1)
        self.assertIn("comand", answer["errors"])

    def test_a_file_that_is_not_there_is_1(self):
        result = run("config", "check", "/none/at/all.yaml")
        self.assertEqual(1, result.returncode)
        self.assertIn("/none/at/all.yaml", result.stderr)


class Stub(unittest.TestCase):
    """With cli_stub.c in the place of the library."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def answers(self, command, *lines):
        text = [line if isinstance(line, str) else json.dumps(line) for line in lines]
        (self.folder / command).write_text("\n".join(text) + "\n")

    def sluice(self, *arguments, stdin=None):
        return run(*arguments, binary=SLUICE_STUB, stdin=stdin, env={"CLI_STUB": str(self.folder)})

    def calls(self):
        lines = (self.folder / "calls").read_text().splitlines()
        return [(line.split(" ", 1)[0], json.loads(line.split(" ", 1)[1])) for line in lines]

    def published(self):
        return (self.folder / "published").read_text().splitlines()


class EventPut(Stub):
    def test_one_event_prints_the_id_it_was_given(self):
        result = self.sluice("event", "put", "--source", "shop", "--type", "order.paid", "--detail", '{"order": 7.0}')
        self.assertEqual((0, ""), (result.returncode, result.stderr))
        self.assertRegex(result.stdout, r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}\n$")
        self.assertIn(f"id={result.stdout.strip()} ", self.published()[0])
        self.assertTrue(self.published()[0].endswith('detail={"order": 7.0}'))

    def test_one_event_that_is_refused_exits_1(self):
        for options, message in [(["--detail", "[1]"], "detail: "), (["--detail", "{}", "--bus", "nosuch"], "no bus 'nosuch'")]:
            with self.subTest(options=options):
                result = self.sluice("event", "put", "--source", "s", "--type", "t", *options)
                self.assertEqual((1, ""), (result.returncode, result.stdout))
                self.assertIn(message, result.stderr)

    def test_a_line_keeps_its_detail_byte_for_byte(self):
        detail = '{ "n": 1.50, "n": 2e0,  "t": "\\u00e9\\/" , "big": 123456789012345678901234567890}'
        line = '{"version":"0","id":"abc","detail-type":"t\\u00e9","source":"s","account":"1","region":"eu",' \
               '"time":"2026-11-21T22:58:34.5Z","key":"k",' \
               f'"resources":["r1","r2"],"event-bus-name":"orders","not-before":"1970-01-01T00:00:01Z","detail":{detail}}}\r\n'
        result = self.sluice("event", "put", "-", stdin=line)
        self.assertEqual((0, "", ""), (result.returncode, result.stdout, result.stderr))
        self.assertEqual([f"source=s type=té bus=orders id=abc time=1795301914500 account=1 region=eu key=k not-before=1000 "
                          f"resources=r1,r2 detail={detail}"], self.published())

    def test_refused_lines_are_named_and_the_others_published(self):
        lines = [
            json.dumps(EVENT), "", "  ", "{", json.dumps({"source": "s", "detail": {}}), json.dumps({**EVENT, "detail": 1}),
            json.dumps({**EVENT, "bus": "nosuch"}), json.dumps({**EVENT, "time": "yesterday"}),
            json.dumps({**EVENT, "resources": [1]}),
            json.dumps({**EVENT, "source": "a\0b"}), json.dumps({**EVENT, "resources": ["r"] * 101}), '["a"]',
            json.dumps({**EVENT, "time": None}),
        ]
        path = self.folder / "events.jsonl"
        path.write_text("\n".join(lines))
        result = self.sluice("event", "put", "--file", str(path))
        self.assertEqual((1, ""), (result.returncode, result.stdout))
        refused = sorted(int(number) for number in re.findall(r"events\.jsonl:(\d+): refused", result.stderr))
        self.assertEqual([4, 5, 6, 7, 8, 9, 10, 11, 12], refused)
        self.assertIn("'detail-type' is missing", result.stderr)
        self.assertIn("'detail' is not an object", result.stderr)
        self.assertIn("2 events acked, 9 refused", result.stderr)
        self.assertEqual(2, len(self.published()))

    def test_json_gives_the_counts(self):
        lines = json.dumps(EVENT) + "\n" + json.dumps({**EVENT, "bus": "nosuch"})
        result = self.sluice("event", "put", "--json", "-", stdin=lines)
        self.assertEqual(1, result.returncode)
        self.assertEqual({"acked": 1, "refused": 1, "unconfirmed": 0}, json.loads(result.stdout))

    def test_a_full_buffer_is_waited_for(self):
        result = self.sluice("event", "put", "-", stdin=(json.dumps({**EVENT, "bus": "full"}) + "\n") * 2)
        self.assertEqual((0, 2), (result.returncode, len(self.published())))

    def test_no_answer_ends_in_1_after_the_timeout(self):
        result = self.sluice("event", "put", "--timeout", "1", "-", stdin=json.dumps({**EVENT, "bus": "silent"}))
        self.assertEqual(1, result.returncode)
        self.assertIn("1 events have no answer", result.stderr)

    def test_a_line_too_long_is_refused_and_the_next_one_taken(self):
        long = json.dumps({**EVENT, "detail": {"x": "y" * (9 << 20)}})
        result = self.sluice("event", "put", "-", stdin=long + "\n" + json.dumps(EVENT))
        self.assertEqual(1, result.returncode)
        self.assertIn("stdin:1: refused: a line longer than 8 MiB", result.stderr)
        self.assertEqual(1, len(self.published()))

    def test_a_file_that_cannot_be_read_is_1(self):
        for path in ("/none/at/all.jsonl", str(self.folder)):
            result = self.sluice("event", "put", "--file", path)
            self.assertEqual(1, result.returncode)
            self.assertIn(path, result.stderr)


class Events(Stub):
    ENVELOPE = json.dumps({"version": "0", "id": "e-1", "detail-type": "order.paid", "source": "shop",
                           "time": "2026-11-21T22:58:34Z",
                           "detail": {"order": 7, "text": "a\u001b[31mb"}}, separators=(",", ":"))

    def test_tail_asks_on_from_where_it_is_and_prints_envelopes_as_they_are(self):
        row = {"seq": 5, "bus": "default", "event": self.ENVELOPE}
        other = {"seq": 8, "bus": "other", "event": '{"id":"e-other"}'}
        self.answers("event.tail", {"events": [], "next_seq": 5, "gap": 0}, {"events": [row], "next_seq": 6, "gap": 0},
                     {"events": [other, {**row, "seq": 9}, {**row, "seq": 10}], "next_seq": 11, "gap": 2})
        result = self.sluice("event", "tail", "--json", "-n", "2", "--bus", "default")
        self.assertEqual(0, result.returncode)
        self.assertEqual([self.ENVELOPE] * 2, result.stdout.splitlines())
        self.assertIn("2 events are settled and trimmed", result.stderr)
        self.assertEqual([None, 4, 5], [arguments.get("after_seq") for _, arguments in self.calls()])

    def test_tail_shows_people_one_clean_line_an_event(self):
        self.answers("event.tail", {"events": [{"seq": 5, "bus": "default", "event": self.ENVELOPE}], "next_seq": 6, "gap": 0})
        result = self.sluice("event", "tail", "--after", "0", "-n1")
        self.assertEqual('5         default  2026-11-21T22:58:34Z  shop  order.paid  e-1  {"order":7,"text":"a\\u001b[31mb"}\n',
                         result.stdout)
        self.assertEqual(0, self.calls()[0][1]["after_seq"])

    def test_show_tells_where_each_delivery_stands(self):
        answer = {"id": "e-1", "seq": 5, "bus": "default", "committed_ms": 1795301914000, "event": self.ENVELOPE,
                  "scanned": True, "deliveries": [
            {"delivery": "5.0", "function": "f", "rule": "r", "state": "retry", "attempts": 1, "due_ms": 1795301916000,
             "instance": None,
             "reason": "Runtime.ExitError", "message": "exit status 1"},
            {"delivery": "5.1", "function": "g", "rule": "r", "state": "leased", "attempts": 0, "due_ms": None, "instance": 7,
             "reason": None,
             "message": None}]}
        self.answers("event.show", answer)
        result = self.sluice("event", "show", "e-1")
        self.assertEqual(0, result.returncode)
        self.assertRegex(result.stdout, r"5\.0 +f +r +retry +1 +2026-11-21 22:58:36 +Runtime\.ExitError: exit status 1\n")
        self.assertRegex(result.stdout, r"5\.1 +g +r +leased +0 +- +with instance 7\n")
        self.assertIn("whole log was searched", result.stderr)
        shown = json.loads(self.sluice("event", "show", "--json", "e-1").stdout)
        self.assertEqual({**answer, "event": json.loads(self.ENVELOPE)}, shown)

    def test_an_error_of_the_daemon_is_said_and_exits_1(self):
        self.answers("event.show", "!4 no event 'e-2'")
        result = self.sluice("event", "show", "e-2")
        self.assertEqual((1, "", "sluice: no event 'e-2'\n"), (result.returncode, result.stdout, result.stderr))


class Lists(Stub):
    def row(self, name):
        return {"name": name, "protocol": "stdio", "orphaned": False, "paused": False, "ready": 3, "leased": 1, "retry": 0,
                "dead": 12,
                "instances": {"starting": 1, "ready": 0, "busy": 2, "draining": 0}, "target": 4, "circuit": "open"}

    def test_pages_are_put_together(self):
        self.answers("function.list", {"functions": [self.row("a")], "cursor": "a"}, {"functions": [], "cursor": "b"},
                     {"functions": [self.row("c")], "cursor": None})
        result = self.sluice("function", "list", "--json")
        self.assertEqual({"functions": [self.row("a"), self.row("c")]}, json.loads(result.stdout))
        self.assertEqual([None, "a", "b"], [arguments.get("cursor") for _, arguments in self.calls()])

    def test_an_empty_list_is_an_object_too(self):
        self.answers("rule.list", {"rules": [], "cursor": None})
        self.assertEqual({"rules": []}, json.loads(self.sluice("rule", "list", "--json").stdout))
        self.assertEqual("NAME  BUS  ENABLED  MATCHED  TARGETS  PATTERN\n", self.sluice("rule", "list").stdout)

    def test_columns_are_aligned(self):
        self.answers("function.list", {"functions": [self.row("a"), self.row("a-longer-name")], "cursor": None})
        self.assertEqual(
            "NAME           PROTOCOL  READY  LEASED  RETRY  DEAD  INSTANCES  BUSY  TARGET  NOTE\n"
            "a              stdio         3       1      0    12          3     2       4  circuit open\n"
            "a-longer-name  stdio         3       1      0    12          3     2       4  circuit open\n",
            self.sluice("function", "list").stdout)

    def test_rules_show_targets_and_pattern(self):
        self.answers("rule.list", {"rules": [{"name": "r", "bus": "default", "enabled": True, "pattern": '{"source":["s"]}',
                                              "matched": 9,
                                              "targets": [{"function": "f"},
                                                          {"function": "g"}], "file": "x", "line": 1}], "cursor": None})
        self.assertRegex(self.sluice("rule", "list").stdout, r'r +default +yes +9 +f,g +\{"source":\["s"\]\}\n')


class Functions(Stub):
    SHOWN = {
        "name": "thumbnail", "orphaned": False, "paused": False,
        "configuration": {"command": ["/srv/t.sh", "-x"], "directory": "/srv", "environment": ["SIZE"], "protocol": "lambda",
                          "runtime": "python", "handler": "t.main",
                          "timeout_ms": 30000, "memory_bytes": 536870912, "concurrency": 1,
                          "batch": {"size": 1, "window_ms": 0, "partial_failures": False},
                          "scale": {"min": 0, "max": 8, "idle_ms": 60000, "drain_target_ms": 1000},
                          "retry": {"attempts": 3, "backoff_min_ms": 1500, "backoff_max_ms": 60000,
                                    "max_age_ms": 21600000}, "input": "event"},
        "counters": {"accepted": 10, "succeeded": 9, "dead_lettered": 1, "expired": 0, "discarded": 0, "attempts_failed": 3},
        "queue": {"ready": 0, "leased": 1, "retry": 0, "dead": 1},
        "invokes": {"waiting": 1, "running": 2, "done": 3, "failed": 4, "throttled": 5},
        "instances": [{"instance": 7, "state": "starting", "pid": None, "since_ms": 1795301914000, "leased": 0}],
        "ends": [{"instance": 6, "at_ms": 1795301913000, "reason": "exited", "code": 1, "text": "exit status 1 after 12 ms"}],
        "scaling": {"target": 8, "reason": "ready 30: 12 wanted, scale.max is 8"},
        "circuit": {"state": "open", "failures": 4, "until_ms": 1795301916000, "text": "no such file"},
    }

    def test_show_says_all_of_it_to_people(self):
        self.answers("function.show", self.SHOWN)
        shown = self.sluice("function", "show", "thumbnail").stdout
        for line in (r"command +/srv/t\.sh -x", r"timeout +30s", r"memory +512 MiB",
                     r"scale +0 to 8, idle 1m00s, drain target 1s",
                     r"retry +3 attempts, backoff 1\.5s to 1m00s, max age 6h00m", r"queue +ready 0, leased 1, retry 0, dead 1",
                     r"protocol +lambda", r"runtime +python", r"handler +t\.main",
                     r"invocations +waiting 1, running 2, done 3, failed 4, throttled 5",
                     r"instances wanted +8: ready 30: 12 wanted, scale\.max is 8",
                     r"circuit +open after 4 failed starts; next try 2026-11-21 22:58:36", r"last output +no such file",
                     r" +7 +starting +2026-11-21 22:58:34 +0 +-", r" +6 +2026-11-21 22:58:33 +exit status 1 after 12 ms"):
            self.assertRegex(shown, f"(?m)^{line}$")
        self.assertEqual(self.SHOWN, json.loads(self.sluice("function", "show", "--json", "thumbnail").stdout))

    def test_show_says_which_retries_are_of_events_and_which_of_asynchronous_invocations(self):
        def shown(retry_invoke):
            configuration = {**self.SHOWN["configuration"], "retry_invoke": retry_invoke}
            self.answers("function.show", self.SHOWN | {"configuration": configuration})
            return self.sluice("function", "show", "thumbnail").stdout
        same = shown(self.SHOWN["configuration"]["retry"])
        self.assertRegex(same, r"(?m)^retry +3 attempts, backoff 1\.5s to 1m00s, max age 6h00m$")
        self.assertNotIn("retry of", same)
        text = shown({"attempts": 3, "backoff_min_ms": 60000, "backoff_max_ms": 120000, "max_age_ms": 21600000})
        self.assertRegex(text, r"(?m)^retry of events +3 attempts, backoff 1\.5s to 1m00s, max age 6h00m$")
        self.assertRegex(text, r"(?m)^retry of invokes +3 attempts, backoff 1m00s to 2m00s, max age 6h00m: asynchronous ones, as on Lambda$")

    def test_show_names_consumers_and_where_they_are(self):
        ours = self.SHOWN["instances"][0]
        theirs = {**ours, "instance": 8, "state": "ready", "done": 40, "consumer": "journal@host:7", "from": "192.0.2.1:40000"}
        shown = self.SHOWN | {"instances": [{**ours, "done": 0, "consumer": None, "from": None}, theirs]}
        shown["configuration"] = {**self.SHOWN["configuration"], "command": []}
        self.answers("function.show", shown)
        text = self.sluice("function", "show", "thumbnail").stdout
        for line in (r"command +none: consumers attach", r"INSTANCE +STATE +SINCE +LEASED +PID +CONSUMER +FROM +DONE",
                     r" +7 +starting .* 0 +- +- +- +0", r" +8 +ready .* 0 +- +journal@host:7 +192\.0\.2\.1:40000 +40"):
            self.assertRegex(text, f"(?m)^{line}$")

    def test_what_comes_from_outside_cannot_steer_the_terminal(self):
        self.answers("function.show", {**self.SHOWN, "scaling": {"target": 1, "reason": "a\x1b[2Jb\nc\x7f"}})
        self.assertIn("1: a [2Jb c \n", self.sluice("function", "show", "thumbnail").stdout)

    def test_an_orphan_is_shown_without_its_configuration(self):
        self.answers("function.show", {**self.SHOWN, "configuration": None, "orphaned": True})
        result = self.sluice("function", "show", "thumbnail")
        self.assertEqual(0, result.returncode)
        self.assertIn("not in the configuration any more", result.stdout)

    def test_logs_are_printed_as_they_are(self):
        self.answers("function.logs", '{"name":"f","text":"one\\ntwo\\u0000\\u001b\\n","position":9}')
        result = self.sluice("function", "logs", "f", "--bytes", "100")
        self.assertEqual("one\ntwo\0\x1b\n", result.stdout)
        self.assertEqual({"name": "f", "bytes_max": 100}, self.calls()[0][1])

    def test_following_prints_only_what_is_new(self):
        answers = [("tick\ntick\n", 10), ("tick\ntick\n", 10), ("tick\ntick\ntick\n", 15), ("end\n", 23), ("anew\n", 5)]
        self.answers("function.logs", *({"name": "f", "text": text, "position": position} for text, position in answers),
                     "!7 the daemon is gone")
        result = self.sluice("function", "logs", "-f", "f")
        self.assertEqual((1, "tick\ntick\ntick\nend\nanew\n"), (result.returncode, result.stdout))
        self.assertIn("4 bytes of output were missed", result.stderr)
        self.assertIn("the daemon is gone", result.stderr)


class DeadLetters(Stub):
    ROW = {"function": "f", "delivery": "5.0", "id": "e-1", "bus": "default", "source": "shop", "detail_type": "order.paid",
           "rule": "r",
           "attempts": 3, "accepted_ms": 1795301914000, "failed_ms": 1795301991000, "reason": "Runtime.ExitError",
           "message": "exit status 1"}

    def test_list_is_of_one_function_or_all(self):
        self.answers("dead-letter.list", {"dead_letters": [self.ROW], "cursor": None})
        self.assertRegex(self.sluice("dead-letter", "list").stdout,
                         r"f +5\.0 +e-1 +order\.paid +3 +2026-11-21 22:59:51 +Runtime\.ExitError: exit status 1\n")
        self.sluice("dead-letter", "list", "f")
        self.assertEqual([None, "f"], [arguments.get("function") for _, arguments in self.calls()])

    def test_show_prints_event_and_last_output(self):
        self.answers("dead-letter.show", {**self.ROW, "event": '{"id":"e-1"}', "output": "Traceback\nboom"})
        shown = self.sluice("dead-letter", "show", "f", "5.0").stdout
        self.assertIn("last output:\nTraceback\nboom\n", shown)
        self.assertEqual({"id": "e-1"}, json.loads(self.sluice("dead-letter", "show", "f", "5.0", "--json").stdout)["event"])

    def test_all_of_a_function_are_redriven_page_by_page(self):
        self.answers("dead-letter.redrive", {"redriven": 1000, "cursor": "f/7.0"}, {"redriven": 5, "cursor": None})
        result = self.sluice("dead-letter", "redrive", "f")
        self.assertEqual((0, "1005 redriven\n"), (result.returncode, result.stdout))
        self.assertEqual([None, "f/7.0"], [arguments.get("cursor") for _, arguments in self.calls()])

    def test_an_event_id_stands_for_its_dead_deliveries_of_the_function(self):
        delivery = {"rule": "r", "attempts": 3, "due_ms": None, "instance": None, "reason": "x", "message": "y"}
        self.answers("event.show", {"id": "e-1", "deliveries": [
            {**delivery, "delivery": "5.0", "function": "f", "state": "dead"},
            {**delivery, "delivery": "5.1", "function": "g", "state": "dead"},
            {**delivery, "delivery": "5.2", "function": "f", "state": "settled"},
            {**delivery, "delivery": "5.3", "function": "f", "state": "dead"}]})
        self.answers("dead-letter.purge", {"purged": 1, "cursor": None})
        result = self.sluice("dead-letter", "purge", "f", "e-1", "--json")
        self.assertEqual({"purged": 2}, json.loads(result.stdout))
        self.assertEqual(["5.0", "5.3"], [arguments["delivery"] for command,
                                          arguments in self.calls() if command == "dead-letter.purge"])
        result = self.sluice("dead-letter", "purge", "h", "e-1")
        self.assertEqual(1, result.returncode)
        self.assertIn("no dead letter of function 'h'", result.stderr)

    def test_one_that_is_not_there_is_1(self):
        self.answers("dead-letter.redrive", "!4 delivery 9.0 of function 'f' is not dead")
        result = self.sluice("dead-letter", "redrive", "f", "9.0")
        self.assertEqual((1, ""), (result.returncode, result.stdout))
        self.assertIn("is not dead", result.stderr)


class Daemon(Stub):
    ROW = {"name": "f", "accepted": 10, "succeeded": 4, "dead_lettered": 2, "expired": 1, "discarded": 1, "pending": 2}

    def test_a_balance_that_holds_is_0(self):
        self.answers("balance", {"holds": True, "functions": [self.ROW]})
        result = self.sluice("balance")
        self.assertEqual((0, ""), (result.returncode, result.stderr))
        self.assertEqual({"holds": True, "functions": [self.ROW]}, json.loads(self.sluice("balance", "--json").stdout))

    def test_a_balance_that_does_not_hold_is_1_and_names_the_functions(self):
        for term, change in (("accepted", 1), ("succeeded", -1), ("dead_lettered", 1), ("expired", 3), ("discarded", -1),
                             ("pending", 1)):
            with self.subTest(term):
                wrong = {**self.ROW, "name": "g", term: self.ROW[term] + change}
                self.answers("balance", {"holds": False, "functions": [self.ROW, wrong]})
                result = self.sluice("balance")
                self.assertEqual(1, result.returncode)
                self.assertIn("'g'", result.stderr)
                self.assertNotIn("'f'", result.stderr)
        self.answers("balance", {"holds": True, "functions": [{**self.ROW, "accepted": 9}]})  # believed only when it adds up
        self.assertEqual(1, self.sluice("balance").returncode)
        self.answers("balance", {"holds": False, "functions": [self.ROW]})
        self.assertEqual(1, self.sluice("balance").returncode)

    def test_status_is_readable(self):
        self.answers("status", {
            "pid": 4711, "version": "0.1.0", "uptime_ms": 93784000, "revision": 3, "events_total": 120000, "unmatched": 17,
            "pending": 42,
            "commit_us": {"p50": 310, "p99": 1900},
            "store": {"used_bytes": 8388608, "file_bytes": 33554432, "map_bytes": 1099511627776, "reserve_bytes": 16777216,
                      "accepts": False,
                      "reason": "the disk is full"},
            "bus": ["ipc:///run/sluice/bus.sock"], "functions": 3, "rules": 5,
            "instances": {"starting": 0, "ready": 1, "busy": 4, "draining": 0}, "producers": 2, "unsafe": ["unsafe-no-sync"]})
        shown = self.sluice("status").stdout
        for line in (r"daemon +pid 4711, version 0\.1\.0, up 1d02h", r"pending +42",
                     r"instances +starting 0, ready 1, busy 4, draining 0",
                     r"store +8 MiB used, file 32 MiB of at most 1 TiB, reserve 16 MiB", r"refuses events +the disk is full",
                     r"commit +310us at the median, 1\.9ms at the 99th percentile", r"UNSAFE +unsafe-no-sync"):
            self.assertRegex(shown, f"(?m)^{line}$")

    def test_a_refused_reload_is_1_with_the_mistakes(self):
        self.answers("reload", {"loaded": False, "revision": 3, "errors": "a.yaml:7:5: error: unknown key 'comand'\n"})
        result = self.sluice("config", "reload")
        self.assertEqual((1, ""), (result.returncode, result.stdout))
        self.assertIn("a.yaml:7:5: error", result.stderr)
        self.answers("reload", {"loaded": True, "revision": 4, "errors": ""})
        self.assertEqual((0, "revision 4 is in use\n"), (lambda r: (r.returncode, r.stdout))(self.sluice("config", "reload")))

    def test_an_answer_that_is_not_json_is_1(self):
        self.answers("status", "[1]")
        result = self.sluice("status")
        self.assertEqual(1, result.returncode)
        self.assertIn("not a JSON object", result.stderr)


if __name__ == "__main__":
    SLUICE, SLUICE_STUB, SOURCE_DIR = (os.path.abspath(path) for path in sys.argv[1:4])
    for program in (SLUICE, SLUICE_STUB):
        if not os.access(program, os.X_OK):
            sys.exit(f"{program} is not there: build it first")
    unittest.main(argv=sys.argv[:1] + sys.argv[4:])
