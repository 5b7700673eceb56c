#!/usr/bin/env python3
"""Writes fold_table.h: python3 broker/core/fold_table.py > broker/core/fold_table.h

The facts are the simple case mappings of the Unicode Character Database (UnicodeData.txt, fields 12 and 13), as the
unicodedata module of this Python holds them. A row maps every step-th code point of first..last to itself plus delta.
"""
import sys
import unicodedata


def simple(point, mapped):
    """Python maps with the full rules; a result of more than one character is not a simple mapping."""
    return ord(mapped) if len(mapped) == 1 else point


def fold(point):
    """The lower-case half of the pair `point` belongs to, as fold.h defines pairs."""
    character = chr(point)
    lower = simple(point, character.lower())
    if lower == point:
        return point
    back = simple(lower, chr(lower).upper())
    return lower if back == point or unicodedata.category(character) == 'Lt' else point


def rows():
    points = [p for p in range(0x80, 0x110000) if not 0xD800 <= p <= 0xDFFF and fold(p) != p]
    made = []
    for point in points:
        delta = fold(point) - point
        if made:
            first, last, step, row_delta = made[-1]
            gap = point - last
            if row_delta == delta and gap in (1, 2) and (step == gap or first == last):
                made[-1] = (first, point, gap, delta)
                continue
        made.append((point, point, 1, delta))
    return made


made = rows()
print(f'''/* fold_table.h - made by fold_table.py from Unicode {unicodedata.unidata_version}; do not edit.
 * Every step-th code point of first..last folds to itself plus delta. Sorted; ASCII is not in it. */
#ifndef SLUICE_CORE_FOLD_TABLE_H
#define SLUICE_CORE_FOLD_TABLE_H

#include <stdint.h>

static const struct fold_range {{
    uint32_t first, last;
    uint32_t step;
    int32_t delta;
}} fold_ranges[] = {{''')
for first, last, step, delta in made:
    print(f'    {{ 0x{first:04X}, 0x{last:04X}, {step}, {delta} }},')
print('};\n\n#endif')
sys.exit(0)
