"""What a lease is bound to: instances, the spawner and the daemon are killed or told to stop while work is out.

Deliveries come back within a second, each is accounted for, and no process is left."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
import unittest

import sluice_daemon
from sluice_daemon import configuration, event, rule

BACK_S = 1.0 * float(os.environ.get("SLUICE_TEST_SLOWNESS", "1")) # ThreadSanitizer makes everything some times slower
RECORDER = sluice_daemon.program("tests/helpers/native_recorder")

# Each holds what it got while a file `hold` is there: NAME.begun has a line for each process that has begun, NAME.got what was done.
ONCE = "cat > in.$$; echo $$ >> NAME.begun; while test -e hold; do sleep 0.01; done; cat in.$$ >> NAME.got"
LINES = ("while read -r line; do echo $$ >> NAME.begun; while test -e hold; do sleep 0.01; done; "
         "printf '%s\\n' \"$line\" >> NAME.got; echo '{}'; done")
# The native recorder writes into a pipe that nobody empties while `hold` is there: an instance in the middle of its batch.
NATIVE = f"echo $$ >> NAME.begun; exec {RECORDER} NAME.pipe"


def command(script, name):
    return ["sh", "-c", script.replace("NAME", name)]


def functions(**more):
    return {"once": {"command": command(ONCE, "once"), "protocol": "stdio", **more},
            "lines": {"command": command(LINES, "lines"), "protocol": "stdio-lines", "concurrency": 20, **more},
            "native": {"command": command(NATIVE, "native"), "protocol": "native", "batch": {"size": 20}, **more}}


def for_all(functions):
    """Each gets every event."""
    return configuration(functions, {"all": rule("a", *functions)})


class DeathsTest(sluice_daemon.DaemonTest):
    def start_holding(self, events, **more):
        """All three functions busy with what was put, and held there."""
        daemon = self.prepare(for_all(functions(**{"timeout": "60s", "scale": {"max": 2}, **more})))
        (daemon.folder / "hold").touch()
        os.mkfifo(daemon.folder / "native.pipe")
        self.open_pipe(daemon)
        daemon.start()
        daemon.put(*(event("a", number) for number in range(events)))
        self.wait_busy(daemon)
        return daemon

    def open_pipe(self, daemon):
        """Filled to the brim; a reader that takes the rest once `hold` is gone."""
        self.pipe = os.open(daemon.folder / "native.pipe", os.O_RDWR | os.O_NONBLOCK)
        self.addCleanup(os.close, self.pipe)
        try:
            while True:
                os.write(self.pipe, b"\n" * 4096)
        except BlockingIOError:
            pass
        self.numbers_of_native = []

    def release(self, daemon):
        """What is held goes on."""
        (daemon.folder / "hold").unlink()
        stop = threading.Event()
        def read():
            while not stop.is_set():
                try:
                    self.numbers_of_native.append(os.read(self.pipe, 65536))
                except BlockingIOError:
                    time.sleep(0.002)  # between two looks
        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(stop.set)

    def wait_busy(self, daemon):
        for name in functions():
            daemon.wait_show(name, lambda shown: shown["queue"]["leased"] > 0 and
                             len(self.begun(daemon, name)) >= len(self.busy(shown)) and self.busy(shown), f"{name} is busy")

    def begun(self, daemon, name):
        path = daemon.folder / f"{name}.begun"
        return path.read_text().split() if path.exists() else []

    def busy(self, shown):
        return [instance["pid"] for instance in shown["instances"] if instance["state"] == "busy"]

    def numbers(self, daemon, name):
        if name == "native":
            return [int(word) for word in b"".join(self.numbers_of_native).split()]
        return [json.loads(line)["detail"]["n"] for line in (daemon.folder / f"{name}.got").read_text().splitlines()]

    def wait_all_done(self, daemon, events):
        for name in functions():
            daemon.wait_balance(name, accepted=events, succeeded=events, pending=0)
            daemon.wait_for(lambda: set(range(events)) <= set(self.numbers(daemon, name)), f"{name} did all")

    def start_and_do_all(self, daemon, events):
        """The daemon before did none of it: all is pending, and done once nothing holds it."""
        daemon.start()
        for name in functions():
            row = daemon.balance(name)
            self.assertEqual((events, events), (row["accepted"], row["pending"]))
        self.release(daemon)
        self.wait_all_done(daemon, events)


class Killed(DeathsTest):
    def test_what_a_killed_instance_held_is_tried_again_within_a_second(self):
        daemon = self.start_holding(40, retry={"attempts": 10, "backoff": "10ms..20ms"})
        with daemon.balance_watched():
            for name in functions():
                for _ in range(3):
                    with self.subTest(name):
                        shown = daemon.wait_show(name, self.busy, "a busy instance")
                        known, begun = {instance["instance"] for instance in shown["instances"]}, len(self.begun(daemon, name))
                        killed = time.monotonic()
                        for pid in self.busy(shown):
                            os.kill(pid, signal.SIGKILL)
                        def back():
                            now = daemon.json("function", "show", name)
                            fresh = [each for each in now["instances"] if each["instance"] not in known and each["leased"] > 0]
                            return now if fresh and len(self.begun(daemon, name)) > begun else None
                        now = daemon.wait_for(back, f"what {name} held is out again")
                        self.assertLess(time.monotonic() - killed, BACK_S)
                        self.assertEqual(("signalled", 9), (now["ends"][0]["reason"], now["ends"][0]["code"]))
                        self.assertEqual((0, 40), (daemon.balance(name)["succeeded"], daemon.balance(name)["pending"]))
            self.release(daemon)
            self.wait_all_done(daemon, 40)

    def test_killing_the_spawner_ends_its_instances_and_another_takes_over(self):
        daemon = self.start_holding(40, retry={"attempts": 10, "backoff": "10ms..20ms"})
        def spawner():
            return next((pid for pid, text in sluice_daemon.processes_in(daemon.folder).items() if "--spawner" in text), None)
        with daemon.balance_watched():
            first = spawner()
            old = {pid for name in functions() for pid in self.busy(daemon.json("function", "show", name))}
            os.kill(first, signal.SIGKILL)
            daemon.wait_for(lambda: not old & set(sluice_daemon.processes_in(daemon.folder)), "its instances are gone", BACK_S)
            daemon.wait_for(lambda: spawner() not in (None, first), "another spawner")
            self.wait_busy(daemon)
            for name in functions():
                self.assertEqual(40, daemon.balance(name)["pending"])
                self.assertIn("spawner-lost", {end["reason"] for end in daemon.json("function", "show", name)["ends"]})
            self.release(daemon)
            self.wait_all_done(daemon, 40)

    def test_a_killed_daemon_leaves_no_process_and_the_next_does_all_that_was_out(self):
        daemon = self.start_holding(40)
        daemon.kill()
        daemon.check_no_process_left()
        self.start_and_do_all(daemon, 40)

    def test_a_daemon_that_is_killed_with_its_spawner_leaves_no_leader_and_the_next_one_starts(self):
        daemon = self.start_holding(40)
        spawner = next(pid for pid, text in sluice_daemon.processes_in(daemon.folder).items() if "--spawner" in text)
        leaders = {pid for name in functions() for pid in self.busy(daemon.json("function", "show", name))}
        os.kill(spawner, signal.SIGSTOP)  # so that it cannot restart or clean up before it dies
        os.kill(daemon.process.pid, signal.SIGKILL)
        os.kill(spawner, signal.SIGKILL)
        daemon.wait_exit()
        sluice_daemon.wait_until(lambda: not leaders & set(sluice_daemon.processes_in(daemon.folder)), "no leader is left")
        daemon.start()
        self.release(daemon)
        self.wait_all_done(daemon, 40)


class Stopping(DeathsTest):
    def test_term_lets_what_is_out_finish_and_keeps_the_rest(self):
        daemon = self.start_holding(100)
        held = {name: daemon.json("function", "show", name)["queue"]["leased"] for name in functions()}
        daemon.process.send_signal(signal.SIGTERM)
        daemon.wait_log("event=stopping")
        refused = daemon.run("event", "put", "--timeout", "1", "--source", "a", "--type", "t", "--detail", "{}")
        self.assertEqual(1, refused.status, refused)
        self.release(daemon)
        self.assertEqual(0, daemon.wait_exit())
        self.assertNotIn("drain-over", daemon.log())
        daemon.check_nothing_left()
        daemon.start()
        for name in functions():
            row = daemon.balance(name)
            self.assertEqual(100, row["accepted"])
            self.assertGreaterEqual(row["succeeded"], held[name])
        self.wait_all_done(daemon, 100)
        for name in functions():
            self.assertEqual(list(range(100)), sorted(self.numbers(daemon, name)), f"{name}: each once, as nothing was cut off")

    def test_a_second_term_stops_at_once_and_what_was_out_stays_pending(self):
        daemon = self.start_holding(40)
        daemon.process.send_signal(signal.SIGTERM)
        daemon.wait_log("event=stopping")
        asked = time.monotonic()
        daemon.process.send_signal(signal.SIGTERM)
        self.assertEqual(0, daemon.wait_exit())
        self.assertLess(time.monotonic() - asked, 8)
        daemon.check_nothing_left()
        self.start_and_do_all(daemon, 40)

    def test_what_does_not_finish_is_stopped_when_the_time_to_drain_is_over(self):
        daemon = self.start_holding(40)
        daemon.process.send_signal(signal.SIGTERM)
        self.assertEqual(0, daemon.wait_exit())
        self.assertIn("event=drain-over", daemon.log())
        daemon.check_nothing_left()
        self.start_and_do_all(daemon, 40)


class Publishing(DeathsTest):
    def test_a_stopping_daemon_loses_nothing_of_a_busy_producer(self):
        functions = {"wait": {"command": ["cat"], "protocol": "stdio", "scale": {"max": 0}}}
        daemon = self.start(for_all(functions))
        for _ in range(3):
            put = daemon.launch("event", "put", "--json", "-", stdin=subprocess.PIPE, stderr=subprocess.PIPE)
            before = daemon.balance("wait")["accepted"]
            put.stdin.write("".join(json.dumps(event("a", number)) + "\n" for number in range(2000)))
            put.stdin.flush()
            daemon.wait_for(lambda: daemon.json("status")["events_total"] > before, "some are there")
            daemon.restart()
            answer, complaints = put.communicate(timeout=sluice_daemon.DEADLINE_S)
            self.assertEqual({"acked": 2000, "refused": 0, "unconfirmed": 0}, json.loads(answer), complaints)
            self.assertEqual(before + 2000, daemon.balance("wait")["accepted"])


if __name__ == "__main__":
    unittest.main(argv=sys.argv)
