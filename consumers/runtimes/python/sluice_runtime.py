"""Runs an AWS Lambda function for Python, as it is, under the Lambda Runtime API (2018-06-01). No dependencies; Python 3.9 and later.

    load _HANDLER from LAMBDA_TASK_ROOT --> GET next --> handler --> POST response (and, in the same packet, GET next) --> ...

What a function can see (context, error bodies, log lines, exit codes) is as in AWS's own runtime. Cold start is why this file imports so little:
`http.client` is 30 ms, `logging` 15, `json` 9, `socket` 7 on a machine where the bare interpreter starts in 12. So: the C parts of socket and json
without their Python halves (with those as the way back, and for every odd case), and logging set up at the moment the function imports it.
bootstrap.py starts it.

Parts, top to bottom: faults, JSON, Channel (HTTP), contexts, logs, loading, errors, one invocation, the loop, workers. """

import os
import sys
import time

try:
    import _socket
except ImportError:  # an interpreter that keeps it elsewhere
    import socket as _socket

API = "/2018-06-01/runtime/"
XRAY_CAUSE_BYTES_MAX = 1 << 20  # of one header line: what the Runtime API takes
RECEIVE_BYTES = 64 << 10
RECONNECT_PAUSE_S = 0.1  # who closes a parked request is mostly about to end us: its SIGTERM comes first
SMALL_BYTES = 64 << 10  # below it a body is joined to its head: one copy is cheaper than a second system call


class Fault(Exception):
    """The function cannot be run, or its answer cannot be sent: a type of the runtime's own."""

    def __init__(self, kind, message, trace=None):
        super().__init__(message)
        self.kind = "Runtime." + kind
        self.message = message
        self.trace = trace


# ---- JSON, as AWS's runtime reads and writes it (with simplejson) ----

# From Python 3.12 on, AWS's runtimes send text as it is.
_named = os.environ.get("AWS_EXECUTION_ENV", "").rpartition("python3.")[2]
ENSURE_ASCII = (int(_named) if _named.isdigit() else sys.version_info[1]) < 12

# Stands around what must leave the encoder without quotes; no function can have written it.
_RAW = os.urandom(16).hex()
_raw_used = False


def _encode_other(value):
    """What JSON has no form for, but AWS has."""
    global _raw_used
    kind = sys.modules.get("decimal")
    if kind is not None and isinstance(value, kind.Decimal):
        if value.is_nan():
            return float("nan")
        _raw_used = True
        return f"{_RAW}{value}{_RAW}"
    if isinstance(value, bytes):
        return value.decode("utf-8")
    as_dict = getattr(value, "_asdict", None)
    if callable(as_dict):
        return as_dict()
    raise TypeError(f"Object of type {value.__class__.__name__} is not JSON serializable")


class _ScannerSettings:
    """What the C scanner asks of json.JSONDecoder."""

    strict = True
    object_hook = None
    object_pairs_hook = None
    array_hook = None
    parse_float = float
    parse_int = int
    parse_constant = float
    memo = {}


def _make_fast():
    """The C halves of json: (scan(text, index), encode(value, 0)); None for one that is not as we know it."""
    try:
        import _json

        scan = _json.make_scanner(_ScannerSettings)
        if scan('[1, {"a": 2.5}]', 0) != ([1, {"a": 2.5}], 15):
            scan = None
    except Exception:
        return None, None
    try:
        basestring = _json.encode_basestring_ascii if ENSURE_ASCII else _json.encode_basestring

        def encode(value):
            return "".join(_json.make_encoder({}, _encode_other, basestring, None, ": ", ", ", False, False, True)(value, 0))

        if encode([1, {"a": 2.5}]) != '[1, {"a": 2.5}]':
            encode = None
    except Exception:
        encode = None
    return scan, encode


_fast_scan, _fast_encode = _make_fast()
_SPACE = " \t\n\r"


