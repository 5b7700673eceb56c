/* mistakes.h - what is wrong in the configuration, gathered and then printed as compilers print it:
 *
 *   sluice.yaml:7:14: error: 'timeout' must be a duration like 250ms, 30s, 5m, 6h or 1d, not '30'
 *       timeout: 30
 *                ^
 *
 * Everything that is wrong is gathered before anything is printed, because one run should show the operator all of it.
 * Lines and columns start at 1; a column is a character, not a byte, and a tab is one character. */
#ifndef SLUICE_EDGE_MISTAKES_H
#define SLUICE_EDGE_MISTAKES_H

#include <stdatomic.h>
#include <stdio.h>

#include "schemas/codec/view.h"

enum {
    MISTAKES_PRINTED_MAX = 50,      /* beyond it only the number is told: a file of another kind has thousands */
    MISTAKE_LINE_BYTES_MAX = 160,   /* of the offending line; a longer one (JSON without line breaks) is shown around the place */
};

struct source {              /* one file as read; outlives the calls below, not the mistakes */
    const char *path;
    struct view text;
    unsigned order;          /* place among the files read: mistakes are printed in that order */
};

struct mistakes;
struct mistakes *mistakes_new(void);                        /* owned; aborts when out of memory, as arenas do */
struct mistakes *mistakes_free(struct mistakes *mistakes);  /* NULL is fine; returns NULL */

/* Once *given_up is true, on whatever thread it was set, nobody wants to know any more: readers leave off, and what they return is
 * thrown away. NULL: never. */
void mistakes_until(struct mistakes *mistakes, const atomic_bool *given_up);
bool mistakes_given_up(const struct mistakes *mistakes);

/* `offset`: byte of source->text the caret points at. One line of text, without a newline. */
void mistake_at(struct mistakes *mistakes, const struct source *source, size_t offset, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* About a whole file or folder that could not be read: there is no line to show. */
void mistake_of_file(struct mistakes *mistakes, const char *path, const char *format, ...) __attribute__((format(printf, 3, 4)));

unsigned mistakes_count(const struct mistakes *mistakes);
bool mistakes_full(const struct mistakes *mistakes);        /* more would not be printed: what a hint costs can be saved */
void mistakes_print(struct mistakes *mistakes, FILE *out);  /* in order of file and place */

/* 1-based line of a byte. */
unsigned source_line(const struct source *source, size_t offset);

#endif
