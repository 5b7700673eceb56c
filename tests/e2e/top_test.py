"""`sluice top` on a terminal of our own (a pty whose screen is kept here), and without one."""

import fcntl
import os
import pathlib
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time

import sluice_daemon

CONFIGURATION = """
functions:
  alpha: {command: [cat], protocol: stdio, scale: {max: 0}}
  beta: {command: [cat], protocol: stdio, scale: {max: 0}}
  gamma: {command: [cat], protocol: stdio}
rules:
  alphas: {pattern: {source: [a]}, targets: [{function: alpha}]}
  betas: {pattern: {source: [b]}, targets: [{function: beta}]}
  gammas: {pattern: {source: [c]}, targets: [{function: gamma}]}
"""
MANY = "functions:\n" + "".join(f"  f{i:03}: {{command: [cat], protocol: stdio}}\n" for i in range(60))


def event(source):
    return {"source": source, "detail-type": "t", "detail": {}}


class Terminal:
    """A terminal with what it shows: enough of the escape sequences for what the program writes; another one is an error."""

    def __init__(self, command, environment, rows=12, columns=130):
        self.main, other = pty.openpty()
        self.before = termios.tcgetattr(self.main)
        self.size = (rows, columns)
        fcntl.ioctl(self.main, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.process = subprocess.Popen(command, stdin=other, stdout=other, stderr=other, start_new_session=True,
                                        env={**environment, "TERM": "xterm"},
                                        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(other)
        self.pending = b""
        self.lines = [""] * rows
        self.row = self.column = 0
        self.second = self.cursor_hidden = False
        self.written = b""
        self.strict = True       # text beyond an edge is an error

    def resize(self, rows, columns):
        self.size = (rows, columns)
        self.lines = (self.lines + [""] * rows)[:rows]
        self.row = self.column = 0
        self.strict = False      # a frame of the old size may be under way
        fcntl.ioctl(self.main, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        def fits():
            frame = re.sub(rb"\x1b\[[?\d;]*[@-~]", b"", self.written.split(b"\x1b[H")[-2]).rstrip(b"\r\n").split(b"\r\n")
            self.type(" ")       # one more frame, so that the last one is whole
            return len(frame) <= rows and max(map(len, frame)) <= columns and self.written.count(b"\x1b[H") > before + 1
        before = self.written.count(b"\x1b[H")
        self.wait_for(fits, f"a frame of {rows} by {columns}")
        self.strict = True

    def type(self, keys):
        os.write(self.main, keys if isinstance(keys, bytes) else keys.encode())

    def read(self, wait_s=0.01):
        ready, _, _ = select.select([self.main], [], [], wait_s)
        if not ready:
            return
        try:
            data = os.read(self.main, 65536)
        except OSError:  # the other end is closed
            return
        self.written += data
        self.pending += data
        self._show()

    def _show(self):
        pattern = re.compile(rb"\x1b\[([?\d;]*)([@-~])|\x1b|([^\x1b]+)", re.S)
        at = 0
        while at < len(self.pending):
            match = pattern.match(self.pending, at)
            if match.group() == b"\x1b" or (match.group(3) is None and match.end() == len(self.pending) and match.group(2) is None):
                break  # more is to come
            if match.group(3) is not None:
                self._text(match.group(3).decode("utf-8", "replace"))
            else:
                self._sequence(match.group(1).decode(), match.group(2).decode())
            at = match.end()
        self.pending = self.pending[at:]

    def _text(self, text):
        for character in text:
            if character == "\r":
                self.column = 0
            elif character == "\n":
                self.row += 1
                assert self.row < self.size[0] or not self.second or not self.strict, "the screen scrolls"
                self.row = min(self.row, self.size[0] - 1)
            else:
                if self.second and not self.strict and self.column >= self.size[1]:
                    continue
                assert self.column < self.size[1] or not self.second, f"text beyond the edge: {self.lines[self.row]!r}"
                line = self.lines[self.row].ljust(self.column)
                self.lines[self.row] = line[:self.column] + character + line[self.column + 1:]
                self.column += 1

    def _sequence(self, parameters, final):
        if final == "H" and parameters == "":
            self.row = self.column = 0
        elif final == "K" and parameters == "":
            self.lines[self.row] = self.lines[self.row][:self.column]
        elif final == "J" and parameters == "":
            self.lines[self.row] = self.lines[self.row][:self.column]
            for row in range(self.row + 1, self.size[0]):
                self.lines[row] = ""
        elif final in "hl" and parameters == "?1049":
            self.second = final == "h"
        elif final in "hl" and parameters == "?25":
            self.cursor_hidden = final == "l"
        else:
            assert final == "m", f"what sequence is {parameters}{final}?"

    def wait_for(self, condition, what):
        def checked():
            self.read()
            return condition()
        return sluice_daemon.wait_until(checked, what, about=lambda: "\n--- the screen ---\n" + "\n".join(self.lines))

    def wait_text(self, text):
        return self.wait_for(lambda: next((line for line in self.lines if text in line), None), f"{text!r} on the screen")

    def functions(self):
        """The names shown, from the top."""
        titles = next((i for i, line in enumerate(self.lines) if line.startswith("FUNCTION")), None)
        return [] if titles is None else [line.split()[0] for line in self.lines[titles + 1:-1] if line.strip()]

    def wait_functions(self, expected):
        self.wait_for(lambda: self.functions() == expected, f"{expected} in this order")

    def wait_exit(self):
        self.wait_for(lambda: self.process.poll() is not None, "the program ends")
        self.read()
        return self.process.returncode

    def restored(self):
        return not self.second and not self.cursor_hidden and termios.tcgetattr(self.main) == self.before

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.main)


class Top(sluice_daemon.DaemonTest):
    def given_queues(self):
        """alpha has 3 ready, beta 1; both are paused. gamma has done one."""
        daemon = self.start(CONFIGURATION)
        daemon.put(*[event("a")] * 3, event("b"), event("c"))
        daemon.wait_balance("gamma", succeeded=1)
        return daemon

    def top(self, daemon, *arguments, **options):
        terminal = Terminal([sluice_daemon.program("sluice"), "top", *arguments], daemon.environment, **options)
        self.addCleanup(terminal.close)
        return terminal

    def assert_ended(self, terminal, status):
        self.assertEqual(status, terminal.wait_exit())
        terminal.wait_for(terminal.restored, "the terminal as it was")

    def test_queues_ages_and_instances_are_shown_and_refreshed(self):
        daemon = self.given_queues()
        terminal = self.top(daemon)
        terminal.wait_functions(["alpha", "beta", "gamma"])
        titles = next(line for line in terminal.lines if line.startswith("FUNCTION")).split()
        self.assertEqual("FUNCTION READY OLDEST LEASED RETRY DEAD IN/S OUT/S EACH BUSY INST WANT NOTE".split(), titles)
        alpha = terminal.wait_text("alpha").split()
        self.assertEqual("3", alpha[1])
        self.assertRegex(alpha[2], r"^[\d.]+(ms|us|s|m\d+s)$")
        self.assertIn("paused", alpha)
        self.assertEqual("-", terminal.wait_text("gamma").split()[2])
        self.assertIn(f"pid {daemon.process.pid}", terminal.lines[0])
        daemon.put(event("b"))
        terminal.wait_for(lambda: any(line.split()[:2] == ["beta", "2"] for line in terminal.lines), "beta's second")
        daemon.put(*[event("c")] * 50)
        terminal.wait_for(lambda: any(line.startswith("gamma") and line.split()[7] not in ("-", "0.0") for line in terminal.lines),
                          "gamma's rate")
        terminal.type("q")
        self.assert_ended(terminal, 0)

    def test_keys_sort_reverse_and_filter(self):
        terminal = self.top(self.given_queues())
        terminal.wait_functions(["alpha", "beta", "gamma"])
        terminal.type("r")
        terminal.wait_functions(["gamma", "beta", "alpha"])
        terminal.type("n")
        terminal.wait_text("by function, reversed")
        terminal.type("r")
        terminal.wait_functions(["alpha", "beta", "gamma"])
        for name in ("wanted", "instances"):
            terminal.type("<")
            terminal.wait_text(f"by {name}")
        terminal.type(">>>")
        terminal.wait_text("by ready")
        terminal.type("/mm")
        terminal.wait_functions(["gamma"])
        terminal.type(b"\x7f\x7fq\x7f")  # q is a letter here
        terminal.wait_text("functions with: _")
        terminal.type("et\r")
        terminal.wait_functions(["beta"])
        terminal.wait_text("1 of 3 functions")
        terminal.type(b"\x1b")
        terminal.wait_functions(["alpha", "beta", "gamma"])

    def test_options_sort_and_filter_from_the_start(self):
        terminal = self.top(self.given_queues(), "--sort", "function", "--filter", "a", "--interval", "3600")
        terminal.wait_text("by function; with 'a'")

    def test_any_byte_can_be_typed(self):
        terminal = self.top(self.given_queues())
        terminal.wait_functions(["alpha", "beta", "gamma"])
        # All but those that end it: q, Q; ^C ^\ ^Z ^S ^Q are the terminal's.
        stops = b"qQ\x03\x1c\x1a\x13\x11"
        everything = bytes(byte for byte in range(256) if byte not in stops)
        for chunk in range(0, len(everything), 32):
            terminal.type(everything[chunk:chunk + 32])
            terminal.read()
        terminal.type(b"\x1b[999~\x1b[1;5A\x1bOA\x1b[" + b"0" * 400 + b"A")
        terminal.type(b"\x1b")
        terminal.wait_for(lambda: "functions with" not in terminal.lines[-1] and "quit" in terminal.lines[-1], "the line of keys")
        terminal.type("q")
        self.assert_ended(terminal, 0)

    def test_a_long_list_scrolls_and_another_size_is_used(self):
        terminal = self.top(self.start(MANY), "--sort", "function", rows=12)
        names = [f"f{i:03}" for i in range(60)]
        names_from = lambda first, count: names[first:first + count]
        # --sort function shows from a to z
        terminal.wait_functions(names_from(0, 8))
        terminal.type(b"\x1b[B\x1b[B")
        terminal.wait_functions(names_from(2, 8))
        terminal.type(b"\x1b[6~")
        terminal.wait_functions(names_from(10, 8))
        terminal.type(b"\x1b[F")
        terminal.wait_functions(names_from(52, 8))
        terminal.resize(30, 130)
        terminal.wait_functions(names_from(34, 26))
        terminal.type(b"\x1b[H\x1b[A")
        terminal.wait_functions(names_from(0, 26))
        for rows, columns in ((3, 20), (1, 1), (2, 7), (24, 80)):  # nothing is written beyond an edge: the terminal would fail
            terminal.resize(rows, columns)
            written = len(terminal.written)
            terminal.type(" ")
            terminal.wait_for(lambda: len(terminal.written) > written, "another frame")
        terminal.wait_functions(names_from(0, 20))

    def test_signals_restore_the_terminal_and_end_the_program(self):
        daemon = self.given_queues()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            with self.subTest(signal=number):
                terminal = self.top(daemon)
                terminal.wait_text("alpha")
                self.assertFalse(terminal.restored())
                terminal.process.send_signal(number)
                self.assert_ended(terminal, -number)

    def test_control_c_ends_it_and_control_z_stops_it_for_a_while(self):
        daemon = self.given_queues()
        terminal = self.top(daemon, "--interval", "3600")
        terminal.wait_text("alpha")
        # It is the leader of its session, whose stop by ^Z the kernel ignores; so the signal itself.
        terminal.process.send_signal(signal.SIGTSTP)
        stat = lambda: pathlib.Path(f"/proc/{terminal.process.pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        terminal.wait_for(lambda: stat() == "T", "it stops")
        terminal.wait_for(terminal.restored, "the terminal as it was")
        terminal.lines = [""] * terminal.size[0]
        terminal.process.send_signal(signal.SIGCONT)
        terminal.wait_text("alpha")
        self.assertTrue(terminal.second and terminal.cursor_hidden)
        terminal.type(b"\x03")
        self.assert_ended(terminal, -signal.SIGINT)

    def test_a_daemon_that_goes_away_is_said_and_its_return_seen(self):
        daemon = self.given_queues()
        terminal = self.top(daemon)
        terminal.wait_text("alpha")
        daemon.stop()
        terminal.wait_text(" ago: ")
        self.assertEqual(["alpha", "beta", "gamma"], terminal.functions())
        daemon.start()
        terminal.wait_text("q quit")

    def test_without_a_terminal_one_snapshot_is_printed(self):
        daemon = self.given_queues()
        lines = daemon.sluice("top").splitlines()
        self.assertTrue(lines[0].startswith("sluiced "), lines[0])
        self.assertEqual(["alpha", "beta", "gamma"], [line.split()[0] for line in lines[2:]])
        self.assertNotIn("\x1b", "".join(lines))
        answer = daemon.json("top", "--sort", "function", "--filter", "a")
        self.assertEqual(daemon.process.pid, answer["status"]["pid"])
        self.assertEqual(["alpha", "beta", "gamma"], [row["name"] for row in answer["functions"]])
        self.assertEqual(3, answer["functions"][0]["ready"])
        self.assertEqual(["beta"], [row["name"] for row in daemon.json("top", "--filter", "bet")["functions"]])

    def test_mistakes_are_usage_errors_and_no_daemon_a_failure(self):
        daemon = self.given_queues()
        for arguments, text in ((["--sort", "color"], "no column 'color'"), (["--interval", "0"], "--interval"),
                                (["--filter", "x" * 65], "longer"), (["more"], "unexpected argument")):
            with self.subTest(arguments=arguments):
                ran = daemon.run("top", *arguments)
                self.assertEqual((2, ""), (ran.status, ran.stdout))
                self.assertIn(text, ran.stderr)
        self.assertEqual(1, daemon.run("--url", "ipc:///nonexistent/bus.sock", "top").status)

    def test_the_list_has_rates_and_the_age_of_the_oldest_also_of_what_is_not_paged_in(self):
        before_ms = int(time.time() * 1000)
        daemon = self.given_queues()
        def rows():
            return {row["name"]: row for row in daemon.json("function", "list")["functions"]}
        listed = rows()
        self.assertIsNone(listed["gamma"]["oldest_ms"])
        self.assertEqual((1, 0), (listed["gamma"]["succeeded"], listed["gamma"]["attempts_failed"]))
        self.assertLess(0, listed["gamma"]["service_us"])
        self.assertLess(0, listed["alpha"]["arrivals_per_s"])
        self.assertLessEqual(before_ms, listed["alpha"]["oldest_ms"])
        daemon.restart()
        self.assertEqual(listed["alpha"]["oldest_ms"], rows()["alpha"]["oldest_ms"])


if __name__ == "__main__":
    import unittest
    unittest.main(verbosity=2)
