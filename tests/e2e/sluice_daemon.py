"""A real sluiced on a fresh directory, for end-to-end tests.

    class Works(sluice_daemon.DaemonTest):
        def test_it(self):
            daemon = self.start("functions: ...")          # returns once the line `ready ...` is there
            daemon.sluice("event", "put", ...)             # the tool, with SLUICE_URL set; fails the test unless it exits 0
            daemon.wait_for(lambda: daemon.json("status")["pending"] == 0, "all deliveries done")
                                                           # at the end of the test: TERM, the exit status must be 0, and
                                                           # nothing of it may be left: no process, no socket, no odd file

self.prepare() is start() without the start: files may be put into daemon.folder first. daemon.launch() is sluice() that is not waited for.

$SLUICE_BUILD names the build tree. With $SLUICE_KEEP set, the directories of tests stay and their names are printed. All
waiting is for a condition, with a deadline; a failure shows the end of the daemon's log."""

import collections
import contextlib
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import unittest

DEADLINE_S = float(os.environ.get("SLUICE_TEST_DEADLINE", "30"))
POLL_S = 0.01
LOG_TAIL_LINES = 60
DATA_FILES = {"data.mdb", "lock.mdb", "lock", "spawner.lock"}

Ran = collections.namedtuple("Ran", "status stdout stderr")
Answered = collections.namedtuple("Answered", "status headers body")


class Failure(AssertionError):
    pass


def build_dir():
    folder = os.environ.get("SLUICE_BUILD")
    if not folder:
        raise Failure("SLUICE_BUILD is not set: it names the build tree, such as build/dev")
    return pathlib.Path(folder).resolve()


def program(name):
    """The path of a program of the build tree: sluiced, sluice."""
    path = build_dir() / {"sluiced": "broker/daemon/sluiced", "sluice": "broker/cli/sluice"}.get(name, name)
    if not os.access(path, os.X_OK):
        raise Failure(f"{path} is not there: build it first")
    return str(path)


def wait_until(condition, what, deadline_s=DEADLINE_S, about=lambda: ""):
    """Returns the first true value of condition(); what was waited for is named when the deadline passes."""
    end = time.monotonic() + deadline_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Failure(f"not within {deadline_s:g} s: {what}{about()}")
        time.sleep(POLL_S)  # between two looks at the condition, never instead of one


# ---- what daemons are given ----


def event(source, number=0, **more):
    """An envelope with n in its detail."""
    return {"source": source, "detail-type": "test", "detail": {"n": number}, **more}


def rule(source, *targets, **more):
    """Targets are functions by name, or whole ones."""
    return {"pattern": {"source": [source]}, "targets": [target if isinstance(target, dict) else {"function": target} for target in targets], **more}


def configuration(functions, rules=None):
    """As text; without rules, each function gets the events of the source that has its name."""
    rules = {name: rule(name, name) for name in functions} if rules is None else rules
    return f"functions: {json.dumps(functions)}\nrules: {json.dumps(rules)}\n"  # JSON is YAML


# ---- what is left of them ----


def processes_in(folder):
    """{pid: command} of the processes that work in `folder` or have it on their command line: the daemon, its spawner, instances,
    and what instances have started, whatever session it is in."""
    found = {}
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
            place = os.readlink(entry / "cwd")
        except OSError:
            continue  # gone meanwhile, or a zombie, which has no place
        if place.startswith(str(folder)) or str(folder) in command:
            found[int(entry.name)] = command
    return found


def memory_bytes(pid):
    """RssAnon + RssShmem: what is the process's own, without its maps of files."""
    kinds = ("RssAnon:", "RssShmem:")
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith(kinds))


