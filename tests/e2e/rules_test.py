"""Many rules: a reload that changes a few of them, and the compiled rules on disk."""

import json
import sys
import unittest

import sluice_daemon

RULES = 4200  # more than RULES_SAVED_MIN


def configuration(rules):
    """rules: {number: user}. Each asks for one user; all go to one function, which is never started."""
    lines = ["functions: {sink: {command: ['true'], protocol: stdio, scale: {max: 0}}}", "rules:"]
    lines += [f"  r{number:05}: {{pattern: {{detail: {{user: [u{user}]}}}}, targets: [{{function: sink}}]}}" for number, user in rules.items()]
    return "\n".join(lines) + "\n"


def matched(daemon, user):
    """The names of rules whose count of matches rose by an event of that user."""
    def counts():
        rows = [json.loads(line) for line in daemon.sluice("rule", "list", "--json").splitlines()]
        rows = [row for answer in rows for row in (answer.get("rules", [answer]) if isinstance(answer, dict) else answer)]
        return {row["name"]: row["matched"] for row in rows}
    before = counts()
    daemon.put({"source": "test", "detail-type": "test", "detail": {"user": f"u{user}"}})
    after = counts()
    return sorted(name for name in after if after[name] > before.get(name, 0))


class Rules(sluice_daemon.DaemonTest):
    def lines(self, daemon, text):
        return [line for line in daemon.log().splitlines() if text in line]

    def test_a_reload_that_changes_a_few_rules_is_merged_and_keeps_the_counts(self):
        rules = {number * 2: number for number in range(RULES)}
        daemon = self.start(configuration(rules))
        self.assertEqual(["r00014"], matched(daemon, 7))
        del rules[14]
        rules[16] = "new"
        rules[15] = rules[9001] = 7
        daemon.configure(configuration(dict(sorted(rules.items()))))
        daemon.sluice("config", "reload")
        self.assertEqual(["r00015", "r09001"], matched(daemon, 7))
        self.assertEqual([], matched(daemon, 8))
        self.assertEqual(["r00016"], matched(daemon, "new"))
        self.assertIn(f"rules={RULES + 1} changes=5", daemon.wait_log("event=rules-merged"))
        self.assertEqual(["r00015", "r09001"], matched(daemon, 7))
        self.assertEqual(["r00016"], matched(daemon, "new"))
        daemon.configure(configuration({1: 7}))  # nearly all: made anew
        daemon.sluice("config", "reload")
        self.assertEqual(["r00001"], matched(daemon, 7))
        self.assertEqual(1, len(self.lines(daemon, "event=rules-merged")))

    def test_compiled_rules_are_mapped_at_the_next_start_unless_they_are_damaged_or_stale(self):
        rules = {number: number for number in range(RULES)}
        daemon = self.start(configuration(rules))
        daemon.wait_log("event=rule-index-saved")
        file = daemon.data / "rules" / "default.index"
        whole = file.read_bytes()
        self.assertEqual([], self.lines(daemon, "event=rule-index-mapped"))

        daemon.restart()
        self.assertIn(f"rules={RULES} bytes={len(whole)} ", daemon.wait_log("event=rule-index-mapped"))
        self.assertEqual(["r00077"], matched(daemon, 77))
        daemon.stop()
        self.assertEqual(whole, file.read_bytes())

        for label, spoilt in (("damaged", whole[:9000] + bytes([whole[9000] ^ 1]) + whole[9001:]), ("short", whole[:-16]), ("empty", b"")):
            with self.subTest(label):
                daemon.lines.clear()
                file.write_bytes(spoilt)
                daemon.start()
                self.assertIn(str(file), daemon.wait_log("event=rule-index-refused"))
                daemon.wait_log("event=rule-index-saved")
                self.assertEqual(["r00077"], matched(daemon, 77))
                daemon.stop()
                self.assertEqual(whole, file.read_bytes())

        daemon.lines.clear()
        rules[77], rules[78] = 78, 77
        daemon.configure(configuration(rules))
        (daemon.data / "rules" / "gone%bus.index").write_bytes(b"of a bus that is no more")
        daemon.start()
        self.assertIn("made of other rules", daemon.wait_log("event=rule-index-refused"))
        self.assertEqual(["r00078"], matched(daemon, 77))
        daemon.wait_log("event=rule-index-saved")
        self.assertNotEqual(whole, file.read_bytes())
        self.assertEqual([file], list(file.parent.iterdir()))


if __name__ == "__main__":
    sys.exit(unittest.main(verbosity=2))
