"""A Lambda Runtime API of our own, to see what a runtime client asks and posts: one process to serve, every report kept as it came.

    api = RuntimeApi(); start the client with AWS_LAMBDA_RUNTIME_API=api.address
    api.offer("id-1", b'{"a":1}'); report = api.report("id-1"); api.parked(); api.close()

A thread a connection, requests of one connection in order. Strict about what it reads: what is no HTTP/1.1 is kept in `complaints`."""

import socket
import threading
import time

DEADLINE_S = 20
ARN = "arn:aws:lambda:eu-central-1:123456789012:function:tested"
# How answers are sent. Every client must bear all of them.
PLAIN, CHUNKED, CLOSING, DRIBBLING = "plain", "chunked", "closing", "dribbling"


class Failure(AssertionError):
    pass


class Report:
    """What a client posted: kind is "response", "error" or "init error"; headers by lower-case name; trailers behind a chunked body."""

    def __init__(self, kind, request_id, headers, body, trailers, chunked):
        self.kind, self.request_id, self.headers, self.body, self.trailers, self.chunked = kind, request_id, headers, body, trailers, chunked
        self.at = time.monotonic()


class RuntimeApi:
    def __init__(self, answers=PLAIN, refuse=None, response_bytes_max=6291556):
        """`refuse`: {request id: status} of reports that get this status; "next" for the requests for work."""
        self.answers, self.refuse, self.response_bytes_max = answers, refuse or {}, response_bytes_max
        self.condition = threading.Condition()
        self.offered, self.reports, self.complaints = [], [], []
        self.taken = []  # ids, as they were handed out
        self.waiting = 0  # parked requests
        self.requests = self.connections = 0
        self.open = set()
        self.closed = False
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    # ---- the test's side ----

    def offer(self, request_id, payload, deadline_ms=None, **headers):
        """`headers`: client_context="..." is Lambda-Runtime-Client-Context; None leaves one out that is usual."""
        usual = {
            "aws_request_id": request_id,
            "deadline_ms": str(deadline_ms or int(time.time() * 1000) + 60000),
            "invoked_function_arn": ARN,
            "trace_id": "Root=1-5bef4de7-ad49b0e87f6ef6c87fc2e700;Parent=9a9197af755a6419;Sampled=1",
        }
        usual.update(headers)
        named = {"Lambda-Runtime-" + "-".join(part.capitalize() for part in name.split("_")): value for name, value in usual.items() if value is not None}
        with self.condition:
            self.offered.append((request_id, payload, named))
            self.condition.notify_all()

    def _until(self, what, condition):
        with self.condition:
            if not self.condition.wait_for(condition, DEADLINE_S):
                raise Failure(f"{what} did not happen in {DEADLINE_S} s; complaints: {self.complaints}")

    def report(self, request_id, kind=None):
        """The first report about an invocation; request_id None: the init error."""
        def found():
            return [one for one in self.reports if one.request_id == request_id and kind in (None, one.kind)]

        self._until(f"a report of {request_id or 'init'}", lambda: found() or self.closed)
        return found()[0]

    def parked(self, count=1):
        self._until(f"{count} parked requests", lambda: self.waiting >= count)

    def was_taken(self, request_id):
        self._until(f"next to take {request_id}", lambda: request_id in self.taken)

    def hang_up(self):
        """Closes all connections, parked requests among them."""
        with self.condition:
            for connection in self.open:
                _shut(connection)
            self.open.clear()
            self.condition.notify_all()

    def close(self):
        with self.condition:
            self.closed = True
            self.condition.notify_all()
        _shut(self.listener)
        self.listener.close()
        self.hang_up()

    # ---- the client's side ----

    def _accept(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.condition:
                self.connections += 1
                self.open.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        stream = connection.makefile("rb")
        try:
            while self._exchange(connection, stream):
                pass
        except (OSError, ValueError) as error:
            if isinstance(error, ValueError):
                self.complaints.append(str(error))
        finally:
            with self.condition:
                self.open.discard(connection)
            stream.close()
            connection.close()

    def _exchange(self, connection, stream):
        line = stream.readline()
        if not line:
            return False
        parts = line.decode("latin-1").split(" ")
        if len(parts) != 3 or parts[2] != "HTTP/1.1\r\n":
            raise ValueError(f"no request line: {line[:100]!r}")
        method, path = parts[:2]
        headers = _fields(stream)
        if "host" not in headers:
            raise ValueError("no Host")
        if headers.get("expect", "").lower() == "100-continue":
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body, trailers, chunked = b"", {}, headers.get("transfer-encoding", "").lower() == "chunked"
        if chunked and "content-length" in headers:
            raise ValueError("two lengths")
        if chunked:
            body, trailers = _chunks(stream)
        elif "content-length" in headers:
            length = int(headers["content-length"])
            body = stream.read(length)
            if len(body) < length:
                raise ValueError(f"{path}: {len(body)} bytes of {length}")
        self.requests += 1
        status, fields, answer = self._answer(connection, method, path, headers, body, trailers, chunked)
        return self._send(connection, status, fields, answer)

    def _answer(self, connection, method, path, headers, body, trailers, chunked):
        prefix, runtime, rest = path.partition("/2018-06-01/runtime/")
        if prefix or not runtime:
            return 404, {}, b""
        if (method, rest) == ("GET", "invocation/next"):
            return (self.refuse["next"], {}, b"{}") if "next" in self.refuse else self._next(connection)
        parts = rest.split("/")
        if (method, rest) == ("POST", "init/error"):
            report = Report("init error", None, headers, body, trailers, chunked)
        elif method == "POST" and len(parts) == 3 and parts[0] == "invocation" and parts[2] in ("response", "error"):
            report = Report(parts[2], parts[1], headers, body, trailers, chunked)
        else:
            self.complaints.append(f"{method} {path}")
            return 404, {}, b""
        with self.condition:
            self.reports.append(report)
            self.condition.notify_all()
        if report.kind == "response" and len(body) > self.response_bytes_max and "lambda-runtime-function-response-mode" not in headers:
            return 413, {}, b'{"errorMessage":"Exceeded maximum allowed payload size (6291556 bytes).","errorType":"RequestEntityTooLarge"}'
        status = self.refuse.get(report.request_id, 202)
        if status != 202:
            return status, {}, b'{"errorMessage":"refused","errorType":"Refused"}'
        return 202, {}, b'{"status":"OK"}'

    def _next(self, connection):
        with self.condition:
            self.waiting += 1
            self.condition.notify_all()
            try:
                self.condition.wait_for(lambda: self.offered or connection not in self.open)
                if connection not in self.open:
                    raise OSError("hung up")
                request_id, payload, headers = self.offered.pop(0)
                self.taken.append(request_id)
                self.condition.notify_all()
            finally:
                self.waiting -= 1
        return 200, headers, payload

    def _send(self, connection, status, fields, body):
        head = [f"HTTP/1.1 {status} Status", "Content-Type: application/json", *(f"{name}: {value}" for name, value in fields.items())]
        if self.answers == CHUNKED:
            head.append("Transfer-Encoding: chunked")
            middle = len(body) // 2
            pieces = [piece for piece in (body[:middle], body[middle:]) if piece]
            body = b"".join(b"%x;name=value\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\nSome-Trailer: value\r\n\r\n"
        else:
            head.append(f"Content-Length: {len(body)}")
        if self.answers == CLOSING:
            head.append("Connection: close")
        raw = "\r\n".join(head).encode() + b"\r\n\r\n" + body
        if self.answers == DRIBBLING:
            for at in range(len(raw)):
                connection.sendall(raw[at:at + 1])
        else:
            connection.sendall(raw)
        return self.answers != CLOSING


def _shut(one):
    try:
        one.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


def _fields(stream):
    """Header lines up to the empty one. Of a repeated one, values joined as HTTP says."""
    fields = {}
    while (line := stream.readline()) != b"\r\n":
        name, colon, value = line.decode("utf-8").partition(":")
        if not line.endswith(b"\r\n") or not colon or name != name.strip() or "\x7f" in value:
            raise ValueError(f"no header: {line[:100]!r}")
        name = name.lower()
        fields[name] = fields[name] + ", " + value.strip() if name in fields else value.strip()
    return fields


def _chunks(stream):
    pieces = []
    while True:
        line = stream.readline()
        if not line.endswith(b"\r\n"):
            raise ValueError(f"no chunk size: {line[:100]!r}")
        size = int(line.split(b";")[0], 16)
        if size == 0:
            return b"".join(pieces), _fields(stream)
        pieces.append(stream.read(size))
        if stream.read(2) != b"\r\n":
            raise ValueError("no line end behind a chunk")
