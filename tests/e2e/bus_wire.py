"""The bus as raw bytes: a client of one Unix socket that can send what no library would. See schemas/protocol.md.

nng's ipc: both sides say 00 'S' 'P' 00, their protocol (u16) and 00 00; then each message is 01, its length (u64) and its bytes.
A request begins with a u32 that has its top bit set, and its reply with the same."""

import socket
import struct
import time

SP_REQ = 0x30
EOK, EPROTO, ENOTFOUND, EEXISTS, EUNAVAILABLE, EINVAL, ELIMIT, EACCESS = 0, 3, 4, 5, 7, 8, 10, 12
VERSION, HELLO, PUBLISH, NEXT, ATTACH, DETACH, CONTROL = 1, 1, 2, 3, 4, 5, 16


class Raw(bytes):
    """Bytes that stand in a message as they are."""


def pack(value):
    """MessagePack of what protocol.md uses."""
    if isinstance(value, Raw):
        return bytes(value)
    if value is None or isinstance(value, bool):
        return {None: b"\xc0", False: b"\xc2", True: b"\xc3"}[value]
    if isinstance(value, int):
        return struct.pack(">B", value) if 0 <= value < 128 else struct.pack(">BQ", 0xcf, value) if value >= 0 else struct.pack(">Bq", 0xd3, value)
    if isinstance(value, str):
        text = value.encode()
        return struct.pack(">BI", 0xdb, len(text)) + text
    if isinstance(value, bytes):
        return struct.pack(">BI", 0xc6, len(value)) + value
    if isinstance(value, dict):
        return struct.pack(">BI", 0xdf, len(value)) + b"".join(pack(key) + pack(item) for key, item in value.items())
    return struct.pack(">BI", 0xdd, len(value)) + b"".join(map(pack, value))


def unpack(data, at=0):
    """(value, where it ends)"""
    kind = data[at]
    at += 1
    if kind < 0x80:
        return kind, at
    if 0x80 <= kind < 0x90:  # an envelope; none has more fields
        items = {}
        for _ in range(kind & 0xf):
            key, at = unpack(data, at)
            items[key], at = unpack(data, at)
        return items, at
    if kind in (0xc0, 0xc2, 0xc3):
        return {0xc0: None, 0xc2: False, 0xc3: True}[kind], at
    if kind in (0xcc, 0xcd, 0xce, 0xcf):
        size = 1 << (kind - 0xcc)
        return int.from_bytes(data[at:at + size], "big"), at + size
    if kind in (0xd0, 0xd1, 0xd2, 0xd3):
        size = 1 << (kind - 0xd0)
        return int.from_bytes(data[at:at + size], "big", signed=True), at + size
    if kind >= 0xe0:
        return kind - 0x100, at
    if 0xa0 <= kind < 0xc0:
        count, size = kind & 0x1f, 0
    elif 0x90 <= kind < 0xa0:
        count, size = kind & 0xf, 0
    else:
        size = {0xd9: 1, 0xda: 2, 0xdb: 4, 0xc4: 1, 0xc5: 2, 0xc6: 4, 0xdc: 2, 0xdd: 4}[kind]
        count = int.from_bytes(data[at:at + size], "big")
    at += size
    if 0x90 <= kind < 0xa0 or kind in (0xdc, 0xdd):
        items = []
        for _ in range(count):
            item, at = unpack(data, at)
            items.append(item)
        return items, at
    value = data[at:at + count]
    return (value if kind in (0xc4, 0xc5, 0xc6) else value.decode()), at + count


def event(source="a", bus=None, detail='{"n":1}', **more):
    """An envelope."""
    return {2: source, 3: "t", **({5: bus} if bus else {}), 9: detail, **more}


def publish(events, sequence, producer=b"hostile-producer", epoch=1, lowest=None):
    return [VERSION, PUBLISH, producer, epoch, sequence, lowest if lowest is not None else sequence, events]


class Wire:
    """One connection. closed() and reply() wait at most timeout_s."""

    def __init__(self, path, protocol=SP_REQ, greeting=None, timeout_s=10):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(timeout_s)
        end = time.monotonic() + timeout_s
        while True:
            try:
                self.socket.connect(str(path))
                break
            except BlockingIOError:  # more are connecting than the listener has taken yet
                if time.monotonic() > end:
                    raise
                time.sleep(0.005)
        self.request = 0x80000000
        self.raw(greeting if greeting is not None else b"\0SP\0" + struct.pack(">HH", protocol, 0))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def raw(self, data):
        """False: the other side has closed."""
        try:
            self.socket.sendall(data)
            return True
        except (BrokenPipeError, ConnectionResetError):
            return False

    def greeted(self):
        """The other side's own greeting."""
        return self.read(8)

    def read(self, count):
        data = b""
        while len(data) < count:
            try:
                part = self.socket.recv(count - len(data))
            except ConnectionResetError:
                part = b""
            if not part:
                raise EOFError
            data += part
        return data

    def send(self, payload):
        """A request with these bytes."""
        self.request += 1
        body = struct.pack(">I", self.request) + payload
        return self.raw(b"\x01" + struct.pack(">Q", len(body)) + body)

    def reply(self):
        """The payload of the next message; EOFError: closed."""
        head = self.read(9)
        return self.read(struct.unpack(">Q", head[1:])[0])[4:]

    def call(self, message):
        """The reply, unpacked."""
        self.send(message if isinstance(message, bytes) else pack(message))
        return unpack(self.reply())[0]

    def hello(self):
        self.greeted()
        answer = self.call([VERSION, HELLO, "hostile", None])
        assert answer[:2] == [VERSION, EOK], answer
        return self

    def closed(self):
        """True once the other side has closed; what it says before is passed over."""
        try:
            while True:
                self.read(1)
        except EOFError:
            return True
        except TimeoutError:
            return False
