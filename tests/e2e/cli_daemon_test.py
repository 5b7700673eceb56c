"""Every command of the `sluice` tool against a real daemon, and its answers against the examples of schemas/control.md."""

import json
import pathlib
import re
import subprocess
import sys
import unittest

import sluice_daemon
from sluice_daemon import event

CONTROL = pathlib.Path(__file__).resolve().parents[2] / "schemas/control.md"

CONFIGURATION = """
functions:
  keep:
    command: [sh, -c, 'cat >> kept.jsonl; echo kept one >&2']
    protocol: stdio
  fail:
    command: [sh, -c, 'cat > /dev/null; echo it broke >&2; exit 3']
    protocol: stdio
    retry: {attempts: 1}
  wait:
    command: [cat]
    protocol: stdio
    scale: {max: 0}
rules:
  keep: {pattern: {source: [keep]}, targets: [{function: keep}]}
  fail: {pattern: {source: [fail]}, targets: [{function: fail}]}
  wait: {pattern: {source: [wait]}, targets: [{function: wait}]}
"""


def example(command):
    """The first JSON block of the command's section."""
    text = CONTROL.read_text()
    section = re.search(rf"^## {re.escape(command)}$(.*?)(?=^## |\Z)", text, re.S | re.M).group(1)
    return json.loads(re.search(r"```json\n(.*?)```", section, re.S).group(1))


class Control(sluice_daemon.DaemonTest):
    def assert_like(self, expected, actual, place="$"):
        """Every member of the example is there with its type. null may stand for what does not apply."""
        if expected is None or actual is None:
            return
        if place.endswith(".event"):
            self.assertIsInstance(actual, dict, place)  # the tool unfolds it
            return
        self.assertIs(type(expected), type(actual), f"{place}: {actual!r}")
        if isinstance(expected, dict):
            self.assertLessEqual(set(expected), set(actual), place)
            for name in expected:
                self.assert_like(expected[name], actual[name], f"{place}.{name}")
        elif isinstance(expected, list) and expected:
            for index, item in enumerate(actual):
                self.assert_like(expected[0], item, f"{place}[{index}]")

    def test_answers_have_the_members_that_control_md_promises(self):
        daemon = self.start(CONFIGURATION)
        daemon.put(event("keep"), event("wait"), event("fail", id="failing-1"))
        daemon.wait_balance("keep", succeeded=1, pending=0)
        daemon.wait_balance("fail", dead_lettered=1, pending=0)
        self.assert_like(example("status"), daemon.json("status"))
        expected = example("balance")
        del expected["broken"]  # the tool says it in words
        self.assert_like(expected, daemon.json("balance"))
        for command in ("function", "rule", "dead-letter"):
            expected = example(f"{command}.list")
            del expected["cursor"]  # the tool puts the pages together
            answer = daemon.json(command, "list")
            self.assertTrue(next(iter(answer.values())))
            self.assert_like(expected, answer)
        for function in ("keep", "fail", "wait"):
            self.assert_like(example("function.show"), daemon.json("function", "show", function))
        self.assert_like(example("function.logs"), daemon.json("function", "logs", "keep"))
        self.assert_like(example("event.show"), daemon.json("event", "show", "failing-1"))
        self.assertEqual({"holds", "functions"}, set(daemon.json("balance")))
        self.assertEqual({"name", "accepted", "succeeded", "dead_lettered", "expired", "discarded", "pending"},
                         set(daemon.balance("keep")))

    def test_a_payload_and_a_result_may_have_6_mib(self):
        daemon = self.start("functions: {f: {command: [cat], protocol: stdio, timeout: 20s}}")
        worst = json.dumps(["\"" * ((3 << 20) - 2)])   # each byte of it is two in the JSON of the call
        self.assertEqual(6 << 20, len(worst))
        self.assertEqual(worst, daemon.sluice("function", "invoke", "f", "--payload", "-", stdin=worst).strip())
        refused = daemon.run("function", "invoke", "f", "--payload", "-", stdin=worst + " ")
        self.assertEqual(1, refused.status)
        self.assertIn("has over 6291456 bytes, the most that an invocation takes", refused.stderr)

    def test_people_get_text_from_the_same_commands(self):
        daemon = self.start(CONFIGURATION)
        daemon.put(event("fail"))
        daemon.wait_balance("fail", dead_lettered=1)
        for arguments in (["status"], ["balance"], ["function", "list"], ["function", "show", "fail"], ["rule", "list"],
                          ["dead-letter", "list"]):
            with self.subTest(arguments=arguments):
                text = daemon.sluice(*arguments)
                self.assertNotIn("{\"", text.splitlines()[0])
                self.assertGreater(len(text), 20)


