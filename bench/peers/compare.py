#!/usr/bin/env python3
"""compare.py MATCH [NAME...]: bench/match and event-ruler over the same rules and events on this machine, in turns, and how many times
faster the engine is: the median of ROUNDS ratios, and the least and the most of them. MATCH is the bench/match program; NAME picks rows by how
their names begin. "floor" is a row's floor in rows.c by event-ruler's rate there: that many times event-ruler the engine has to be, however fast
the machine. Needs Java 17 and Maven, which fetches event-ruler 2.0.1 from Maven Central once. Some 20 s a row; progress on stderr."""
import json
import os
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "ruler")
SECONDS = "1"
ROUNDS = 5
MANY = 100_000  # event-ruler takes minutes and gigabytes for more


def ruler_classes():
    target = os.path.join(HERE, "target")
    if not os.path.isdir(os.path.join(target, "dependency")):
        subprocess.run(["mvn", "-q", "-B", "package", "dependency:copy-dependencies"], cwd=HERE, check=True)
    return os.path.join(target, "classes") + ":" + os.path.join(target, "dependency", "*")


def ours(match, section, name):
    out = subprocess.run([match, "--json", "--row", name], check=False, capture_output=True, text=True).stdout
    return next(row["value"] for row in map(json.loads, out.splitlines()) if row["name"] == f"{section} {name}")


def in_turns(match, section, name, java):
    """ROUNDS pairs of rates, ours and event-ruler's: the machine's pace changes within minutes, so a pair is measured at once."""
    with subprocess.Popen(java, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as ruler:
        ruler.stdout.readline()  # warm
        pairs = []
        for _ in range(ROUNDS):
            own = ours(match, section, name)
            ruler.stdin.write("\n")
            ruler.stdin.flush()
            pairs.append((own, float(ruler.stdout.readline())))
        ruler.stdin.close()
    return pairs


def main():
    match, names = sys.argv[1], sys.argv[2:]
    classes = ruler_classes()
    with tempfile.TemporaryDirectory() as folder:
        rows = subprocess.run([match, "--write", folder], check=True, capture_output=True, text=True).stdout.splitlines()
        print("| | row | k events/s | event-ruler | times | least | most | floor | |\n|---|---|---:|---:|---:|---:|---:|---:|---|")
        for line in rows:
            number, events, section, name, floor = line.split("\t")
            if names and not any(name.startswith(prefix) for prefix in names):
                continue
            rules = os.path.join(folder, f"rules-{number}.jsonl")
            with open(rules, "rb") as file:
                if sum(1 for _ in file) > MANY:
                    continue
            print(f"{section} {name} ...", file=sys.stderr)
            pairs = in_turns(match, section, name, ["java", "-XX:+UseSerialGC", "-Xmx4g", "-cp", classes, "Bench", rules,
                                                    os.path.join(folder, f"events-{events}.jsonl"), SECONDS])
            times = sorted(own / ruler for own, ruler in pairs)
            own, ruler = (statistics.median(side) for side in zip(*pairs))
            median, floor = statistics.median(times), float(floor)
            verdict = "" if floor == 0 else "over the floor" if median >= floor else "missed"
            print(f"| {section} | {name} | {own / 1e3:.0f} | {ruler / 1e3:.1f} | {median:.1f} | {times[0]:.1f} | {times[-1]:.1f} | "
                  f"{f'{floor:.1f}' if floor else ''} | {verdict} |", flush=True)


main()
