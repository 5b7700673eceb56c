/* scan.h - a cursor over JSON text that json_check() has passed: finds the tokens, decodes nothing it is not asked to.
 * It trusts the syntax but never leaves its bounds: text that was not checked gives odd tokens, not a crash. */
#ifndef SLUICE_CORE_SCAN_H
#define SLUICE_CORE_SCAN_H

#include "schemas/codec/view.h"

struct scan {
    const char *at, *end;
};

/* What stands between the quotes. */
struct scan_string {
    struct view raw;
    bool escaped; /* raw holds backslashes: scan_unescape() first */
};

static inline struct scan scan_of(struct view text)
{
    return (struct scan){ .at = text.data, .end = text.data + text.len };
}

/* The first byte of the next token, where the cursor then stands; '\0' at the end. */
static inline char scan_next(struct scan *scan)
{
    while (scan->at < scan->end && (*scan->at == ' ' || *scan->at == '\n' || *scan->at == '\t' || *scan->at == '\r'))
        scan->at++;
    return scan->at < scan->end ? *scan->at : '\0';
}

/* Steps over the next token if it is the punctuation `c`. */
static inline bool scan_take(struct scan *scan, char c)
{
    if (scan_next(scan) != c || c == '\0')
        return false;
    scan->at++;
    return true;
}

struct scan_string scan_take_string(struct scan *scan); /* the cursor stands on the opening quote */
struct view scan_take_scalar(struct scan *scan);        /* a number, true, false or null: its text */
struct view scan_take_value(struct scan *scan);         /* any value whole, without white space around it */

/* Writes the decoded string, at most raw.len bytes, and returns its length. A lone surrogate becomes the three bytes
 * that UTF-8 would have for it: it equals itself and nothing else. */
size_t scan_unescape(struct view raw, char *ret_text);

#endif
