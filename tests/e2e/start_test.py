"""What a daemon says to data and configurations it cannot use, at start and at reload; and what the balance says to a store that
somebody changed."""

import hashlib
import json
import pathlib
import shutil
import signal
import struct
import subprocess
import sys
import unittest

import sluice_daemon

CONFIGURATION = """
functions:
  only:
    command: [sh, -c, 'if grep -q wrong; then exit 3; fi']
    protocol: stdio
    retry: {attempts: 1}
  other: {command: [cat], protocol: stdio}
rules:
  only: {pattern: {source: [only]}, targets: [{function: only}]}
"""


def event(source, word, **more):
    return {"source": source, "detail-type": "test", "detail": {"word": word}, **more}


def fingerprint(folder):
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in pathlib.Path(folder).rglob("*") if path.is_file()}


def hand(data, *arguments):
    return subprocess.run([sluice_daemon.program("tests/e2e/store_hand"), str(data), *map(str, arguments)], check=True,
                          stdout=subprocess.PIPE, text=True).stdout.split()


class StartTest(sluice_daemon.DaemonTest):
    def refused(self, daemon):
        """Starts a daemon that must end with status 1 before it is ready; its log."""
        daemon.start(wait=False)
        self.assertEqual(1, daemon.wait_exit())
        self.assertNotIn("\nready ", "\n" + daemon.log())
        return daemon.log()


class Data(StartTest):
    def test_a_second_daemon_on_one_data_directory_is_refused_naming_the_first(self):
        first = self.start(CONFIGURATION)
        second = sluice_daemon.Daemon(CONFIGURATION)
        self.addCleanup(second.close)
        second.data = first.data
        self.assertRegex(self.refused(second), rf"in use by process {first.process.pid}\b")
        first.put(event("only", "good"))  # it never noticed
        first.wait_balance("only", succeeded=1, pending=0)
        first.kill()  # the lock goes with the process, whatever way
        second.start()
        self.assertEqual(1, second.balance("only")["succeeded"])

    def test_data_of_a_newer_format_and_what_is_no_store_are_refused_and_not_touched(self):
        made = self.start(CONFIGURATION)
        made.put(event("only", "good"))
        made.wait_balance("only", succeeded=1, pending=0)
        made.stop()
        cases = (("a newer format", lambda data: hand(data, "meta", b"format".hex(), "put", struct.pack("<I", 2).hex()), "format 2"),
                 ("no format", lambda data: hand(data, "meta", b"format".hex(), "delete"), "not a store"),
                 ("garbage", lambda data: (data / "data.mdb").write_bytes(b"not a database\n" * 5000), "not an LMDB file"))
        for label, spoil, words in cases:
            with self.subTest(label):
                daemon = self.prepare(CONFIGURATION)
                shutil.copytree(made.data, daemon.data)
                spoil(daemon.data)
                (daemon.data / "lock.mdb").unlink(missing_ok=True)
                before = fingerprint(daemon.data)
                log = self.refused(daemon)
                self.assertIn(words, log)
                self.assertIn(str(daemon.data), log)
                after = fingerprint(daemon.data)
                after.pop("lock.mdb", None)  # LMDB's own table of readers, no data
                self.assertEqual(before, after)


class Balance(StartTest):
    def given_every_term(self):
        """3 succeeded, 2 dead, 1 discarded, 1 parked for later, 4 in the log; the daemon stopped."""
        daemon = self.start(CONFIGURATION)
        daemon.put(*(event("only", "good") for _ in range(3)), *(event("only", "wrong", id=f"bad-{number}") for number in range(3)))
        daemon.wait_balance("only", succeeded=3, dead_lettered=3, pending=0)
        daemon.sluice("dead-letter", "purge", "only", "bad-0")
        daemon.configure(CONFIGURATION.replace("retry:", "scale: {max: 0}\n    retry:"))
        daemon.sluice("config", "reload")
        daemon.put(event("only", "good", **{"not-before": "2099-01-01T00:00:00Z"}), *(event("only", "good") for _ in range(4)))
        daemon.wait_balance("only", accepted=11, succeeded=3, dead_lettered=2, expired=0, discarded=1, pending=5)
        daemon.stop()
        return daemon

    def test_a_store_with_any_one_term_changed_does_not_hold_and_the_function_is_named(self):
        made = self.given_every_term()
        queue = struct.pack("=I", 1).hex()
        def last(table):
            return [key for key in hand(made.data, table, "list") if key.startswith("00000001")][-1]
        cases = {
            "untouched": None,
            "accepted": ("queues", queue, "add", 16, 1),
            "accepted, too few": ("queues", queue, "add", 16, -1),
            "succeeded": ("queues", queue, "add", 24, 1),
            "dead_lettered": ("queues", queue, "add", 32, 1),
            "expired": ("queues", queue, "add", 40, 1),
            "discarded": ("queues", queue, "add", 48, 1),
            "pending, of the log": ("batches", last("batches"), "add", 8, 1),
            "pending, of the log, a row gone": ("batches", last("batches"), "delete"),
            "pending, an exception gone": ("exceptions", last("exceptions"), "delete"),
            "a dead letter gone": ("dead", last("dead"), "delete"),
        }
        for label, change in cases.items():
            with self.subTest(label):
                daemon = self.prepare(made.path.read_text().replace(str(made.folder), "FOLDER"))
                daemon.configure(made.path.read_text().replace(str(made.folder), str(daemon.folder)))
                shutil.copytree(made.data, daemon.data)
                if change is not None:
                    hand(daemon.data, *change)
                daemon.start()
                told, answer = daemon.run("balance"), daemon.run("balance", "--json")
                holds = change is None
                self.assertEqual((0, 0) if holds else (1, 1), (told.status, answer.status), told)
                self.assertEqual(holds, json.loads(answer.stdout)["holds"])
                if not holds:
                    self.assertIn("only", told.stderr)
                    self.assertNotIn("other", told.stderr)
                daemon.stop()


