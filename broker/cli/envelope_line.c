#include "broker/cli/envelope_line.h"

#include <inttypes.h>
#include <stdio.h>

#include "broker/cli/table.h"
#include "schemas/codec/ids.h"
#include "schemas/codec/json.h"

#define ABSENT SIZE_MAX

/* Decodes a JSON string into the texts. What follows it may move them, so it is known by its offset until all are there. */
static enum sluice_err take_string(struct view value, const char *name, struct bytes *texts, size_t *ret_offset,
                                   struct sluice_error *reterr)
{
    size_t offset = texts->len;
    if (!json_string_decode(value, texts))
        return texts->failed ? sluice_fail(reterr, SLUICE_ENOMEM, "out of memory at '%s'", name)
                             : sluice_fail(reterr, SLUICE_EINVAL, "'%s' is not a string of whole characters", name);
    if (texts->len > offset && memchr(texts->data + offset, '\0', texts->len - offset) != NULL)
        return sluice_fail(reterr, SLUICE_EINVAL, "'%s' holds a NUL character", name);
    bytes_put_char(texts, '\0');
    *ret_offset = offset;
    return SLUICE_OK;
}

/* A member that must be a string if it is there; absent or null: *ret_offset is ABSENT. */
static enum sluice_err take_text(struct view line, const char *name, struct bytes *texts, size_t *ret_offset,
                                 struct sluice_error *reterr)
{
    struct view value;
    *ret_offset = ABSENT;
    if (!json_member(line, view_of(name), &value) || view_is(value, "null"))
        return SLUICE_OK;
    return take_string(value, name, texts, ret_offset, reterr);
}

static enum sluice_err take_time(struct view line, const char *name, struct bytes *texts, int64_t *ret_ms,
                                 struct sluice_error *reterr)
{
    size_t offset;
    enum sluice_err err = take_text(line, name, texts, &offset, reterr);
    if (err != SLUICE_OK || offset == ABSENT)
        return err;
    if (texts->failed)
        return sluice_fail(reterr, SLUICE_ENOMEM, "out of memory at '%s'", name);
    if (!time_from_text(view_of(texts->data + offset), ret_ms))
        return sluice_fail(reterr, SLUICE_EINVAL, "'%s' is not a time such as 2026-11-21T22:58:34Z", name);
    return SLUICE_OK;
}

static enum sluice_err take_resources(struct view line, struct bytes *texts, size_t ret_offsets[ENVELOPE_RESOURCES_MAX],
                                      size_t *ret_count, struct sluice_error *reterr)
{
    struct view array, item;
    size_t count = 0;
    *ret_count = 0;
    if (!json_member(line, view_of("resources"), &array) || view_is(array, "null"))
        return SLUICE_OK;
    if (array.data[0] != '[')
        return sluice_fail(reterr, SLUICE_EINVAL, "'resources' is not an array");
    for (; json_item(array, count, &item); count++) {
        if (count == ENVELOPE_RESOURCES_MAX)
            return sluice_fail(reterr, SLUICE_EINVAL, "'resources' holds more than %d items", ENVELOPE_RESOURCES_MAX);
        enum sluice_err err = take_string(item, "resources", texts, &ret_offsets[count], reterr);
        if (err != SLUICE_OK)
            return err;
    }
    *ret_count = count;
    return SLUICE_OK;
}

/* Which text goes where in the library's event. "bus" comes last, so that it beats its longer name. */
static const struct {
    const char *name;
    bool required;
    size_t member;
} envelope_texts[] = {
    { "source", true, offsetof(struct sluice_event, source) },
    { "detail-type", true, offsetof(struct sluice_event, type) },
    { "id", false, offsetof(struct sluice_event, id) },
    { "account", false, offsetof(struct sluice_event, account) },
    { "region", false, offsetof(struct sluice_event, region) },
    { "key", false, offsetof(struct sluice_event, key) },
    { "dedup-id", false, offsetof(struct sluice_event, dedup_id) },
    { "traceparent", false, offsetof(struct sluice_event, traceparent) },
    { "event-bus-name", false, offsetof(struct sluice_event, bus) },
    { "bus", false, offsetof(struct sluice_event, bus) },
};
enum { ENVELOPE_TEXTS = sizeof envelope_texts / sizeof *envelope_texts };

