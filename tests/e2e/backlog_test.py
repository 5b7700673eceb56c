"""A restart with 1,000,000 pending events: ready at once, all of them counted, little memory, and then they are done."""

import mmap
import pathlib
import struct
import subprocess
import sys
import unittest

import sluice_daemon

EVENTS = 1_000_000
DRAINED = 20_000                         # of them, before the test is satisfied
PUBLISH_DEADLINE_S = 120
READY_MS_MAX = 1000                      # 300 without sanitizers, which bench/idle measures
MEMORY_BYTES_MAX = 64 << 20

CONFIGURATION = """
functions:
  all:
    command: [RECORDER, all.got]
    protocol: stdio-lines
    concurrency: 1000
    scale: {max: MAX}
rules:
  all: {pattern: {source: [kill.loop]}, targets: [{function: all}]}
"""


def sanitized(path):
    return b"__asan_init" in pathlib.Path(path).read_bytes()


class Backlog(sluice_daemon.DaemonTest):
    def configuration(self, instances_max):
        return CONFIGURATION.replace("RECORDER", sluice_daemon.program("tests/helpers/recorder")).replace("MAX", str(instances_max))

    def publish(self, daemon, count):
        """Through the library; each is acked."""
        publisher = subprocess.Popen([sluice_daemon.program("tests/helpers/publisher"), str(daemon.folder / "counts")],
                                     stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=daemon.environment, text=True)
        try:
            answer, _ = publisher.communicate(f"burst {count}\nflush\n", timeout=PUBLISH_DEADLINE_S)
        finally:
            publisher.kill()
        self.assertEqual((0, "flushed 0\n"), (publisher.returncode, answer))
        with open(daemon.folder / "counts", "r+b") as file, mmap.mmap(file.fileno(), 24) as counts:
            self.assertEqual((count, count, 0), struct.unpack("<QQQ", counts[:24]))

    def test_a_million_pending_events_outlive_a_kill_and_a_restart(self):
        daemon = self.start(self.configuration(0), environment={"ASAN_OPTIONS": "quarantine_size_mb=1"})
        self.publish(daemon, EVENTS)
        daemon.kill()
        ready = daemon.start()
        self.assertEqual(EVENTS, int(ready["pending"]))
        self.assertLess(int(ready["recovered_ms"]), READY_MS_MAX)
        row = daemon.balance("all")
        self.assertEqual((EVENTS, EVENTS), (row["accepted"], row["pending"]))
        if not sanitized(sluice_daemon.program("sluiced")):
            self.assertLess(sluice_daemon.memory_bytes(daemon.process.pid), MEMORY_BYTES_MAX)
        daemon.configure(self.configuration(2))
        daemon.sluice("config", "reload")
        with daemon.balance_watched():
            daemon.wait_for(lambda: daemon.balance("all")["succeeded"] >= DRAINED, f"{DRAINED} of them are done")
        daemon.stop()
        done = [int(line) for line in (daemon.folder / "all.got").read_text().splitlines()]
        self.assertEqual(len(done), len(set(done)), "each once")
        self.assertEqual(set(range(1, len(done) + 1)), set(done), "the oldest first")
        daemon.configure(self.configuration(0))
        ready = daemon.start()
        row = daemon.balance("all")
        self.assertEqual((EVENTS, len(done), EVENTS - len(done)), (row["accepted"], row["succeeded"], row["pending"]))
        self.assertEqual(row["pending"], int(ready["pending"]))


if __name__ == "__main__":
    unittest.main(argv=sys.argv)
