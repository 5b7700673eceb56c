#!/usr/bin/env python3
"""config_schema_test.py CONFIG_CHECK SOURCE_DIR

The schema, the page and the loader say the same: every case below is given to the schema and to the loader, the page's examples too,
and so are all limits and defaults that the schema states. Exit 77: a Python module is missing.
"""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile

try:
    import jsonschema
    import yaml
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

L = "functions:\n  f: "
F = "functions:\n  f: {command: [sh], protocol: stdio}\n"
W = F + "routes:\n  w: "
R = F + "rules:\n  r:\n    pattern: {a: [1]}\n    targets: "


def function(keys):
    return "functions:\n  f: {command: [sh], protocol: stdio, %s}\n" % keys


GOOD = [
    "", "functions:\nrules:\nbuses:\n", "{}", F, R + "[{function: f}]\n",
    "listen: {bus: [ipc:///a, ipc://b.sock]}\n", "data: /x\nbuses: [a, b/c]\n",
    function("environment: {A: 1, B: true, C: no, D: ''}"), function("memory: 1GiB"), function("memory: 1048576"),
    "functions:\n  f: {protocol: native}\n", "functions:\n  f: {protocol: native, scale: {min: 0, max: 3}}\n",
    "functions:\n  f: {protocol: native, command: [sh], scale: {min: 1}}\n", function("retry: {backoff: 1s}"), function("batch: {partial-failures: true}"), function("input: cloudevent"),
    R + "[{function: f, input: [1, {a: null}]}, {function: f, input-path: $.detail}]\n    enabled: false\n    description: x\n",
    F + "rules:\n  r:\n    pattern: '{\"a\": [1]}'\n    targets: [{function: f}]\n",
    R + "[{function: f, input-template: '[<a>]', input-paths-map: {a: $.detail}}]\n",
    R + "[{function: f, input-template: text}]\n", "listen: {http: '127.0.0.1:1'}\n", L + "{command: [sh]}\n", L + "{command: [sh], protocol: lambda, handler: x}\n",
    L + "{runtime: python, handler: a.b}\n", L + "{runtime: nodejs, handler: a/b.c.d, batch: {size: 1}}\n",
    L + "{runtime: provided, protocol: lambda, environment: {TZ: a, AWS_REGIONS: b}}\n", L + "{runtime: provided, handler: any}\n",
    function("environment: {AWS_REGION: a}"), "routes:\n", W + "{path: /, function: f}\n", "listen: {http-hosts: [a.b-c, d_e]}\n", "listen: {http-hosts: []}\n",
    W + "{path: '/a/{b}/{c+}', methods: [GET, PUT], function: f, stream: true}\n", W + "{path: /, methods: GET, function: f}\n",
    W + "{path: /, function: f, cors: {allow-origins: '*'}}\n",
    W + "{path: /, function: f, cors: {allow-origins: [http://a, 'https://b:1'], allow-methods: '*', allow-headers: [x-a], expose-headers: '*', max-age: 1d, "
    "allow-credentials: true}}\n",
    L + "{command: [sh], log: {format: json, level: debug, report: none}}\n", function("log: {format: json}"), function("log: {format: text, report: all}"),
    function("url: {}"), function("url: {stream: true, cors: {allow-origins: '*', allow-methods: GET}}"),
]

