#include "broker/cli/table.h"

#include <inttypes.h>
#include <stdarg.h>
#include <time.h>

#include "broker/base/assert.h"

enum { COLUMN_GAP = 2 };

static bool is_control(unsigned char byte)
{
    return byte < 0x20 || byte == 0x7f;
}

/* Characters, not bytes: every byte that does not continue a UTF-8 sequence. Good enough for names; wide glyphs may stick out. */
static unsigned text_width(const char *text)
{
    unsigned width = 0;
    for (; *text != '\0'; text++)
        width += ((unsigned char)*text & 0xc0) != 0x80;
    return width;
}

void table_open(struct table *table, const struct column *columns, unsigned columns_count)
{
    ASSERT(columns_count <= TABLE_COLUMNS_MAX);
    *table = (struct table){ .columns = columns, .columns_count = columns_count, .titled = columns[0].title == NULL };
    for (unsigned i = 0; i < columns_count && columns[i].title != NULL; i++)
        table->widths[i] = text_width(columns[i].title);
}

void table_cell(struct table *table, struct view text)
{
    bool last_column = table->cells_count % table->columns_count == table->columns_count - 1;
    /* The last column is not padded, so it may be as long as it likes. */
    size_t len = !last_column && text.len > TABLE_CELL_WIDTH_MAX ? TABLE_CELL_WIDTH_MAX : text.len;
    if (len == 0)
        bytes_put_char(&table->text, '-');
    for (size_t i = 0; i < len; i++)
        bytes_put_char(&table->text, is_control((unsigned char)text.data[i]) ? ' ' : text.data[i]);
    bytes_put_char(&table->text, '\0');
    table->cells_count++;
}

void table_text(struct table *table, const char *text)
{
    table_cell(table, view_of(text));
}

void table_int(struct table *table, int64_t value)
{
    table_format(table, "%" PRId64, value);
}

void table_format(struct table *table, const char *format, ...)
{
    char text[512];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments); /* a longer cell is cut */
    va_end(arguments);
    table_text(table, text);
}

static void print_cell(const struct table *table, unsigned column, const char *text)
{
    unsigned width = text_width(text);
    unsigned padding = table->widths[column] > width ? table->widths[column] - width : 0;
    bool right = table->columns[column].right, last = column + 1 == table->columns_count;
    printf("%*s%s", right ? (int)padding : 0, "", text);
    if (last)
        putchar('\n');
    else
        printf("%*s", (right ? 0 : (int)padding) + COLUMN_GAP, "");
}

void table_flush(struct table *table)
{
    ASSERT(table->cells_count % table->columns_count == 0);
    ASSERT(!table->text.failed);
    const char *cell = table->text.data;
    for (size_t i = 0; i < table->cells_count; i++, cell += strlen(cell) + 1) {
        unsigned column = (unsigned)(i % table->columns_count), width = text_width(cell);
        if (width > table->widths[column])
            table->widths[column] = width;
    }
    for (unsigned column = 0; !table->titled && column < table->columns_count; column++)
        print_cell(table, column, table->columns[column].title);
    table->titled = true;
    cell = table->text.data;
    for (size_t i = 0; i < table->cells_count; i++, cell += strlen(cell) + 1)
        print_cell(table, (unsigned)(i % table->columns_count), cell);
    bytes_clear(&table->text);
    table->cells_count = 0;
}

void table_close(struct table *table)
{
    table_flush(table);
    bytes_done(&table->text);
}

struct format format_time(int64_t unix_ms)
{
    struct format format = { "-" };
    time_t seconds = (time_t)(unix_ms / 1000);
    struct tm local;
    if (unix_ms != 0 && localtime_r(&seconds, &local) != NULL)
        (void)strftime(format.text, sizeof format.text, "%Y-%m-%d %H:%M:%S", &local);
    return format;
}

struct format format_span(int64_t ms)
{
    struct format format;
    int64_t seconds = ms / 1000, minutes = seconds / 60, hours = minutes / 60, days = hours / 24;
    if (ms < 1000)
        (void)snprintf(format.text, sizeof format.text, "%" PRId64 "ms", ms);
    else if (minutes == 0 && ms % 1000 != 0)
        (void)snprintf(format.text, sizeof format.text, "%.1fs", (double)ms / 1000);
    else if (minutes == 0)
        (void)snprintf(format.text, sizeof format.text, "%" PRId64 "s", seconds);
    else if (hours == 0)
        (void)snprintf(format.text, sizeof format.text, "%" PRId64 "m%02ds", minutes, (int)(seconds % 60));
    else if (days == 0)
        (void)snprintf(format.text, sizeof format.text, "%" PRId64 "h%02dm", hours, (int)(minutes % 60));
    else
        (void)snprintf(format.text, sizeof format.text, "%" PRId64 "d%02dh", days, (int)(hours % 24));
    return format;
}

struct format format_us(int64_t us)
{
    struct format format;
    if (us < 1000)
        (void)snprintf(format.text, sizeof format.text, "%" PRId64 "us", us);
    else if (us < 1000000)
        (void)snprintf(format.text, sizeof format.text, "%.1fms", (double)us / 1000);
    else
        (void)snprintf(format.text, sizeof format.text, "%.2fs", (double)us / 1000000);
    return format;
}

struct format format_bytes(int64_t bytes)
{
    static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB" };
    struct format format;
    double value = (double)bytes;
    unsigned unit = 0;
    for (; value >= 1024 && unit + 1 < sizeof units / sizeof *units; unit++)
        value /= 1024;
    (void)snprintf(format.text, sizeof format.text, unit == 0 || value == (double)(int64_t)value ? "%.0f %s" : "%.1f %s", value,
                   units[unit]);
    return format;
}

void print_clean(FILE *out, struct view text)
{
    for (size_t i = 0; i < text.len; i++)
        putc(is_control((unsigned char)text.data[i]) ? ' ' : text.data[i], out);
}
