"""What sluiced tells systemd, heard on a socket of our own: ready, reloading, stopping, and the watchdog's pings."""

import pathlib
import signal
import socket
import subprocess
import tempfile
import time
import unittest

import sluice_daemon

CONFIGURATION = """
functions: {keep: {command: [cat], protocol: stdio, scale: {max: 0}}}
rules: {all: {pattern: {source: [test]}, targets: [{function: keep}]}}
"""
WATCHDOG_S = 0.6


class Manager:
    """The service manager's end of $NOTIFY_SOCKET."""

    def __init__(self):
        self.folder = tempfile.TemporaryDirectory(prefix="sluice-notify-")
        self.path = pathlib.Path(self.folder.name, "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(self.path))

    def close(self):
        self.socket.close()
        self.folder.cleanup()

    def hear(self, deadline_s=sluice_daemon.DEADLINE_S):
        """The next datagram as a dictionary; None when none comes in time."""
        self.socket.settimeout(deadline_s)
        try:
            return dict(line.split("=", 1) for line in self.socket.recv(65536).decode().split("\n"))
        except TimeoutError:
            return None

    def hear_of(self, variable):
        """The next one that sets `variable`."""
        end = time.monotonic() + sluice_daemon.DEADLINE_S
        while time.monotonic() < end:
            heard = self.hear()
            if heard is not None and variable in heard:
                return heard
        raise sluice_daemon.Failure(f"the daemon does not say {variable}")


class Notify(sluice_daemon.DaemonTest):
    def given(self, **environment):
        self.manager = Manager()
        self.addCleanup(self.manager.close)
        return self.start(CONFIGURATION, environment={"NOTIFY_SOCKET": str(self.manager.path), **environment})

    def test_ready_reloading_and_stopping_are_told(self):
        daemon = self.given()
        self.assertEqual({"READY": "1", "STATUS": "1 functions, 1 rules"}, self.manager.hear())
        before_us = time.monotonic_ns() // 1000
        daemon.process.send_signal(signal.SIGHUP)
        reloading = self.manager.hear()
        self.assertEqual("1", reloading["RELOADING"])
        self.assertLessEqual(before_us, int(reloading["MONOTONIC_USEC"]))
        self.assertEqual("1", self.manager.hear()["READY"])
        daemon.stop()
        self.assertEqual("1", self.manager.hear_of("STOPPING")["STOPPING"])

    def test_a_refused_reload_ends_in_ready_too_and_says_so(self):
        daemon = self.given()
        self.manager.hear_of("READY")
        daemon.configure("functions: {keep: {comand: [cat]}}")
        daemon.process.send_signal(signal.SIGHUP)
        self.manager.hear_of("RELOADING")
        self.assertIn("refused", self.manager.hear_of("READY")["STATUS"])

    def test_functions_do_not_get_the_socket(self):
        daemon = self.given()
        environment = pathlib.Path(f"/proc/{daemon.process.pid}/environ")
        self.assertIn(b"NOTIFY_SOCKET", environment.read_bytes()) # as it was at the start
        children = pathlib.Path(f"/proc/{daemon.process.pid}/task/{daemon.process.pid}/children").read_text().split()
        self.assertTrue(children, "the spawner")
        for child in children:
            self.assertNotIn(b"NOTIFY_SOCKET", pathlib.Path(f"/proc/{child}/environ").read_bytes())

    def test_an_idle_daemon_pings_and_one_whose_commit_hangs_does_not(self):
        with tempfile.TemporaryDirectory() as folder:
            stuck = pathlib.Path(folder, "stuck")
            daemon = self.given(WATCHDOG_USEC=str(int(WATCHDOG_S * 1e6)), STUCK_DISK=str(stuck),
                                LD_PRELOAD=sluice_daemon.program("tests/helpers/test_stuck_disk.so"),
                                ASAN_OPTIONS="verify_asan_link_order=0:detect_leaks=0")
            for _ in range(3):
                self.manager.hear_of("WATCHDOG")
            stuck.touch()
            put = daemon.launch("event", "put", "--source", "test", "--type", "t", "--detail", "{}", stdout=subprocess.DEVNULL,
                                env={**daemon.environment, "LD_PRELOAD": ""})
            try:
                # Silence for twice the watchdog's time is what systemd would act on. A running daemon pings six times in it.
                daemon.wait_for(lambda: self.manager.hear(2 * WATCHDOG_S) is None, "no pings while the commit hangs")
                self.assertIsNone(put.poll(), "acked without a commit")
            finally:
                stuck.unlink()
            self.manager.hear_of("WATCHDOG")
            self.assertEqual(0, put.wait(sluice_daemon.DEADLINE_S))


if __name__ == "__main__":
    unittest.main(verbosity=2)