# Refused by both.
BAD = [
    "- a\n", "hello\n", "xyz: 1\n", "functions: []\n", "rules: 5\n", "buses: {}\n", "buses: [a b]\n", "listen: x\n",
    "listen: {bus: []}\n", "listen: {bus: http://x}\n", "listen: {bus: [ipc:///a, ipc:///a]}\n", "listen: {http: 4566}\n",
    "listen: {http: localhost}\n", "listen: {http: ':1'}\n", "listen: {port: 1}\n", "data: 12\n", "data: [a]\n", "data:\n", "data: true\n",
    "functions:\n  'a b': {command: [sh], protocol: stdio}\n", "functions:\n  f:\n", "functions:\n  f: {protocol: stdio}\n",
    "functions:\n  f: {protocol: stdio-lines}\n", "functions:\n  f: {protocol: native, scale: {min: 1}}\n", "functions:\n  f: {protocol: native, command: []}\n",
    L + "{handler: a.b}\n", L + "{command: [sh], runtime: provided}\n", L + "{runtime: python}\n", L + "{runtime: python, handler: a}\n",
    L + "{runtime: nodejs, handler: a.b/c}\n", L + "{runtime: nodejs, handler: a/.b}\n", L + "{runtime: ruby, handler: a.b}\n",
    L + "{runtime: python, handler: .b}\n", L + "{runtime: python, handler: a.}\n", L + "{runtime: python, handler: 5}\n",
    L + "{command: [sh], batch: {size: 2}}\n", L + "{command: [sh], environment: {AWS_REGION: a}}\n",
    "functions:\n  f: {command: sh, protocol: stdio}\n",
    "functions:\n  f: {command: [], protocol: stdio}\n", "functions:\n  f: {command: [[sh]], protocol: stdio}\n",
    "functions:\n  f: {command: [sh], protocol: stdio, runtime: python}\n",
    "functions:\n  f: {command: [sh], protocol: stdio, handler: a.b}\n", function("timeuot: 3s"), function("timeout: 3"),
    function("timeout: 1.5s"), function("timeout: 3 s"), function("timeout: 03s"), function("memory: 64 MB"), function("memory: big"),
    function("memory: -1"), function("concurrency: '4'"), function("concurrency: 1.5"), function("batch: 5"),
    function("batch: {partial-failures: yes}"), function("batch: {partial-failures: 'true'}"), function("batch: {sise: 5}"),
    function("scale: {idle: 60}"), function("retry: {backoff: 1s..}"), function("retry: {backoff: 1s...2s}"),
    function("environment: {'A=B': 1}"), function("environment: {A: [1]}"), function("environment: {A: }"), function("input: evnt"),
    function("code: 5"), F + "rules:\n  r:\n", R + "[]\n", R + "{function: f}\n", R + "[f]\n", R + "[{input: 1}]\n",
    R + "[{function: f, input: 1, input-path: $.a}]\n", R + "[{function: f, input: 1, input-template: '[]'}]\n",
    R + "[{function: f, input-paths-map: {}}]\n", R + "[{function: f, input-path: detail}]\n", R + "[{function: f, input-template: ''}]\n",
    R + "[{function: f, input-path: $.a, input-template: '[]'}]\n", R + "[{function: f, input-template: {a: 1}}]\n",
    R + "[{function: f, input-template: '[]', input-paths-map: {a.b: $.a}}]\n",
    R + "[{function: f, input-template: '[]', input-paths-map: {a: b}}]\n", R + "[{function: f}]\n    enabled: on\n",
    R + "[{function: f}]\n    bus: a b\n", R + "[{function: f}]\n    patern: {}\n",
    F + "rules:\n  r: {targets: [{function: f}]}\n", F + "rules:\n  r: {pattern: {a: [1]}}\n",
    F + "rules:\n  r: {pattern: [a], targets: [{function: f}]}\n", F + "rules:\n  r: {pattern: 5, targets: [{function: f}]}\n",
    F + "rules:\n  r: {pattern: {}, targets: [{function: f}]}\n",
    "routes: []\n", W + "\n", W + "{path: /}\n", W + "{function: f}\n", W + "{path: a, function: f}\n", W + "{path: /, function: f, method: GET}\n",
    W + "{path: /, function: f, methods: []}\n", W + "{path: /, function: f, methods: get}\n", W + "{path: /, function: f, stream: yes}\n",
    W + "{path: /, function: f, cors: {}}\n", W + "{path: /, function: f, cors: {allow-origins: a}}\n",
    W + "{path: /, function: f, cors: {allow-origins: 'http://a/'}}\n", W + "{path: /, function: f, cors: {allow-origins: '*', allow-headers: a b}}\n",
    W + "{path: /, function: f, cors: {allow-origins: '*', max-age: 5}}\n", "listen: {http-hosts: a}\n", "listen: {http-hosts: ['a:1']}\n",
    function("log: {format: JSON}"), function("log: {format: json, level: info}"), L + "{command: [sh], log: {level: info}}\n",
    L + "{command: [sh], log: {format: json, level: INFO}}\n", L + "{command: [sh], log: {format: text, level: info}}\n",
    function("url: true"), function("url: {stream: yes}"), function("url: {cors: {}}"), function("url: {mode: stream}"),
    "functions:\n  f: {protocol: native, url: {}}\n",
]

