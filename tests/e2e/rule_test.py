"""`sluice rule test` over configurations, explanations and files of events, and `sluice rule cost`: no daemon.
Usage: rule_test.py SLUICE"""

import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

SLUICE = ""

CONFIGURATION = """
functions: {f: {command: [cat], protocol: stdio}}
rules:
  big: {pattern: {detail: {n: [{numeric: [">", 5]}]}}, targets: [{function: f}]}
  lines: {pattern: {detail: {items: {sku: [a], qty: [1]}}}, targets: [{function: f}]}
  off: {enabled: false, pattern: {source: [shop]}, targets: [{function: f}]}
  shop: {bus: other, pattern: {source: [shop], $or: [{a: [1]}, {b: [2]}]}, targets: [{function: f}]}
"""
SMALL = {"source": "shop", "a": 1, "detail": {"n": 3}}
LARGE = {"source": "shop", "detail": {"n": 7, "items": [{"sku": "a", "qty": 2}, {"sku": "a", "qty": 1}]}}
ODD = {"source": "x", "detail": {"n": 3, "items": [{"sku": "a", "qty": 2}, {"sku": "b", "qty": 1}]}}


class Rules(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.configuration = self.file("sluice.yaml", CONFIGURATION)

    def file(self, name, text):
        (self.folder / name).write_text(text)
        return str(self.folder / name)

    def ran(self, status, *arguments, stdin=None):
        """(stdout, stderr) of a run that must end with `status`."""
        done = subprocess.run([SLUICE, "rule", *arguments], input=stdin, stdin=None if stdin else subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)
        self.assertEqual(status, done.returncode, done.stderr)
        return done.stdout, done.stderr

    def test_a_failed_field_is_explained_in_a_sentence(self):
        for pattern, event, status, words in [
                ('{"a":[{"prefix":"x"}]}', {"a": "y"}, 1, 'no match: a is "y", and the pattern wants a string that begins with "x"'),
                ('{"a":[{"prefix":"x"}]}', {"a": "xy"}, 0, "match: every field of the pattern holds"),
                ('{"a":[1],"b":[{"exists":false}]}', {"a": 1, "b": 2}, 1, "b"),
                ('{"a":{"b":["1"]}}', {"a": {"b": 1}}, 1, 'a.b is the number 1, and the pattern wants "1"'),
                ('{"a":[1]}', {}, 1, "a is absent, and the pattern wants 1"),
        ]:
            with self.subTest(pattern=pattern, event=event):
                out, _ = self.ran(status, "test", "--pattern", pattern, "--event", json.dumps(event), "--explain")
                self.assertIn(words, out)
                out, _ = self.ran(status, "test", "--pattern", pattern, "--event", json.dumps(event), "--explain", "--json")
                self.assertIn(words.split(": ")[-1], json.loads(out)["why"])
                self.assertEqual(status == 0, json.loads(out)["match"])

    def test_the_enabled_rules_of_a_configuration_that_match_are_named_and_explained_the_others_too(self):
        out, _ = self.ran(0, "test", self.configuration, "--event", json.dumps(LARGE))
        self.assertEqual("big: match\nlines: match\n", out)
        out, _ = self.ran(1, "test", self.configuration, "--event", json.dumps(ODD))
        self.assertEqual("", out)
        out, _ = self.ran(1, "test", self.configuration, "--event", json.dumps(ODD), "--explain", "--json")
        why = {rule["rule"]: rule["why"] for rule in json.loads(out)["rules"]}
        self.assertEqual(["big", "lines"], list(why))
        self.assertEqual("detail.n is 3, and the pattern wants a number > 5", why["big"])
        self.assertEqual("no item of one array has all of detail.items.qty, detail.items.sku as the pattern wants them", why["lines"])
        out, _ = self.ran(1, "test", self.configuration, "--event", json.dumps(ODD), "--explain", "--bus", "other")
        self.assertIn("shop: no match: ", out)
        self.assertIn("of 2 $or combinations", out)

    def test_an_event_is_tried_on_the_rules_of_its_own_bus(self):
        for bus, options, status, out in [
                ({}, [], 1, ""),                                        # as on the daemon's default bus
                ({"bus": "other"}, [], 0, "shop: match\n"),
                ({"event-bus-name": "other"}, [], 0, "shop: match\n"),
                ({"bus": "default", "event-bus-name": "other"}, [], 1, ""),
                ({"bus": None}, [], 1, ""),
                ({}, ["--bus", "other"], 0, "shop: match\n"),
                ({"bus": "other"}, ["--bus", "default"], 1, ""),        # what the command says goes before
        ]:
            with self.subTest(bus=bus, options=options):
                event = json.dumps({**SMALL, **bus})
                self.assertEqual(out, self.ran(status, "test", self.configuration, "--event", event, *options)[0])
        self.assertIn("the event names no bus, so the rules of bus 'default' were tried",
                      self.ran(1, "test", self.configuration, "--event", json.dumps(SMALL))[1])
        for event, options, words in [
                ({"bus": "nowhere"}, [], "event: bus 'nowhere' does not exist"),
                ({"bus": 7}, [], "event: 'bus' is not a string"),
                ({}, ["--bus", "nowhere"], "bus 'nowhere' does not exist"),
        ]:
            with self.subTest(event=event, options=options):
                self.assertIn(words, self.ran(2, "test", self.configuration, "--event", json.dumps(event), *options)[1])
        # To a pattern an event is any object, whatever it calls a bus.
        self.ran(0, "test", "--pattern", '{"bus":["nowhere",7]}', "--event", '{"bus":7}')

    def test_rules_of_one_bus_are_not_dearer_for_those_of_another(self):
        def rules(bus):
            for i in range(500):
                either = ", ".join(f"{{detail: {{l: {{b: [{{prefix: y{i}-{j}}}]}}}}}}" for j in range(100))
                yield f"  {bus}-{i:03}: {{bus: {bus}, pattern: {{detail: {{l: {{a: [{{prefix: x}}]}}}}, $or: [{either}]}}, targets: [{{function: f}}]}}"
        functions = "functions: {f: {command: [cat], protocol: stdio}}\n"
        path = self.file("near.yaml", functions + "rules:\n" + "\n".join([*rules("b0"), *rules("b1")]))
        event = json.dumps({"bus": "b1", "detail": {"l": {"a": "x", "b": "y7-5"}}})
        self.assertEqual("b1-007: match\n", self.ran(0, "test", path, "--event", event)[0])

    def test_a_file_of_events_is_counted_per_rule(self):
        events = "".join(json.dumps(event) + "\n" for event in ({**SMALL, "bus": "other"}, LARGE, ODD)) + "\n"
        path = self.file("events.jsonl", events)
        for arguments, stdin in ((["--file", path], None), (["--file", "-"], events)):
            out, _ = self.ran(0, "test", self.configuration, *arguments, stdin=stdin)
            self.assertEqual([["RULE", "MATCHED"], ["big", "1"], ["lines", "1"], ["shop", "1"]], [line.split() for line in out.splitlines()[:4]])
            self.assertIn("2 of 3 events match a rule", out)
        out, _ = self.ran(0, "test", self.configuration, "--file", path, "--json")
        self.assertEqual({"events": 3, "matched": 2, "wrong": 0,
                          "rules": [{"rule": name, "matched": 1} for name in ("big", "lines", "shop")]}, json.loads(out))
        out, _ = self.ran(0, "test", self.configuration, "--file", path, "--json", "--bus", "other")
        self.assertEqual({"events": 3, "matched": 1, "wrong": 0, "rules": [{"rule": "shop", "matched": 1}]}, json.loads(out))
        out, _ = self.ran(0, "test", "--pattern", '{"source":["shop"]}', "--file", path, "--json")
        self.assertEqual([{"rule": "pattern", "matched": 2}], json.loads(out)["rules"])
        self.ran(1, "test", "--pattern", '{"source":["nobody"]}', "--file", path)

    def test_lines_that_are_no_events_are_said_by_number_and_the_others_counted(self):
        out, err = self.ran(2, "test", self.configuration, "--file", "-", stdin=f"{json.dumps(LARGE)}\n[1]\n{{\n{json.dumps(LARGE)}\n" + '{"bus":"x"}\n')
        self.assertIn("2 of 2 events match", out)
        self.assertIn("line 2: ", err)
        self.assertIn("line 3: ", err)
        self.assertIn("line 5: bus 'x' does not exist", err)
        self.assertIn("3 lines are no events", err)

    def test_what_does_not_go_together_is_wrong_usage(self):
        for arguments, words in [
                (["--event", "{}"], "needs --pattern PATTERN, or PATH"),
                ([self.configuration, "--pattern", "{}", "--event", "{}"], "takes one of them"),
                ([self.configuration], "needs --event EVENT, or --file FILE"),
                ([self.configuration, "--event", "{}", "--file", "-"], "takes one of them"),
                ([self.configuration, "--file", "-", "--explain"], "--explain goes with --event"),
                ([self.configuration, "--file", str(self.folder / "none")], "none: No such file"),
                (["--pattern", '{"a":[1]}', "--event", "{}", "--bus", "b"], "--bus goes with a configuration"),
        ]:
            with self.subTest(arguments=arguments):
                self.assertIn(words, self.ran(2, "test", *arguments)[1])

    def test_rule_cost_has_a_row_per_bus_with_price_and_limits(self):
        rows = json.loads(self.ran(0, "cost", self.configuration, "--json")[0])["buses"]
        self.assertEqual(["default", "other"], [row["bus"] for row in rows])
        self.assertEqual([2, 1], [row["rules"] for row in rows])
        self.assertEqual([2, 2], [row["combinations"] for row in rows])
        self.assertEqual([200, 0], [row["join_steps"] for row in rows])  # two fields below one array, at 100 items
        for row in rows:
            self.assertLess(0, row["price"])
            self.assertLess(row["price"], row["price_max"])
            self.assertLess(row["join_steps"], row["join_steps_max"])
            self.assertLess(row["text_bytes"], row["bytes"])
        table = [line.split() for line in self.ran(0, "cost", self.configuration)[0].splitlines()]
        self.assertEqual([["default", "2", "2"], ["other", "1", "2"]], [line[:3] for line in table[1:]])

    def test_the_price_counts_combinations_and_a_wrong_configuration_is_said_by_its_line(self):
        dear = "{$or: [" + ", ".join(f"{{f{i}: [{{anything-but: [x]}}]}}" for i in range(250)) + "], z: [{exists: true}]}"
        rules = "\n".join(f"  r{i:05}: {{pattern: {dear}, targets: [{{function: f}}]}}" for i in range(10))
        path = self.file("dear.yaml", f"functions: {{f: {{command: [cat], protocol: stdio}}}}\nrules:\n{rules}\n")
        price = json.loads(self.ran(0, "cost", path, "--json")[0])["buses"][0]["price"]
        self.assertLessEqual(2500, price)
        wrong = self.file("wrong.yaml", CONFIGURATION.replace("[shop], $or", "[{prefx: a}], $or"))
        self.assertIn("wrong.yaml:", self.ran(2, "cost", wrong)[1])

    def test_rules_that_cost_too_much_together_are_refused_by_the_check_as_by_the_daemon(self):
        rules = "\n".join(f"  r{i:05}: {{bus: b, pattern: {{detail: {{l: {{a: [{{prefix: x}}], b: [{{prefix: y{i}}}], c: [{{prefix: z}}]}}}}}}, targets: [{{function: f}}]}}"
                          for i in range(60000))
        path = self.file("dear.yaml", f"buses: [b]\nfunctions: {{f: {{command: [cat], protocol: stdio}}}}\nrules:\n{rules}\n")
        check = subprocess.run([SLUICE, "config", "check", path], capture_output=True, text=True)
        self.assertEqual(1, check.returncode, check.stdout)
        self.assertIn("error: bus 'b': an event with arrays of 100 items could take ", check.stderr)
        self.assertIn("bus 'b': an event with arrays of 100 items", self.ran(1, "cost", path)[1])


if __name__ == "__main__":
    SLUICE = sys.argv[1]
    unittest.main(argv=sys.argv[:1] + sys.argv[2:])
