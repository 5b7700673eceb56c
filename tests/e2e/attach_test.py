"""Consumer daemons: programs that run on their own, attach to a function and serve it, over ipc and over tcp with a token.

The judges are what consumers write down, the listings, and the balance, which is looked at all the time."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import unittest

import bus_wire
import sluice_daemon
from bus_wire import ATTACH, DETACH, NEXT, EACCESS, EEXISTS, EINVAL, ELIMIT, ENOTFOUND, EPROTO, EUNAVAILABLE

CONSUMER = sluice_daemon.build_dir() / "tests/helpers/consumer"
TOKEN = "a-token-of-the-test"
ATTACHED_MAX = 1000


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Consumer:
    """One run of a consumer daemon; what it writes down is in folder/NAME."""

    def __init__(self, daemon, name, url, function="work", hold=None, **environment):
        self.daemon, self.name, self.hold = daemon, name, hold
        self.path = daemon.folder / name
        clean = {key: value for key, value in os.environ.items() if not key.startswith("SLUICE_")}
        self.process = subprocess.Popen(
            [str(CONSUMER), str(self.path), *([str(hold)] if hold else [])], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, text=True,
            env={**clean, "SLUICE_URL": url, "SLUICE_FUNCTION": function, "SLUICE_CONSUMER": name,
                 "SLUICE_TOKEN_FILE": str(daemon.folder / "token"), **environment})
        self.said = []
        self.reader = threading.Thread(target=lambda: self.said.extend(iter(self.process.stderr.readline, "")), daemon=True)
        self.reader.start()

    def lines(self, what="end"):
        """[(id, attempt)] of the events it began, or ended."""
        rows = [line.split() for line in self.path.read_text().splitlines()] if self.path.exists() else []
        return [(row[0], int(row[1])) for row in rows if row[2] == what]

    def wait_said(self, text):
        self.daemon.wait_for(lambda: any(text in line for line in self.said), f"consumer {self.name} says {text!r}; it said {self.said}")

    def wait_attached(self):
        """Its row in `function show`, once it asks for work."""
        def row():
            shown = self.daemon.json("function", "show", "work")
            return next((row for row in shown["instances"] if row["consumer"] == self.name and row["parked"] > 0), None)
        return self.daemon.wait_for(row, f"consumer {self.name} is attached; it said {self.said}")

    def wait_begun(self, count):
        self.daemon.wait_for(lambda: len(self.lines("begin")) >= count, f"consumer {self.name} has begun {count}")

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        return self.wait()

    def wait(self):
        status = self.process.wait(sluice_daemon.DEADLINE_S)
        self.reader.join(sluice_daemon.DEADLINE_S)
        self.process.stderr.close()
        return status

    def close(self):
        if self.hold is not None and self.hold.exists():
            self.hold.unlink()
        if self.process.poll() is None:
            self.end(signal.SIGKILL)


def event(number):
    return {"source": "a", "detail-type": "test", "detail": {"n": number}, "id": f"e-{number}"}


class AttachTest(sluice_daemon.DaemonTest):
    def serve(self, **function):
        """A daemon with both doors, and a function `work` that is attached to."""
        folder = pathlib.Path(tempfile.mkdtemp(prefix="sluice-"))
        (folder / "token").write_text(TOKEN + "\n")
        (folder / "token").chmod(0o600)
        self.tcp = f"tcp://127.0.0.1:{free_port()}"
        self.ipc = f"ipc://{folder}/bus.sock"
        daemon = self.prepare("", folder=folder)
        self.configure(daemon, **function)
        daemon.start()
        return daemon

    def configure(self, daemon, functions=None, **function):
        work = {"protocol": "native", "retry": {"attempts": 3, "backoff": "1h..1h"}, "timeout": "1m", **function}
        sections = {
            "listen": {"bus": [self.ipc, self.tcp], "token-file": "token"},
            "functions": functions if functions is not None else {"work": work, "plain": {"command": ["cat"], "protocol": "stdio"}},
            "rules": {} if functions is not None else {"all": {"pattern": {"source": ["a"]}, "targets": [{"function": "work"}]}}}
        daemon.configure("".join(f"{name}: {json.dumps(section)}\n" for name, section in sections.items()))

    def consumer(self, daemon, name, url=None, **options):
        consumer = Consumer(daemon, name, url or self.ipc, **options)
        self.addCleanup(consumer.close)
        return consumer


class Serving(AttachTest):
    def test_work_flows_over_ipc_and_tcp_and_listings_name_who_does_it(self):
        daemon = self.serve(concurrency=4)
        local, remote = self.consumer(daemon, "local"), self.consumer(daemon, "remote@host:1", self.tcp, SLUICE_CONCURRENCY="2")
        rows = [local.wait_attached(), remote.wait_attached()]
        self.assertEqual([f"pid {local.process.pid}", "127.0.0.1"], [rows[0]["from"], rows[1]["from"].rsplit(":", 1)[0]])
        self.assertEqual([(None, 4), (None, 2)], [(row["pid"], row["concurrency"]) for row in rows])
        with daemon.balance_watched():
            daemon.put(*(event(number) for number in range(200)))
            daemon.wait_balance("work", accepted=200, succeeded=200, pending=0)
        done = local.lines() + remote.lines()
        self.assertEqual(sorted((f"e-{number}", 1) for number in range(200)), sorted(done))
        self.assertTrue(local.lines() and remote.lines(), "both had work: they take turns")
        self.assertEqual(2, daemon.json("status")["attached"])
        listed = next(row for row in daemon.json("function", "list")["functions"] if row["name"] == "work")
        self.assertEqual((2, 0, 2), (listed["attached"], listed["target"], sum(listed["instances"].values())))
        for text in ("local", "remote@host:1", f"pid {local.process.pid}"):
            self.assertIn(text, daemon.sluice("function", "show", "work"))
        self.assertIn("attached", daemon.sluice("function", "list"))
        self.assertEqual([0, 0], [local.end(), remote.end()])
        daemon.wait_show("work", lambda shown: not shown["instances"], "both are gone")

    def test_attached_ones_are_served_before_ours_and_ours_come_when_they_do_not_suffice(self):
        daemon = self.serve(command=[str(CONSUMER), "ours"], concurrency=1)
        consumer, ours = self.consumer(daemon, "theirs", hold=daemon.folder / "hold"), daemon.folder / "ours"
        consumer.hold.touch()
        consumer.wait_attached()
        daemon.put(event(1))
        consumer.wait_begun(1)
        self.assertEqual(1, len(daemon.json("function", "show", "work")["instances"]), "none of ours was started")
        daemon.put(event(2))
        daemon.wait_for(lambda: ours.exists() and "e-2 1 end" in ours.read_text(), "one of ours does what the consumer has no place for")
        consumer.hold.unlink()
        consumer.wait_attached()
        daemon.put(event(3))
        daemon.wait_balance("work", succeeded=3, pending=0)
        self.assertEqual(([("e-1", 1), ("e-3", 1)], 2), (consumer.lines(), len(ours.read_text().splitlines())))

    def test_paused_means_that_consumers_get_nothing_either(self):
        daemon = self.serve(scale={"max": 0})
        consumer = self.consumer(daemon, "one")
        consumer.wait_attached()
        daemon.put(event(1))
        self.assertEqual(1, daemon.balance("work")["pending"])
        self.assertIn("scale.max is 0", daemon.json("function", "show", "work")["scaling"]["reason"])
        self.configure(daemon)
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_balance("work", succeeded=1, pending=0)
        self.assertEqual([("e-1", 1)], consumer.lines())


class Example(AttachTest):
    def test_the_journal_keeps_every_event_a_file_a_day_and_over_a_restart_of_its_own(self):
        daemon = self.serve(batch={"size": 50, "partial-failures": True})
        (daemon.folder / "kept").mkdir()
        journal = sluice_daemon.build_dir() / "consumers/examples/sluice-example-journal"
        environment = {**os.environ, "SLUICE_URL": self.tcp, "SLUICE_FUNCTION": "work", "SLUICE_TOKEN_FILE": str(daemon.folder / "token")}
        for day, first in (("2026-11-21", 0), ("2026-11-22", 100)):
            process = subprocess.Popen([str(journal), str(daemon.folder / "kept")], env=environment, stderr=subprocess.DEVNULL)
            self.addCleanup(process.kill)
            daemon.put(*({**event(number), "time": f"{day}T10:00:00Z"} for number in range(first, first + 100)))
            daemon.wait_balance("work", succeeded=first + 100, pending=0)
            lines = [json.loads(line) for line in (daemon.folder / "kept" / f"{day}.jsonl").read_text().splitlines()]
            self.assertEqual([f"e-{number}" for number in range(first, first + 100)], [line["id"] for line in lines])
            process.send_signal(signal.SIGTERM)
            self.assertEqual(0, process.wait(sluice_daemon.DEADLINE_S))


class Ending(AttachTest):
    def test_what_a_killed_consumer_held_goes_to_another_at_once_with_the_same_id(self):
        for kind in ("ipc", "tcp"):
            with self.subTest(kind):
                daemon = self.serve()
                first = self.consumer(daemon, "first", getattr(self, kind), hold=daemon.folder / "hold")
                first.hold.touch()
                first.wait_attached()
                with daemon.balance_watched():
                    daemon.put(event(7))
                    first.wait_begun(1)
                    second = self.consumer(daemon, "second", getattr(self, kind))
                    second.wait_attached()
                    self.assertEqual(-signal.SIGKILL, first.end(signal.SIGKILL))
                    daemon.wait_balance("work", succeeded=1, pending=0)  # the backoff is an hour
                self.assertEqual(([], [("e-7", 2)]), (first.lines(), second.lines()))
                self.assertEqual(1, daemon.json("function", "show", "work")["counters"]["attempts_failed"])

    def test_an_event_that_kills_every_consumer_is_a_dead_letter_after_its_attempts(self):
        daemon = self.serve()
        for attempt in range(1, 4):
            consumer = self.consumer(daemon, f"c{attempt}", hold=daemon.folder / "hold")
            consumer.hold.touch()
            if attempt == 1:
                consumer.wait_attached()
                daemon.put(event(7))
            consumer.wait_begun(1)
            self.assertEqual([("e-7", attempt)], consumer.lines("begin"))
            consumer.end(signal.SIGKILL)
        daemon.wait_balance("work", dead_lettered=1, pending=0)
        shown = daemon.json("dead-letter", "show", "work", "e-7")
        self.assertEqual((3, "Sluice.ConnectionLost"), (shown["attempts"], shown["reason"]))

    def test_a_consumer_that_is_told_to_end_finishes_hands_in_detaches_and_loses_nothing(self):
        for kind in ("ipc", "tcp"):
            with self.subTest(kind):
                daemon = self.serve(concurrency=3)
                first = self.consumer(daemon, "first", getattr(self, kind), hold=daemon.folder / "hold")
                first.hold.touch()
                first.wait_attached()
                with daemon.balance_watched():
                    daemon.put(event(1), event(2))
                    first.wait_begun(2)
                    first.process.send_signal(signal.SIGTERM)
                    daemon.wait_show("work", lambda shown: [row["state"] for row in shown["instances"]] == ["draining"], "it drains")
                    daemon.put(event(3))
                    self.assertEqual(2, len(first.lines("begin")))
                    first.hold.unlink()
                    self.assertEqual(0, first.wait())
                    daemon.wait_balance("work", succeeded=2, pending=1)
                    second = self.consumer(daemon, "second", getattr(self, kind))
                    daemon.wait_balance("work", succeeded=3, pending=0)
                self.assertEqual([("e-1", 1), ("e-2", 1)], sorted(first.lines()))
                self.assertEqual([("e-3", 1)], second.lines())
                self.assertEqual(0, daemon.json("function", "show", "work")["counters"]["attempts_failed"])
                daemon.wait_log("event=consumer-detached")
                self.assertNotIn("event=consumer-lost", daemon.log())

    def test_an_attempt_that_takes_too_long_fails_and_cuts_the_connection(self):
        daemon = self.serve(timeout="300ms", retry={"attempts": 2, "backoff": "10ms"})
        consumer = self.consumer(daemon, "slow", hold=daemon.folder / "hold", SLUICE_CONCURRENCY="2")
        consumer.hold.touch()
        consumer.wait_attached()
        daemon.put(event(1))
        daemon.wait_balance("work", dead_lettered=1, pending=0)
        self.assertEqual("Sandbox.Timedout", daemon.json("dead-letter", "show", "work", "e-1")["reason"])
        self.assertEqual(2, daemon.log().count("event=consumer-lost"))
        consumer.hold.unlink()  # its late results are nobody's
        consumer.wait_attached()
        daemon.put(event(2))
        daemon.wait_balance("work", succeeded=1, pending=0)


class Reconnecting(AttachTest):
    def test_a_consumer_attaches_again_to_a_daemon_that_came_back(self):
        for kind in ("ipc", "tcp"):
            for end in ("stop", "kill"):
                with self.subTest(kind=kind, end=end):
                    daemon = self.serve(concurrency=2)
                    consumer = self.consumer(daemon, "one", getattr(self, kind), hold=daemon.folder / "hold")
                    consumer.wait_attached()
                    daemon.put(event(1))
                    daemon.wait_balance("work", succeeded=1, pending=0)
                    if end == "kill":
                        consumer.hold.touch()
                        daemon.put(event(2))
                        consumer.wait_begun(2)
                        daemon.kill()
                        consumer.hold.unlink()
                    else:
                        daemon.stop()
                    daemon.start()
                    consumer.wait_attached()
                    daemon.put(event(3))
                    expected = 3 if end == "kill" else 2
                    daemon.wait_balance("work", succeeded=expected, accepted=expected, pending=0)
                    self.assertIn(("e-3", 1), consumer.lines())
                    self.assertEqual(0, consumer.end())

    def test_a_consumer_follows_the_configuration(self):
        daemon = self.serve(concurrency=1)
        consumer = self.consumer(daemon, "one", self.tcp)
        self.assertEqual(1, consumer.wait_attached()["concurrency"])
        self.configure(daemon, concurrency=5)
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for(lambda: consumer.wait_attached()["concurrency"] == 5, "it is attached anew, with five places")
        self.configure(daemon, functions={"other": {"protocol": "native"}})
        daemon.process.send_signal(signal.SIGHUP)
        consumer.wait_said("there is no function 'work'")
        self.configure(daemon, concurrency=2)
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for(lambda: consumer.wait_attached()["concurrency"] == 2, "and once more when its function is back")
        daemon.put(event(1))
        daemon.wait_balance("work", succeeded=1, pending=0)

    def test_a_daemon_that_drains_waits_for_what_a_consumer_holds_and_gives_it_no_more(self):
        daemon = self.serve()
        consumer = self.consumer(daemon, "one", hold=daemon.folder / "hold")
        consumer.hold.touch()
        consumer.wait_attached()
        daemon.put(event(1))
        consumer.wait_begun(1)
        daemon.process.send_signal(signal.SIGTERM)
        daemon.wait_log("event=stopping")
        consumer.hold.unlink()
        self.assertEqual(0, daemon.wait_exit())
        daemon.start()
        daemon.wait_balance("work", succeeded=1, pending=0)
        self.assertEqual([("e-1", 1)], consumer.lines())


class Refusing(AttachTest):
    def test_a_wrong_token_is_refused_and_said(self):
        daemon = self.serve()
        (daemon.folder / "wrong").write_text("guess\n")
        stranger = self.consumer(daemon, "stranger", self.tcp, SLUICE_TOKEN_FILE=str(daemon.folder / "wrong"))
        nobody = self.consumer(daemon, "nobody", self.tcp, SLUICE_TOKEN_FILE="/dev/null")
        stranger.wait_said("token is missing or wrong")
        nobody.wait_said("token is missing or wrong")
        daemon.put(event(1))
        self.assertEqual([], daemon.json("function", "show", "work")["instances"])
        self.assertEqual(0, stranger.end())
        friend = self.consumer(daemon, "friend", self.tcp)
        daemon.wait_balance("work", succeeded=1, pending=0)
        self.assertEqual(([], [("e-1", 1)]), (stranger.lines("begin"), friend.lines()))

    def wire(self, daemon):
        wire = bus_wire.Wire(daemon.folder / "bus.sock")
        self.addCleanup(wire.socket.close)
        wire.greeted()
        self.assertEqual(0, wire.call([1, bus_wire.HELLO, "hostile", None])[1])
        return wire

    def test_what_may_not_attach_does_not(self):
        daemon = self.serve(concurrency=2)
        cases = ((["no-such", "c", 0], ENOTFOUND), (["plain", "c", 0], EINVAL), (["", "c", 0], ENOTFOUND),
                 (["work", "", 0], EINVAL), (["work", "a b\n", 0], EINVAL), (["work", "x" * 129, 0], EINVAL),
                 (["work", "c", 10001], EINVAL), (["work", "c", "many"], EPROTO), (["work", b"c", 0], EPROTO),
                 (["w" * 100000, "c", 0], ENOTFOUND), (["work\0", "c", 0], ENOTFOUND))
        wire = self.wire(daemon)
        for arguments, code in cases:
            with self.subTest(arguments=str(arguments)[:50]):
                self.assertEqual(code, wire.call([1, ATTACH, *arguments])[1])
        with bus_wire.Wire(daemon.folder / "bus.sock") as silent:
            silent.greeted()
            self.assertEqual(EPROTO, silent.call([1, ATTACH, "work", "c", 0])[1])
        self.assertEqual(0, daemon.json("status")["attached"])

    def test_an_attachment_is_bound_to_its_connection_and_to_its_places(self):
        daemon = self.serve(concurrency=2)
        wire, other = self.wire(daemon), self.wire(daemon)
        answer = wire.call([1, ATTACH, "work", "mine", 0])
        self.assertEqual((0, 2, 1, 60000), (answer[1], *answer[4:]))
        instance = answer[3]
        self.assertEqual(EEXISTS, wire.call([1, ATTACH, "work", "mine", 0])[1])
        self.assertEqual(EACCESS, other.call([1, NEXT, instance, 1, []])[1])
        self.assertEqual(EACCESS, other.call([1, NEXT, instance, 0, [[1, None, None]]])[1])
        self.assertEqual(EACCESS, other.call([1, DETACH, instance])[1])
        self.assertEqual(ENOTFOUND, other.call([1, DETACH, "999"])[1])
        for _ in range(2):
            wire.send(bus_wire.pack([1, NEXT, instance, 1, []]))
        self.assertEqual(ELIMIT, wire.call([1, NEXT, instance, 1, []])[1])
        daemon.put(event(1))
        lease = bus_wire.unpack(wire.reply())[0][3]
        self.assertNotEqual(0, lease)
        self.assertEqual(EACCESS, other.call([1, NEXT, instance, 0, [[lease, None, None]]])[1])
        self.assertEqual(0, daemon.balance("work")["succeeded"])
        wire.send(bus_wire.pack([1, DETACH, instance]))
        self.assertEqual(EUNAVAILABLE, bus_wire.unpack(wire.reply())[0][1])  # what is parked is answered at once
        self.assertEqual(0, wire.call([1, NEXT, instance, 0, [[lease, None, None]]])[1])
        self.assertEqual([1, 0, None], bus_wire.unpack(wire.reply())[0])     # and the detach when all is settled
        daemon.wait_balance("work", succeeded=1, pending=0)
        self.assertEqual(0, wire.call([1, ATTACH, "work", "mine", 0])[1])    # the connection is free for another

    def test_a_flood_of_consumers_is_bounded(self):
        daemon = self.serve()
        wires = [self.wire(daemon) for _ in range(ATTACHED_MAX + 5)]
        codes = [wire.call([1, ATTACH, "work", "flood", 0])[1] for wire in wires]
        self.assertEqual([0] * ATTACHED_MAX + [ELIMIT] * 5, codes)
        self.assertEqual(ATTACHED_MAX, len(daemon.json("function", "show", "work")["instances"]))
        for wire in wires:
            wire.socket.close()
        daemon.wait_for(lambda: daemon.json("status")["attached"] == 0, "all are forgotten")
        self.assertEqual(0, self.wire(daemon).call([1, ATTACH, "work", "late", 0])[1])


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v", *sys.argv[1:]])