# What a schema cannot say.
LOADER_ONLY = [
    "listen: {bus: tcp://127.0.0.1:1}\n", "listen: {token-file: nope}\n", "listen: {http: 'a:99999'}\n",
    "functions:\n  f: {command: [no-such-program-here], protocol: stdio}\n", function("code: nope"), function("scale: {min: 11}"),
    function("timeout: 8d"), function("memory: 1000"), function("retry: {backoff: 2s..1s}"), R + "[{function: g}]\n",
    W + "{path: /, function: g}\n", W + "{path: '/a{b}', function: f}\n", W + "{path: '/{a}/{a}', function: f}\n", W + "{path: /metrics, function: f}\n",
    W + "{path: /2015-03-31/x, function: f}\n", W + "{path: '/{a}', function: f}\n  x: {path: '/{b}', function: f}\n",
    W + "{path: /, function: f, cors: {allow-origins: '*', max-age: 2d}}\n",
    F + "rules:\n  r: {pattern: {a: 1}, targets: [{function: f}]}\n", F + "rules:\n  r: {pattern: hello, targets: [{function: f}]}\n",
]


class Loader(yaml.SafeLoader):
    """Scalars by the rule of the configuration: JSON's numbers, true, false and null, or text."""


Loader.yaml_implicit_resolvers = {}
Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(null|)$"), None)
Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(true|false)$"), None)
Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^-?(0|[1-9][0-9]*)$"), None)
Loader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"^-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][-+]?[0-9]+)?$"), None)

failures = 0


def expect(condition, what):
    global failures
    if not condition:
        failures += 1
        print(f"FAIL {what}")


def schema_takes(validator, text):
    return validator.is_valid(yaml.load(text, Loader))


def loader_verdicts(check, folder, texts):
    paths = []
    for i, text in enumerate(texts):
        paths.append(str(folder / f"{i}.yaml"))
        pathlib.Path(paths[-1]).write_text(text)
    run = subprocess.run([check, *paths], cwd=folder, capture_output=True, text=True, check=True)
    verdicts = [line == "good" for line in run.stdout.split()]
    expect(len(verdicts) == len(texts), "a verdict for each text")
    return verdicts, run.stderr


def milliseconds(text):
    number, unit = re.fullmatch(r"([0-9]+)(ms|s|m|h|d)", text).groups()
    return int(number) * {"ms": 1, "s": 1000, "m": 60000, "h": 3600000, "d": 86400000}[unit]


def function_keys(schema):
    """(dotted key, its schema) of all keys of a function."""
    for name, key in schema["$defs"]["function"]["properties"].items():
        if "properties" in key:
            for inner, inner_key in key["properties"].items():
                yield f"{name}.{inner}", inner_key
        else:
            yield name, key


def limit_cases(schema):
    """A function with one whole number at, and one beyond, each of its limits."""
    for name, key in function_keys(schema):
        if key.get("type") != "integer":
            continue
        for value, good in ((key["minimum"], True), (key["maximum"], True), (key["minimum"] - 1, False), (key["maximum"] + 1, False)):
            outer, _, inner = name.partition(".")
            more = ", max: 10000" if name == "scale.min" else ""
            yield function(f"{outer}: {{{inner}: {value}{more}}}" if inner else f"{outer}: {value}"), good


