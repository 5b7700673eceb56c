"""Reads Prometheus' text format 0.0.4 as strictly as promtool does: what is wrong raises ValueError.

    figures = parse(text)
    figures.value("sluice_deliveries_total", function="f", outcome="succeeded")
    figures.samples                        # {(name, ((label, value), ...)): value}

A family is declared once, by HELP and TYPE, before its samples, which stand together; no sample comes twice; counters end in _total and do not
fall below 0; buckets of a histogram are cumulative, in order, end with +Inf, and that one is _count."""

import collections
import math
import re

NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(,|$)')
TYPES = ("counter", "gauge", "histogram")


class Figures:
    def __init__(self):
        self.families = {}       # name -> type, in their order
        self.samples = {}

    def value(self, name, **labels):
        return self.samples[name, tuple(sorted(labels.items()))]


def labels_of(text):
    labels, at = {}, 0
    while at < len(text):
        match = LABEL.match(text, at)
        if not match or match[1] in labels:
            raise ValueError(f"not labels: {text!r}")
        labels[match[1]] = match[2]
        at = match.end()
    return labels


def family_of(name, kind):
    return re.sub(r"_(bucket|sum|count)$", "", name) if kind == "histogram" else name


def parse_sample(figures, line, family):
    match = re.fullmatch(r"([^{ ]+)(?:\{([^}]*)\})? (\S+)", line)
    if not match or not NAME.fullmatch(match[1]) or family is None:
        raise ValueError(f"not a sample: {line!r}")
    kind = figures.families[family]
    if family_of(match[1], kind) != family:
        raise ValueError(f"a sample within another family, {family}: {line!r}")
    labels, value = labels_of(match[2] or ""), float(match[3])
    if ("le" in labels) != (kind == "histogram" and match[1].endswith("_bucket")):
        raise ValueError(f"le belongs to buckets: {line!r}")
    if kind == "counter" and (not family.endswith("_total") or value < 0):
        raise ValueError(f"not a counter: {line!r}")
    key = match[1], tuple(sorted(labels.items()))
    if key in figures.samples:
        raise ValueError(f"twice: {line!r}")
    figures.samples[key] = value


def check_histograms(figures):
    buckets = collections.defaultdict(list)
    for (name, labels), value in figures.samples.items():
        if "le" in dict(labels):
            rest = tuple(label for label in labels if label[0] != "le")
            buckets[name.removesuffix("_bucket"), rest].append((float(dict(labels)["le"]), value))
    for (family, labels), rows in buckets.items():
        bounds, counts = [bound for bound, _ in rows], [count for _, count in rows]
        if bounds != sorted(set(bounds)) or counts != sorted(counts) or bounds[-1] != math.inf:
            raise ValueError(f"the buckets of {family}{labels} are not in order: {rows}")
        if counts[-1] != figures.samples[family + "_count", labels] or (family + "_sum", labels) not in figures.samples:
            raise ValueError(f"{family}{labels}: _count is not the last bucket, or there is no _sum")


def parse(text):
    figures, family, helped = Figures(), None, None
    if not text.endswith("\n"):
        raise ValueError("the last line has no end")
    for line in text.split("\n")[:-1]:
        if line.startswith("# HELP "):
            helped = line.split(" ", 3)[2]
        elif line.startswith("# TYPE "):
            _, _, family, kind = line.split(" ")
            if family in figures.families or family != helped or kind not in TYPES:
                raise ValueError(f"not the TYPE of a new family behind its HELP: {line!r}")
            figures.families[family] = kind
        else:
            parse_sample(figures, line, family)
    check_histograms(figures)
    return figures
