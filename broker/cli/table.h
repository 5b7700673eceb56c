/* table.h - rows of text in aligned columns, and numbers as people read them.
 * Cells come from outside: control characters in them are replaced, so that nothing steers the terminal.
 * A flush prints the rows so far and keeps the widths, so that a long list is printed page by page and stays aligned. */
#ifndef SLUICE_CLI_TABLE_H
#define SLUICE_CLI_TABLE_H

#include <stdio.h>

#include "broker/base/vec.h"
#include "schemas/codec/bytes.h"

enum { TABLE_COLUMNS_MAX = 16, TABLE_CELL_WIDTH_MAX = 200, FORMAT_TEXT_MAX = 40 };

struct column {
    const char *title;           /* NULL in the first column: no line of titles */
    bool right;                  /* numbers */
};

struct table {
    const struct column *columns;
    unsigned columns_count;
    unsigned widths[TABLE_COLUMNS_MAX];
    bool titled;
    struct bytes text;           /* cells, each with its NUL, row after row */
    size_t cells_count;
};

void table_open(struct table *table, const struct column *columns, unsigned columns_count);
/* The next cell; after the last column the next row begins. Empty is printed as "-". */
void table_cell(struct table *table, struct view text);
void table_text(struct table *table, const char *text);
void table_int(struct table *table, int64_t value);
void table_format(struct table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));
void table_flush(struct table *table);
void table_close(struct table *table);          /* flushes and frees */

/* Readable forms, written to `buffer` and returned. */
struct format { char text[FORMAT_TEXT_MAX]; };
struct format format_time(int64_t unix_ms);     /* "2026-11-21 23:14:05", local time; "-" for 0 */
struct format format_span(int64_t ms);          /* "350ms", "12.5s", "3m12s", "5h04m", "12d03h" */
struct format format_us(int64_t us);            /* "310us", "1.9ms" */
struct format format_bytes(int64_t bytes);      /* "512 B", "1.5 MiB" */

/* Writes text with control characters replaced, and no line break. */
void print_clean(FILE *out, struct view text);

#endif