def from_json(text):
    if _fast_scan is not None:
        try:
            start = 0
            while text[start] in _SPACE:
                start += 1
            value, end = _fast_scan(text, start)
            if end == len(text) or not text[end:].strip(_SPACE):
                return value
        except Exception:  # json says below what is wrong with it
            pass
    import json

    return json.loads(text)


def _encode(value):
    if _fast_encode is not None:
        return _fast_encode(value)
    import json

    return json.JSONEncoder(ensure_ascii=ENSURE_ASCII, default=_encode_other).encode(value)


_CONTAINERS = (dict, list, tuple)


def _is_odd(kind):
    """A tuple with field names is an object for AWS, and an array for json."""
    return issubclass(kind, tuple) and callable(getattr(kind, "_asdict", None))


def _has_odd(value):
    """Whether there is one anywhere in it. It was encoded, so it has no cycles. Level by level, most of the walk done by C code."""
    if not isinstance(value, _CONTAINERS):
        return False
    import gc

    level = [value]
    while level:
        kinds = set(map(type, level))
        if any(map(_is_odd, kinds)):
            return True
        if not kinds.issubset(_CONTAINERS):  # subclasses refer to more than what they contain
            level = [item if type(item) in _CONTAINERS else list(item.values() if isinstance(item, dict) else item) for item in level]
        level = [child for child in gc.get_referents(*level) if isinstance(child, _CONTAINERS)]
    return False


def _without_odd(value):
    """A copy of its containers with objects for named tuples, and text for keys of bytes."""
    root = [value]
    todo = [(root, 0, value)]
    while todo:
        place, key, item = todo.pop()
        if _is_odd(type(item)):
            item = item._asdict()
        if isinstance(item, dict):
            copy = {name.decode("utf-8") if isinstance(name, bytes) else name: child for name, child in item.items()}
            todo.extend((copy, name, child) for name, child in copy.items() if isinstance(child, _CONTAINERS))
        else:
            copy = list(item)
            todo.extend((copy, index, child) for index, child in enumerate(copy) if isinstance(child, _CONTAINERS))
        place[key] = copy
    return root[0]


def to_json(value):
    global _raw_used
    try:
        text = _encode(value)
        odd = _has_odd(value)
    except TypeError as error:
        if "keys must be" not in str(error) or "not bytes" not in str(error):
            raise
        odd = True
    if odd:
        text = _encode(_without_odd(value))
    if _raw_used:
        _raw_used = False
        text = text.replace('"' + _RAW, "").replace(_RAW + '"', "")
    return text


# ---- Channel: one kept connection to the Runtime API; requests may follow each other before their answers, which keep the order ----


