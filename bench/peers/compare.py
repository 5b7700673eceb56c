#!/usr/bin/env python3
"""compare.py MATCH [NAME...]: bench/match and event-ruler over the same rules and events, one after the other on this machine, and
how many times faster the engine is. MATCH is the bench/match program; NAME picks rows by how their names begin. Needs Java 17 and Maven,
which fetches event-ruler 2.0.1 from Maven Central once."""
import json
import os
import subprocess
import sys
import tempfile

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "ruler")
SECONDS = "2"
MANY = 100_000  # event-ruler takes minutes and gigabytes for more


def ruler_classes():
    target = os.path.join(HERE, "target")
    if not os.path.isdir(os.path.join(target, "dependency")):
        subprocess.run(["mvn", "-q", "-B", "package", "dependency:copy-dependencies"], cwd=HERE, check=True)
    return os.path.join(target, "classes") + ":" + os.path.join(target, "dependency", "*")


def ours(match, section, name):
    out = subprocess.run([match, "--json", "--row", name], check=False, capture_output=True, text=True).stdout
    return next(row["value"] for row in map(json.loads, out.splitlines()) if row["name"] == f"{section} {name}")


def main():
    match, names = sys.argv[1], sys.argv[2:]
    classes = ruler_classes()
    with tempfile.TemporaryDirectory() as folder:
        rows = subprocess.run([match, "--write", folder], check=True, capture_output=True, text=True).stdout
        print(f"{'':30} {'sluice':>12} {'event-ruler':>12} {'times':>8}   events per CPU-second, one thread")
        for line in rows.splitlines():
            number, events, section, name = line.split("\t")
            if names and not any(name.startswith(prefix) for prefix in names):
                continue
            rules = os.path.join(folder, f"rules-{number}.jsonl")
            with open(rules, "rb") as file:
                if sum(1 for _ in file) > MANY:
                    continue
            before = ours(match, section, name)  # the machine's pace changes within minutes: before and behind, and the mean of both
            java = subprocess.run(["java", "-XX:+UseSerialGC", "-Xmx4g", "-cp", classes, "Bench", rules,
                                   os.path.join(folder, f"events-{events}.jsonl"), SECONDS], check=True, capture_output=True, text=True)
            rate = float(java.stdout.split()[0])
            own = (before + ours(match, section, name)) / 2
            print(f"{section} {name:27} {own:12.0f} {rate:12.0f} {own / rate:7.1f}x", flush=True)


main()
