"""From a publish to its result, in every protocol: targets, buses, inputs, retry, dead letters, redrive, purge.

The judges are the files that functions write and the balance, which is looked at all the time."""

import json
import sys
import unittest

import sluice_daemon
from sluice_daemon import configuration, event, rule

RECORDER = sluice_daemon.build_dir() / "tests/helpers/native_recorder"

# What a function of each protocol does with what it gets: a line of it goes to NAME.got. A native one writes the number alone.
ONCE = "cat >> $SLUICE_FUNCTION.got"
FILTER = "while read -r line; do printf '%s\\n' \"$line\" >> $SLUICE_FUNCTION.got; echo '{}'; done"


def stdio(**more):
    return {"command": ["sh", "-c", ONCE], "protocol": "stdio", **more}


def stdio_lines(**more):
    return {"command": ["sh", "-c", FILTER], "protocol": "stdio-lines", "concurrency": 10, **more}


def native(name, **more):
    return {"command": [str(RECORDER), f"{name}.got"], "protocol": "native", "batch": {"size": 10}, **more}


class DeliveryTest(sluice_daemon.DaemonTest):
    def lines(self, daemon, function):
        path = daemon.folder / f"{function}.got"
        return path.read_text().splitlines() if path.exists() else []

    def numbers(self, daemon, function):
        """The numbers of the events it got, each as often as it got it."""
        return sorted(int(line) if line.lstrip("-").isdigit() else json.loads(line)["detail"]["n"] for line in self.lines(daemon, function))


class Routing(DeliveryTest):
    def test_each_target_of_each_matching_rule_gets_each_event_once(self):
        daemon = self.start(configuration(
            {"once": stdio(), "lines": stdio_lines(), "native": native("native"), "orders": stdio_lines()},
            {"all": rule("a", "once", "lines", "native"),
             "again": rule("a", "lines"),
             "two": {"pattern": {"detail": {"n": [2]}}, "targets": [{"function": "once"}]},
             "off": {**rule("a", "orders"), "enabled": False},
             "orders": {**rule("a", "orders"), "bus": "orders"}}))
        with daemon.balance_watched():
            daemon.put(*(event("a", number, id=f"e-{number}") for number in range(20)), event("nobody", 99),
                       *(event("a", number, bus="orders") for number in range(100, 105)))
            for function, accepted in (("once", 21), ("lines", 40), ("native", 20), ("orders", 5)):
                daemon.wait_balance(function, accepted=accepted, succeeded=accepted, pending=0)
        self.assertEqual(sorted([*range(20), 2]), self.numbers(daemon, "once"))
        self.assertEqual(sorted([*range(20)] * 2), self.numbers(daemon, "lines"))
        self.assertEqual([*range(20)], self.numbers(daemon, "native"))
        self.assertEqual([*range(100, 105)], self.numbers(daemon, "orders"))
        self.assertEqual({f"e-{number}" for number in range(20)}, {json.loads(line)["id"] for line in self.lines(daemon, "once")})
        self.assertEqual(1, daemon.json("status")["unmatched"])

    def test_functions_see_what_their_input_and_their_target_say(self):
        detail = '{ "n": 1.50, "deep": {"at": [7, "seven"]}, "big": 12345678901234567890, "text": "\\u00e9\\n" }'
        whole = {"version": "0", "id": "in-1", "detail-type": "test", "source": "in", "account": "000000000000",
                 "time": "2026-11-21T22:58:34Z", "region": "us-east-1", "resources": ["r:1"], "detail": json.loads(detail)}
        cloud = {"specversion": "1.0", "id": "in-1", "source": "in", "type": "test", "time": "2026-11-21T22:58:34.000Z",
                 "datacontenttype": "application/json", "subject": "r:1", "data": json.loads(detail)}
        cases = {
            "whole": ({}, {}, whole),
            "cloud": ({"input": "cloudevent"}, {}, cloud),
            "detail": ({"input": "detail"}, {}, json.loads(detail)),
            "path": ({}, {"input-path": "$.detail.deep"}, {"at": [7, "seven"]}),
            "item": ({}, {"input-path": "$.detail.deep.at[1]"}, "seven"),
            "resource": ({"input": "detail"}, {"input-path": "$.resources[0]"}, "r:1"),
            "constant": ({}, {"input": {"do": ["this", 1, None]}}, {"do": ["this", 1, None]}),
            "constant-cloud": ({"input": "cloudevent"}, {"input": "words"}, "words"),
        }
        functions = {f"{protocol}-{name}": make(**options) for name, (options, _, _) in cases.items()
                     for protocol, make in (("once", stdio), ("lines", stdio_lines))}
        targets = [{"function": f"{protocol}-{name}", **target} for name, (_, target, _) in cases.items()
                   for protocol in ("once", "lines")]
        functions["native-path"] = native("native-path")
        functions["native-constant"] = native("native-constant")
        targets += [{"function": "native-path", "input-path": "$.detail"},
                    {"function": "native-constant", "input": {"n": 41}}]
        daemon = self.start(configuration(functions, {"all": rule("in", *targets)}))
        line = json.dumps(event("in", id="in-1", time="2026-11-21T22:58:34Z", resources=["r:1"], detail=0))
        daemon.sluice("event", "put", "-", stdin=line.replace('"detail": 0', f'"detail": {detail}') + "\n")
        for function in functions:
            daemon.wait_balance(function, succeeded=1, pending=0)
        for name, (_, _, expected) in cases.items():
            for protocol in ("once", "lines"):
                with self.subTest(function=f"{protocol}-{name}"):
                    lines = self.lines(daemon, f"{protocol}-{name}")
                    self.assertEqual([expected], [json.loads(line) for line in lines])
                    if name in ("whole", "cloud", "detail"):
                        self.assertIn(detail, lines[0])  # byte for byte
        self.assertEqual((["1"], ["41"]), (self.lines(daemon, "native-path"), self.lines(daemon, "native-constant")))

    def test_a_large_batch_is_handed_over_a_batch_at_a_time_and_each_once(self):
        daemon = self.start(configuration(
            {"once": stdio(batch={"size": 50, "window": "50ms"}), "native": native("native", batch={"size": 100}, scale={"max": 2})},
            {"all": rule("a", "once", "native")}))
        with daemon.balance_watched():
            daemon.put(*(event("a", number) for number in range(1000)))
            for function in ("once", "native"):
                daemon.wait_balance(function, succeeded=1000, pending=0)
        for function in ("once", "native"):
            self.assertEqual([*range(1000)], self.numbers(daemon, function))