class Channel:
    def __init__(self, address):
        self.address = address
        host, _, port = address.rpartition(":")
        self.host, self.port = host.strip("[]"), int(port)
        self.socket = None
        self.rest = b""  # received, not yet read
        self.unanswered = []  # [head, body, tries], oldest first
        self.connected = False  # once

    def post(self, target, body, headers="", content_type="application/json"):
        head = (
            f"POST {API}{target} HTTP/1.1\r\nHost: {self.address}\r\nContent-Type: {content_type}\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
        )
        return [head.encode("utf-8", "replace"), body, 0]

    def get(self, target):
        return [f"GET {API}{target} HTTP/1.1\r\nHost: {self.address}\r\n\r\n".encode(), b"", 0]

    def send(self, *requests):
        self.unanswered.extend(requests)
        if self.socket is None:
            return  # answer() connects and sends
        try:
            self._transmit(requests)
        except OSError:
            self._close()

    def answer(self):
        """(status, headers, body) of the oldest request. What was not answered when a connection broke is sent once more: `next` gives the
        same event again, a second response is refused by its id. OSError: it broke twice, or nobody listens."""
        while True:
            try:
                if self.socket is None:
                    self._connect()
                    self._transmit(self.unanswered)
                answer = self._read()
                self.unanswered.pop(0)
                return answer
            except OSError:
                self._close()
                oldest = self.unanswered[0]
                oldest[2] += 1
                if oldest[2] > 1 or not self.connected:
                    self.unanswered.clear()
                    raise
                if not oldest[1]:
                    time.sleep(RECONNECT_PAUSE_S)

    def _connect(self):
        family = _socket.AF_INET6 if ":" in self.host else _socket.AF_INET
        self.socket = _socket.socket(family, _socket.SOCK_STREAM)
        self.socket.connect((self.host, self.port))
        self.socket.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        self.connected = True

    def _close(self):
        if self.socket is not None:
            self.socket.close()
        self.socket, self.rest = None, b""

    def _transmit(self, requests):
        parts = []
        for head, body, _ in requests:
            if len(body) < SMALL_BYTES:
                parts.append(head + body)
            else:
                parts += [head, body]
        if len(parts) == 1:
            self.socket.sendall(parts[0])
            return
        sent = self.socket.sendmsg(parts)
        for part in parts:
            if sent < len(part):
                self.socket.sendall(memoryview(part)[sent:])
            sent = max(0, sent - len(part))

    def _receive(self):
        piece = self.socket.recv(RECEIVE_BYTES)
        if not piece:
            raise ConnectionError("the Runtime API closed the connection")
        self.rest += piece

    def _until(self, end):
        """Bytes up to `end`, which is taken and left out."""
        while (at := self.rest.find(end)) < 0:
            self._receive()
        taken, self.rest = self.rest[:at], self.rest[at + len(end):]
        return taken

    def _exactly(self, count):
        if len(self.rest) >= count:
            taken, self.rest = self.rest[:count], self.rest[count:]
            return taken
        body = bytearray(count)
        at = len(self.rest)
        body[:at], self.rest = self.rest, b""
        with memoryview(body) as room:
            while at < count:
                got = self.socket.recv_into(room[at:])
                if not got:
                    raise ConnectionError("the Runtime API closed the connection")
                at += got
        return body

    def _read(self):
        while True:
            first, *lines = self._until(b"\r\n\r\n").decode("utf-8", "replace").split("\r\n")
            if not first.startswith("HTTP/1.") or not first[9:12].isdigit():
                raise ConnectionError(f"the Runtime API answered with no HTTP: {first[:80]!r}")
            if first[9] != "1":  # interim, such as 100 Continue
                break
        headers = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        closes = headers.get("connection", "").lower() == "close"
        if headers.get("transfer-encoding", "").lower() == "chunked":
            pieces = []
            while size := int(self._until(b"\r\n").partition(b";")[0], 16):
                pieces.append(self._exactly(size))
                self._until(b"\r\n")
            while self._until(b"\r\n"):  # trailers
                pass
            body = b"".join(pieces)
        elif "content-length" in headers:
            body = self._exactly(int(headers["content-length"]))
        elif first[9:12] == "204":
            body = b""
        else:
            body, closes = self._to_end(), True
        if closes:
            self._close()
        return int(first[9:12]), headers, body

    def _to_end(self):
        while piece := self.socket.recv(RECEIVE_BYTES):
            self.rest += piece
        return self.rest


# ---- the context object ----

_W3C_FIELDS = ("traceparent", "tracestate", "baggage")


class _Fields:
    """An object of fixed fields, None where the caller sent nothing."""

    __slots__ = ()

    def __init__(self, values):
        for name in self.__slots__:
            setattr(self, name, values.get(name))

    def __repr__(self):
        return f"{type(self).__name__}([{','.join(f'{name}={getattr(self, name)}' for name in self.__slots__)}])"


class CognitoIdentity(_Fields):
    __slots__ = ("cognito_identity_id", "cognito_identity_pool_id")


class Client(_Fields):
    __slots__ = ("installation_id", "app_title", "app_version_name", "app_version_code", "app_package_name")


