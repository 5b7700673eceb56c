"""`sluice store verify` and `store backup` beside a daemon under load, and searches that read the whole log."""

import concurrent.futures
import json
import mmap
import os
import pathlib
import random
import resource
import signal
import struct
import subprocess
import tempfile
import time
import unittest

import sluice_daemon
from sluice_daemon import program

# `keep` takes everything and does nothing, so that nothing is trimmed; the others make every other kind of row.
CONFIGURATION = """
functions:
  keep: {command: [cat], protocol: stdio, scale: {max: 0}}
  lines: {command: [cat], protocol: stdio-lines}
  fails: {command: ["false"], protocol: stdio, retry: {attempts: 1}, scale: {max: 1}}
  again: {command: ["false"], protocol: stdio, retry: {attempts: 9, backoff: 1h..2h}, scale: {max: 1}}
rules:
  keep: {pattern: {source: [kill.loop]}, targets: [{function: keep}]}
  lines: {pattern: {detail: {to: [lines]}}, targets: [{function: lines}]}
  fails: {pattern: {detail: {to: [fails]}}, targets: [{function: fails}]}
  again: {pattern: {detail: {to: [slow]}}, targets: [{function: again}]}
"""


class Publisher:
    """tests/helpers/publisher: bursts of numbered events, acked in order."""

    def __init__(self, daemon):
        self.path = daemon.folder / "counts"
        self.path.write_bytes(bytes(24))
        self.process = subprocess.Popen([program("tests/helpers/publisher"), str(self.path)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, env=daemon.environment)
        with open(self.path, "rb") as file:
            self.counts = mmap.mmap(file.fileno(), 24, prot=mmap.PROT_READ)

    def acked(self):
        return struct.unpack_from("=Q", self.counts, 8)[0]

    def say(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()

    def flush(self):
        self.say("flush")
        if self.process.stdout.readline() != "flushed 0\n":
            raise sluice_daemon.Failure("events were not acked")

    def close(self):
        self.process.communicate(timeout=60)
        return self.process.returncode

    def stop(self):
        self.process.kill()
        self.process.communicate()


class LoadedTest(sluice_daemon.DaemonTest):
    def loaded(self, events):
        """A daemon with so many events acked, and their publisher."""
        daemon = self.start(CONFIGURATION)
        publisher = Publisher(daemon)
        self.addCleanup(publisher.stop)
        publisher.say(f"burst {events}")
        publisher.flush()
        return daemon, publisher

    def verified(self, daemon, folder):
        answer = json.loads(daemon.sluice("store", "verify", str(folder), "--json", deadline_s=120))
        self.assertEqual((True, []), (answer["holds"], answer["findings"]))
        return answer


class Store(LoadedTest):
    def test_a_backup_made_under_load_has_all_that_was_acked_before_and_balances(self):
        daemon, publisher = self.loaded(20000)
        folder = pathlib.Path(tempfile.mkdtemp(prefix="sluice-"))
        publisher.say("burst 60000")
        daemon.wait_for(lambda: publisher.acked() > 21000, "the second burst runs")
        before = publisher.acked()
        daemon.sluice("event", "put", "--source", "kill.loop", "--type", "alone", "--detail", "{}", "--id", "before-the-backup")
        backup = daemon.json("store", "backup", str(daemon.data), str(folder / "data"))
        after = publisher.acked()
        self.assertLess(before, after, "nothing was published meanwhile")
        self.verified(daemon, daemon.data)              # live, and still under load
        self.assertEqual(0, publisher.close())
        self.assertEqual(["data.mdb"], [path.name for path in (folder / "data").iterdir()])
        events = self.verified(daemon, folder / "data")["events"]
        self.assertGreater(events, before)

        copy = sluice_daemon.Daemon(CONFIGURATION, folder=folder)
        self.addCleanup(copy.close)
        copy.start()
        self.assertEqual(backup["next_seq"] - 1, copy.json("status")["events_total"])
        self.assertEqual(backup["next_seq"] - 1, copy.balance("keep")["pending"])
        self.assertEqual(1, len(copy.json("event", "show", "before-the-backup")["deliveries"]))
        tail = copy.run("event", "tail", "--after", "0", "--max", str(events), "--json", deadline_s=120)
        numbers = {json.loads(line)["detail"].get("n") for line in tail.stdout.splitlines()}
        self.assertEqual(set(), set(range(1, before + 1)) - numbers)
        copy.wait_balance("lines", pending=0, deadline_s=120)  # and it goes on with them
        copy.stop()
        self.verified(daemon, folder / "data")
        daemon.stop()
        self.verified(daemon, daemon.data)

    def test_what_kill_9_leaves_in_the_middle_of_commits_is_whole(self):
        daemon, publisher = self.loaded(1000)
        publisher.say("burst 200000")
        for more in (3000, 10000, 20000):
            daemon.wait_for(lambda: publisher.acked() > more, "the burst runs")
            daemon.kill()
            self.assertGreater(self.verified(daemon, daemon.data)["events"], more)
            daemon.start()

    def test_what_cannot_be_done_is_said(self):
        daemon = self.start(CONFIGURATION)
        target = daemon.folder / "copy"
        daemon.sluice("store", "backup", str(daemon.data), f"{target}/")
        cases = [
            (("backup", str(daemon.data), str(target)), f"'{target}' exists already"),
            (("backup", str(daemon.data), str(daemon.folder / "no/such")), "cannot make"),
            (("backup", str(daemon.folder), str(daemon.folder / "other")), "cannot open the store"),
            (("verify", "/nowhere"), "/nowhere"),
        ]
        for arguments, text in cases:
            with self.subTest(arguments):
                ran = daemon.run("store", *arguments)
                self.assertEqual((1, ""), (ran.status, ran.stdout))
                self.assertIn(text, ran.stderr)
        def no_room():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)   # so that writing fails, as on a full disk
            resource.setrlimit(resource.RLIMIT_FSIZE, (16384, 16384))
        ran = subprocess.run([program("sluice"), "store", "backup", str(daemon.data), str(daemon.folder / "full")],
                             preexec_fn=no_room, capture_output=True, text=True, timeout=30)
        self.assertEqual(1, ran.returncode)
        self.assertIn("full.partial/data.mdb': File too large", ran.stderr)
        self.assertEqual([], [name for name in os.listdir(daemon.folder) if name.startswith("full")])
        (target / "data.mdb").write_bytes((target / "data.mdb").read_bytes()[:3 * 4096])  # cut short
        ran = daemon.run("store", "verify", str(target))
        self.assertEqual(1, ran.status)
        self.assertIn("restore", ran.stderr)


    def test_damaged_pages_are_a_finding_and_no_crash(self):
        daemon = self.start(CONFIGURATION)
        daemon.put(*({"source": "kill.loop", "detail-type": "t", "detail": {"to": ["lines", "fails", "slow"], "n": n}} for n in range(200)))
        daemon.wait_balance("lines", succeeded=200, pending=0)
        daemon.sluice("store", "backup", str(daemon.data), str(daemon.folder / "whole"))   # without the pages that are not in use
        whole = (daemon.folder / "whole" / "data.mdb").read_bytes()
        copy = daemon.folder / "damaged"
        copy.mkdir()
        found = 0
        for seed in range(100):
            chance, pages = random.Random(seed), bytearray(whole)
            at = chance.randrange(2, len(pages) // 4096) * 4096 + 8 + chance.randrange(8)   # flags and bounds of a page
            pages[at:at + 2] = chance.randbytes(2)
            (copy / "data.mdb").write_bytes(pages)
            ran = daemon.run("store", "verify", str(copy))
            self.assertIn(ran.status, (0, 1), f"seed {seed}: {ran.stderr}")
            self.assertTrue(ran.status == 0 or ran.stderr, f"seed {seed}")
            found += ran.status
        self.assertGreater(found, 20)


class Search(LoadedTest):
    # In every event of the publisher, so each of them is decoded and none of them is it: the longest search there is.
    NOWHERE = json.dumps({"id": "kill.loop"})

    def show(self, daemon, arguments=NOWHERE):
        return subprocess.Popen([program("tests/e2e/control_call"), "event.show", arguments], stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=daemon.environment)

    def answer(self, process):
        out, _ = process.communicate(timeout=120)
        return json.loads(out)

    def test_the_loop_serves_publishes_while_the_log_is_read_for_foreign_ids(self):
        daemon, publisher = self.loaded(200000)
        self.assertEqual(0, publisher.close())
        start = time.monotonic()
        self.assertEqual("SLUICE_ENOTFOUND", self.answer(self.show(daemon))["code"])
        searches = min(60, max(8, int(4 / (time.monotonic() - start))))

        start = time.monotonic()
        shows = [self.show(daemon) for _ in range(searches)]
        slowest, puts = 0, 0
        while any(show.poll() is None for show in shows):
            begun = time.monotonic()
            daemon.sluice("event", "put", "--source", "kill.loop", "--type", "t", "--detail", "{}", "--id", f"put-{puts}")
            slowest = max(slowest, time.monotonic() - begun)
            puts += 1
        together = time.monotonic() - start
        for show in shows:
            self.assertEqual("SLUICE_ENOTFOUND", self.answer(show)["code"])
        print(f"{searches} searches of 200,000 events: {together:.2f} s; meanwhile {puts} publishes, the slowest {slowest:.2f} s")
        self.assertGreaterEqual(puts, 4)
        self.assertLess(slowest, together / 3)
        found = self.answer(self.show(daemon, '{"id": "put-0"}'))
        self.assertEqual(("put-0", True, "ready"), (found["id"], found["scanned"], found["deliveries"][0]["state"]))

    def test_one_who_asks_and_goes_away_leaves_nothing_behind_and_does_not_hold_up_the_end(self):
        daemon, publisher = self.loaded(100000)
        self.assertEqual(0, publisher.close())
        daemon.put({"source": "kill.loop", "detail-type": "t", "detail": {}, "id": "here"})
        gone = [self.show(daemon) for _ in range(6)]
        for show in gone[:3]:
            show.kill()
        self.assertEqual("here", self.answer(self.show(daemon, '{"id": "here"}'))["id"])
        for show in gone[:3]:
            show.communicate()
        for show in gone[3:]:
            self.assertEqual("SLUICE_ENOTFOUND", self.answer(show)["code"])
        with concurrent.futures.ThreadPoolExecutor() as threads:
            late = [self.show(daemon) for _ in range(6)]
            answers = [threads.submit(show.communicate, timeout=60) for show in late]
            daemon.stop()                               # fails unless it ends well and in time
            for answer in answers:
                answer.result()


if __name__ == "__main__":
    unittest.main(verbosity=2)
