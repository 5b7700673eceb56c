#include "broker/api/text.h"

#include <inttypes.h>
#include <strings.h>

#include "schemas/codec/json.h"

bool view_is_any_case(struct view text, const char *word)
{
    return text.len == strlen(word) && strncasecmp(text.data, word, text.len) == 0;
}

bool view_begins_any_case(struct view text, const char *prefix)
{
    size_t len = strlen(prefix);
    return text.len >= len && strncasecmp(text.data, prefix, len) == 0;
}

void put_member(struct bytes *out, const char *name, struct view text)
{
    json_put_string(out, view_of(name));
    bytes_put_char(out, ':');
    json_put_string(out, text);
    bytes_put_char(out, ',');
}

void put_member_number(struct bytes *out, const char *name, int64_t number)
{
    json_put_string(out, view_of(name));
    bytes_put_format(out, ":%" PRId64 ",", number);
}

void put_object_end(struct bytes *out)
{
    if (out->len > 0 && out->data[out->len - 1] == ',')
        out->len--;
    bytes_put_char(out, '}');
}

void put_base64(struct bytes *out, struct view bytes)
{
    size_t len = base64_len(bytes.len);

    if (!bytes_reserve(out, len))
        return;
    (void)base64_encode(bytes, out->data + out->len);
    out->len += len;
}