class Events(sluice_daemon.DaemonTest):
    def test_an_event_put_with_options_reaches_its_function_under_the_id_that_was_printed(self):
        daemon = self.start(CONFIGURATION)
        event_id = daemon.sluice("event", "put", "--source", "keep", "--type", "t", "--detail", '{ "n": 1.50 }').strip()
        daemon.wait_balance("keep", succeeded=1, pending=0)
        line = (daemon.folder / "kept.jsonl").read_text()
        self.assertEqual(event_id, json.loads(line)["id"])
        self.assertIn('{ "n": 1.50 }', line)

    def test_refused_events_are_named_and_the_others_acked(self):
        daemon = self.start(CONFIGURATION)
        lines = [event("wait", 1), event("wait", 2, bus="nosuch"), event("wait", 3), {"source": "wait"}]
        path = daemon.folder / "in.jsonl"
        path.write_text("\n".join(map(json.dumps, lines)))
        done = daemon.run("event", "put", "--file", str(path))
        self.assertEqual(1, done.status, done)
        self.assertRegex(done.stderr, r"in\.jsonl:2: refused: .*nosuch")
        self.assertRegex(done.stderr, r"in\.jsonl:4: refused: 'detail-type' is missing")
        self.assertEqual(2, daemon.balance("wait")["accepted"])

    def test_putting_events_outlives_a_killed_daemon_and_takes_each_once(self):
        daemon = self.start(CONFIGURATION)
        put = daemon.launch("event", "put", "--json", "-", stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        for number in range(1000):
            put.stdin.write(json.dumps(event("wait", number)) + "\n")
        put.stdin.flush()
        daemon.kill()
        for number in range(1000, 2000):
            put.stdin.write(json.dumps(event("wait", number)) + "\n")
        daemon.start()
        answer, _ = put.communicate(timeout=sluice_daemon.DEADLINE_S)
        self.assertEqual({"acked": 2000, "refused": 0, "unconfirmed": 0}, json.loads(answer))
        self.assertEqual(2000, daemon.balance("wait")["accepted"])

    def test_tail_shows_the_log_in_order_and_show_says_where_deliveries_stand(self):
        daemon = self.start(CONFIGURATION)
        daemon.put(*(event("wait", number, id=f"w-{number}") for number in range(250)))
        lines = daemon.sluice("event", "tail", "--after", "0", "--max", "250", "--json").splitlines()
        self.assertEqual(list(range(250)), [json.loads(line)["detail"]["n"] for line in lines])
        shown = daemon.json("event", "show", "w-7")
        self.assertTrue(shown["scanned"])
        self.assertEqual([("wait", "wait", "ready")], [(row["function"], row["rule"],
                                                        row["state"]) for row in shown["deliveries"]])
        self.assertEqual(7, shown["event"]["detail"]["n"])
        made = daemon.sluice("event", "put", "--source", "wait", "--type", "t", "--detail", "{}").strip()
        self.assertFalse(daemon.json("event", "show", made)["scanned"])
        self.assertEqual(1, daemon.run("event", "show", "no-such-event").status)

    def test_a_waiting_tail_prints_an_event_once_it_is_committed(self):
        daemon = self.start(CONFIGURATION)
        tail = daemon.launch("event", "tail", "--after", "0", "-n", "1", "--json")
        self.addCleanup(tail.stdout.close)
        self.addCleanup(tail.wait, 30)
        daemon.put(event("wait", 41))
        self.assertEqual(41, json.loads(tail.stdout.readline())["detail"]["n"])


class Functions(sluice_daemon.DaemonTest):
    def test_list_and_show_follow_the_queue(self):
        daemon = self.start(CONFIGURATION)
        daemon.put(*(event("wait", number) for number in range(5)))
        row = next(row for row in daemon.json("function", "list")["functions"] if row["name"] == "wait")
        self.assertEqual((5, 0, True, 0), (row["ready"], row["leased"], row["paused"], row["target"]))
        self.assertEqual({"ready": 5, "leased": 0, "retry": 0, "dead": 0}, daemon.json("function", "show", "wait")["queue"])
        self.assertEqual(5, daemon.json("status")["pending"])
        self.assertEqual(1, daemon.run("function", "show", "nosuch").status)

    def test_show_tells_the_retry_policy_of_asynchronous_invocations(self):
        daemon = self.start("""
functions:
  lambdas: {command: [cat], protocol: stdio}
  own: {command: [cat], protocol: stdio, retry: {attempts: 5, backoff: 2s..8s, max-age: 1h}}
""")
        def policies(function):
            configuration = daemon.json("function", "show", function)["configuration"]
            return [tuple(configuration[of][name] for name in ("attempts", "backoff_min_ms", "backoff_max_ms", "max_age_ms"))
                    for of in ("retry", "retry_invoke")]
        self.assertEqual([(3, 1000, 60000, 21600000), (3, 60000, 120000, 21600000)], policies("lambdas"))
        self.assertEqual([(5, 2000, 8000, 3600000)] * 2, policies("own"))

    def test_ends_of_instances_are_kept_with_their_reason(self):
        daemon = self.start(CONFIGURATION)
        daemon.put(event("fail"))
        daemon.wait_balance("fail", dead_lettered=1)
        ends = daemon.wait_for(lambda: daemon.json("function", "show", "fail")["ends"], "the end of an instance")
        self.assertEqual(("exited", 3), (ends[0]["reason"], ends[0]["code"]))

    def test_logs_hold_captured_output_and_can_be_followed(self):
        daemon = self.start(CONFIGURATION)
        daemon.put(event("keep"))
        daemon.wait_for(lambda: "kept one" in daemon.run("function", "logs", "keep").stdout, "the line in the log")
        end = daemon.sluice("function", "logs", "keep", "--bytes", "4")   # less than its last line: the end of that
        self.assertEqual((4, "\n"), (len(end), end[-1]))
        follow = daemon.launch("function", "logs", "-f", "keep")
        self.addCleanup(follow.stdout.close)
        self.addCleanup(follow.wait, 30)
        self.addCleanup(follow.terminate)
        def printed():
            """Up to the next line of the function's own."""
            return next(line for line in iter(follow.stdout.readline, "") if "kept one" in line)
        printed()
        daemon.put(event("keep"))
        printed()
        self.assertEqual(1, daemon.run("function", "logs", "nosuch").status)

    def test_logs_can_be_followed_before_there_are_any(self):
        daemon = self.start(CONFIGURATION)
        silent = daemon.run("function", "logs", "keep")
        self.assertEqual((1, True), (silent.status, "has written nothing yet" in silent.stderr))
        follow = daemon.launch("function", "logs", "-f", "keep")
        self.addCleanup(follow.stdout.close)
        self.addCleanup(follow.wait, 30)
        self.addCleanup(follow.terminate)
        daemon.put(event("keep"))
        daemon.wait_balance("keep", succeeded=1, pending=0)
        self.assertTrue(any("kept one" in line for line in iter(follow.stdout.readline, "")))

    def test_invoke_waits_no_longer_than_it_was_told_and_what_runs_is_left_to_end(self):
        daemon = self.start("""
functions:
  slow: {command: [sh, -c, 'until [ -e go ]; do sleep 0.05; done; echo done > ended'], protocol: stdio, timeout: 20s, scale: {max: 1}}
""")
        late = daemon.run("function", "invoke", "slow", "--timeout", "1")
        self.assertEqual((1, ""), (late.status, late.stdout))
        self.assertIn("function 'slow': no answer within 1 s", late.stderr)
        self.assertEqual(1, late.stderr.count("\n"), late.stderr)
        (daemon.folder / "go").touch()
        daemon.wait_for((daemon.folder / "ended").exists, "the end of the invocation that nobody waits for any more")
        # An answer in time is not held up by the time there was for it.
        self.assertEqual(0, daemon.run("function", "invoke", "slow", "--timeout", "86400").status)

    def test_rules_count_what_they_matched(self):
        daemon = self.start(CONFIGURATION)
        daemon.put(event("wait"), event("wait"), event("nobody"))
        rows = {row["name"]: row for row in daemon.json("rule", "list")["rules"]}
        self.assertEqual((2, 0), (rows["wait"]["matched"], rows["keep"]["matched"]))
        self.assertEqual({"source": ["wait"]}, json.loads(rows["wait"]["pattern"]))
        self.assertEqual(1, daemon.json("status")["unmatched"])


class DeadLetters(sluice_daemon.DaemonTest):
    def test_dead_letters_are_listed_shown_redriven_and_purged_and_the_balance_holds(self):
        daemon = self.start(CONFIGURATION)
        daemon.put(*(event("fail", number, id=f"f-{number}") for number in range(3)))
        daemon.wait_balance("fail", dead_lettered=3, pending=0)
        rows = daemon.json("dead-letter", "list", "fail")["dead_letters"]
        self.assertEqual({"f-0", "f-1", "f-2"}, {row["id"] for row in rows})
        self.assertEqual([], daemon.json("dead-letter", "list", "keep")["dead_letters"])
        shown = daemon.json("dead-letter", "show", "fail", "f-1")
        self.assertEqual((1, 1), (shown["event"]["detail"]["n"], shown["attempts"]))
        self.assertIn("it broke", shown["output"])
        self.assertEqual({"redriven": 1}, daemon.json("dead-letter", "redrive", "fail", "f-1"))
        daemon.wait_balance("fail", accepted=3, dead_lettered=3, pending=0)
        self.assertEqual({"purged": 1}, daemon.json("dead-letter", "purge", "fail", rows[0]["delivery"]))
        daemon.wait_balance("fail", accepted=3, dead_lettered=2, discarded=1, pending=0)
        self.assertEqual({"redriven": 2}, daemon.json("dead-letter", "redrive", "fail"))
        daemon.wait_balance("fail", dead_lettered=2, discarded=1, pending=0)
        self.assertEqual({"purged": 2}, daemon.json("dead-letter", "purge", "fail"))
        daemon.wait_balance("fail", accepted=3, dead_lettered=0, discarded=3, pending=0)
        self.assertEqual(1, daemon.run("dead-letter", "show", "fail", "999.0").status)
        self.assertEqual(1, daemon.run("dead-letter", "redrive", "nosuch").status)

    def test_dead_letters_and_balance_survive_a_restart(self):
        daemon = self.start(CONFIGURATION)
        daemon.put(event("fail"), event("wait"))
        daemon.wait_balance("fail", dead_lettered=1)
        before = daemon.json("balance"), daemon.json("dead-letter", "list")
        daemon.restart()
        self.assertEqual(before, (daemon.json("balance"), daemon.json("dead-letter", "list")))


class Reload(sluice_daemon.DaemonTest):
    def test_a_refused_configuration_is_printed_and_the_old_one_stays(self):
        daemon = self.start(CONFIGURATION)
        revision = daemon.json("status")["revision"]
        daemon.configure(CONFIGURATION.replace("protocol: stdio", "protocl: stdio", 1))
        done = daemon.run("config", "reload")
        self.assertEqual(1, done.status)
        self.assertRegex(done.stderr, r"sluice\.yaml:\d+:\d+: error: .*protocl")
        self.assertEqual(revision, daemon.json("status")["revision"])
        daemon.configure(CONFIGURATION + "  more: {pattern: {source: [more]}, targets: [{function: keep}]}\n")
        self.assertEqual(0, daemon.run("config", "reload").status)
        daemon.wait_for(lambda: "more" in {row["name"] for row in daemon.json("rule", "list")["rules"]}, "the new rule")
        self.assertGreater(daemon.json("status")["revision"], revision)

    def test_what_only_a_restart_can_change_is_refused_by_name(self):
        daemon = self.start(CONFIGURATION)
        revision = daemon.json("status")["revision"]
        daemon.configure(CONFIGURATION + "data: /somewhere/else\n")  # --data beats it: no change
        self.assertEqual(0, daemon.run("config", "reload").status)
        other = daemon.url.replace("bus.sock", "other.sock")
        daemon.configure(f'listen: {{bus: ["{other}"]}}\n{CONFIGURATION}')
        done = daemon.run("config", "reload")
        self.assertEqual(1, done.status)
        self.assertIn("'listen.bus' has changed", done.stderr)
        self.assertGreater(daemon.json("status")["revision"], revision)


if __name__ == "__main__":
    unittest.main(argv=sys.argv)
