"""A client of the bus that means harm: what is truncated, oversized, deep, of a wrong version or lies about its counts gets an error
or a closed connection, costs no memory, and nobody else notices."""

import os
import random
import struct
import sys
import unittest

import sluice_daemon
from bus_wire import CONTROL, EINVAL, ENOTFOUND, EOK, EPROTO, HELLO, NEXT, PUBLISH, VERSION, Raw, Wire, event, pack, publish

CONFIGURATION = """
functions:
  good: {command: [sh, -c, 'cat > /dev/null'], protocol: stdio}
  wait: {command: [cat], protocol: stdio, scale: {max: 0}}
rules:
  good: {pattern: {source: [good]}, targets: [{function: good}]}
  wait: {pattern: {source: [a]}, targets: [{function: wait}]}
"""
MEMORY_GROWTH_MAX = 64 << 20
CONTROL_BYTES_MAX = (12 << 20) + (64 << 10)        # over ipc
HEAD_BYTES = 31                          # of a batch, up to its list of events
GREETING = b"\0SP\0\0\x30\0\0"
MUTATIONS = 20000 if os.environ.get("SLUICE_LONG") else 2000


def array32(count):
    return Raw(struct.pack(">BI", 0xdd, count))


def head(count):
    return bytes([0x90 + count, VERSION, PUBLISH]) + pack(b"hostile-producer") + pack(1) + pack(1) + pack(1)


class HostileTest(sluice_daemon.DaemonTest):
    def start_watched(self):
        """Its memory, its descriptors and its service are as before when the test ends."""
        daemon = self.start(CONFIGURATION, environment={"ASAN_OPTIONS": "quarantine_size_mb=1"})
        self.assert_serves(daemon)
        memory = sluice_daemon.memory_bytes(daemon.process.pid)
        descriptors = self.descriptors(daemon)
        def unharmed():
            self.assert_serves(daemon)
            self.assertLess(sluice_daemon.memory_bytes(daemon.process.pid) - memory, MEMORY_GROWTH_MAX)
            daemon.wait_for(lambda: self.descriptors(daemon) <= descriptors, f"its {descriptors} descriptors again")
        self.unharmed = unharmed
        return daemon

    def descriptors(self, daemon):
        return len(os.listdir(f"/proc/{daemon.process.pid}/fd"))

    def assert_serves(self, daemon):
        done = daemon.balance("good")["succeeded"]
        daemon.put({"source": "good", "detail-type": "t", "detail": {}})
        daemon.wait_balance("good", succeeded=done + 1, pending=0)

    def wire(self, daemon, **options):
        return Wire(daemon.folder / "bus.sock", **options)


class Connections(HostileTest):
    def test_what_is_no_sp_connection_is_closed(self):
        daemon = self.start_watched()
        cases = (("http", b"GET / HTTP/1.0\r\n\r\n"), ("wrong magic", b"\0XP\0\0\x30\0\0"), ("wrong version", b"\0SP\1\0\x30\0\0"),
                 ("a subscriber", b"\0SP\0\0\x21\0\0"), ("another replier", b"\0SP\0\0\x31\0\0"), ("random", random.Random(1).randbytes(4096)))
        for label, greeting in cases:
            with self.subTest(label), self.wire(daemon, greeting=greeting) as wire:
                self.assertTrue(wire.closed())
        self.unharmed()

    def test_frames_that_cannot_be_are_closed(self):
        daemon = self.start_watched()
        cases = (("endless", b"\x01" + struct.pack(">Q", 1 << 62)), ("all ones", b"\x01" + b"\xff" * 8),
                 ("over the limit", b"\x01" + struct.pack(">Q", CONTROL_BYTES_MAX + 4097) + b"x" * 100000),
                 ("unknown kind", b"\x07" + struct.pack(">Q", 8) + b"x" * 8))
        for label, data in cases:
            with self.subTest(label), self.wire(daemon) as wire:
                wire.hello()
                wire.raw(data)
                self.assertTrue(wire.closed())
        self.unharmed()

    def test_frames_without_a_request_are_dropped_and_the_daemon_serves_on(self):
        daemon = self.start_watched()
        for body in (b"", b"\x80", b"\0\0\0\1" * 100, b"\x7f\xff\xff\xff", b"\0\0\0\1" * 3 + b"\x80\0\0\1" + pack([9, 9])):
            with self.subTest(body=body[:8]), self.wire(daemon) as wire:
                wire.hello()
                wire.raw(b"\x01" + struct.pack(">Q", len(body)) + body)
        self.unharmed()

    def test_what_ends_in_the_middle_is_forgotten(self):
        daemon = self.start_watched()
        whole = GREETING + b"\x01" + struct.pack(">Q", 4 + 20) + b"\x80\0\0\1" + b"\x94" * 20
        for at in range(len(whole)):
            with self.wire(daemon, greeting=whole[:at]):
                pass
        with self.wire(daemon) as wire:  # 4 MiB are promised, half of them come
            wire.hello()
            wire.raw(b"\x01" + struct.pack(">Q", 4 << 20) + b"x" * (2 << 20))
        self.unharmed()

    def test_many_that_say_nothing_hold_nobody_up(self):
        daemon = self.start_watched()
        wires = [self.wire(daemon, greeting=GREETING[:count % 9]) for count in range(200)]
        for wire in wires[::2]:
            wire.raw(GREETING[:0])
        slow = [self.wire(daemon).hello() for _ in range(50)]
        for wire in slow:
            wire.raw(b"\x01" + struct.pack(">Q", 1 << 20) + b"x" * 10)
        self.assert_serves(daemon)
        for wire in wires + slow:
            wire.socket.close()
        self.unharmed()

    def test_one_that_never_reads_its_replies_hurts_itself_only(self):
        daemon = self.start_watched()
        with self.wire(daemon, timeout_s=2) as wire:
            wire.hello()
            request = pack([VERSION, CONTROL, "function.list", b"{}"])
            try:
                for _ in range(20000):
                    wire.send(request)
            except TimeoutError:
                pass  # it is not read any more: backpressure
            self.assert_serves(daemon)
        self.unharmed()


