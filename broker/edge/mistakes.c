/* A mistake is rendered when it is found, so that the source may be freed before the printing. Only as many as will be printed
 * are kept; the rest are counted. */
#include "broker/edge/mistakes.h"

#include <stdarg.h>
#include <stdlib.h>

#include "broker/base/arena.h"
#include "broker/base/vec.h"
#include "schemas/codec/bytes.h"

enum { MISTAKE_TEXT_BYTES_MAX = 512 };

struct mistake {
    unsigned order;
    size_t offset;
    unsigned number;      /* of two at one place the first found comes first */
    const char *rendered; /* all its lines */
};

struct mistakes {
    struct arena *arena;
    VEC(struct mistake) list;
    unsigned count;
    const atomic_bool *given_up;
};

struct mistakes *mistakes_new(void)
{
    struct arena *arena = arena_new(4096);
    struct mistakes *mistakes = arena_zalloc(arena, sizeof *mistakes);
    mistakes->arena = arena;
    return mistakes;
}

struct mistakes *mistakes_free(struct mistakes *mistakes)
{
    if (mistakes != NULL) {
        VEC_DONE(&mistakes->list);
        (void)arena_free(mistakes->arena);
    }
    return NULL;
}

void mistakes_until(struct mistakes *mistakes, const atomic_bool *given_up)
{
    mistakes->given_up = given_up;
}

bool mistakes_given_up(const struct mistakes *mistakes)
{
    return mistakes->given_up != NULL && atomic_load_explicit(mistakes->given_up, memory_order_relaxed);
}

unsigned mistakes_count(const struct mistakes *mistakes)
{
    return mistakes->count;
}

bool mistakes_full(const struct mistakes *mistakes)
{
    return mistakes->list.count >= MISTAKES_PRINTED_MAX;
}

unsigned source_line(const struct source *source, size_t offset)
{
    unsigned line = 1;
    const char *at = source->text.data, *end = at + offset;

    while (at < end && (at = memchr(at, '\n', (size_t)(end - at))) != NULL)
        line++, at++;
    return line;
}

static bool byte_continues(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

/* What a terminal must not get: control bytes of the file or of a name quoted from it. */
static void put_visible(struct bytes *out, const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        bytes_put_char(out, (c < 0x20 && c != '\t') || c == 0x7f ? '?' : text[i]);
    }
}

/* The offending line and the caret below it. Tabs are repeated in front of the caret, so that it stands where it should
 * whatever the terminal makes of them. */
static void put_line(struct bytes *out, const char *line, size_t len, size_t caret)
{
    size_t from = 0, to = len;

    if (len > MISTAKE_LINE_BYTES_MAX) {
        from = caret > MISTAKE_LINE_BYTES_MAX / 2 ? caret - MISTAKE_LINE_BYTES_MAX / 2 : 0;
        to = from + MISTAKE_LINE_BYTES_MAX < len ? from + MISTAKE_LINE_BYTES_MAX : len;
        /* Not in the middle of a character; the text need not be UTF-8, and a character is four bytes at most. */
        for (int i = 0; i < 3 && from > 0 && byte_continues(line[from]); i++)
            from--;
        for (int i = 0; i < 3 && to < len && byte_continues(line[to]); i++)
            to--;
    }
    const char *before = from > 0 ? "..." : "";
    bytes_put_text(out, before);
    put_visible(out, line + from, to - from);
    bytes_put_text(out, to < len ? "...\n" : "\n");
    bytes_put_text(out, from > 0 ? "   " : "");
    for (size_t i = from; i < caret; i++) {
        if (!byte_continues(line[i]))
            bytes_put_char(out, line[i] == '\t' ? '\t' : ' ');
    }
    bytes_put_text(out, "^\n");
}

static void keep(struct mistakes *mistakes, unsigned order, size_t offset, struct bytes *rendered)
{
    struct mistake mistake = { .order = order, .offset = offset, .number = mistakes->count,
                               .rendered = rendered->failed ? "error: out of memory\n"
                                                            : arena_text(mistakes->arena, bytes_view(rendered)) };
    VEC_PUSH(&mistakes->list, mistake);
    bytes_done(rendered);
}

void mistake_at(struct mistakes *mistakes, const struct source *source, size_t offset, const char *format, ...)
{
    char text[MISTAKE_TEXT_BYTES_MAX];
    struct bytes rendered = { 0 };
    va_list args;

    mistakes->count++;
    if (mistakes_full(mistakes))
        return;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args); /* cut at the end is fine: it is for people */
    va_end(args);

    struct view whole = source->text;
    if (offset > whole.len)
        offset = whole.len;
    size_t start = offset, end = offset;
    while (start > 0 && whole.data[start - 1] != '\n')
        start--;
    while (end < whole.len && whole.data[end] != '\n' && whole.data[end] != '\r')
        end++;
    unsigned column = 1;
    for (size_t i = start; i < offset; i++)
        column += !byte_continues(whole.data[i]);
    bytes_put_format(&rendered, "%s:%u:%u: error: ", source->path, source_line(source, offset), column);
    put_visible(&rendered, text, strlen(text));
    bytes_put_char(&rendered, '\n');
    put_line(&rendered, whole.data + start, end - start, offset - start);
    keep(mistakes, source->order, offset, &rendered);
}

void mistake_of_file(struct mistakes *mistakes, const char *path, const char *format, ...)
{
    char text[MISTAKE_TEXT_BYTES_MAX];
    struct bytes rendered = { 0 };
    va_list args;

    mistakes->count++;
    if (mistakes_full(mistakes))
        return;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    bytes_put_format(&rendered, "%s: error: %s\n", path, text);
    keep(mistakes, UINT32_MAX, 0, &rendered); /* after what has a place */
}

static int compare_places(const void *left, const void *right)
{
    const struct mistake *a = left, *b = right;

    if (a->order != b->order)
        return a->order < b->order ? -1 : 1;
    if (a->offset != b->offset)
        return a->offset < b->offset ? -1 : 1;
    return a->number < b->number ? -1 : a->number > b->number;
}

void mistakes_print(struct mistakes *mistakes, FILE *out)
{
    if (mistakes->list.count == 0)
        return;
    qsort(mistakes->list.items, mistakes->list.count, sizeof *mistakes->list.items, compare_places);
    for (size_t i = 0; i < mistakes->list.count; i++)
        (void)fputs(mistakes->list.items[i].rendered, out);
    if (mistakes->count > mistakes->list.count)
        (void)fprintf(out, "%u more errors are not shown\n", mistakes->count - (unsigned)mistakes->list.count);
}
