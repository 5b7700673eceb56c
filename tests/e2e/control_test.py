"""The control calls of schemas/control.md as they stand on the wire: arguments, pages, waiting, durability, states.

What the tool makes of them is in cli_daemon_test.py."""

import concurrent.futures
import json
import os
import subprocess
import sys
import time
import unittest

import sluice_daemon
from sluice_daemon import event

CONFIGURATION = """
functions:
  done:
    command: [sh, -c, 'cat > /dev/null']
    protocol: stdio
  hold:                                   # busy until a file `go` is there
    command: [sh, -c, 'cat > /dev/null; until test -e go; do sleep 0.02; done']
    protocol: stdio
    scale: {max: 4}
  dead:                                   # fails until a file `mended` is there
    command: [sh, -c, 'cat > /dev/null; printf "it broke: \\377" >&2; test -e mended']
    protocol: stdio
    retry: {attempts: 1}
  again:
    command: ["false"]
    protocol: stdio
    retry: {attempts: 5, backoff: 1h..2h}
  wait:
    command: [cat]
    protocol: stdio
    scale: {max: 0}
  broken:                                 # ends before it is asked anything
    command: [sh, -c, 'echo no database >&2; exit 7']
    protocol: stdio-lines
rules:
  done: {pattern: {source: [done, all]}, targets: [{function: done}]}
  hold: {pattern: {source: [hold, all]}, targets: [{function: hold}]}
  dead: {pattern: {source: [dead, all]}, targets: [{function: dead}]}
  again: {pattern: {source: [again, all]}, targets: [{function: again}]}
  wait: {pattern: {source: [wait, all]}, targets: [{function: wait}]}
  broken: {pattern: {source: [broken]}, targets: [{function: broken}]}
"""


class Refused(Exception):
    def __init__(self, code, text):
        super().__init__(f"{code}: {text}")
        self.code, self.text = code, text


def call_text(daemon, command, arguments):
    """The result as text; raises Refused."""
    done = subprocess.run([sluice_daemon.program("tests/e2e/control_call"), command, arguments], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=daemon.environment, text=True, timeout=60)
    if done.returncode == 1:
        raise Refused(**json.loads(done.stdout))
    if done.returncode != 0:
        raise sluice_daemon.Failure(f"control_call {command} {arguments}: {done.returncode} {done.stderr}{daemon._about()}")
    return done.stdout


def call(daemon, command, /, **arguments):
    return json.loads(call_text(daemon, command, json.dumps(arguments)))


def pages(daemon, command, rows, **arguments):
    """The pages of a list, each its rows."""
    result, cursor = [], None
    while True:
        page = call(daemon, command, cursor=cursor, **arguments)
        result.append(page[rows])
        cursor = page["cursor"]
        if cursor is None:
            return result


class ControlTest(sluice_daemon.DaemonTest):
    def start(self, configuration=CONFIGURATION, **options):
        return super().start(configuration, **options)

    def assert_refused(self, code, text, asked, /, *arguments, **named):
        with self.assertRaises(Refused) as refused:
            asked(*arguments, **named)
        self.assertEqual(code, refused.exception.code, refused.exception)
        self.assertIn(text, refused.exception.text)

    def states(self, daemon, event_id):
        return {row["function"]: row["state"] for row in call(daemon, "event.show", id=event_id)["deliveries"]}