# A function that fails until a file `mended` is there: how, and what its dead letter then says (reason, message, output).
FAILURES = {
    "stdio exits": ({"command": ["sh", "-c", f"if test -e mended; then {ONCE}; else cat >/dev/null; echo no luck >&2; exit 3; fi"],
                     "protocol": "stdio"},
                    ("Runtime.ExitError", "exit status 3", "no luck\n")),
    "stdio is killed": ({"command": ["sh", "-c", f"if test -e mended; then {ONCE}; else cat >/dev/null; echo ouch >&2; kill -9 $$; fi"],
                         "protocol": "stdio"},
                        ("Runtime.ExitError", "signal: killed", "ouch\n")),
    "stdio times out": ({"command": ["sh", "-c", f"if test -e mended; then {ONCE}; else cat >/dev/null; exec sleep 1000; fi"],
                         "protocol": "stdio", "timeout": "300ms"},
                        ("Sandbox.Timedout", "Task timed out after 0.30 seconds", "")),
    "lines says so": ({"command": ["sh", "-c", "while read -r line; do echo reading >&2; if test -e mended; then "
                                   "printf '%s\\n' \"$line\" >> $SLUICE_FUNCTION.got; echo '{}'; "
                                   "else echo '{\"error\":{\"type\":\"Bad.Day\",\"message\":\"not \\u0074oday\"}}'; fi; done"],
                       "protocol": "stdio-lines"},
                      ("Bad.Day", "not today", None)),
    "lines exits": ({"command": ["sh", "-c", "read -r line; test -e mended || { echo gone >&2; exit 4; }; "
                                 "printf '%s\\n' \"$line\" >> $SLUICE_FUNCTION.got; echo '{}'"],
                     "protocol": "stdio-lines"},
                    ("Runtime.ExitError", "exit status 4", "gone\n")),
    "lines hangs": ({"command": ["sh", "-c", "while read -r line; do if test -e mended; then "
                                 "printf '%s\\n' \"$line\" >> $SLUICE_FUNCTION.got; echo '{}'; else sleep 1000; fi; done"],
                     "protocol": "stdio-lines", "timeout": "300ms"},
                    ("Sandbox.Timedout", "Task timed out after 0.30 seconds", "")),
    "native says so": ({"command": ["sh", "-c", f"test -e mended && exec {RECORDER} $SLUICE_FUNCTION.got; exec {RECORDER} /dev/full"],
                        "protocol": "native", "scale": {"idle": "50ms"}},
                       (None, None, None)),
}


