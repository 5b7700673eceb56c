"""A disk that is full, and a disk that refuses a commit: nothing that was acked is lost.

  disk_test.py Full       a small tmpfs in a mount namespace of our own, for which we must be root; skipped (77) otherwise
  disk_test.py Refusing   calls of the daemon fail on command, see tests/fault/disk_faults_preload.c"""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest

import sluice_daemon

SKIPPED = 77
DISK_BYTES = 64 << 20
BALLAST_BYTES = 16 << 20
RECORDER = sluice_daemon.program("tests/helpers/recorder")
PRELOAD = sluice_daemon.build_dir() / "tests/fault/disk_faults_preload.so"

WORK = "while read -r line; do while test -e hold; do sleep 0.01; done; printf '%s\\n' \"$line\" >> work.got; echo '{}'; done"
CONFIGURATION = f"""
functions:
  work: {{command: [sh, -c, {json.dumps(WORK)}], protocol: stdio-lines, concurrency: 50, timeout: 120s, scale: {{max: 2}}}}
  keep: {{command: [{RECORDER}, keep.got], protocol: stdio-lines, concurrency: 50, scale: {{max: MAX}}}}
rules:
  work: {{pattern: {{source: [work]}}, targets: [{{function: work}}]}}
  keep: {{pattern: {{source: [keep]}}, targets: [{{function: keep}}]}}
"""


def event(source, number=0, pad=0):
    return {"source": source, "detail-type": "test", "detail": {"n": number, "pad": "x" * pad}}


def lines(events):
    return "".join(json.dumps(event) + "\n" for event in events)


def count_lines(path):
    return len(path.read_bytes().splitlines()) if path.exists() else 0


class DiskTest(sluice_daemon.DaemonTest):
    def put_counted(self, daemon, events, timeout_s=30):
        """What became of them: {acked, refused, unconfirmed}."""
        done = daemon.run("event", "put", "--json", "--timeout", str(timeout_s), "-", stdin=lines(events), deadline_s=timeout_s + 30)
        answer = json.loads(done.stdout)
        self.assertEqual(0 if answer["acked"] == len(events) else 1, done.status, done)
        return answer


class Full(DiskTest):
    def start_on_small_disk(self):
        folder = pathlib.Path(tempfile.mkdtemp(prefix="sluice-"))
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        disk = folder / "disk"
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(disk)], check=True)
        self.addCleanup(subprocess.run, ["umount", str(disk)], check=True)
        (disk / "ballast").write_bytes(b"\1" * BALLAST_BYTES)
        daemon = self.prepare(CONFIGURATION.replace("MAX", "0"), folder=folder)
        daemon.data = disk / "data"
        (folder / "hold").touch()
        daemon.start()
        return daemon, disk

    def test_publishes_wait_settling_goes_on_and_both_recover_when_there_is_room(self):
        daemon, disk = self.start_on_small_disk()
        with daemon.balance_watched():
            daemon.put(*(event("work", number) for number in range(500)))
            acked = unconfirmed = 0
            for _ in range(100):  # far more than fits
                answer = self.put_counted(daemon, [event("keep", pad=100_000) for _ in range(20)], timeout_s=3)
                acked += answer["acked"]
                unconfirmed += answer["unconfirmed"]
                self.assertEqual(0, answer["refused"])
                if answer["unconfirmed"]:
                    break
            self.assertGreater(unconfirmed, 0, "it never filled up")
            self.assertGreater(acked, 100)
            store = daemon.json("status")["store"]
            self.assertEqual((False, True), (store["accepts"], "full" in store["reason"]))
            row = daemon.balance("keep")
            self.assertTrue(acked <= row["accepted"] <= acked + unconfirmed, (row, acked, unconfirmed))
            self.assertEqual(row["accepted"], row["pending"])

            # Work that was accepted is done, though nothing is taken any more.
            (daemon.folder / "hold").unlink()
            daemon.wait_balance("work", accepted=500, succeeded=500, pending=0)
            self.assertFalse(daemon.json("status")["store"]["accepts"])

            # A producer that waits gets through once there is room.
            waiting = daemon.launch("event", "put", "--json", "--timeout", "60", "-", stdin=subprocess.PIPE)
            self.addCleanup(waiting.stdout.close)
            waiting.stdin.write(lines(event("work", 500 + number) for number in range(100)))
            waiting.stdin.close()
            daemon.wait_for(lambda: daemon.json("status")["producers"] >= 1, "it is connected")
            self.assertIsNone(waiting.poll())
            (disk / "ballast").unlink()
            answer = json.loads(waiting.stdout.read())
            self.assertEqual((0, 100), (waiting.wait(), answer["acked"]))
            daemon.wait_balance("work", accepted=600, succeeded=600, pending=0)

            # And what was kept is done, which frees the store too.
            daemon.configure(CONFIGURATION.replace("MAX", "4"))
            daemon.sluice("config", "reload")
            daemon.wait_balance("keep", succeeded=row["accepted"], pending=0)
            daemon.wait_for(lambda: daemon.json("status")["store"]["accepts"], "events are taken again")
            self.assertEqual(20, self.put_counted(daemon, [event("keep", pad=100_000) for _ in range(20)])["acked"])
            daemon.wait_balance("keep", succeeded=row["accepted"] + 20, pending=0)
        self.assertEqual(600, len({json.loads(line)["detail"]["n"] for line in (daemon.folder / "work.got").read_text().splitlines()}))
        self.assertEqual(row["accepted"] + 20, count_lines(daemon.folder / "keep.got"))
        self.assertIn("event=disk-full", daemon.log())
        daemon.restart()
        self.assertEqual((600, 600), (daemon.balance("work")["accepted"], daemon.balance("work")["succeeded"]))

    def test_a_daemon_that_starts_on_a_full_disk_settles_and_takes_events_later(self):
        daemon, disk = self.start_on_small_disk()
        daemon.put(*(event("work", number) for number in range(200)))
        daemon.kill()
        with open(disk / "more", "wb") as more:
            try:
                while True:
                    more.write(b"\1" * 65536)
            except OSError:
                pass
            try:
                more.close()
            except OSError:
                pass
        (daemon.folder / "hold").unlink()
        daemon.start()
        daemon.wait_balance("work", accepted=200, succeeded=200, pending=0)
        (disk / "more").unlink()
        (disk / "ballast").unlink()
        self.assertEqual(10, self.put_counted(daemon, [event("work", 200 + number) for number in range(10)])["acked"])
        daemon.wait_balance("work", accepted=210, succeeded=210, pending=0)


