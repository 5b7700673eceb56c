#include "broker/api/aws/names.h"

#include "schemas/codec/envelope.h"

enum { PARTS_MAX = 8 };

static bool is_name_character(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
}

static bool is_name(struct view text, size_t bytes_max)
{
    if (text.len < 1 || text.len > bytes_max)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (!is_name_character(text.data[i]))
            return false;
    }
    return true;
}

static bool is_account(struct view text)
{
    if (text.len != 12)
        return false;
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
    }
    return true;
}

bool qualifier_is_valid(struct view qualifier)
{
    return view_is(qualifier, "$LATEST") || is_name(qualifier, AWS_QUALIFIER_BYTES_MAX);
}

/* At ':'; how many there are, PARTS_MAX + 1 for too many. */
static size_t split(struct view text, struct view ret_parts[PARTS_MAX])
{
    size_t count = 0;

    for (const char *at = text.data, *end = text.data + text.len;; count++) {
        const char *colon = memchr(at, ':', (size_t)(end - at));
        if (count == PARTS_MAX)
            return PARTS_MAX + 1;
        ret_parts[count] = (struct view){ .data = at, .len = (size_t)((colon == NULL ? end : colon) - at) };
        if (colon == NULL)
            return count + 1;
        at = colon + 1;
    }
}

bool function_name_parse(struct view text, struct function_name *ret_name)
{
    struct view parts[PARTS_MAX];
    struct function_name name = { 0 };

    if (text.len < 1 || text.len > AWS_ARN_BYTES_MAX)
        return false;
    size_t count = split(text, parts), at = 0;
    if (count > PARTS_MAX)
        return false;
    if (count >= 7 && view_is(parts[0], "arn") && parts[1].len >= 3 && memcmp(parts[1].data, "aws", 3) == 0 && view_is(parts[2], "lambda"))
        at = 3;
    if (count - at >= 4 && view_is(parts[at + 2], "function"))
        name.region = parts[at++];
    if (count - at >= 3 && view_is(parts[at + 1], "function")) {
        name.account = parts[at];
        at += 2;
    }
    if (at >= count || count - at > 2)
        return false;
    name.name = parts[at];
    if (count - at == 2)
        name.qualifier = parts[at + 1];
    if (!is_name(name.name, AWS_NAME_BYTES_MAX) || (name.qualifier.data != NULL && !qualifier_is_valid(name.qualifier)))
        return false;
    if ((name.account.data != NULL && !is_account(name.account)) || (name.region.data != NULL && !is_name(name.region, 32)))
        return false;
    *ret_name = name;
    return true;
}

void function_arn_put(struct bytes *out, const struct function_name *name)
{
    bytes_put_text(out, "arn:aws:lambda:");
    bytes_put_view(out, name->region.data != NULL ? name->region : VIEW_LITERAL(EVENT_REGION_DEFAULT));
    bytes_put_char(out, ':');
    bytes_put_view(out, name->account.data != NULL ? name->account : VIEW_LITERAL(EVENT_ACCOUNT_DEFAULT));
    bytes_put_text(out, ":function:");
    bytes_put_view(out, name->name);
    if (name->qualifier.data != NULL) {
        bytes_put_char(out, ':');
        bytes_put_view(out, name->qualifier);
    }
}

struct view bus_name_of(struct view text)
{
    static const char mark[] = ":event-bus/";
    const char *found;

    if (text.len < 4 || memcmp(text.data, "arn:", 4) != 0)
        return text;
    found = memmem(text.data, text.len, mark, sizeof mark - 1);
    if (found == NULL)
        return text;
    found += sizeof mark - 1;
    return (struct view){ .data = found, .len = (size_t)(text.data + text.len - found) };
}