class ClientContext(_Fields):
    __slots__ = ("custom", "env", "client")


def _header_json(headers, header, name):
    text = headers.get(header)
    if not text:
        return None
    try:
        return from_json(text)
    except Exception as error:
        raise Fault("LambdaContextUnmarshalError", f"Unable to parse {name} JSON: {error}") from None


class LambdaContext:
    def __init__(self, headers):
        client_context = _header_json(headers, "lambda-runtime-client-context", "Client Context")
        identity = _header_json(headers, "lambda-runtime-cognito-identity", "Cognito Identity") or {}
        environment = os.environ.get
        self.aws_request_id = headers.get("lambda-runtime-aws-request-id")
        self.log_group_name = environment("AWS_LAMBDA_LOG_GROUP_NAME")
        self.log_stream_name = environment("AWS_LAMBDA_LOG_STREAM_NAME")
        self.function_name = environment("AWS_LAMBDA_FUNCTION_NAME")
        self.memory_limit_in_mb = environment("AWS_LAMBDA_FUNCTION_MEMORY_SIZE")
        self.function_version = environment("AWS_LAMBDA_FUNCTION_VERSION")
        self.invoked_function_arn = headers.get("lambda-runtime-invoked-function-arn")
        self.tenant_id = headers.get("lambda-runtime-aws-tenant-id")
        trace = client_context.pop("w3c", None) if isinstance(client_context, dict) else None
        self._w3c = {name: trace[name] for name in _W3C_FIELDS if isinstance(trace.get(name), str)} if isinstance(trace, dict) else {}
        self.client_context = None
        if client_context is not None:
            self.client_context = ClientContext(client_context)
            if self.client_context.client is not None:
                self.client_context.client = Client(self.client_context.client)
        self.identity = CognitoIdentity({
            "cognito_identity_id": identity.get("cognitoIdentityId"),
            "cognito_identity_pool_id": identity.get("cognitoIdentityPoolId"),
        })
        self._epoch_deadline_time_in_ms = int(headers.get("lambda-runtime-deadline-ms") or 0)

    def get_remaining_time_in_millis(self):
        return max(0, self._epoch_deadline_time_in_ms - int(time.time() * 1000))

    def w3c(self):
        """The caller's W3C trace context."""
        return dict(self._w3c)

    def log(self, message):
        _sink.log(str(message))

    def __repr__(self):
        names = ("aws_request_id", "log_group_name", "log_stream_name", "function_name", "memory_limit_in_mb", "function_version",
                 "invoked_function_arn", "client_context", "identity", "tenant_id")
        return f"LambdaContext([{','.join(f'{name}={getattr(self, name)}' for name in names)}])"


# ---- logs: to stdout a record a line, or framed to a descriptor; `logging` joins in when the function imports it ----

LOGS_JSON = os.environ.get("AWS_LAMBDA_LOG_FORMAT", "").upper() == "JSON"
LOG_LEVEL = {"TRACE": "DEBUG"}.get(os.environ.get("AWS_LAMBDA_LOG_LEVEL", ""), os.environ.get("AWS_LAMBDA_LOG_LEVEL", "")).upper()
_FRAME = 0xA55A0002 if LOGS_JSON else 0xA55A0003
_FRAME_ERROR = _FRAME + 0x14
_TIME = "%Y-%m-%dT%H:%M:%S"

_request_id = None  # of the invocation at hand
_tenant_id = None


class StandardSink:
    def log(self, text, frame_type=None):
        sys.stdout.write(text)

    def log_error(self, lines):
        sys.stdout.write("\r".join(lines) + "\n")