class Arguments(ControlTest):
    def test_what_is_not_as_the_page_says_is_refused_and_named(self):
        daemon = self.start()
        cases = [
            ("nosuch.command", "{}", "nosuch.command"),
            ("status", "[]", "not a JSON object"),
            ("status", "{", "not a JSON object"),
            ("status", '{"verbose": true}', "'verbose'"),
            ("event.show", "", "'id' is missing"),
            ("event.show", '{"id": null}', "'id' is missing"),
            ("event.show", '{"id": 7}', "'id' must be a string"),
            ("event.show", '{"id": ""}', "1 to 256"),
            ("event.show", '{"id": "a", "id": "b"}', "duplicate"),
            ("event.tail", '{"max": 0}', "'max' must be an integer from 1 to 1000"),
            ("event.tail", '{"max": 1001}', "'max' must be an integer from 1 to 1000"),
            ("event.tail", '{"wait_ms": 30001}', "'wait_ms'"),
            ("event.tail", '{"after_seq": -1}', "'after_seq'"),
            ("event.tail", '{"after_seq": 1.5}', "'after_seq'"),
            ("event.tail", '{"after_seq": "1"}', "'after_seq'"),
            ("function.list", '{"limit": true}', "'limit'"),
            ("function.logs", '{"name": "done", "bytes_max": 1048577}', "'bytes_max'"),
            ("dead-letter.list", '{"cursor": "dead"}', "'dead' is no cursor"),
            ("dead-letter.show", '{"function": "dead", "delivery": "1"}', "'1' is no delivery"),
            ("dead-letter.show", '{"function": "dead", "delivery": "1.4294967296"}', "is no delivery"),
            ("dead-letter.redrive", '{}', "'function' is missing"),
            ("dead-letter.purge", '{"function": "dead", "cursor": "wait/1.0"}', "of function 'wait', not of 'dead'"),
        ]
        for command, arguments, text in cases:
            with self.subTest(command=command, arguments=arguments):
                self.assert_refused("SLUICE_EINVAL", text, call_text, daemon, command, arguments)
        for command in ("function.show", "function.logs"):
            self.assert_refused("SLUICE_ENOTFOUND", "'nosuch'", call, daemon, command, name="nosuch")
        for command in ("dead-letter.list", "dead-letter.redrive", "dead-letter.purge"):
            self.assert_refused("SLUICE_ENOTFOUND", "'nosuch'", call, daemon, command, function="nosuch")
        self.assert_refused("SLUICE_ENOTFOUND", "never came here", call, daemon, "event.show", id="nosuch")
        self.assertEqual({"name": "done", "text": "", "position": 0}, call(daemon, "function.logs", name="done"))  # none yet

    def test_null_is_as_good_as_absent_and_no_bytes_as_an_empty_object(self):
        daemon = self.start()
        self.assertEqual(call(daemon, "function.list"), call(daemon, "function.list", cursor=None, limit=None))
        self.assertIn("pid", json.loads(call_text(daemon, "status", "")))


