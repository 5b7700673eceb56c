"""Kill loop: kill -9 of the daemon at random moments, and nothing acked is lost.

Each round kills with at least 1,000 unacknowledged publishes and at least one lease out. The judges are the producer's own file
of acks and the functions' own output files: every acked event is done, dead or pending; ids are complete; the balance holds;
an event ran twice only if a kill lies between.

  kill_test.py BUILD [ROUNDS] [SEED]      default 20 rounds; with SLUICE_LONG 100, or SLUICE_KILL_ROUNDS; a failure prints its seed
"""
import atexit, fcntl, json, mmap, os, random, signal, struct, subprocess, sys, tempfile, time

build = sys.argv[1]
rounds = int(sys.argv[2]) if len(sys.argv) > 2 else int(os.environ.get("SLUICE_KILL_ROUNDS", "100" if os.environ.get("SLUICE_LONG") else "20"))
seed = int(sys.argv[3]) if len(sys.argv) > 3 else random.SystemRandom().randrange(1 << 32)
chance = random.Random(seed)
print(f"kill loop: {rounds} rounds, seed {seed}", flush=True)

directory = tempfile.mkdtemp(prefix="sluice-kill.")
url = f"ipc://{directory}/bus.sock"
os.environ["SLUICE_URL"] = url
DEADLINE_S = 60


def path(name):
    return os.path.join(directory, name)


def fail(text):
    sys.exit(f"FAIL: {text}\nseed {seed}, directory {directory}\nrerun: kill_test.py {build} {rounds} {seed}")


def wait_for(what, condition):
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        time.sleep(0.002)  # between two looks at the condition, not instead of one
    fail(f"{what} did not happen within {DEADLINE_S} s")


with open(path("slow.sh"), "w") as f:
    f.write(f"""#!/bin/sh
read -r line
n=${{line#*\\"n\\":}}; n=${{n%%,*}}
echo "begin $n" >> {path('slow.out')}
sleep 0.3   # the work itself
echo "end $n" >> {path('slow.out')}
""")
with open(path("fails.sh"), "w") as f:
    f.write(f"""#!/bin/sh
read -r line
n=${{line#*\\"n\\":}}; echo "${{n%%,*}}" >> {path('fails.out')}
exit 3
""")
for name in ("slow.sh", "fails.sh"):
    os.chmod(path(name), 0o755)
for name in ("slow.out", "fails.out", "lines.out", "native.out"):
    open(path(name), "w").close()

BATCH, LINES_AHEAD, INSTANCES = 64, 64, 2
with open(path("sluice.yaml"), "w") as f:
    rules = "".join(f"""
  {name}: {{pattern: {{source: [kill.loop], detail: {{to: [{name}]}}}}, targets: [{{function: {name}}}]}}""" for name in
                    ("lines", "native", "slow", "fails"))
    f.write(f"""
listen: {{bus: "{url}"}}
functions:
  lines:
    command: [{build}/tests/helpers/recorder, {path('lines.out')}]
    protocol: stdio-lines
    timeout: 120s   # a timeout is a second run too
    concurrency: {LINES_AHEAD}
    scale: {{max: {INSTANCES}}}
  native:
    command: [{build}/tests/helpers/native_recorder, {path('native.out')}]
    protocol: native
    timeout: 120s
    batch: {{size: {BATCH}}}
    scale: {{max: {INSTANCES}}}
  slow: {{command: [{path('slow.sh')}], protocol: stdio, scale: {{max: 4}}}}
  fails: {{command: [{path('fails.sh')}], protocol: stdio, retry: {{attempts: 2, backoff: 10ms..20ms}}}}
rules:{rules}
""")


def lines_of(name):
    with open(path(name)) as f:
        return f.read().splitlines()


class Daemon:
    def __init__(self, number):
        self.log = open(path(f"daemon.{number}.log"), "w+")
        self.process = subprocess.Popen([f"{build}/broker/daemon/sluiced", "--config", path("sluice.yaml"), "--data", path("data")],
                                        stderr=self.log, stdin=subprocess.DEVNULL)
        atexit.register(self.process.kill)  # a failed test leaves nothing running, for ctest would wait for it
        wait_for("ready", self.ready)

    def text(self):
        self.log.flush()
        with open(self.log.name) as f:
            return f.read()

    def ready(self):
        if self.process.poll() is not None:
            fail(f"the daemon ended with {self.process.returncode}:\n{self.text()}")
        return "\nready " in "\n" + self.text()