class FramedSink:
    """To the descriptor of _LAMBDA_TELEMETRY_LOG_FD: type, length, time in microseconds (big-endian, 4, 4 and 8 bytes), text."""

    def __init__(self, fd):
        self.fd = fd

    def log(self, text, frame_type=None):
        message = text.encode("utf-8", "replace")
        frame = (frame_type or 0xA55A0003).to_bytes(4, "big") + len(message).to_bytes(4, "big") + (time.time_ns() // 1000).to_bytes(8, "big") + message
        while frame:
            frame = frame[os.write(self.fd, frame):]

    def log_error(self, lines):
        self.log("\n".join(lines), _FRAME_ERROR)


_sink = StandardSink()


def _open_logs():
    global _sink
    # A line at a time, not a buffer: what is printed is told even if the process is killed. The loop flushes what is no line.
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(line_buffering=True)
    fd = os.environ.pop("_LAMBDA_TELEMETRY_LOG_FD", None)
    if fd is not None:
        _sink = FramedSink(int(fd))
    if "logging" in sys.modules:  # by a sitecustomize
        _set_up_logging(sys.modules["logging"])
    else:
        sys.meta_path.insert(0, _LoggingFinder)


def _flush():
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError):  # the function may have closed or replaced it
            pass


class _LoggingFinder:
    """Sets `logging` up right after its import, so that the function's first words find AWS's handler on the root logger."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        if name != "logging":
            return None
        sys.meta_path.remove(_LoggingFinder)
        for finder in sys.meta_path:
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                execute = spec.loader.exec_module

                def exec_module(module):
                    execute(module)
                    _set_up_logging(module)

                spec.loader.exec_module = exec_module
                return spec
        return None


def _set_up_logging(logging):
    class LambdaLoggerHandler(logging.Handler):
        def __init__(self, log_sink):
            super().__init__()
            self.log_sink = log_sink

        def emit(self, record):
            text = self.format(record)
            level = min(50, max(0, record.levelno)) // 10
            self.log_sink.log(text, frame_type=_FRAME + (4 + 4 * level if level else 0) if LOGS_JSON or LOG_LEVEL else None)

    class LambdaLoggerFilter(logging.Filter):
        def filter(self, record):
            record.aws_request_id = _request_id or ""
            record.tenant_id = _tenant_id
            return True

    logging.Formatter.converter = time.gmtime
    handler = LambdaLoggerHandler(_sink)
    if LOGS_JSON:
        handler.setFormatter(_json_formatter(logging))
    else:
        handler.setFormatter(logging.Formatter("[%(levelname)s]\t%(asctime)s.%(msecs)03dZ\t%(aws_request_id)s\t%(message)s\n", _TIME))
    handler.addFilter(LambdaLoggerFilter())
    root = logging.getLogger()
    if isinstance(logging.getLevelName(LOG_LEVEL), int):
        root.setLevel(LOG_LEVEL)
    root.addHandler(handler)


def _json_formatter(logging):
    # Fields that every record has; what `extra` adds beside them goes into the line.
    usual = set(logging.makeLogRecord({}).__dict__) - {"taskName"} | {"aws_request_id", "tenant_id"}

    class JsonFormatter(logging.Formatter):
        def __init__(self):
            super().__init__(datefmt=_TIME + "Z")

        def format(self, record):
            import json

            record.levelno = min(50, max(0, record.levelno)) // 10 * 10
            record.levelname = logging.getLevelName(record.levelno)
            kind, error, tb = record.exc_info or (None, None, None)
            import traceback

            fields = {
                "timestamp": self.formatTime(record, self.datefmt),
                "level": record.levelname,
                "message": record.msg if isinstance(record.msg, dict) and not record.args else record.getMessage(),
                "logger": record.name,
                "stackTrace": traceback.format_tb(tb) if kind else None,
                "errorType": kind.__name__ if kind else None,
                "errorMessage": str(error) if kind else None,
                "requestId": getattr(record, "aws_request_id", None),
                "location": f"{record.pathname}:{record.funcName}:{record.lineno}" if kind else None,
            }
            if getattr(record, "tenant_id", None) is not None:
                fields["tenantId"] = record.tenant_id
            for name, value in record.__dict__.items():
                if name not in usual and name not in fields:
                    fields[name] = value
            fields = {name: value for name, value in fields.items() if value is not None}
            return json.dumps(fields, ensure_ascii=False, default=str) + "\n"

    return JsonFormatter()


def log_error(error):
    """An error body, as AWS prints it."""
    if LOGS_JSON:
        _sink.log_error([to_json({"timestamp": time.strftime(_TIME + "Z", time.gmtime()), "level": "ERROR", **error})])
        return
    line = "[ERROR]"
    if error["errorType"]:
        line += " " + error["errorType"] + (":" if error["errorMessage"] else "")
    if error["errorMessage"]:
        line += " " + error["errorMessage"]
    lines = [line, "Traceback (most recent call last):"]
    for element in error["stackTrace"]:
        for text in element.splitlines() or [""]:
            indent = len(text) - len(text.lstrip(" "))
            lines.append("\u00a0" * indent + text[indent:])
    _sink.log_error(lines)


# ---- loading: "folder/module.function" or "package.module.function" ----


def load_handler(name):
    module_name, dot, function = name.rpartition(".")
    if not dot:
        raise Fault("MalformedHandlerName", f"Bad handler '{name}': not enough values to unpack (expected 2, got 1)")
    if module_name.split(".")[0] in sys.builtin_module_names:
        raise Fault("BuiltInModuleConflict", f"Cannot use built-in module {module_name} as a handler module")
    try:
        dotted = module_name.replace("/", ".")
        __import__(dotted)
        module = sys.modules[dotted]
    except ImportError as error:
        raise Fault("ImportModuleError", f"Unable to import module '{module_name}': {error}") from None
    except SyntaxError as error:
        trace = [f'  File "{error.filename}" Line {error.lineno}\n    {error.text}']
        raise Fault("UserCodeSyntaxError", f"Syntax error in module '{module_name}': {error}", trace) from None
    try:
        return getattr(module, function)
    except AttributeError:
        raise Fault("HandlerNotFound", f"Handler '{function}' missing on module '{module_name}'") from None


# ---- errors: the body for the caller, the cause for X-Ray ----


def error_body(error, request_id=""):
    """(body, frames) of an exception; frames are (file, line, function, text), those of this file at the top left out."""
    if isinstance(error, Fault):
        return {"errorMessage": error.message, "errorType": error.kind, "requestId": request_id, "stackTrace": error.trace or []}, []
    import traceback

    frames = [(frame.filename, frame.lineno, frame.name, frame.line) for frame in traceback.extract_tb(error.__traceback__)]
    for index, frame in enumerate(frames):
        if frame[0] != __file__:
            frames = frames[index:]
            break
    body = {
        "errorMessage": str(error),
        "errorType": type(error).__name__,
        "requestId": request_id,
        "stackTrace": traceback.format_list(frames),
    }
    return body, frames


def xray_header(error, frames):
    """The header line with its CRLF; nothing if it would be too long."""
    if isinstance(error, Fault):
        message, kind = error.message, "LambdaValidationError"
    else:
        message, kind = str(error), type(error).__name__
    cause = to_json({
        "working_directory": os.getcwd(),
        "exceptions": [{
            "message": message,
            "type": kind,
            "stack": [{"label": function, "path": file, "line": line} for file, line, function, _ in frames],
        }],
        "paths": list(dict.fromkeys(frame[0] for frame in frames)),
    })
    cause = cause.replace("\x7f", "\\u007f")  # no header may hold it
    return f"Lambda-Runtime-Function-XRay-Error-Cause: {cause}\r\n" if len(cause.encode("utf-8", "replace")) < XRAY_CAUSE_BYTES_MAX else ""


def header_value(text):
    """A type may be named anything; a header ends at a line's end."""
    return "".join(c if " " <= c <= "~" else "?" for c in text)


