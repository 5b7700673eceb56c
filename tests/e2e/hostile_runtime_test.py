"""A hostile function at its Runtime API, and a hostile client at the HTTP port, with sockets of their own: both are bounded, the daemon serves others."""

import base64
import json
import re
import socket
import struct
import unittest

import sluice_daemon

# What a function does with its second invocation is its name's; it must then answer "done", or be killed for its timeout. HELD says when it is at it.
RUNTIME = r"""
import os, re, socket, subprocess, sys, threading, time
host, port = os.environ["AWS_LAMBDA_RUNTIME_API"].split(":")
API = "/2018-06-01/runtime/invocation/"
mode = os.environ["MODE"]

def connect():
    sock = socket.create_connection((host, int(port)))
    return sock, sock.makefile("rb")

def head(method, path, *fields):
    return ("\r\n".join((f"{method} {path} HTTP/1.1", "Host: a", *fields)) + "\r\n\r\n").encode()

def answer(file):
    status = int(file.readline().split()[1])
    fields = {}
    while (line := file.readline().strip()):
        name, value = line.decode().split(":", 1)
        fields[name.lower()] = value.strip()
    return status, fields, file.read(int(fields.get("content-length", 0)))

def ask(sock, file, request, body=b""):
    sock.sendall(request + body)
    return answer(file)

def note(text):
    with open(f"{mode}.notes", "a") as notes:
        notes.write(text + "\n")

def post(sock, file, id, text):
    return ask(sock, file, head("POST", f"{API}{id}/response", f"Content-Length: {len(text)}"), text)

def hold():
    "until the test, which looks at the daemon meanwhile, says go"
    note("held")
    while not os.path.exists("go"):
        time.sleep(0.01)

def glutton(sock, file, id):
    "asks for the same event again and again, and reads none of it"
    open_ones = []
    for _ in range(30):
        again, _file = connect()
        again.sendall(head("GET", API + "next"))
        open_ones.append(again)
    hold()

def heads(sock, file, id):
    "says a mebibyte with each request, and leaves it open"
    open_ones = []
    for _ in range(30):
        one, _file = connect()
        try:
            one.sendall(head("POST", f"{API}{id}/error", "Lambda-Runtime-Function-XRay-Error-Cause: " + "x" * 1000000, "Content-Length: 5")[:-2])
        except OSError:
            pass
        open_ones.append(one)
    hold()

def smuggler(sock, file, id):
    "a response with two lengths, in which another request may be seen"
    inner = head("POST", f"{API}{id}/response", "Content-Length: 9") + b'"smuggled"'
    for fields in (("Content-Length: 0", f"Content-Length: {len(inner)}"), (f"Content-Length: {len(inner)}", "Transfer-Encoding: chunked"),
                   ("Transfer-Encoding: identity, chunked",), ("Transfer-Encoding : chunked",), ("Content-Length: +5",)):
        one, one_file = connect()
        status, _, _ = ask(one, one_file, head("POST", f"{API}{id}/response", *fields), inner)
        note(f"{status} then {one_file.read()!r}")

def stranger(sock, file, id):
    "answers for an invocation that is not its own"
    for wrong in ("00000000-0000-7000-8000-000000000000", id[:-1], id + "0", "..%2f" + id, id + "%00", "next"):
        one, one_file = connect()
        note(str(post(one, one_file, wrong, b'"wrong"')[0]))

def twice(sock, file, id):
    "answers, and answers again, pipelined, with an error behind"
    one, one_file = connect()
    response = lambda kind, text: head("POST", f"{API}{id}/{kind}", f"Content-Length: {len(text)}") + text
    one.sendall(response("response", b'"done"') + response("response", b'"again"') + response("error", b'{"errorType":"x"}'))
    note(" ".join(str(answer(one_file)[0]) for _ in range(3)))
    return True

def pipeliner(sock, file, id):
    "has pings behind a request for work that is parked, and reads none of the answers"
    post(sock, file, id, b'"done"')
    sock.sendall(head("GET", API + "next"))
    sock.setblocking(False)
    sent = 0
    deadline = time.monotonic() + 2
    while time.monotonic() < deadline:
        try:
            sent += sock.send(head("GET", "/2018-06-01/ping") * 1000)
        except BlockingIOError:
            time.sleep(0.01)
    hold()
    os._exit(0)

def agents(sock, file, id):
    pass

def register(name):
    "an extension that registers, and vanishes"
    one, one_file = connect()
    body = b'{"events":["INVOKE","SHUTDOWN"]}'
    ask(one, one_file, head("POST", "/2020-01-01/extension/register", f"Lambda-Extension-Name: {name}", f"Content-Length: {len(body)}"), body)

if len(sys.argv) > 1:
    register(sys.argv[1])
    sys.exit(0)
if mode == "agents":
    for name in ("one", "two"):
        subprocess.run([sys.executable, __file__, name], check=True)
sock, file = connect()
count = 0
while True:
    _, fields, event = ask(sock, file, head("GET", API + "next"))
    id = fields["lambda-runtime-aws-request-id"]
    count += 1
    if count == 2 and globals()[mode](sock, file, id):
        continue
    post(sock, file, id, b'"done"')
"""
MODES = ("glutton", "heads", "smuggler", "stranger", "twice", "pipeliner", "agents")
GROWTH_MAX = 80 << 20        # what is held of an instance, 12 MiB, the event, copies on their way, and what the sanitizer adds; without bounds 200 MiB
STREAM = """
import fs from "node:fs";
export const handler = awslambda.streamifyResponse(async (event, stream) => {
  stream.on("error", () => {});
  for (let i = 0; i < 2000; i++) if (!stream.write(Buffer.alloc(65536, 120))) await new Promise((go) => stream.once("drain", go));
  stream.end();
});
"""
ENVIRONMENT = {"ASAN_OPTIONS": "quarantine_size_mb=1"}
INVOKE = "/2015-03-31/functions/{}/invocations"