class Tail(ControlTest):
    def test_without_a_place_it_starts_at_the_end_and_waits_for_the_next_commit(self):
        daemon = self.start()
        daemon.put(event("wait", 1))
        self.assertEqual([], call(daemon, "event.tail")["events"])
        with concurrent.futures.ThreadPoolExecutor() as threads:
            tails = [threads.submit(call, daemon, "event.tail", wait_ms=30000) for _ in range(3)]
            number = 1
            while not all(tail.done() for tail in tails): # they park when they come, which is seen by their answers only
                number += 1
                daemon.put(event("wait", number))
            for tail in tails:
                answer = tail.result()
                self.assertEqual(0, answer["gap"])
                self.assertLess(1, json.loads(answer["events"][0]["event"])["detail"]["n"])
                self.assertEqual(answer["events"][-1]["seq"] + 1, answer["next_seq"])

    def test_a_wait_ends_with_an_empty_list_and_the_place_to_go_on_from(self):
        daemon = self.start()
        daemon.put(event("wait", 1))
        before = time.monotonic()
        self.assertEqual({"events": [], "next_seq": 2, "gap": 0}, call(daemon, "event.tail", after_seq=1, wait_ms=300))
        self.assertGreaterEqual(time.monotonic() - before, 0.3)
        self.assertEqual({"events": [], "next_seq": 101, "gap": 0}, call(daemon, "event.tail", after_seq=100))

    def test_all_events_come_once_in_order_whatever_the_page(self):
        daemon = self.start()
        daemon.put(*(event("wait", number) for number in range(25)))
        daemon.put(*(event("wait", number) for number in range(25, 50)))
        seen, after = [], 0
        while True:
            answer = call(daemon, "event.tail", after_seq=after, max=7)
            if not answer["events"]:
                break
            self.assertLessEqual(len(answer["events"]), 7)
            self.assertEqual(0, answer["gap"])
            seen += answer["events"]
            after = answer["next_seq"] - 1
        self.assertEqual(list(range(1, 51)), [row["seq"] for row in seen])
        self.assertEqual(list(range(50)), [json.loads(row["event"])["detail"]["n"] for row in seen])
        self.assertEqual({"default"}, {row["bus"] for row in seen})

    def test_what_was_trimmed_is_counted_as_a_gap(self):
        daemon = self.start()
        daemon.put(event("done", 1), event("done", 2))
        daemon.wait_balance("done", succeeded=2, pending=0)
        daemon.put(event("wait", 3))
        def trimmed():
            answer = call(daemon, "event.tail", after_seq=0)
            return answer if answer["gap"] else None
        answer = daemon.wait_for(trimmed, "the settled record trimmed")
        self.assertEqual((2, [3], 4), (answer["gap"], [row["seq"] for row in answer["events"]], answer["next_seq"]))

    def test_long_events_end_an_answer_early_and_none_is_left_out(self):
        daemon = self.start()
        text = 'quoted "' * 75000  # 600,000 bytes of detail, more as a string in a string
        for number in range(4):
            daemon.put(event("wait", number, detail={"n": number, "text": text}))
        seen, after = [], 0
        while len(seen) < 4:
            answer = call(daemon, "event.tail", after_seq=after)
            self.assertIn(len(answer["events"]), (1, 2))
            seen += [json.loads(row["event"])["detail"] for row in answer["events"]]
            after = answer["next_seq"] - 1
        self.assertEqual([{"n": number, "text": text} for number in range(4)], seen)

    def test_parked_tails_are_told_when_the_daemon_stops(self):
        daemon = self.start()
        with concurrent.futures.ThreadPoolExecutor() as threads:
            tail = threads.submit(call, daemon, "event.tail", wait_ms=30000)
            daemon.wait_for(tail.running, "the tail is asked")
            for _ in range(3):
                call(daemon, "status") # so that it is most likely parked; else it is refused, with the same words
            daemon.stop()
            with self.assertRaises(Refused) as refused:
                tail.result()
            self.assertEqual("SLUICE_EUNAVAILABLE", refused.exception.code)


class Show(ControlTest):
    def test_every_state_of_a_delivery_is_told_apart(self):
        daemon = self.start()
        daemon.put(event("all", id="every-state"))
        wanted = {"done": "settled", "hold": "leased", "dead": "dead", "again": "retry", "wait": "ready"}
        daemon.wait_for(lambda: self.states(daemon, "every-state") == wanted, f"states {wanted}")
        shown = call(daemon, "event.show", id="every-state")
        self.assertTrue(shown["scanned"])
        self.assertEqual(("every-state", 1, "default"), (shown["id"], shown["seq"], shown["bus"]))
        rows = {row["function"]: row for row in shown["deliveries"]}
        self.assertEqual({f"1.{ordinal}" for ordinal in range(5)}, {row["delivery"] for row in rows.values()})
        self.assertEqual({name: name for name in wanted}, {name: row["rule"] for name, row in rows.items()})
        self.assertEqual({"done": 0, "hold": 0, "dead": 1, "again": 1, "wait": 0},
                         {name: row["attempts"] for name, row in rows.items()})
        self.assertEqual(0, shown["deliveries_omitted"])
        self.assertIsInstance(rows["hold"]["instance"], int)
        self.assertEqual(("Runtime.ExitError", True), (rows["again"]["reason"], "status 1" in rows["again"]["message"]))
        self.assertGreater(rows["again"]["due_ms"], shown["committed_ms"])
        self.assertEqual((None, "Runtime.ExitError"), (rows["dead"]["due_ms"], rows["dead"]["reason"]))
        self.assertEqual((None, None, None), (rows["wait"]["due_ms"], rows["wait"]["instance"], rows["wait"]["reason"]))
        (daemon.folder / "go").touch()
        daemon.wait_for(lambda: self.states(daemon, "every-state")["hold"] == "settled", "the held delivery settled")

    def test_our_own_ids_are_found_without_a_scan(self):
        daemon = self.start()
        daemon.put(event("wait"), event("wait"))
        event_id = json.loads(call(daemon, "event.tail", after_seq=1)["events"][0]["event"])["id"]
        shown = call(daemon, "event.show", id=event_id)
        self.assertEqual((event_id, 2, False), (shown["id"], shown["seq"], shown["scanned"]))
        self.assertEqual(event_id, json.loads(shown["event"])["id"])

    def test_a_failed_delivery_is_never_called_settled_on_its_way_to_the_dead_letters(self):
        daemon = self.start()
        for number in range(10):
            event_id = f"dying-{number}"
            daemon.put(event("dead", id=event_id))
            seen = []
            while "dead" not in seen:
                seen.append(self.states(daemon, event_id)["dead"])
            self.assertLessEqual(set(seen), {"ready", "leased", "dead"})

    def test_a_dead_letter_outlives_the_trimmed_log(self):
        daemon = self.start()
        daemon.put(event("dead", id="outlives"))
        daemon.wait_balance("dead", dead_lettered=1, pending=0)
        daemon.put(event("wait"))
        daemon.wait_for(lambda: call(daemon, "event.tail", after_seq=0)["gap"] == 1, "the record trimmed")
        shown = call(daemon, "event.show", id="outlives")
        self.assertEqual([("1.0", "dead", "dead")],
                         [(row["delivery"], row["function"], row["state"]) for row in shown["deliveries"]])
        self.assertEqual("outlives", json.loads(shown["event"])["id"])