counts_file = path("counts")
publisher = subprocess.Popen([f"{build}/tests/helpers/publisher", counts_file], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
wait_for("publisher's file", lambda: os.path.exists(counts_file) and os.path.getsize(counts_file) >= 24)
with open(counts_file, "r+b") as f:
    counts_map = mmap.mmap(f.fileno(), 24)


def counts():
    return struct.unpack("<QQQ", counts_map[:24])  # submitted, acked, refused


def say(text):
    publisher.stdin.write(text + "\n")
    publisher.stdin.flush()


def instances_run():
    """Whether a process of a function is still there: the killed daemon's spawner ends them, a moment later."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                command = f.read()
        except OSError:
            continue
        if any(os.fsencode(path(name)) in command for name in ("lines.out", "native.out", "slow.sh", "fails.sh")):
            return True
    return False


def leases_out():
    begun, ended = set(), set()
    for line in lines_of("slow.out"):
        (begun if line.startswith("begin") else ended).add(line.split()[1])
    return begun - ended


def control(command):
    done = subprocess.run([f"{build}/broker/cli/sluice", *command, "--json"], capture_output=True, text=True, timeout=DEADLINE_S)
    return json.loads(done.stdout) if done.stdout.strip() else fail(f"sluice {command}: {done.stderr}")


def spawner_gone():
    """It holds this lock until it has reaped all instances."""
    with open(path("data/spawner.lock"), "r+b") as lock:
        try:
            fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


executions_at_kill = []
kills = 0
daemon = Daemon(0)
for number in range(1, rounds + 1):
    for attempt in range(50):
        before_submitted, before_acked, _ = counts()
        say(f"burst {chance.randrange(6000, 12000)}")
        goal = before_acked + chance.randrange(1, 4000)
        moment = time.monotonic() + DEADLINE_S
        killed = False
        while time.monotonic() < moment:
            submitted, acked, _ = counts()
            if acked >= goal and submitted - acked >= 1000 and leases_out():
                daemon.process.send_signal(signal.SIGKILL)
                daemon.process.wait()
                # What the old instances still run belongs to the old life: it ends with their spawner.
                wait_for("the end of the old instances", spawner_gone)
                killed = True
                break
            if acked == submitted and submitted > before_submitted and acked > goal:
                break  # it was faster than this look: another burst
        if killed:
            submitted, acked, _ = counts()
            wait_for("the end of the instances", lambda: not instances_run())  # what they still wrote was before the kill's line
            executions_at_kill.append({name: len(lines_of(f"{name}.out")) for name in ("lines", "native", "slow", "fails")})
            kills += 1
            if submitted - acked >= 1000 and leases_out():
                break
            daemon = Daemon(kills)  # what was out came back in the last microsecond: a kill, but not one that counts as a round
    else:
        fail(f"round {number}: no moment with 1,000 unacked publishes and a lease out in 50 bursts")
    print(f"round {number}: killed with {submitted - acked} unacked, {len(leases_out())} leases out", flush=True)
    daemon = Daemon(kills)

say("flush")
answer = publisher.stdout.readline().split()
if answer != ["flushed", "0"]:
    fail(f"the producer could not confirm everything: {answer}")
submitted, acked, refused = counts()
if acked != submitted or refused != 0:
    fail(f"{submitted} submitted, {acked} acked, {refused} refused")
publisher.stdin.close()
if publisher.wait(DEADLINE_S) != 0:
    fail("the publisher failed")
acked_numbers = [int(line) for line in lines_of("counts.acked")]
if sorted(acked_numbers) != list(range(1, submitted + 1)):
    fail("the file of acks is not each event once")


def drained():
    balance = control(["balance"])
    if not balance["holds"]:
        fail(f"the balance does not hold: {balance}")
    return balance if all(f["pending"] == 0 for f in balance["functions"]) else None


balance = {f["name"]: f for f in wait_for("drain", drained)["functions"]}


def event_to(n):
    return "slow" if n % 1000 == 7 else "fails" if n % 1000 == 13 else "native" if n % 4 == 1 else "lines"


expected = {name: set() for name in ("lines", "native", "slow", "fails")}
for n in range(1, submitted + 1):
    expected[event_to(n)].add(n)
ran = {name: [int(x) for x in lines_of(f"{name}.out")] for name in ("lines", "native", "fails")}
ran["slow"] = [int(x.split()[1]) for x in lines_of("slow.out") if x.startswith("end")]

duplicates = 0
for name, numbers in ran.items():
    missing = expected[name] - set(numbers)
    stray = set(numbers) - expected[name]
    if missing or stray:
        fail(f"{name}: {len(missing)} acked events never ran, such as {sorted(missing)[:5]}; stray {sorted(stray)[:5]}")
    if name in ("slow", "fails"):
        continue
    # A second run of an event must lie behind a kill: no two runs in the same life of the daemon.
    bounds = [0] + [at[name] for at in executions_at_kill] + [len(numbers)]
    for life in range(len(bounds) - 1):
        part = numbers[bounds[life]:bounds[life + 1]]
        if len(part) != len(set(part)):
            fail(f"{name}: an event ran twice with no kill between, in life {life}")
    # ... and only what was leased, or settled by a commit that the kill cut off, can run again.
    repeated = len(numbers) - len(set(numbers))
    duplicates += repeated
    if repeated > kills * INSTANCES * 20 * max(BATCH, LINES_AHEAD):
        fail(f"{name}: {repeated} repeats are more than leases can explain")
if balance["fails"]["dead_lettered"] != len(expected["fails"]):
    fail(f"fails: {balance['fails']} but {len(expected['fails'])} events went there")
for name in ("lines", "native", "slow"):
    if balance[name]["accepted"] != len(expected[name]) or balance[name]["succeeded"] + balance[name]["dead_lettered"] != len(expected[name]):
        fail(f"{name}: {balance[name]}, expected {len(expected[name])}")

daemon.process.send_signal(signal.SIGTERM)
if daemon.process.wait(DEADLINE_S) != 0:
    fail(f"the daemon did not stop cleanly:\n{daemon.text()}")
for root, folders, files in os.walk(directory, topdown=False):
    for name in files:
        os.unlink(os.path.join(root, name))
    os.rmdir(root)
print(f"ok: {submitted} events, {kills} kills, {duplicates} repeats after kills, all accounted for")