def default_text(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str) and ".." in value:
        return "..".join(str(milliseconds(part)) for part in value.split(".."))
    if isinstance(value, str) and re.fullmatch(r"[0-9]+(ms|s|m|h|d)", value):
        return str(milliseconds(value))
    return str(value)


def documented(page, name, default):
    """Whether the row of key `name` begins its last column with `default`."""
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) == 5 and cells[1] == f"`{name}`":
            return re.match(re.escape(default) + r"(;|$)", cells[3]) is not None
    return False


def main():
    check, source = os.path.abspath(sys.argv[1]), pathlib.Path(sys.argv[2])
    schema = json.loads((source / "schemas/config.schema.json").read_text())
    page = (source / "schemas/config.md").read_text()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)

    examples = re.findall(r"^```yaml\n(.*?)^```$", page, re.S | re.M)
    expect(len(examples) >= 3, "the page has examples")
    limits = list(limit_cases(schema))
    expect(len(limits) >= 20, "the schema has limits")
    cases = [(text, True, True) for text in GOOD + examples] + [(text, False, False) for text in BAD]
    cases += [(text, True, False) for text in LOADER_ONLY] + [(text, good, good) for text, good in limits]
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for program in re.findall(r"\./([\w.-]+)", "".join(examples)):
            (folder / program).write_text("#!/bin/sh\n")
            (folder / program).chmod(0o755)
        for program, bootstrap in (("nodejs", "bootstrap.cjs"), ("python", "bootstrap.py"), (".", "bootstrap")):
            (folder / program).mkdir(exist_ok=True)
            (folder / program / bootstrap).write_text("#!/bin/sh\n")
            (folder / program / bootstrap).chmod(0o755)
        (folder / "a").mkdir()
        for module in ("a.py", "a/b.js", "hello.py", "index.js"):
            (folder / module).write_text("")
        verdicts, told = loader_verdicts(check, folder, [text for text, _, _ in cases])
        for (text, schema_good, loader_good), verdict in zip(cases, verdicts):
            expect(schema_takes(validator, text) == schema_good, f"the schema {'takes' if schema_good else 'refuses'}:\n{text}")
            expect(verdict == loader_good, f"the loader {'takes' if loader_good else 'refuses'}:\n{text}")
        if failures:
            print(told)

        (folder / "f.yaml").write_text(L + "{command: [sh]}\n")
        run = subprocess.run([check, "--defaults", str(folder / "f.yaml")], capture_output=True, text=True, check=True)
        loaded = dict(line.split(" ", 1) for line in run.stdout.splitlines())
    stated = {name: key["default"] for name, key in function_keys(schema) if "default" in key and key["default"] != {}}
    expect(stated.keys() == loaded.keys(), f"defaults stated {sorted(stated)}, loaded {sorted(loaded)}")
    for key, default in stated.items():
        expect(default_text(default) == loaded.get(key), f"default of {key}: schema {default}, loader {loaded.get(key)}")
        text = default_text(default) if isinstance(default, bool) else str(default)
        expect(documented(page, key, text), f"the page states {text} as default of {key}")

    # Every key the schema knows has its row, and the other way round.
    rows = set(re.findall(r"`([a-z.-]+)`", " ".join(line.split("|")[1] for line in page.splitlines() if line.count("|") == 4)))
    known = {name for name, _ in function_keys(schema)} | set(schema["$defs"]["rule"]["properties"])
    known |= set(schema["$defs"]["route"]["properties"]) | set(schema["$defs"]["cors"]["properties"])
    known |= set(schema["$defs"]["target"]["properties"]) | {f"listen.{key}" for key in schema["properties"]["listen"]["properties"]}
    known |= set(schema["properties"]) - {"listen"}
    expect(rows == known, f"rows without a key {sorted(rows - known)}, keys without a row {sorted(known - rows)}")
    print(f"{len(cases)} cases, {failures} failed")
    return 1 if failures else 0


sys.exit(main())
