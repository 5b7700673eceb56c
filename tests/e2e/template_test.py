"""Input templates with the real daemon: what functions get, and what becomes of events that no function can get."""

import json
import sys
import unittest

import sluice_daemon

CONFIGURATION = """
functions:
  once: {command: [sh, -c, 'cat >> once.out'], protocol: stdio}
  lines:
    command: [sh, -c, 'while IFS= read -r line; do printf "%s\\n" "$line" >> lines.out; echo {}; done']
    protocol: stdio-lines
    concurrency: 10
    scale: {max: 1}
  never: {command: [sh, -c, 'touch started; cat > /dev/null'], protocol: stdio}
rules:
  json:
    pattern: {source: [json]}
    targets:
      - function: once
        input-paths-map: {name: $.detail.name, list: $.detail.list}
        input-template: |
          {"rule": <aws.events.rule-name>, "who": "<name>",
           "list": <list>}
  text:
    pattern: {source: [text]}
    targets:
      - function: lines
        input-paths-map: {n: $.detail.n}
        input-template: |-
          "number <n>"
          "of two lines"
  some:
    pattern: {source: [some]}
    targets:
      - {function: lines, input-paths-map: {n: $.detail.n}, input-template: '{"n": "<n>"}'}
  never:
    pattern: {source: [never]}
    targets:
      - {function: never, input-paths-map: {list: $.detail.list}, input-template: '<list> text'}
"""


def event(source, **detail):
    return {"source": source, "detail-type": "test", "detail": detail}


class Templates(sluice_daemon.DaemonTest):
    def lines(self, daemon, name):
        path = daemon.folder / name
        return path.read_text().splitlines() if path.exists() else []

    def test_the_function_gets_what_the_template_makes_on_one_line(self):
        daemon = self.start(CONFIGURATION)
        daemon.put(event("json", name="Ada", list=[1, {"a": "b c"}]), event("text", n=7))
        daemon.wait_balance("once", succeeded=1, pending=0)
        daemon.wait_balance("lines", succeeded=1, pending=0)
        self.assertEqual(['{"rule": "json", "who": "Ada",  "list": [1,{"a":"b c"}]} '],
                         [line.replace("[1, {", "[1,{").replace('"a": ', '"a":') for line in self.lines(daemon, "once.out")])
        self.assertEqual(['"number 7" "of two lines"'], self.lines(daemon, "lines.out"))

    def test_a_template_that_can_make_no_input_is_a_dead_letter_and_starts_nothing(self):
        daemon = self.start(CONFIGURATION)
        daemon.put(event("never", list=[1]), event("never", list=[2]))
        daemon.wait_balance("never", dead_lettered=2, pending=0)
        letters = daemon.json("dead-letter", "list")["dead_letters"]
        self.assertEqual([("never", "never", 0, "Input.InvalidTemplate")] * 2,
                         [(row["function"], row["rule"], row["attempts"], row["reason"]) for row in letters])
        self.assertIn("neither a quote nor", letters[0]["message"])
        self.assertFalse((daemon.folder / "started").exists())
        daemon.wait_log("event=dead-letter")

    def test_only_the_delivery_that_fails_is_a_dead_letter_also_after_a_crash_and_a_redrive(self):
        daemon = self.start(CONFIGURATION)
        daemon.put(*(event("some", n=[n] if n % 3 == 0 else n) for n in range(30)))
        daemon.wait_balance("lines", succeeded=20, dead_lettered=10, pending=0)
        self.assertEqual({json.dumps({"n": str(n)}) for n in range(30) if n % 3}, set(self.lines(daemon, "lines.out")))
        daemon.kill()
        daemon.start()
        daemon.wait_balance("lines", succeeded=20, dead_lettered=10, pending=0)
        daemon.sluice("dead-letter", "redrive", "lines")
        daemon.wait_balance("lines", succeeded=20, dead_lettered=10, pending=0)
        daemon.put(event("some", n=100))
        daemon.wait_balance("lines", succeeded=21, dead_lettered=10, pending=0)
        self.assertEqual("Input.InvalidTemplate", daemon.json("dead-letter", "list")["dead_letters"][0]["reason"])

    def test_the_rules_list_shows_the_template(self):
        daemon = self.start(CONFIGURATION)
        target = next(rule for rule in daemon.json("rule", "list")["rules"] if rule["name"] == "some")["targets"][0]
        self.assertEqual("template", target["input"])
        self.assertEqual({"template": '{"n": "<n>"}', "paths": {"n": "$.detail.n"}}, json.loads(target["text"]))

    def test_an_undefined_placeholder_is_refused_at_the_check_with_its_place(self):
        daemon = self.start(CONFIGURATION)
        daemon.configure(CONFIGURATION.replace("<list> text", "{<lost>: 1}"))
        done = daemon.run("config", "check", str(daemon.path))
        self.assertNotEqual(0, done.status)
        self.assertRegex(done.stderr + done.stdout, r"sluice\.yaml:\d+:\d+: error: rule 'never': 'input-template': placeholder '<lost>'")


if __name__ == "__main__":
    sys.exit(unittest.main())