class Failing(DeliveryTest):
    def start_failing(self, retry):
        functions = {label.replace(" ", "-"): {**function, "retry": retry} for label, (function, _) in FAILURES.items()}
        return functions, self.start(configuration(functions, {"all": rule("a", *functions)}))

    def test_what_fails_is_tried_again_and_then_succeeds(self):
        functions, daemon = self.start_failing({"attempts": 1000, "backoff": "20ms..100ms"})
        with daemon.balance_watched():
            daemon.put(event("a", 1, id="again-1"))
            for function in functions:
                with self.subTest(function=function):
                    shown = daemon.wait_show(function, lambda shown: shown["counters"]["attempts_failed"] >= 2, "two failed attempts")
                    self.assertEqual(1, shown["counters"]["accepted"])
                    self.assertEqual(1, daemon.balance(function)["pending"])
            (daemon.folder / "mended").touch()
            for function in functions:
                with self.subTest(function=function):
                    daemon.wait_balance(function, accepted=1, succeeded=1, pending=0)
                    self.assertEqual([1], self.numbers(daemon, function))

    def test_what_keeps_failing_is_a_dead_letter_that_can_be_redriven_or_purged(self):
        functions, daemon = self.start_failing({"attempts": 2, "backoff": "10ms..20ms"})
        with daemon.balance_watched():
            daemon.put(event("a", 1, id="dead-1"), event("a", 2, id="dead-2"))
            for label, (_, (reason, message, output)) in FAILURES.items():
                function = label.replace(" ", "-")
                with self.subTest(function=function):
                    daemon.wait_balance(function, accepted=2, dead_lettered=2, pending=0)
                    rows = {row["id"]: row for row in daemon.json("dead-letter", "list", function)["dead_letters"]}
                    self.assertEqual({"dead-1", "dead-2"}, set(rows))
                    shown = daemon.json("dead-letter", "show", function, "dead-2")
                    self.assertEqual((2, "all", "a", "test", "default"),
                                     tuple(shown[name] for name in ("attempts", "rule", "source", "detail_type", "bus")))
                    self.assertEqual(("dead-2", "a", "test", {"n": 2}),
                                     tuple(shown["event"][name] for name in ("id", "source", "detail-type", "detail")))
                    self.assertGreaterEqual(shown["failed_ms"], shown["accepted_ms"])
                    self.assertTrue(shown["reason"])
                    self.assertEqual((reason or shown["reason"], output if output is not None else shown["output"]),
                                     (shown["reason"], shown["output"]))
                    self.assertIn(message or "", shown["message"])
            (daemon.folder / "mended").touch()
            for function in functions:
                with self.subTest(function=function):
                    if function == "native-says-so":  # the one that lives keeps its file: a new one is needed
                        daemon.wait_show(function, lambda shown: not shown["instances"], "the idle instance gone")
                    self.assertEqual({"redriven": 1}, daemon.json("dead-letter", "redrive", function, "dead-1"))
                    daemon.wait_balance(function, accepted=2, succeeded=1, dead_lettered=1, pending=0)
                    self.assertEqual([1], self.numbers(daemon, function))
                    self.assertEqual({"purged": 1}, daemon.json("dead-letter", "purge", function))
                    daemon.wait_balance(function, accepted=2, succeeded=1, dead_lettered=0, discarded=1, pending=0)

    def test_what_is_older_than_its_max_age_expires(self):
        daemon = self.start(configuration({"late": stdio(scale={"max": 0}, retry={"max-age": "1s"})}, {"all": rule("a", "late")}))
        daemon.put(event("a", 1), event("a", 2))
        daemon.wait_balance("late", accepted=2, expired=2, pending=0)
        self.assertEqual([], self.lines(daemon, "late"))


if __name__ == "__main__":
    unittest.main(argv=sys.argv)