# ---- one invocation ----


def decode_event(headers, body):
    if headers.get("content-type", "application/json") != "application/json":
        return bytes(body)
    try:
        return from_json(str(body, "utf-8"))
    except Exception as error:
        raise Fault("UnmarshalError", f"Unable to unmarshal input: {error}") from None


def encode_result(result):
    if isinstance(result, bytes):
        return result, "application/unknown"
    try:
        return to_json(result).encode("utf-8"), "application/json"
    except Exception as error:
        raise Fault("MarshalError", f"Unable to marshal response: {error}") from None


def invoke(channel, handler, headers, body):
    """The request that reports its end. SystemExit and the like end the process, with nothing posted, as on AWS."""
    target = "invocation/" + _quote(headers.get("lambda-runtime-aws-request-id", ""))
    try:
        context = LambdaContext(headers)
        event = decode_event(headers, body)
        result, content_type = encode_result(handler(event, context))
        return channel.post(target + "/response", result, "", content_type)
    except Exception as error:
        report, frames = error_body(error, _request_id or "")
        log_error(report)
        return channel.post(target + "/error", to_json(report).encode("utf-8", "replace"), xray_header(error, frames))


def _quote(request_id):
    return "".join(c if c.isalnum() and c.isascii() or c in "-._~" else "".join(f"%{b:02X}" for b in c.encode()) for c in request_id)


