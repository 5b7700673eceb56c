"""Handlers of many habits. One process runs one of them."""

import collections
import datetime
import decimal
import enum
import os
import sys


def echo(event, context):
    return event


def nothing(event, context):
    pass


def text(event, context):
    return "grüße ☃ \u2028"


def kinds(event, context):
    point = collections.namedtuple("Point", "x y")
    return {
        "decimals": [decimal.Decimal("1.10"), decimal.Decimal("1E+3"), decimal.Decimal("-0.5"), decimal.Decimal("NaN")],
        "floats": [0.1, 1e21, float("inf"), 3.0],
        "big": 2**80,
        "tuple": (1, 2, (3,)),
        "named": point(1, [point(2, 3)]),
        "bytes": b"as text",
        "keys": {1: "int", 2.5: "float", True: "bool", None: "none"},
        "ordered": collections.OrderedDict(b=1, a=2),
        "enum": enum.IntEnum("Color", "RED").RED,
        "none": None,
    }


def named(event, context):
    return collections.namedtuple("Answer", "statusCode body")(200, "named")


def decimal_alone(event, context):
    return decimal.Decimal("12.50")


def key_of_bytes(event, context):
    return {b"key": {"deeper": {b"other": 1}}}


def a_set(event, context):
    return {"set": {1}}


def a_date(event, context):
    return datetime.datetime(2026, 1, 1)


def circular(event, context):
    value = []
    value.append(value)
    return value


def deep(event, context):
    value = []
    for _ in range(100000):
        value = [value]
    return value


def odd_key(event, context):
    return {(1, 2): 3}


def raw(event, context):
    return b"\x00\xffraw"


def raw_text(event, context):
    return bytearray(b"x")


def surrogate(event, context):
    return "\ud800"


def large(event, context):
    return "x" * event["size"]


def length(event, context):
    return len(event["text"])


def generator(event, context):
    yield 1


async def coroutine(event, context):
    return 1


def throws(event, context):
    raise ValueError("thrown: " + str(event.get("why")))


def throws_deep(event, context):
    def inner():
        return {}["missing"]

    try:
        inner()
    except KeyError as error:
        raise RuntimeError("while handling ☃") from error


def throws_nothing(event, context):
    raise Exception


def throws_own_class(event, context):
    class OrderError(Exception):
        pass

    raise OrderError({"code": 7})


def throws_multiline(event, context):
    raise Exception("one\n  two\x7f")


def throws_long(event, context):
    raise Exception("h" * 200000)


def throws_huge(event, context):
    raise Exception("h" * 1500000)


def throws_hostile(event, context):
    class Hostile(Exception):
        def __str__(self):
            return ""

    raise Hostile("x")


def exits(event, context):
    sys.exit(5)


def exits_with_words(event, context):
    sys.exit("no more")


def exits_hard(event, context):
    print("said before", end="")
    sys.stdout.flush()
    os._exit(4)


def context(event, context):
    left = context.get_remaining_time_in_millis()
    client = context.client_context
    return {
        "left": 50000 < left <= 60000,
        "fields": {name: getattr(context, name) for name in (
            "aws_request_id", "log_group_name", "log_stream_name", "function_name", "memory_limit_in_mb", "function_version",
            "invoked_function_arn", "tenant_id")},
        "identity": [context.identity.cognito_identity_id, context.identity.cognito_identity_pool_id],
        "client": client and [client.custom, client.env, client.client and client.client.app_title, client.client and client.client.app_package_name],
        "repr": repr(context),
        "trace": os.environ.get("_X_AMZN_TRACE_ID"),
    }


def remaining(event, context):
    return context.get_remaining_time_in_millis()


def context_log(event, context):
    context.log("by the context\n")
    return "logged"


def environment(event, context):
    return {"cwd": os.path.basename(os.getcwd()), "telemetry": os.environ.get("_LAMBDA_TELEMETRY_LOG_FD"), "path": sys.path[0] == os.getcwd()}


calls = 0


def counts(event, context):
    global calls
    calls += 1
    return calls


class Callable:
    def __call__(self, event, context):
        return "an object that is callable"

    def method(self, event, context):
        return "a method"


instance = Callable()
method = instance.method
not_callable = 5


def prints(event, context):
    print("one", "two")
    print("no line end", end="")
    print(" until here")
    print("to stderr", file=sys.stderr)
    sys.stdout.write("written\n")
    sys.stdout.writelines(["a", "b\n"])
    print("last, without a line end", end="")
    return "printed"


def child_prints(event, context):
    print("before")
    os.system("echo from a child")
    print("after")
    return "printed"