class HostileRuntimeTest(sluice_daemon.DaemonTest):
    def setUp(self):
        self.daemon = daemon = self.prepare("functions: {}", http=True, environment=ENVIRONMENT)
        (daemon.folder / "extensions").mkdir()
        for name in ("one", "two"):
            (daemon.folder / "extensions" / name).write_text("#!/bin/sh\n")
            (daemon.folder / "extensions" / name).chmod(0o755)
        (daemon.folder / "runtime.py").write_text(RUNTIME)
        (daemon.folder / "stream.mjs").write_text(STREAM)
        (daemon.folder / "good.py").write_text("def handler(event, context):\n    return event\n")
        functions = {mode: {"command": ["python3", "runtime.py"], "environment": {"MODE": mode}, "timeout": "20s", "scale": {"max": 1}} for mode in MODES}
        functions["good"] = {"runtime": "python", "handler": "good.handler", "timeout": "20s"}
        functions["stream"] = {"runtime": "nodejs", "handler": "stream.handler", "timeout": "20s", "scale": {"max": 1}, "url": {"stream": True}}
        daemon.configure("functions: " + json.dumps(functions))
        daemon.start()
        host, port = daemon.ready["http"].rsplit(":", 1)
        self.address = (host, int(port))

    def notes(self, mode):
        path = self.daemon.folder / f"{mode}.notes"
        return path.read_text().splitlines() if path.exists() else []

    def done(self, function, payload=b"{}"):
        self.assertEqual(b'"done"', self.daemon.invoke(function, payload).body)

    def assert_serves(self):
        self.assertEqual(b'{"a": 1}', self.daemon.invoke("good", {"a": 1}).body.replace(b'":1', b'": 1'))

    def raw(self, text, read=True):
        """Sends bytes; what comes until the daemon closes, or the connection."""
        sock = socket.create_connection(self.address, timeout=20)
        sock.sendall(text)
        if not read:
            self.addCleanup(sock.close)
            return sock
        got = b""
        while True:
            try:
                piece = sock.recv(1 << 16)
            except ConnectionResetError:
                break
            if not piece:
                break
            got += piece
        sock.close()
        return got

    def wait_ready(self, function):
        self.daemon.wait_show(function, lambda shown: [one["state"] for one in shown["instances"]] == ["ready"], "its instance asks for more")

    # ---- functions ----

    def bounded(self, mode, payload):
        """Its memory while the function is at it."""
        self.done(mode)
        self.daemon.invoke("good", payload)     # buffers of that size have been there
        before = sluice_daemon.memory_bytes(self.daemon.process.pid)
        caller = self.raw(f"POST {INVOKE.format(mode)} HTTP/1.1\r\nHost: {self.daemon.ready['http']}\r\nContent-Length: {len(payload)}\r\n\r\n".encode() + payload, read=False)
        most = 0
        def held():
            nonlocal most
            most = max(most, sluice_daemon.memory_bytes(self.daemon.process.pid))
            return self.notes(mode)
        self.daemon.wait_for(held, f"{mode} is at it")
        self.assert_serves()
        held()
        self.assertLess(most - before, GROWTH_MAX)
        (self.daemon.folder / "go").touch()
        self.assertIn(b" 200 ", caller.recv(1 << 16).split(b"\r\n")[0])
        caller.close()
        self.assert_serves()

    def test_one_that_asks_again_and_again_and_does_not_read(self):
        self.bounded("glutton", json.dumps("x" * 6000000).encode())

    def test_one_whose_requests_are_large_and_never_whole(self):
        self.bounded("heads", b"{}")

    def test_one_that_pipelines_behind_its_request_for_work(self):
        self.done("pipeliner")
        before = sluice_daemon.memory_bytes(self.daemon.process.pid)
        self.done("pipeliner")
        self.daemon.wait_for(lambda: self.notes("pipeliner"), "it has sent what the sockets take")
        self.assertLess(sluice_daemon.memory_bytes(self.daemon.process.pid) - before, GROWTH_MAX)
        self.assert_serves()
        (self.daemon.folder / "go").touch()

    def test_one_that_smuggles(self):
        self.done("smuggler")
        self.done("smuggler")
        notes = self.notes("smuggler")
        self.assertEqual([line.split()[0] for line in notes], ["400", "400", "501", "400", "400"])
        self.assertTrue(all(line.endswith("then b''") for line in notes), notes)    # nothing behind it was taken for a request

    def test_one_that_answers_for_others_or_twice(self):
        for _ in range(2):
            self.done("stranger")
            self.done("twice")
        self.assertEqual(self.notes("stranger"), ["400"] * 6)
        self.daemon.wait_for(lambda: self.notes("twice"), "it has heard what became of its answers")
        self.assertEqual(self.notes("twice"), ["202 403 403"])

    def test_extensions_that_register_and_vanish_are_not_waited_for(self):
        for _ in range(3):
            self.done("agents")

    # ---- clients ----

    def test_what_is_no_request_is_refused_and_nothing_behind_it_is_one(self):
        host = f"Host: {self.daemon.ready['http']}"
        path = INVOKE.format("good")
        inner = f"POST {path} HTTP/1.1\r\n{host}\r\nContent-Length: 2\r\n\r\n{{}}"
        cases = {
            "two lengths": (400, f"POST {path} HTTP/1.1\r\n{host}\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{{}}"),
            "length and coding": (400, f"POST {path} HTTP/1.1\r\n{host}\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            "a coding of HTTP/1.0": (400, f"POST {path} HTTP/1.0\r\n{host}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
            "a space before the colon": (400, f"POST {path} HTTP/1.1\r\n{host}\r\nContent-Length : 2\r\n\r\n{{}}"),
            "a bare LF": (400, f"POST {path} HTTP/1.1\r\n{host}\nContent-Length: 2\r\n\r\n{{}}"),
            "a folded header": (400, f"POST {path} HTTP/1.1\r\n{host}\r\nA: b\r\n c\r\n\r\n"),
            "a chunk that is too long": (400, f"POST {path} HTTP/1.1\r\n{host}\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{{}}x\r\n0\r\n\r\n"),
            "a chunk's size with a sign": (400, f"POST {path} HTTP/1.1\r\n{host}\r\nTransfer-Encoding: chunked\r\n\r\n+2\r\n{{}}\r\n0\r\n\r\n"),
            "a length as a trailer": (400, f"POST {path} HTTP/1.1\r\n{host}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 9\r\n\r\n"),
            "no host": (400, f"POST {path} HTTP/1.1\r\nContent-Length: 2\r\n\r\n{{}}"),
            "an empty host": (400, f"POST {path} HTTP/1.1\r\nHost:\r\nContent-Length: 2\r\n\r\n{{}}"),
            "a coding without an end": (400, f"POST {path} HTTP/1.1\r\n{host}\r\nTransfer-Encoding: chunked, gzip\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"),
            "a coding before chunked": (501, f"POST {path} HTTP/1.1\r\n{host}\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\n{{}}\r\n0\r\n\r\n"),
            "two hosts": (400, f"POST {path} HTTP/1.1\r\n{host}\r\nHost: evil\r\nContent-Length: 2\r\n\r\n{{}}"),
            "a long header": (431, f"POST {path} HTTP/1.1\r\n{host}\r\nA: {'x' * 20000}\r\n\r\n"),
            "a long target": (414, f"GET /{'x' * 20000} HTTP/1.1\r\n{host}\r\n\r\n"),
            "many headers": (431, f"POST {path} HTTP/1.1\r\n{host}\r\n{'A: b' * 1}\r\n" + "A: b\r\n" * 200 + "\r\n"),
        }
        for label, (status, text) in cases.items():
            with self.subTest(label):
                got = self.raw(text.encode() + inner.encode())
                self.assertTrue(got.startswith(f"HTTP/1.1 {status} ".encode()), got[:200])
                self.assertEqual(got.count(b"HTTP/1.1 "), 1, got)
        self.assert_serves()

    def test_bytes_of_headers_end_nowhere_but_in_text(self):
        """What a client says in headers goes on to the function, into answers and logs."""
        strange = bytes(byte for byte in range(0x80, 0x100))
        context = base64.b64encode(b'{"a":"\x7f","b":\n"\t"}'.replace(b"\t", b"\xc2\x80")).decode()
        for headers in ({"x-amz-client-context": context}, {"x-amzn-trace-id": strange.decode("latin-1")}, {"x-amz-log-type": "\xff\xfe"},
                        {"x-amz-invocation-type": strange.decode("latin-1")}, {"amz-sdk-invocation-id": strange.decode("latin-1")},
                        {"x-amz-client-context": "%%%"}, {"x-amz-client-context": base64.b64encode(b"[" * 2000).decode()}):
            with self.subTest(headers):
                answer = self.daemon.http("POST", INVOKE.format("good"), b"{}", headers)
                self.assertIn(answer.status, (200, 400))
                json.loads(answer.body.decode())
        for name in ("%00", "..%2f..", "%ff", "good%0d%0aA:b", "a" * 300, "arn%3Aaws%3Alambda", "good%3A%24LATEST%3A", "%"):
            with self.subTest(name):
                answer = self.daemon.http("POST", INVOKE.format(name), b"{}")
                self.assertIn(answer.status, (400, 404))
                json.loads(answer.body.decode())
        self.assert_serves()

    def test_pipelined_invocations_are_answered_in_order(self):
        requests = "".join(f"POST {INVOKE.format('good')} HTTP/1.1\r\nHost: {self.daemon.ready['http']}\r\nContent-Length: {len(str(n))}\r\n\r\n{n}" for n in range(50))
        got = self.raw(requests.encode().replace(b"Host", b"Connection: keep-alive\r\nHost") + f"GET /healthz HTTP/1.1\r\nHost: {self.daemon.ready['http']}\r\nConnection: close\r\n\r\n".encode())
        self.assertEqual([int(n) for n in re.findall(rb"\r\n\r\n(\d+)", got)][:50], list(range(50)))

    def test_a_caller_that_leaves_in_the_middle_of_a_stream(self):
        request = f"GET /url/stream/ HTTP/1.1\r\nHost: {self.daemon.ready['http']}\r\n\r\n".encode()
        for how in ("close", "reset", "close"):
            sock = self.raw(request, read=False)
            self.assertIn(b" 200 ", sock.recv(100))
            if how == "reset":
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
            self.wait_ready("stream")
        before = sluice_daemon.memory_bytes(self.daemon.process.pid)
        slow = self.raw(request, read=False)    # it takes the beginning, and no more
        self.assertIn(b" 200 ", slow.recv(100))
        self.assert_serves()
        self.assertLess(sluice_daemon.memory_bytes(self.daemon.process.pid) - before, GROWTH_MAX)
        slow.close()
        self.wait_ready("stream")
        answer = self.daemon.http("GET", "/url/stream/")
        self.assertEqual((answer.status, len(answer.body)), (200, 2000 * 65536))

    def test_callers_that_do_not_read_their_answers(self):
        payload = json.dumps("x" * 6000000).encode()
        request = f"POST {INVOKE.format('good')} HTTP/1.1\r\nHost: {self.daemon.ready['http']}\r\nContent-Length: {len(payload)}\r\n\r\n".encode() + payload
        most = 0
        before = sluice_daemon.memory_bytes(self.daemon.process.pid)
        for _ in range(60):
            sock = socket.socket()
            self.addCleanup(sock.close)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(self.address)
            sock.sendall(request)
            self.assertTrue(sock.recv(1))
            most = max(most, sluice_daemon.memory_bytes(self.daemon.process.pid))
        self.assertLess(most - before, (256 << 20) + 2 * GROWTH_MAX)
        self.daemon.wait_log("event=http-cut")
        self.assert_serves()


if __name__ == "__main__":
    unittest.main(verbosity=2)
