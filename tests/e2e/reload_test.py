"""A reload keeps nobody waiting: it is prepared beside the loop and swapped in it, however many rules there are, however often it is
asked for, refused, or overtaken by a stop."""

import concurrent.futures
import json
import os
import signal
import sys
import threading
import time
import unittest

import sluice_daemon
from bus_wire import CONTROL, EOK, EUNAVAILABLE, VERSION, Wire, event, pack, publish, unpack

SLOWNESS = int(os.environ.get("SLUICE_TEST_SLOWNESS", "1"))
MANY = 100000 if SLOWNESS == 1 else 20000
SOME = 5000                              # a reload takes long enough to be met under way


def configuration(numbers, also=""):
    """Each rule asks for one number; all go to one function, which is never started."""
    lines = ["functions: {sink: {command: ['true'], protocol: stdio, scale: {max: 0}}}", also, "rules:"]
    lines += [f"  r{number:07}: {{pattern: {{source: [a], detail: {{n: [{number}]}}}}, targets: [{{function: sink}}]}}" for number in numbers]
    return "\n".join(lines) + "\n"


class Publisher(threading.Thread):
    """Publishes one event after the other. longest_s: what it waited for an answer, at most, since it was last looked at."""

    def __init__(self, daemon):
        super().__init__(daemon=True)
        self.wire = Wire(daemon.folder / "bus.sock", timeout_s=sluice_daemon.DEADLINE_S).hello()
        self.ends, self.acked, self.longest_s, self.failure = threading.Event(), 0, 0., None
        self.start()

    def run(self):
        try:
            while not self.ends.is_set():
                began = time.monotonic()
                answer = self.wire.call(publish([event(detail='{"n":1}')], self.acked + 1))
                self.longest_s = max(self.longest_s, time.monotonic() - began)
                assert answer[1] == EOK, answer
                self.acked += 1
        except Exception as failure:  # noqa: for the test's own thread
            self.failure = failure

    def end(self):
        self.ends.set()
        self.join()
        self.wire.socket.close()
        if self.failure is not None:
            raise self.failure
        return self.acked


class ReloadTest(sluice_daemon.DaemonTest):
    def reload(self, daemon, deadline_s=sluice_daemon.DEADLINE_S):
        return daemon.sluice("config", "reload", deadline_s=deadline_s)

    def rules(self, daemon):
        return daemon.json("status")["rules"]

    def count(self, daemon, text):
        return sum(text in line for line in daemon.log().splitlines())


class Nobody(ReloadTest):
    def test_waits_for_a_reload_that_adds_or_removes_one_rule_of_many(self):
        """The longest wait is held against the time of the reload itself: a busy machine makes both longer. While reloads ran in the
        loop they were the same."""
        deadline_s = sluice_daemon.DEADLINE_S * 4
        daemon = sluice_daemon.Daemon(configuration(range(MANY)))
        self.addCleanup(daemon.close)
        daemon.start(deadline_s=deadline_s)
        publisher = Publisher(daemon)
        for step, numbers in enumerate((range(MANY + 1), range(1, MANY + 1))):
            daemon.wait_for(lambda: publisher.failure or publisher.acked > step, "an event acked before the reload")
            acked, publisher.longest_s = publisher.acked, 0.
            daemon.configure(configuration(numbers))
            began = time.monotonic()
            self.reload(daemon, deadline_s)
            took_s, during = time.monotonic() - began, publisher.acked - acked
            daemon.wait_for(lambda: publisher.failure or publisher.acked > acked + during, "the answer that was waited for in the end")
            longest_s, acked = publisher.longest_s, during
            self.assertEqual(len(numbers), self.rules(daemon))
            print(f"reload {took_s:.2f} s, longest wait {longest_s * 1000:.1f} ms, {acked} events meanwhile")
            self.assertLess(longest_s, took_s / 4)
            self.assertGreater(acked, 8)
        said = [dict(word.split("=", 1) for word in line.split() if "=" in word)
                for line in daemon.log().splitlines() if "event=reloaded" in line]
        for line in said:
            self.assertLess(int(line["swap_us"]), int(line["prepared_ms"]) * 1000 / 20, line)
        self.assertEqual(publisher.end(), daemon.balance("sink")["accepted"])  # number 1 is asked for all the time

    def test_is_matched_by_half_of_the_rules(self):
        """Two rules of one event, always of the same revision: both or none."""
        daemon = self.start(configuration(range(SOME)))
        both = configuration(list(range(SOME)) + [1000001, 1000002]).replace("n: [1000001]", "n: [1]").replace("n: [1000002]", "n: [1]")
        publisher = Publisher(daemon)
        for _ in range(4):
            for rules in (both, configuration(range(SOME))):
                daemon.configure(rules)
                self.reload(daemon)
        acked = publisher.end()
        answers = [json.loads(line) for line in daemon.sluice("rule", "list", "--json").splitlines()]
        rows = [row for answer in answers for row in answer.get("rules", [answer])]
        self.assertEqual([acked], [row["matched"] for row in rows if row["name"] == "r0000001"])  # it stayed all the time
        accepted = daemon.balance("sink")["accepted"]
        self.assertEqual(0, (accepted - acked) % 2)
        self.assertGreater(accepted, acked)


