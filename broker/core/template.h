/* template.h - a target's input template: text in which `<name>` stands for a part of the event.
 *
 *   paths     {"instance": "$.detail.id"}
 *   template  {"text": "instance <instance>", "all": <aws.events.event.json>}
 *
 * What a placeholder becomes depends on where it stands, as with EventBridge. The first character of the template (white space
 * aside) says its form: '{' or '[' a JSON template, '"' a text template, anything else is never delivered:
 *
 *   value            JSON, bare         JSON, inside quotes    text
 *   string           with its quotes    its characters         its characters
 *   number, bool     as it is           as it is               as it is
 *   object, array    as it is           never delivered        as it is, without white space and double quotes
 *   nothing found    ""                 nothing                nothing
 *
 * Nothing is escaped: what breaks a JSON template (a quote in the data, inside quotes) is never delivered. A text template is
 * handed on as it is, quotes included, also over several lines. Where EventBridge drops an event in silence, template_render()
 * says why, and the engine makes a dead letter of it.
 *
 * In the configuration in memory and in the store a template is one JSON text, {"template": "...", "paths": {"name": "$.a"}}. */
#ifndef SLUICE_CORE_TEMPLATE_H
#define SLUICE_CORE_TEMPLATE_H

#include "schemas/codec/envelope.h"

enum {
    TEMPLATE_NAMES_MAX = 100,              /* these three as EventBridge */
    TEMPLATE_NAME_BYTES_MAX = 256,
    TEMPLATE_CHARACTERS_MAX = 8192,
    TEMPLATE_OUTPUT_BYTES_MAX = 4 << 20,   /* of one event, as large as a lease: a template may name a large value many times */
};

struct template;

struct template_path {
    struct view name, path;
};
/* [A-Za-z0-9_-]+: so no name is one of the reserved ones, aws.events.…, or AWS.… SLUICE_EINVAL. */
enum sluice_err template_name_check(struct view name, struct sluice_error *reterr);
/* Appends the one JSON text. The paths were checked by input_path_check(). */
void template_encode(struct bytes *out, struct view text, const struct template_path *paths, unsigned count);

/* SLUICE_EINVAL: too long, or a placeholder that nothing defines, which begins at byte *ret_offset of the template. SLUICE_ECORRUPT: not
 * what template_encode() makes. *ret_offset is written on errors only. */
enum sluice_err template_new(struct view encoded, struct template **ret_template, size_t *ret_offset, struct sluice_error *reterr);
struct template *template_free(struct template *template); /* NULL is fine; returns NULL */

struct template_context {
    const struct event *event;
    const char *rule;
    int64_t accepted_ms;                   /* <aws.events.event.ingestion-time> */
};
/* Appends the input. SLUICE_EINVAL: this event can never be delivered so; nothing was appended. */
enum sluice_err template_render(const struct template *template, const struct template_context *context, struct bytes *out,
                                struct sluice_error *reterr);

#endif