# ---- the loop ----

_idle = False  # parked in next: SIGTERM may end the process at once
_stopping = False


def _on_sigterm(_signal, _frame):
    """What is running may end; then the process does."""
    global _stopping, _idle
    _stopping = True
    if _idle:
        _idle = False  # a second signal is not to cut the exit handlers short
        sys.exit(0)


def take_signals():
    import _signal  # what `signal` is made of; a function that sets its own handler replaces this one

    _signal.signal(15, _on_sigterm)


def serve(name, channel, note=lambda state, request_id: None):
    """Runs the function until the process is told to end. `note` hears what the worker is at: "idle" or "busy"."""
    global _request_id, _tenant_id, _idle
    try:
        handler = load_handler(name)
    except Exception as error:
        body, _ = error_body(error)
        log_error(body)
        channel.send(channel.post("init/error", to_json(body).encode("utf-8", "replace"),
                                  f"Lambda-Runtime-Function-Error-Type: {header_value(body['errorType'])}\r\n"))
        channel.answer()
        sys.exit(1)

    report = None
    while True:
        if report is not None:
            channel.send(report, *([] if _stopping else [channel.get("invocation/next")]))
            check_report(channel)
        else:
            channel.send(channel.get("invocation/next"))
        note("idle", "")
        _idle = True
        if _stopping:
            sys.exit(0)
        status, headers, body = next_answer(channel)
        _idle = False
        if status != 200:
            sys.exit(f"the Runtime API answered next with {status}: {str(body, 'utf-8', 'replace')}")

        _request_id = headers.get("lambda-runtime-aws-request-id")
        _tenant_id = headers.get("lambda-runtime-aws-tenant-id")
        note("busy", _request_id or "")
        if "lambda-runtime-trace-id" in headers:
            os.environ["_X_AMZN_TRACE_ID"] = headers["lambda-runtime-trace-id"]
        else:
            os.environ.pop("_X_AMZN_TRACE_ID", None)
        report = invoke(channel, handler, headers, body)
        del body
        _flush()


def check_report(channel):
    """A report that is refused is settled at the Runtime API, and the next invocation is no worse for it."""
    try:
        status, _, body = channel.answer()
    except OSError as error:
        sys.exit(f"the response of {_request_id} did not reach the Runtime API at {channel.address}: {error}")
    if status != 202:
        _sink.log_error([f"[ERROR] the Runtime API refused the response of {_request_id}: {status} {str(body, 'utf-8', 'replace')}"])
        _flush()