class Many(ReloadTest):
    def test_rules_come_go_and_return_though_nothing_else_happens(self):
        """Nobody publishes, and what returns needs no commit: nothing but the reload itself makes the loop turn."""
        daemon = self.start(configuration(range(10)))
        for count in (SOME, 10, SOME):
            daemon.configure(configuration(range(count)))
            self.reload(daemon)
            self.assertEqual(count, self.rules(daemon))

    def test_many_functions(self):
        functions = "".join(f"  f{number:04}: {{command: ['true'], protocol: stdio}}\n" for number in range(2000))
        text = configuration(range(10)).replace("functions: {sink: {command: ['true'], protocol: stdio, scale: {max: 0}}}",
                                                "functions:\n  sink: {command: ['true'], protocol: stdio, scale: {max: 0}}\n" + functions)
        daemon = self.start(configuration(range(10)))
        for configured, count in ((text, 2001), (text, 2001), (configuration(range(10)), 1)):
            daemon.configure(configured)
            self.reload(daemon)
            self.assertEqual(count, daemon.json("status")["functions"])


class Storm(ReloadTest):
    def test_who_asks_gets_a_reload_that_began_after_he_asked(self):
        """Each adds a rule of his own to the file, asks, and must then see it in force, while others do the same and signals rain."""
        daemon = self.start(configuration(range(SOME)))
        lock, numbers = threading.Lock(), list(range(SOME))
        def ask(own):
            with lock:
                numbers.append(own)
                daemon.configure(configuration(sorted(numbers)))
            self.reload(daemon)
            return f"r{own:07}" in daemon.sluice("rule", "list", "--json")
        with concurrent.futures.ThreadPoolExecutor(6) as threads:
            asked = [threads.submit(ask, SOME + number) for number in range(18)]
            while not all(one.done() for one in asked):
                daemon.process.send_signal(signal.SIGHUP)
                time.sleep(0.02)  # between two signals, which would be one
        self.assertTrue(all(one.result() for one in asked))
        self.assertEqual(SOME + 18, self.rules(daemon))

    def test_those_who_ask_while_one_is_under_way_share_the_next(self):
        daemon = self.start(configuration(range(SOME)))
        callers = [Wire(daemon.folder / "bus.sock", timeout_s=sluice_daemon.DEADLINE_S).hello() for _ in range(50)]
        for caller in callers:
            caller.send(pack([VERSION, CONTROL, "reload", b""]))
        answers = [unpack(caller.reply())[0] for caller in callers]
        for caller in callers:
            caller.socket.close()
        self.assertEqual({EOK}, {answer[1] for answer in answers})
        results = [json.loads(answer[3]) for answer in answers]
        self.assertTrue(all(result["loaded"] for result in results))
        self.assertLessEqual(len({result["revision"] for result in results}), 3)
        self.assertLessEqual(self.count(daemon, "event=reloaded"), 3)

    def test_what_is_written_while_the_files_are_read_is_read_too(self):
        daemon = self.start(configuration(range(SOME)))
        daemon.process.send_signal(signal.SIGHUP)
        for more in range(1, 4):
            daemon.configure(configuration(range(SOME + more)))
        daemon.wait_for(lambda: self.rules(daemon) == SOME + 3, "the last of the rules in force, though nobody asked")

    def test_a_file_that_comes_into_the_folder_is_watched_from_then_on(self):
        daemon = sluice_daemon.Daemon("{}")
        self.addCleanup(daemon.close)
        files = daemon.path = daemon.folder / "conf.d"
        files.mkdir()
        (files / "a.yaml").write_text(f"listen: {{bus: ['{daemon.url}']}}\n" + configuration(range(10)))
        os.utime(files, (1, 1))  # a folder's change is seen by its time, in whole seconds
        daemon.start()
        rule = "rules: {%s: {pattern: {source: [b]}, targets: [{function: sink}]}}\n"
        (files / "b.yaml").write_text(rule % "first")
        daemon.wait_for(lambda: self.rules(daemon) == 11, "the rule of the file that came")
        (files / "b.yaml").write_text(rule % "second")
        daemon.wait_for(lambda: "second" in daemon.sluice("rule", "list"), "the rule changed in the file that came")
        (files / "b.yaml").unlink()
        daemon.wait_for(lambda: self.rules(daemon) == 10, "the rule of the file gone")


