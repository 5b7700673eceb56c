"""coverage.py BUILD: line and branch coverage of a build with --coverage, a line for each folder and one for all.

gcov writes what each object counted as JSON; a header, and a file built into several programs, is counted in each, so the counts
are added. Tests, benchmarks and generated files are not counted. Standard library only."""
import collections
import concurrent.futures
import json
import os
import pathlib
import subprocess
import sys

FOLDERS = ("broker", "schemas", "producers", "consumers")


def gcov(path):
    """The files that one .gcda tells of; one JSON document a line."""
    done = subprocess.run(["gcov", "--json-format", "--stdout", "--branch-probabilities", path.name], cwd=path.parent,
                          capture_output=True, text=True, check=True)
    for line in done.stdout.splitlines():
        document = json.loads(line)
        for file in document["files"]:
            yield pathlib.Path(document["current_working_directory"], file["file"]), file["lines"]


def gather(build, source):
    """{file: {line: [count, [taken of each branch]]}}"""
    found = collections.defaultdict(dict)
    data = sorted(build.rglob("*.gcda"))
    if not data:
        sys.exit(f"coverage.py: nothing under {build} was counted: configure with --preset coverage, build and run the tests first")
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for files in pool.map(lambda path: list(gcov(path)), data):
            for path, lines in files:
                path = path.resolve()
                if not path.is_relative_to(source) or path.relative_to(source).parts[0] not in FOLDERS:
                    continue
                known = found[path.relative_to(source)]
                for line in lines:
                    count, branches = known.get(line["line_number"], (0, []))
                    taken = [branch["count"] for branch in line["branches"]]
                    if len(taken) == len(branches):
                        taken = [a + b for a, b in zip(branches, taken)]
                    known[line["line_number"]] = (count + line["count"], max(taken, branches, key=len))
    return found


def share(part, whole):
    return f"{100 * part / whole:6.1f} %  {part:6d} of {whole:6d}" if whole else f"{'-':>8}  {0:6d} of {0:6d}"


def main():
    source = pathlib.Path(__file__).resolve().parent.parent
    sums = collections.defaultdict(lambda: [0, 0, 0, 0])
    for path, lines in gather(pathlib.Path(sys.argv[1]).resolve(), source).items():
        numbers = [sum(count > 0 for count, _ in lines.values()), len(lines),
                   sum(taken > 0 for _, branches in lines.values() for taken in branches),
                   sum(len(branches) for _, branches in lines.values())]
        for name in (str(path.parent), "total"):
            sums[name] = [a + b for a, b in zip(sums[name], numbers)]
    print(f"{'folder':32} {'lines':>24} {'branches':>28}")
    for name in sorted(sums, key=lambda name: (name == "total", name)):
        lines_run, lines, taken, branches = sums[name]
        print(f"{name:32} {share(lines_run, lines)}   {share(taken, branches)}")


main()