def next_answer(channel):
    try:
        return channel.answer()
    except OSError as error:
        if channel.connected:  # it closed the parked request: there is no more work
            sys.exit(0)
        sys.exit(f"no next invocation: the Runtime API at {channel.address}: {error}")


# ---- workers: AWS_LAMBDA_MAX_CONCURRENCY processes, as on AWS, so that a function needs no locks and uses all cores ----

_STATES = {"idle": 1, "busy": 2}
_WORKER_BYTES = 256  # of the shared table: state, length of the request id, request id


def serve_workers(name, address, count):
    """Starts `count` workers and puts new ones in the place of those that end, whose caller it tells. A worker that ends before it was ready ends
    all."""
    import _signal
    import mmap

    table = mmap.mmap(-1, count * _WORKER_BYTES)
    workers = {}  # pid: index

    def stop(_signal_number=15, _frame=None):
        global _stopping
        _stopping = True
        for pid in list(workers):
            os.kill(pid, 15)

    def start(index):
        at = index * _WORKER_BYTES
        table[at] = 0
        _signal.pthread_sigmask(_signal.SIG_BLOCK, [15])  # until the worker is in the list, or has its own handler
        pid = os.fork()
        if pid:
            workers[pid] = index
            _signal.pthread_sigmask(_signal.SIG_UNBLOCK, [15])
            return

        def note(state, request_id):
            text = request_id.encode()[:_WORKER_BYTES - 2]
            table[at + 1:at + 2 + len(text)] = bytes([len(text)]) + text
            table[at] = _STATES[state]

        take_signals()
        _signal.pthread_sigmask(_signal.SIG_UNBLOCK, [15])
        serve(name, Channel(address), note)

    _signal.signal(15, stop)
    for index in range(count):
        start(index)
    result = 0
    while workers:
        pid, status = os.wait()
        index = workers.pop(pid, None)
        if index is None or _stopping:
            continue
        code = os.waitstatus_to_exitcode(status)
        at = index * _WORKER_BYTES
        if table[at] == 0:  # the function cannot be loaded
            result = code if code > 0 else 1
            stop()
        elif table[at] == _STATES["idle"] and code == 0:  # there is no more work
            stop()
        else:
            if table[at] == _STATES["busy"]:
                tell_exit(Channel(address), str(table[at + 2:at + 2 + table[at + 1]], "utf-8"), code)
            start(index)
    sys.exit(result)


def tell_exit(channel, request_id, code):
    """The words of AWS for a runtime that exits."""
    how = "without providing a reason" if code == 0 else f"with error: exit status {code}" if code > 0 else f"with error: signal {-code}"
    body = to_json({"errorType": "Runtime.ExitError", "errorMessage": f"RequestId: {request_id} Error: Runtime exited {how}"})
    channel.send(channel.post(f"invocation/{_quote(request_id)}/error", body.encode(), "Lambda-Runtime-Function-Error-Type: Runtime.ExitError\r\n"))
    try:
        channel.answer()
    except OSError as error:
        print(f"the end of {request_id} did not reach the Runtime API: {error}", file=sys.stderr)


def main():
    address = os.environ.get("AWS_LAMBDA_RUNTIME_API", "")
    if ":" not in address:
        sys.exit("AWS_LAMBDA_RUNTIME_API is not set: this program is started by a server that speaks the Lambda Runtime API")
    name = os.environ.get("_HANDLER") or "".join(sys.argv[1:2])
    root = os.environ.get("LAMBDA_TASK_ROOT") or os.getcwd()
    # In the place of this file's own folder.
    sys.path[:1] = [root] if sys.path[:1] == [os.path.dirname(os.path.abspath(__file__))] else [root, *sys.path[:1]]
    _open_logs()
    workers = os.environ.get("AWS_LAMBDA_MAX_CONCURRENCY", "")
    if workers.isdigit() and int(workers) > 1:
        serve_workers(name, address, int(workers))
    take_signals()
    serve(name, Channel(address))