class Refusing(DiskTest):
    def start_with_fault(self, fault):
        daemon = self.prepare(CONFIGURATION.replace("MAX", "0"))
        whole = daemon.environment
        daemon.environment = {**whole, "LD_PRELOAD": str(PRELOAD), "SLUICE_DISK_FAULT": fault, "ASAN_OPTIONS": "verify_asan_link_order=0"}
        daemon.start()
        daemon.environment = whole
        return daemon

    def test_a_commit_that_the_disk_refuses_stops_the_daemon_and_no_ack_is_lost(self):
        # "write": not even the reserve takes what settling needs.
        for fault in ("sync", "meta", "write", "write-short"):
            with self.subTest(fault):
                daemon = self.start_with_fault(fault)
                daemon.put(*(event("keep", number) for number in range(100)))
                put = daemon.launch("event", "put", "--json", "--timeout", "60", "-", stdin=subprocess.PIPE)
                daemon.process.send_signal(signal.SIGUSR1)
                # The signal is there before the next commit, for a control call is answered in between.
                daemon.run("status")
                put.stdin.write(lines(event("keep", 100 + number) for number in range(2000)))
                put.stdin.flush()
                self.assertEqual(1, daemon.wait_exit())
                self.assertRegex(daemon.log(), r"event=commit-refused action=stop reason=\".+\" msg=\"the disk refused a commit")
                daemon.check_no_process_left(0)
                daemon.start()
                answer, _ = put.communicate(timeout=60)
                self.assertEqual({"acked": 2000, "refused": 0, "unconfirmed": 0}, json.loads(answer))
                self.assertEqual((2100, 2100), (daemon.balance("keep")["accepted"], daemon.balance("keep")["pending"]))
                daemon.configure(CONFIGURATION.replace("MAX", "4"))
                daemon.sluice("config", "reload")
                daemon.wait_balance("keep", succeeded=2100, pending=0)
                daemon.stop()


def own_mounts():
    """Runs this program once more in a mount namespace of its own; returns only if that is not possible here."""
    if os.geteuid() == 0 and subprocess.run(["unshare", "-m", "mount", "-t", "tmpfs", "tmpfs", "/mnt"],
                                            stderr=subprocess.DEVNULL).returncode == 0:
        os.execvpe("unshare", ["unshare", "-m", sys.executable, *sys.argv], {**os.environ, "SLUICE_OWN_MOUNTS": "1"})


if __name__ == "__main__":
    if "Full" in sys.argv and not os.environ.get("SLUICE_OWN_MOUNTS"):
        own_mounts()
        print("skipped: a full disk needs root and a mount namespace (unshare -m)")
        sys.exit(SKIPPED)
    unittest.main(argv=sys.argv)