class Daemon:
    """One data directory, and the daemon that runs on it, started and stopped as often as a test likes.

    configuration: YAML text; `listen` is added unless it has one. Files beside it are found by relative paths.
    http: with an HTTP port, any free one: self.ready["http"].
    folder: of everything; a fresh one in the temporary directory unless given.
    wrapper: the words of a command that becomes the daemon in the end."""

    def __init__(self, configuration, folder=None, arguments=(), environment=None, wrapper=(), http=False):
        self.folder = pathlib.Path(folder or tempfile.mkdtemp(prefix="sluice-"))
        self.url = f"ipc://{self.folder}/bus.sock"
        self.data = self.folder / "data"
        self.path = self.folder / "sluice.yaml"
        self.arguments, self.wrapper = list(arguments), list(wrapper)
        self.listen_http = ', http: "127.0.0.1:0"' if http else ""
        self.environment = {**os.environ, **(environment or {}), "SLUICE_URL": self.url}
        self.process = None
        self.lines = []          # of the log, of all runs
        self.ready = None        # key=values of the ready line of the present run
        self._changed = threading.Condition()
        self._reader = None
        self.configure(configuration)

    def configure(self, configuration):
        """Writes the configuration; a running daemon sees it at its next reload."""
        if "listen:" not in configuration:
            configuration = f'listen: {{bus: ["{self.url}"]{self.listen_http}}}\n{configuration}'
        temporary = self.path.with_suffix(".new")
        temporary.write_text(configuration)
        temporary.rename(self.path)  # never half a file

    # ---- its life ----

    def start(self, wait=True, deadline_s=DEADLINE_S):
        assert self.process is None, "the daemon runs already"
        self.ready = None
        command = [*self.wrapper, program("sluiced"), "--config", str(self.path), "--data", str(self.data), *self.arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                                        env=self.environment, text=True, errors="replace")
        self._reader = threading.Thread(target=self._read, args=(self.process,), daemon=True)
        self._reader.start()
        return self.wait_ready(deadline_s) if wait else None

    def _read(self, process):
        for line in process.stderr:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                if line.startswith("ready "):
                    self.ready = dict(word.split("=", 1) for word in line.split() if "=" in word)
                self._changed.notify_all()

    def wait_ready(self, deadline_s=DEADLINE_S):
        def answered():
            with self._changed:
                return self.ready
        def ended_or_ready():
            return answered() or self.process.poll() is not None
        wait_until(ended_or_ready, "the daemon says ready", deadline_s, self._about)
        if answered() is None:
            raise Failure(f"the daemon ended with {self.process.returncode} before it was ready{self._about()}")
        return self.ready

    def wait_exit(self, deadline_s=DEADLINE_S):
        """Its exit status; below 0 the signal that killed it."""
        try:
            status = self.process.wait(deadline_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise Failure(f"the daemon did not end within {deadline_s:g} s{self._about()}") from None
        self._reader.join(DEADLINE_S)
        self.process.stderr.close()
        self.process = None
        return status

    def stop(self, deadline_s=DEADLINE_S):
        """TERM; an orderly end is part of every test."""
        self.process.send_signal(signal.SIGTERM)
        status = self.wait_exit(deadline_s)
        if status != 0:
            raise Failure(f"the daemon ended with {status} after TERM, not 0{self._about()}")

    def kill(self):
        """kill -9. Its spawner and instances end by themselves; a new daemon waits for that."""
        self.process.kill()
        return self.wait_exit()

    def restart(self):
        self.stop()
        return self.start()

    def check_nothing_left(self):
        """After its end. The files of a data directory are these, and no others."""
        if os.path.exists(self.folder / "bus.sock"):
            raise Failure(f"the socket is still there{self._about()}")
        self.check_no_process_left(0)
        odd = [path for path in self.data.rglob("*") if path.relative_to(self.data).as_posix() not in DATA_FILES and
               not re.fullmatch(r"logs(/[^/]+\.log(\.[12])?)?|rules(/[^/]+\.index)?|usage(/\d{4}-\d\d-\d\d\.tsv)?",
                                path.relative_to(self.data).as_posix())]
        if odd:
            raise Failure(f"files are left that nobody knows: {odd}")

    def check_no_process_left(self, deadline_s=DEADLINE_S):
        """A daemon that was stopped has reaped everything before it ends; of one that was killed, the spawner does."""
        try:
            wait_until(lambda: not processes_in(self.folder), "no process of it is left", deadline_s)
        except Failure as failure:
            raise Failure(f"{failure}: {processes_in(self.folder)}{self._about()}") from None

    def close(self):
        try:
            if self.process is not None:
                self.stop()
                self.check_nothing_left()
            else:
                self.check_no_process_left()
        finally:
            if os.environ.get("SLUICE_KEEP"):
                print(f"kept: {self.folder}")
            else:
                shutil.rmtree(self.folder, ignore_errors=True)

    # ---- its HTTP port ----

    def http(self, method, path, body=None, headers=None, deadline_s=DEADLINE_S):
        """One request on a connection of its own: status, headers, body."""
        host, port = self.ready["http"].rsplit(":", 1)
        connection = http.client.HTTPConnection(host, int(port), timeout=deadline_s)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return Answered(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def invoke(self, function, payload=b"{}", deadline_s=DEADLINE_S, **headers):
        """A Lambda Invoke; headers by name with _ for -: x_amz_invocation_type="Event"."""
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        return self.http("POST", f"/2015-03-31/functions/{function}/invocations", body,
                         {name.replace("_", "-"): value for name, value in headers.items()}, deadline_s)

    # ---- looking at it ----

    def log(self):
        with self._changed:
            return "\n".join(self.lines)

    def _about(self):
        with self._changed:
            tail = self.lines[-LOG_TAIL_LINES:]
        return "\n--- end of the daemon's log ---\n" + "\n".join(tail)

    def wait_for(self, condition, what, deadline_s=DEADLINE_S):
        def checked():
            if self.process is not None and self.process.poll() is not None:
                raise Failure(f"the daemon ended with {self.process.returncode} while waiting: {what}{self._about()}")
            return condition()
        return wait_until(checked, what, deadline_s, self._about)

    def wait_log(self, text, deadline_s=DEADLINE_S):
        """The first line of the log that holds `text`."""
        return self.wait_for(lambda: next((line for line in self.log().splitlines() if text in line), None),
                             f"a log line with {text!r}",
                             deadline_s)

    def run(self, *arguments, stdin=None, deadline_s=DEADLINE_S):
        """The tool, whatever its exit status."""
        done = subprocess.run([program("sluice"), *arguments], input=stdin,
                              stdin=None if stdin is not None else subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.environment, text=True, errors="replace",
                              timeout=deadline_s)
        return Ran(done.returncode, done.stdout, done.stderr)

    def launch(self, *arguments, **options):
        """The tool, not waited for: its process, with a pipe for stdout."""
        return subprocess.Popen([program("sluice"), *arguments], **{
            "stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "env": self.environment, "text": True, **options})

    def sluice(self, *arguments, stdin=None, deadline_s=DEADLINE_S):
        """The tool; it must exit 0. Its stdout."""
        done = self.run(*arguments, stdin=stdin, deadline_s=deadline_s)
        if done.status != 0:
            raise Failure(f"sluice {' '.join(arguments)} exited with {done.status}: {done.stderr}{self._about()}")
        return done.stdout

    def json(self, *arguments):
        return json.loads(self.sluice(*arguments, "--json"))

    def put(self, *events):
        """Publishes envelopes (dicts); all must be acked."""
        self.sluice("event", "put", "-", stdin="".join(json.dumps(event) + "\n" for event in events))

    def balance(self, function):
        """Its row, checked to hold."""
        answer = self.json("balance")
        if not answer["holds"]:
            raise Failure(f"the balance does not hold: {answer}")
        return next(row for row in answer["functions"] if row["name"] == function)

    def wait_show(self, function, condition, what, deadline_s=DEADLINE_S):
        """What `function show` says, once condition(it) is true."""
        def reached():
            shown = self.json("function", "show", function)
            return shown if condition(shown) else None
        return self.wait_for(reached, what, deadline_s)

    @contextlib.contextmanager
    def balance_watched(self):
        """Looks at the balance again and again while the block runs; each time it must hold."""
        done, looks, broken = threading.Event(), [], []
        def look():
            while not done.is_set() or not looks:
                answer = self.run("balance", "--json")
                looks.append(answer)
                if answer.status != 0 and not broken:
                    broken.append(answer)
        thread = threading.Thread(target=look, daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join(DEADLINE_S)
        if broken:
            raise Failure(f"the balance did not hold in between: {broken[0]}{self._about()}")

    def wait_balance(self, function, deadline_s=DEADLINE_S, **terms):
        """wait_balance("f", succeeded=3, pending=0)"""
        def reached():
            row = self.balance(function)
            return row if all(row[term] == value for term, value in terms.items()) else None
        return self.wait_for(reached, f"balance of {function} at {terms}", deadline_s)


class DaemonTest(unittest.TestCase):
    def prepare(self, configuration, **options):
        """One that is not started yet: files may be put beside its configuration."""
        daemon = Daemon(configuration, **options)
        self.addCleanup(daemon.close)
        return daemon

    def start(self, configuration, **options):
        daemon = self.prepare(configuration, **options)
        daemon.start()
        return daemon