static enum sluice_err take_texts(struct view line, struct bytes *texts, size_t ret_offsets[ENVELOPE_TEXTS],
                                  struct sluice_error *reterr)
{
    for (size_t i = 0; i < ENVELOPE_TEXTS; i++) {
        enum sluice_err err = take_text(line, envelope_texts[i].name, texts, &ret_offsets[i], reterr);
        if (err != SLUICE_OK)
            return err;
        if (envelope_texts[i].required && ret_offsets[i] == ABSENT)
            return sluice_fail(reterr, SLUICE_EINVAL, "'%s' is missing", envelope_texts[i].name);
    }
    return SLUICE_OK;
}

enum sluice_err envelope_line_read(struct view line, struct envelope_line *scratch, struct sluice_event *ret_event,
                                   struct sluice_error *reterr)
{
    size_t offsets[ENVELOPE_TEXTS], resource_offsets[ENVELOPE_RESOURCES_MAX], resources_count;
    struct sluice_event event = { 0 };
    struct view detail;
    struct bytes *texts = &scratch->texts;
    bytes_clear(texts);
    enum sluice_err err = json_check(line, JSON_OBJECT, JSON_DEPTH_MAX, reterr);
    if (err == SLUICE_OK)
        err = take_texts(line, texts, offsets, reterr);
    if (err != SLUICE_OK)
        return err;
    if (!json_member(line, view_of("detail"), &detail))
        return sluice_fail(reterr, SLUICE_EINVAL, "'detail' is missing");
    if (detail.data[0] != '{')
        return sluice_fail(reterr, SLUICE_EINVAL, "'detail' is not an object");
    err = take_resources(line, texts, resource_offsets, &resources_count, reterr);
    if (err == SLUICE_OK)
        err = take_time(line, "time", texts, &event.time_ms, reterr);
    if (err == SLUICE_OK)
        err = take_time(line, "not-before", texts, &event.not_before_ms, reterr);
    if (err != SLUICE_OK)
        return err;
    if (texts->failed)
        return sluice_fail(reterr, SLUICE_ENOMEM, "out of memory");
    /* The texts have stopped moving: offsets become pointers. */
    for (size_t i = 0; i < ENVELOPE_TEXTS; i++) {
        const char *text = texts->data + offsets[i];
        if (offsets[i] != ABSENT)
            memcpy((char *)&event + envelope_texts[i].member, &text, sizeof text);
    }
    for (size_t i = 0; i < resources_count; i++)
        scratch->resources[i] = texts->data + resource_offsets[i];
    scratch->resources[resources_count] = NULL;
    event.resources = scratch->resources;
    event.detail = detail.data;
    event.detail_len = detail.len;
    *ret_event = event;
    return SLUICE_OK;
}

enum sluice_err envelope_line_bus(struct view line, struct bytes *scratch, const char **ret_bus, struct sluice_error *reterr)
{
    static const char *const names[] = { "bus", "event-bus-name" }; /* as in envelope_texts: the first beats the other */
    size_t offset = ABSENT;
    enum sluice_err err = SLUICE_OK;
    bytes_clear(scratch);
    for (unsigned i = 0; i < sizeof names / sizeof *names && err == SLUICE_OK && offset == ABSENT; i++)
        err = take_text(line, names[i], scratch, &offset, reterr);
    if (err == SLUICE_OK && scratch->failed)
        err = sluice_fail(reterr, SLUICE_ENOMEM, "out of memory");
    if (err == SLUICE_OK)
        *ret_bus = offset == ABSENT ? NULL : scratch->data + offset;
    return err;
}

static struct view shown_text(struct view event, const char *name, struct bytes *scratch)
{
    struct view value;
    bytes_clear(scratch);
    if (!json_member(event, view_of(name), &value) || !json_string_decode(value, scratch))
        return VIEW_LITERAL("-");
    return bytes_view(scratch);
}

/* Nothing is aligned to what comes later, for that is not known yet. */
void envelope_line_print(int64_t seq, struct view bus, struct view event, struct bytes *scratch)
{
    static const char *const names[] = { "time", "source", "detail-type", "id" };
    struct view detail;
    printf("%-8" PRId64 "  ", seq);
    print_clean(stdout, bus);
    for (unsigned i = 0; i < sizeof names / sizeof *names; i++) {
        fputs("  ", stdout);
        print_clean(stdout, shown_text(event, names[i], scratch));
    }
    fputs("  ", stdout);
    if (json_member(event, view_of("detail"), &detail))
        print_clean(stdout, detail);
    putchar('\n');
}