class Messages(HostileTest):
    LIES = {
        "nothing": b"",
        "no array": b"\xc0",
        "a map": pack({1: 2}),
        "an empty array": b"\x90",
        "wrong version": pack([2, HELLO, "x", None]),
        "version of a string": pack(["1", HELLO, "x", None]),
        "unknown call": pack([VERSION, 99]),
        "call below 0": pack([VERSION, -1]),
        "deep": b"\x91" * 100_000,
        "deep maps": b"\x81\x01" * 100_000,
        "as deep as long": b"\x91" * (4 << 20),
        "count of 4 G": b"\xdd\xff\xff\xff\xff\x01\x02",
        "string of 4 G": bytes([0x94, VERSION, HELLO]) + b"\xdb\xff\xff\xff\xffx",
        "bin of 4 G": bytes([0x97, VERSION, PUBLISH]) + b"\xc6\xff\xff\xff\xffx",
        "events of 4 G": head(7) + array32(0xffffffff),
        "one event more than there are": head(7) + array32(2) + pack(event()),
        "10,001 events": head(7) + array32(10001) + pack(event()) * 10001,
        "map of 4 G": head(7) + b"\x91\xdf\xff\xff\xff\xff",
        "an event that is no map": head(7) + b"\x91\x07",
        "reserved byte": head(7) + b"\x91\xc1",
        "a deep detail's frame": head(7) + b"\x91" + b"\x91" * 1_000_000,
        "missing items": bytes([0x93, VERSION, PUBLISH]) + pack(b"hostile-producer"),
        "no events": head(6),
        "short producer": pack([VERSION, PUBLISH, b"short", 1, 1, 1, [event()]]),
        "negative sequence": pack([VERSION, PUBLISH, b"hostile-producer", 1, -5, 1, [event()]]),
        "next of nobody": pack([VERSION, NEXT, "good/999999", 1, []]),
        "next of a bad name": pack([VERSION, NEXT, "x" * 10000, 1, []]),
        "next of 2^63": pack([VERSION, NEXT, "1", 1 << 63, []]),
        "results of 4 G": bytes([0x95, VERSION, NEXT]) + pack("1") + pack(1) + b"\xdd\xff\xff\xff\xff",
        "failures of 4 G": bytes([0x95, VERSION, NEXT]) + pack("1") + pack(1) + b"\x91\x93\x01\xdd\xff\xff\xff\xff",
        "control of garbage": pack([VERSION, CONTROL, "status", b"{"]),
        "control of a bomb": pack([VERSION, CONTROL, "status", b"[" * 1_000_000]),
        "control of nothing": pack([VERSION, CONTROL, "", b""]),
        "unknown control": pack([VERSION, CONTROL, "self.destruct", b"{}"]),
        "bytes behind the end": pack([VERSION, HELLO, "x", None]) + b"\x01",
    }

    accepted = 0

    def assert_error(self, answer):
        """The call failed, saying why, or each event that cannot be read is named with what is wrong with it."""
        self.assertTrue(answer[2] if answer[1] != EOK else all(code != EOK and text for _, code, text in answer[6]) and answer[6], answer)

    def taken(self, answer):
        return answer[3] if answer[1] == EOK and not answer[4] else 0

    def test_each_lie_is_answered_with_an_error(self):
        daemon = self.start_watched()
        with self.wire(daemon) as wire:
            wire.hello()
            for label, payload in self.LIES.items():
                with self.subTest(label):
                    answer = wire.call(payload)
                    self.assertEqual(VERSION, answer[0])
                    self.assert_error(answer)
                    self.accepted += self.taken(answer)
            self.assertEqual(EOK, wire.call(publish([event()], 2))[1])  # on the same connection
        self.assertEqual(1 + self.accepted, daemon.balance("wait")["accepted"])
        self.unharmed()

    def test_calls_before_hello_are_refused(self):
        daemon = self.start_watched()
        for message in (publish([event()], 1), [VERSION, CONTROL, "status", b"{}"], [VERSION, NEXT, "1", 1, []]):
            with self.subTest(message=message[:2]), self.wire(daemon) as wire:
                wire.greeted()
                self.assertEqual(EPROTO, wire.call(message)[1])
        self.unharmed()

    def test_a_batch_cut_off_anywhere_or_with_any_byte_changed_is_answered(self):
        daemon = self.start_watched()
        def batch(number):
            return pack(publish([event(), event(detail='{"deep":[[[1]]]}')], 1, producer=number.to_bytes(16, "big")))
        whole = batch(0)
        seed = random.SystemRandom().randrange(1 << 32)
        chance = random.Random(seed)
        accepted = 0
        with self.wire(daemon) as wire:
            wire.hello()
            for at in range(len(whole)):
                answer = wire.call(whole[:at])
                self.assert_error(answer)
                accepted += self.taken(answer)
            for number in range(1, MUTATIONS):
                spoilt = bytearray(batch(number))
                # Not the head: a batch whose sequence waits for an earlier one is not answered at once, and rightly so.
                for _ in range(chance.randrange(1, 4)):
                    spoilt[chance.randrange(HEAD_BYTES, len(spoilt))] = chance.randrange(256)
                try:
                    answer = wire.call(bytes(spoilt))
                except (EOFError, TimeoutError) as error:
                    self.fail(f"seed {seed}: no answer to {spoilt.hex()}: {error!r}")
                accepted += self.taken(answer)
        self.assertEqual(accepted, daemon.json("status")["events_total"] - daemon.balance("good")["accepted"], f"seed {seed}")
        self.unharmed()

    def test_refused_events_leave_the_rest_of_their_batch_alone(self):
        daemon = self.start_watched()
        cases = {
            "unknown bus": (event(bus="nosuch"), ENOTFOUND, "nosuch"),
            "over 1 MiB": (event(detail='{"x":"' + "x" * (1 << 20) + '"}'), EINVAL, ""),
            "detail of half an object": (event(detail='{"n":'), EINVAL, "detail"),
            "detail of an array": (event(detail="[1]"), EINVAL, "detail"),
            "detail of bad UTF-8": (event(detail=Raw(b"\xa8{\"n\":\"\xff\"}"[:1] + b"{\"n\":\"\xff\"")), EINVAL, ""),
            "detail too deep": (event(detail='{"n":' + "[" * 1001 + "]" * 1001 + "}"), EINVAL, "deep"),
            "no source": ({3: "t", 9: "{}"}, EINVAL, "source"),
            "unknown key": ({**event(), 99: 1}, EINVAL, ""),
            "a number as source": ({**event(), 2: 7}, EINVAL, "source"),
        }
        batch = [event()]
        for bad, _, _ in cases.values():
            batch += [bad, event()]
        with self.wire(daemon) as wire:
            wire.hello()
            answer = wire.call(publish(batch, 1))
        self.assertEqual([VERSION, EOK, len(cases) + 1, False], [answer[0], answer[1], answer[3], answer[4]], answer)
        refused = {index: (code, text) for index, code, text in answer[6]}
        self.assertEqual({1 + 2 * place for place in range(len(cases))}, set(refused))
        for place, (label, (_, code, words)) in enumerate(cases.items()):
            with self.subTest(label):
                self.assertEqual(code, refused[1 + 2 * place][0], refused[1 + 2 * place])
                self.assertIn(words, refused[1 + 2 * place][1])
        self.assertEqual(len(cases) + 1, daemon.balance("wait")["accepted"])
        self.unharmed()


if __name__ == "__main__":
    unittest.main(argv=sys.argv)
