#!/usr/bin/env python3
"""order_events.py FILE [LINES]: events of a shop as EventBridge would deliver them, some 510 bytes; detail.userId is one of a million.
Always the same bytes; 100,000 lines unless told otherwise."""
import json
import random
import sys

R = random.Random(7)
ACTIONS = ["created", "updated", "deleted", "paid", "shipped", "refunded"]


def event():
    user = "u-%07d" % R.randrange(1000000)
    envelope = {
        "version": "0",
        "id": "%08x-%04x-%04x-%04x-%012x" % tuple(R.getrandbits(bits) for bits in (32, 16, 16, 16, 48)),
        "detail-type": "Order " + R.choice(ACTIONS).title(),
        "source": "com.example.orders",
        "account": "%012d" % R.randrange(10**12),
        "time": "2026-11-%02dT%02d:%02d:%02dZ" % (R.randint(1, 28), R.randrange(24), R.randrange(60), R.randrange(60)),
        "region": R.choice(["eu-west-1", "us-east-1", "ap-south-1"]),
        "resources": ["arn:aws:orders:order/%d" % R.randrange(10**8)],
    }
    envelope["detail"] = {
        "orderId": R.randrange(10**9),
        "userId": user,
        "action": R.choice(ACTIONS),
        "path": "/%s/%04d/%s.json" % (R.choice("abcdefghijklmnop"), R.randrange(10000), "%06x" % R.getrandbits(24)),
        "amount": round(R.uniform(1, 5000), 2),
        "currency": "EUR",
        "ip": "10.%d.%d.%d" % (R.randrange(256), R.randrange(256), R.randrange(256)),
        "items": [{"sku": "SKU-%05d" % R.randrange(100000), "qty": R.randint(1, 9), "price": round(R.uniform(1, 500), 2)}
                  for _ in range(R.randint(1, 3))],
        "tags": R.sample(["vip", "gift", "promo", "bulk", "late", "eco"], 2),
    }
    return envelope


with open(sys.argv[1], "w", encoding="ascii") as out:
    for _ in range(int(sys.argv[2]) if len(sys.argv) > 2 else 100000):
        out.write(json.dumps(event(), separators=(",", ":")) + "\n")