class Functions(ControlTest):
    def test_lists_are_paged_in_order_of_name(self):
        daemon = self.start()
        names = sorted(("done", "hold", "dead", "again", "wait", "broken"))
        for command, rows in (("function.list", "functions"), ("rule.list", "rules")):
            for limit in (1, 4, 6, 1000):
                with self.subTest(command=command, limit=limit):
                    listed = pages(daemon, command, rows, limit=limit)
                    self.assertEqual(names, [row["name"] for page in listed for row in page])
                    self.assertEqual(-(-6 // limit), len(listed))

    def test_a_function_that_never_starts_shows_why(self):
        daemon = self.start()
        daemon.put(event("broken"))
        shown = daemon.wait_for(lambda: (lambda shown: shown if shown["circuit"]["failures"] >= 3 else None)(
            call(daemon, "function.show", name="broken")), "three failed starts")
        self.assertEqual("no database\n", shown["circuit"]["text"])
        self.assertEqual(("exited", 7), (shown["ends"][0]["reason"], shown["ends"][0]["code"]))
        self.assertTrue(shown["ends"][0]["text"].startswith("exit status 7 after "))
        self.assertEqual("open", daemon.wait_for(lambda: (lambda circuit: circuit if circuit["until_ms"] else None)(
            call(daemon, "function.show", name="broken")["circuit"]), "a circuit that waits")["state"])
        self.assertEqual({"ready": 1, "leased": 0, "retry": 0, "dead": 0}, shown["queue"])

    def test_instances_that_run_are_shown_with_what_they_hold(self):
        daemon = self.start()
        daemon.put(event("hold"))
        def busy():
            instances = call(daemon, "function.show", name="hold")["instances"]
            return instances if instances and instances[0]["state"] == "busy" and instances[0]["pid"] else None
        instances = daemon.wait_for(busy, "a busy instance")
        self.assertEqual((1, 1), (len(instances), instances[0]["leased"]))
        self.assertTrue(os.path.exists(f"/proc/{instances[0]['pid']}"))
        self.assertLess(abs(instances[0]["since_ms"] - time.time() * 1000), 60000)

    def test_what_is_not_utf_8_is_replaced(self):
        daemon = self.start()
        daemon.put(event("dead"))
        daemon.wait_balance("dead", dead_lettered=1)
        self.assertEqual("it broke: \ufffd", call(daemon, "dead-letter.show", function="dead", delivery="1.0")["output"])
        logs = daemon.wait_for(lambda: "broke" in call(daemon, "function.logs", name="dead")["text"] and
                               call(daemon, "function.logs", name="dead"), "captured output")
        self.assertIn("it broke: \ufffd\n", logs["text"])
        log = (daemon.data / "logs/dead.log").read_bytes()
        self.assertEqual(len(log), logs["position"])
        self.assertLessEqual(len(call(daemon, "function.logs", name="dead", bytes_max=10)["text"].encode()), 12)

    def test_a_removed_function_is_orphaned_until_nothing_of_it_is_left(self):
        daemon = self.start()
        daemon.put(event("dead"), event("wait"))
        daemon.wait_balance("dead", dead_lettered=1)
        daemon.configure('functions: {done: {command: ["true"], protocol: stdio}}')
        self.assertTrue(call(daemon, "reload")["loaded"])
        rows = {row["name"]: row for row in call(daemon, "function.list")["functions"]}
        self.assertEqual({"dead", "done", "wait"}, set(rows))
        self.assertEqual((True, None, 1), (rows["dead"]["orphaned"], rows["dead"]["protocol"], rows["dead"]["dead"]))
        self.assertIsNone(call(daemon, "function.show", name="wait")["configuration"])
        self.assertEqual({"purged": 1, "cursor": None}, call(daemon, "dead-letter.purge", function="dead"))
        self.assertEqual({"done", "wait"}, {row["name"] for row in call(daemon, "function.list")["functions"]})
        balance = call(daemon, "balance")
        self.assertTrue(balance["holds"])
        self.assertEqual(["dead", "done", "wait"], [row["name"] for row in balance["functions"]])


class DeadLetters(ControlTest):
    def given_dead(self, count, **options):
        daemon = self.start(**options)
        daemon.put(*(event("dead", number, id=f"dead-{number}") for number in range(count)))
        daemon.wait_balance("dead", dead_lettered=count, pending=0)
        return daemon

    def test_pages_hold_each_once_over_all_functions(self):
        configuration = CONFIGURATION + "  dead2: {pattern: {source: [dead]}, targets: [{function: again2}]}\n"
        again2 = '  again2: {command: ["false"], protocol: stdio, retry: {attempts: 1}}\n'
        configuration = configuration.replace("  again:\n    command", again2 + "  again:\n    command")
        daemon = self.given_dead(5, configuration=configuration)
        daemon.wait_balance("again2", dead_lettered=5)
        wanted = sorted((row["function"], row["delivery"]) for row in call(daemon, "dead-letter.list")["dead_letters"])
        self.assertEqual(10, len(wanted))
        for limit in (1, 3, 5, 10):
            with self.subTest(limit=limit):
                listed = pages(daemon, "dead-letter.list", "dead_letters", limit=limit)
                self.assertEqual(wanted, [(row["function"], row["delivery"]) for page in listed for row in page])
                self.assertLessEqual(max(map(len, listed)), limit)
        only = pages(daemon, "dead-letter.list", "dead_letters", limit=2, function="dead")
        self.assertEqual({"dead"}, {row["function"] for page in only for row in page})
        self.assertEqual(5, sum(map(len, only)))

    def test_one_is_redriven_and_gone_from_the_list_when_that_is_answered(self):
        daemon = self.given_dead(3)
        (daemon.folder / "mended").touch()
        self.assertEqual({"redriven": 1, "cursor": None}, call(daemon, "dead-letter.redrive", function="dead", delivery="2.0"))
        self.assertEqual(["1.0", "3.0"], [row["delivery"] for row in call(daemon, "dead-letter.list")["dead_letters"]])
        self.assert_refused("SLUICE_ENOTFOUND", "no dead letter 2.0", call, daemon, "dead-letter.redrive", function="dead",
                            delivery="2.0")
        daemon.wait_balance("dead", succeeded=1, dead_lettered=2, pending=0)

    def test_all_are_redriven_page_by_page_and_the_balance_holds_throughout(self):
        daemon = self.given_dead(7)
        (daemon.folder / "mended").touch()
        cursor, counts = None, []
        while True:
            answer = call(daemon, "dead-letter.redrive", function="dead", limit=3, cursor=cursor)
            counts.append(answer["redriven"])
            self.assertTrue(call(daemon, "balance")["holds"])
            cursor = answer["cursor"]
            if cursor is None:
                break
        self.assertEqual([3, 3, 1], counts)
        daemon.wait_balance("dead", succeeded=7, dead_lettered=0, pending=0)

    def test_one_that_dies_again_in_a_redrive_of_all_is_not_met_twice(self):
        daemon = self.given_dead(4)
        cursor, redriven = None, 0
        while True:
            answer = call(daemon, "dead-letter.redrive", function="dead", limit=1, cursor=cursor)
            redriven += answer["redriven"]
            cursor = answer["cursor"]
            if cursor is None:
                break
            daemon.wait_balance("dead", dead_lettered=4, pending=0)
        self.assertEqual(4, redriven)

    def test_a_purged_one_is_discarded(self):
        daemon = self.given_dead(2)
        self.assertEqual({"purged": 1, "cursor": None}, call(daemon, "dead-letter.purge", function="dead", delivery="1.0"))
        row = daemon.balance("dead")
        self.assertEqual((1, 1, 0), (row["dead_lettered"], row["discarded"], row["pending"]))
        self.assertEqual({"purged": 1, "cursor": None}, call(daemon, "dead-letter.purge", function="dead"))
        self.assertEqual({"purged": 0, "cursor": None}, call(daemon, "dead-letter.purge", function="dead"))

    def test_what_was_answered_outlives_a_kill(self):
        daemon = self.given_dead(40)
        for seq in range(1, 41):
            if seq % 2:
                call(daemon, "dead-letter.purge", function="dead", delivery=f"{seq}.0")
        daemon.kill()
        daemon.start()
        row = daemon.balance("dead")
        self.assertEqual((20, 20, 0), (row["dead_lettered"], row["discarded"], row["pending"]))


class Others(ControlTest):
    def test_a_reload_answers_once_its_revision_is_on_disk(self):
        daemon = self.start()
        revision = call(daemon, "status")["revision"]
        answer = call(daemon, "reload")
        self.assertEqual({"loaded": True, "revision": revision + 1, "errors": ""}, answer)
        daemon.kill()
        daemon.start()
        self.assertGreater(call(daemon, "status")["revision"], revision + 1)

    def test_a_configuration_with_a_mistake_is_an_answer(self):
        daemon = self.start()
        revision = call(daemon, "status")["revision"]
        daemon.configure("functions: {f: {comand: [cat]}}")
        answer = call(daemon, "reload")
        self.assertEqual((False, revision), (answer["loaded"], answer["revision"]))
        self.assertIn("comand", answer["errors"])
        self.assertEqual(6, call(daemon, "status")["functions"])

    def test_many_may_ask_for_the_balance_at_once(self):
        daemon = self.start()
        daemon.put(*(event("wait", number) for number in range(100)))
        with concurrent.futures.ThreadPoolExecutor(8) as threads:
            for answer in threads.map(lambda _: call(daemon, "balance"), range(16)):
                self.assertTrue(answer["holds"])
                names = [row["name"] for row in answer["functions"]]
                self.assertEqual(["again", "broken", "dead", "done", "hold", "wait"], names)
                self.assertEqual(100, answer["functions"][5]["pending"])

    def test_status_counts(self):
        daemon = self.start()
        daemon.put(event("wait"), event("nobody"))
        status = call(daemon, "status")
        self.assertEqual((daemon.process.pid, 2, 1, 1, 6, 6), tuple(status[name] for name in (
            "pid", "events_total", "unmatched", "pending", "functions", "rules")))
        self.assertEqual(([daemon.url], []), (status["bus"], status["unsafe"]))
        self.assertEqual((True, None), (status["store"]["accepts"], status["store"]["reason"]))
        self.assertGreater(status["commit_us"]["p99"], 0)
        self.assertGreater(status["store"]["map_bytes"], status["store"]["used_bytes"])


if __name__ == "__main__":
    unittest.main(argv=sys.argv)
