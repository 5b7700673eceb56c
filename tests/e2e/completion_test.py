"""Bash completion: the script that `sluice help --completion` prints, in a real bash, against a real daemon."""

import os
import pathlib
import shlex
import shutil
import subprocess
import tempfile
import unittest

import sluice_daemon

CONFIGURATION = """
functions:
  thumbnail: {command: ["false"], protocol: stdio, retry: {attempts: 1}}
  thumbs-up: {command: [cat], protocol: stdio}
  words: {command: [cat], protocol: stdio}
rules:
  new-images: {pattern: {source: [files]}, targets: [{function: thumbnail}]}
  orders: {bus: shop, pattern: {source: [shop]}, targets: [{function: words}]}
"""


def words_of(line):
    """What bash puts into COMP_WORDS: words, parted at = and : too."""
    words = []
    for word in line.split(" "):
        part = ""
        for character in word:
            if (character in "=:") == (part != "" and part[-1] in "=:"):
                part += character
            else:
                words += [part] if part else []
                part = character
        words.append(part)
    return words


class Completion(sluice_daemon.DaemonTest):
    @classmethod
    def setUpClass(cls):
        cls.bash = shutil.which("bash")
        if cls.bash is None:
            raise unittest.SkipTest("no bash here")

    def complete(self, line, daemon=None, folder=None, url=None):
        """What bash offers for `line`, the cursor at its end."""
        environment = dict(daemon.environment if daemon else os.environ)
        if url:
            environment["SLUICE_URL"] = url
        tool = pathlib.Path(sluice_daemon.program("sluice"))
        environment["PATH"] = f"{tool.parent}:{environment['PATH']}"
        words = " ".join(shlex.quote(word) for word in words_of(line))
        count = len(words_of(line)) - 1
        script = (f"set -e; source <(sluice help --completion); set +e\n"
                  f"complete -p sluice >/dev/null || exit 3\nCOMP_WORDS=({words}) COMP_CWORD={count}\n"
                  "_sluice\nprintf '%s\\n' \"${COMPREPLY[@]}\"")
        done = subprocess.run([self.bash, "--norc", "-u", "-c", script], env=environment, cwd=folder, capture_output=True, text=True,
                              timeout=60)
        self.assertEqual((0, ""), (done.returncode, done.stderr), line)
        return done.stdout.split()

    def test_commands_verbs_and_options_are_those_of_the_help(self):
        nouns = self.complete("sluice ")
        for noun in ("event", "function", "rule", "dead-letter", "config", "balance", "status", "top", "help"):
            self.assertEqual(1, nouns.count(noun), nouns)
        cases = [
            ("sluice fu", ["function"]),
            ("sluice function s", ["show"]),
            ("sluice function ", ["list", "logs", "show"]),
            ("sluice --json dead-letter r", ["redrive"]),
            ("sluice function logs --f", ["--follow"]),
            ("sluice top --s", ["--sort"]),
            ("sluice top --sort old", ["oldest"]),
            ("sluice top --sort=old", ["oldest"]),
            ("sluice balance ", []),
            ("sluice nosuch ", []),
            ("sluice help dead", ["dead-letter"]),
            ("sluice help dead-letter p", ["purge"]),
            ("sluice event put --source ", []),
            ("sluice event put --source shop --ty", ["--type"]),
        ]
        for line, expected in cases:
            with self.subTest(line=line):
                offered = sorted(self.complete(line))
                if expected == ["list", "logs", "show"]:
                    self.assertLessEqual(set(expected), set(offered))
                else:
                    self.assertEqual(expected, offered)

    def test_every_command_of_the_help_is_offered(self):
        listed = subprocess.run([sluice_daemon.program("sluice"), "help"], capture_output=True, text=True, check=True).stdout
        for line in listed.splitlines()[2:]:
            if not line.startswith("  "):
                break
            words = line[2:22].split()
            with self.subTest(command=words):
                offered = self.complete("sluice " + " ".join(words[:-1] + [words[-1][:-1]]))
                self.assertIn(words[-1], offered)

    def test_files_are_offered_where_files_stand(self):
        temporary = tempfile.TemporaryDirectory()
        self.addCleanup(temporary.cleanup)
        folder = pathlib.Path(temporary.name)
        (folder / "pattern.json").write_text("{}")
        self.assertEqual(["pattern.json"], self.complete("sluice event put --file pat", folder=folder))
        self.assertEqual(["pattern.json"], self.complete("sluice config check pat", folder=folder))
        self.assertEqual(["@pattern.json"], self.complete("sluice rule test --pattern @pat", folder=folder))
        self.assertEqual([], self.complete("sluice rule test --pattern pat", folder=folder))

    def test_names_come_from_the_running_daemon(self):
        daemon = self.start(CONFIGURATION)
        daemon.put({"source": "files", "detail-type": "t", "detail": {}})
        daemon.wait_balance("thumbnail", dead_lettered=1)
        cases = [
            ("sluice function show th", ["thumbnail", "thumbs-up"]),
            ("sluice function logs --bytes 10 w", ["words"]),
            ("sluice event tail --bus sh", ["shop"]),
            ("sluice dead-letter show thumbnail ", ["1.0"]),
            ("sluice dead-letter redrive th", ["thumbnail", "thumbs-up"]),
            ("sluice function show thumbnail ", []),
        ]
        for line, expected in cases:
            with self.subTest(line=line):
                self.assertEqual(expected, sorted(self.complete(line, daemon)))
        self.assertEqual(["words"], self.complete(f"sluice --url {daemon.url} function show w", url="ipc:///nonexistent"))

    def test_without_a_daemon_nothing_is_offered_and_nothing_is_said(self):
        self.assertEqual([], self.complete("sluice function show ", url="ipc:///nonexistent/bus.sock"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