class Configuration(StartTest):
    MISTAKES = (
        ("unknown key", CONFIGURATION.replace("retry:", "rety:"), r":6:5: error: unknown key 'rety'.*'retry'", "rety: {attempts: 1}"),
        ("wrong type", CONFIGURATION.replace("attempts: 1", "attempts: many"), r":6:23: error: .*attempts", "attempts: many"),
        ("duplicate name", CONFIGURATION.replace("  other:", "  only:"), r":7:3: error: .*only", "only: {command: [cat]"),
        ("missing function", CONFIGURATION.replace("{function: only}", "{function: lonely}"), r":9:\d+: error: .*lonely", "lonely"),
        ("bad duration", CONFIGURATION.replace("retry:", "timeout: 30\n    retry:"), r":6:14: error: .*duration", "timeout: 30"),
        ("bad size", CONFIGURATION.replace("retry:", "memory: 12x\n    retry:"), r":6:13: error: .*size", "memory: 12x"),
        ("unreadable code", CONFIGURATION.replace("retry:", "code: ./nowhere\n    retry:"), r":6:11: error: .*nowhere", "code: ./nowhere"),
        ("unknown protocol", CONFIGURATION.replace("[cat], protocol: stdio", "[cat], protocol: smtp"), r":7:\d+: error: .*stdio-lines", "smtp"),
        ("bad pattern", CONFIGURATION.replace("{source: [only]}", "{source: [{prefx: only}]}"), r":9:\d+: error: .*only.*prefx", "prefx"),
        ("no YAML", CONFIGURATION + "  - {", r":\d+:\d+: error: ", ""),
    )

    def test_mistakes_are_told_with_their_place_and_nothing_starts(self):
        for label, configuration, message, line in self.MISTAKES:
            with self.subTest(label):
                # On one more line, `listen`, which the class puts first: written here so that lines can be counted.
                daemon = self.prepare("listen: {}\n" + configuration.lstrip("\n"))
                log = self.refused(daemon)
                place = rf"sluice\.yaml{message}"
                self.assertRegex(log, place)
                self.assertIn(line, log)
                self.assertFalse(daemon.data.exists(), "nothing was made")
                for command in ([sluice_daemon.program("sluiced"), "--check", "--config", str(daemon.path)],
                                [sluice_daemon.program("sluice"), "config", "check", str(daemon.path)]):
                    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
                    self.assertEqual(1, done.returncode)
                    self.assertRegex(done.stderr, place)

    def test_a_reload_with_a_mistake_keeps_the_old_configuration_and_says_where(self):
        daemon = self.start("listen: {bus: [\"ipc://FOLDER/bus.sock\"]}".replace("FOLDER", str(self.folder())) + "\n" +
                            CONFIGURATION.lstrip("\n"), folder=self.folder())
        for label, configuration, message, _ in self.MISTAKES:
            with self.subTest(label):
                daemon.configure(f"listen: {{bus: [\"{daemon.url}\"]}}\n{configuration.lstrip(chr(10))}")
                said = len(daemon.log())
                daemon.process.send_signal(signal.SIGHUP)
                daemon.wait_for(lambda: "event=reload-refused" in daemon.log()[said:], "the reload refused")
                self.assertRegex(daemon.log()[said:], rf"sluice\.yaml{message}")
                done = daemon.balance("only")["succeeded"]
                daemon.put(event("only", "good"))
                daemon.wait_balance("only", succeeded=done + 1, pending=0)

    def folder(self):
        if not hasattr(self, "own_folder"):
            self.own_folder = sluice_daemon.Daemon("{}").folder
        return self.own_folder

    def test_a_reload_adds_and_removes_functions_and_one_that_returns_goes_on(self):
        daemon = self.start(CONFIGURATION.replace("retry:", "scale: {max: 0}\n    retry:"))
        daemon.put(*(event("only", "good") for _ in range(3)))
        without = """
functions:
  other: {command: [cat], protocol: stdio}
  added: {command: [sh, -c, 'cat > /dev/null; test -e mended'], protocol: stdio, retry: {attempts: 1}}
rules:
  added: {pattern: {source: [only]}, targets: [{function: added}]}
"""
        daemon.configure(without)
        daemon.sluice("config", "reload")
        rows = {row["name"]: row for row in daemon.json("function", "list")["functions"]}
        self.assertEqual({"only": True, "other": False, "added": False}, {name: row["orphaned"] for name, row in rows.items()})
        self.assertEqual(3, rows["only"]["ready"])
        self.assertIn("orphaned", daemon.sluice("function", "list"))
        self.assertIn("orphaned", daemon.sluice("function", "show", "only"))
        daemon.put(event("only", "good"))  # the rule is another's now
        daemon.wait_balance("added", accepted=1, dead_lettered=1)
        self.assertEqual((3, 3), (daemon.balance("only")["accepted"], daemon.balance("only")["pending"]))
        daemon.restart()  # and both outlive a restart
        self.assertEqual(3, daemon.balance("only")["pending"])
        daemon.configure(CONFIGURATION)  # changed on disk: seen without being told
        daemon.wait_balance("only", accepted=3, succeeded=3, pending=0)
        rows = {row["name"]: row for row in daemon.json("function", "list")["functions"]}
        self.assertEqual((False, True, 1), (rows["only"]["orphaned"], rows["added"]["orphaned"], rows["added"]["dead"]))
        daemon.sluice("dead-letter", "purge", "added")
        self.assertNotIn("added", {row["name"] for row in daemon.json("function", "list")["functions"]})


if __name__ == "__main__":
    unittest.main(argv=sys.argv)