class Refused(ReloadTest):
    def test_a_reload_that_is_refused_holds_nobody_up_and_the_next_one_is_taken(self):
        daemon = self.start(configuration(range(SOME)))
        publisher = Publisher(daemon)
        broken = configuration(range(SOME)).replace("n: [77]", "n: [77], m: 78")
        for label, refused, message in (
                ("a mistake", broken, r"sluice\.yaml:\d+:\d+: error: rule 'r0000077': .*"),
                ("a key that needs a restart", "listen: {bus: [\"ipc://elsewhere.sock\"]}\n" + configuration(range(3)), "restart the daemon"),
                ("no file", None, "cannot be read")):
            with self.subTest(label):
                if refused is None:
                    daemon.path.unlink()
                else:
                    daemon.configure(refused)
                done = daemon.run("config", "reload")
                self.assertEqual(1, done.status)
                self.assertRegex(done.stderr, message)
                self.assertRegex(daemon.log(), message)
                daemon.wait_log("event=reload-refused")
                self.assertEqual(SOME, self.rules(daemon))
                daemon.configure(configuration(range(SOME)))
                self.reload(daemon)
        self.assertEqual(publisher.end(), daemon.balance("sink")["accepted"])


class Stop(ReloadTest):
    def test_a_stop_overtakes_a_reload_at_any_step(self):
        daemon = self.start(configuration(range(SOME)))
        for step, delay_s in enumerate((0, 0, 0.05, 0.1, 0.2, 0.4, 0.8)):
            with self.subTest(delay_s=delay_s):
                daemon.configure(configuration(range(SOME + step)))
                with Wire(daemon.folder / "bus.sock", timeout_s=sluice_daemon.DEADLINE_S) as caller:
                    caller.hello()
                    caller.send(pack([VERSION, CONTROL, "reload", b""]))
                    time.sleep(delay_s)  # whichever step that is
                    daemon.process.send_signal(signal.SIGTERM)
                    try:
                        answer = unpack(caller.reply())[0]
                        self.assertIn(answer[1], (EOK, EUNAVAILABLE))
                    except EOFError:
                        pass  # it ended before the answer was written
                self.assertEqual(0, daemon.wait_exit())
                daemon.start()
                self.assertEqual(SOME + step, self.rules(daemon))


if __name__ == "__main__":
    sys.exit(unittest.main(verbosity=2))
