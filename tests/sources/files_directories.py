"""The real sluice-files with a real daemon: several directories in one program, each with its bucket, patterns and settle time; deletions,
also of what went while the program did not run or was killed; and what it says of a wrong command line."""

import signal
import subprocess
import sys
import unittest

import sluice_daemon

SLUICE_FILES = "producers/sources/files/sluice-files"
CONFIGURATION = """
functions:
  sink:
    command: [sh, -c, 'while IFS= read -r line; do printf "%s\\n" "$line" >> seen; echo {}; done']
    protocol: stdio-lines
    scale: {max: 1}
rules:
  all:
    pattern: {source: [files]}
    targets:
      - function: sink
        input-paths-map: {type: $.detail-type, bucket: $.detail.bucket.name, key: $.detail.object.key, reason: $.detail.reason}
        input-template: '"<bucket> <key> <type> <reason>"'
"""


class Directories(sluice_daemon.DaemonTest):
    def setUp(self):
        self.daemon = self.start(CONFIGURATION)
        self.one, self.two = self.daemon.folder / "one", self.daemon.folder / "two"
        self.one.mkdir()
        self.two.mkdir()
        self.process = None
        self.addCleanup(self.kill)

    def command(self, *arguments):
        return [sluice_daemon.program(SLUICE_FILES), *arguments,
                "--bucket", "one", "--state", str(self.daemon.folder / "one.state"), "--exclude", "*.bak", str(self.one),
                "--bucket", "two", "--state", str(self.daemon.folder / "two.state"), "--include", "*.jpg", "--settle", "100ms",
                str(self.two)]

    def watch(self):
        self.process = subprocess.Popen(self.command(), env=self.daemon.environment, stderr=subprocess.PIPE, text=True)

    def kill(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process.stderr.close()
            self.process = None

    def seen(self):
        path = self.daemon.folder / "seen"
        return sorted(path.read_text().splitlines()) if path.exists() else []

    def wait_seen(self, *lines):
        quoted = sorted(f'"{line}"' for line in lines)
        self.daemon.wait_for(lambda: len(self.seen()) >= len(quoted), f"{quoted}, not {self.seen()}")
        self.assertEqual(quoted, self.seen())

    def test_each_directory_has_its_bucket_its_patterns_and_its_deletions(self):
        self.watch()
        (self.one / "a").write_text("1")
        (self.one / "a.bak").write_text("1")
        (self.two / "b.txt").write_text("1")
        (self.two / "b.jpg").write_text("1")
        created = ["one a Object Created PutObject", "two b.jpg Object Created PutObject"]
        self.wait_seen(*created)
        (self.one / "a").unlink()
        (self.two / "b.jpg").unlink()
        (self.two / "b.txt").unlink()
        self.wait_seen(*created, "one a Object Deleted DeleteObject", "two b.jpg Object Deleted DeleteObject")
        self.process.send_signal(signal.SIGTERM)
        said = self.process.stderr.read()
        self.assertEqual(0, self.process.wait(sluice_daemon.DEADLINE_S))
        self.assertEqual(2, said.count("\nstopped "), said)

    def test_what_is_deleted_while_the_program_is_killed_is_told_at_its_next_start_and_once(self):
        self.watch()
        keys = [f"{n}.jpg" for n in range(40)]
        for key in keys:
            (self.one / key).write_text(key)
        created = [f"one {key} Object Created PutObject" for key in keys]
        self.wait_seen(*created)
        self.kill()
        for key in keys[:20]:
            (self.one / key).unlink()
        deleted = [f"one {key} Object Deleted DeleteObject" for key in keys]
        for _ in range(2):  # the second has nothing to tell
            subprocess.run(self.command("--once"), env=self.daemon.environment, stderr=subprocess.DEVNULL, check=True,
                           timeout=sluice_daemon.DEADLINE_S)
        self.wait_seen(*created, *deleted[:20])
        self.watch()
        for key in keys[20:]:
            (self.one / key).unlink()
        self.daemon.wait_for(lambda: len(self.seen()) > 70, "the last deletions have begun")
        self.kill()
        self.watch()
        self.wait_seen(*created, *deleted)

    def test_once_waits_for_what_has_to_settle(self):
        (self.two / "late.jpg").write_text("1")
        subprocess.run(self.command("--once"), env=self.daemon.environment, stderr=subprocess.DEVNULL, check=True,
                       timeout=sluice_daemon.DEADLINE_S)
        self.wait_seen("two late.jpg Object Created PutObject")

    def test_a_wrong_command_line_is_refused_with_the_one_thing_that_is_wrong(self):
        state = str(self.daemon.folder / "s")
        cases = [
            ([], "the directory to watch is missing"),
            (["--state", state, str(self.one)], "--bucket NAME is missing before directory"),
            (["--bucket", "b", str(self.one)], "--state FILE is missing before directory"),
            (["--bucket", "b", "--state", state, str(self.one), str(self.two)], f"--bucket NAME is missing before directory {self.two}"),
            (["--bucket", "b", "--state", state, str(self.one), "--bucket", "b", "--state", state, str(self.two)],
             "two directories have the bucket b"),
            (["--bucket", "b", "--state", state, str(self.one), "--bucket", "c"], "no directory follows --bucket c"),
            (["--bucket", "b", "--state", state, "--settle", "5", str(self.one)], "--settle must be a time"),
            (["--bucket", "b", "--state", state, "--settle", "25h", str(self.one)], "--settle must be a time"),
        ]
        for arguments, text in cases:
            with self.subTest(arguments=arguments):
                done = subprocess.run([sluice_daemon.program(SLUICE_FILES), *arguments], stderr=subprocess.PIPE, text=True, check=False,
                                      timeout=sluice_daemon.DEADLINE_S, env=self.daemon.environment)
                self.assertEqual(2, done.returncode, done.stderr)
                self.assertIn(text, done.stderr)
        same = subprocess.run([sluice_daemon.program(SLUICE_FILES), "--bucket", "b", "--state", state, str(self.one), "--bucket", "c",
                               "--state", state, str(self.two)], stderr=subprocess.PIPE, text=True, check=False,
                              timeout=sluice_daemon.DEADLINE_S, env=self.daemon.environment)
        self.assertEqual(1, same.returncode, same.stderr)
        self.assertIn("in use by another", same.stderr)


if __name__ == "__main__":
    sys.exit(unittest.main())
