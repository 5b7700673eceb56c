/* envelope_line.h - an EventBridge envelope as one line of JSON: read into an event to publish, or shown to a person.
 * The text is checked once and looked into, never parsed to a tree; detail stays the bytes it is. */
#ifndef SLUICE_CLI_ENVELOPE_LINE_H
#define SLUICE_CLI_ENVELOPE_LINE_H

#include "schemas/codec/envelope.h"
#include "sluice/producer.h"

/* What the pointers of an event that was read point into, besides the line itself. Zeroed before its first use, then reused. */
struct envelope_line {
    struct bytes texts;                                  /* decoded strings, each with its NUL; bytes_done() in the end */
    const char *resources[ENVELOPE_RESOURCES_MAX + 1];
};

/* Required: source, detail-type (strings), detail (an object). Also taken: id, time, account, region, resources, bus or
 * event-bus-name, key, dedup-id, traceparent, not-before; null is as good as absent. Other members, such as version, are not
 * kept. SLUICE_EINVAL: what is wrong with the line. ret_event lives as long as `line`, and until the scratch's next use. */
enum sluice_err envelope_line_read(struct view line, struct envelope_line *scratch, struct sluice_event *ret_event,
                                   struct sluice_error *reterr);

/* The bus that such a line says, which is a checked JSON object; NULL: none. It lives in `scratch`. SLUICE_EINVAL: it is no string. */
enum sluice_err envelope_line_bus(struct view line, struct bytes *scratch, const char **ret_bus, struct sluice_error *reterr);

/* sequence, bus, time, source, detail-type, id and detail on one line of stdout. */
void envelope_line_print(int64_t seq, struct view bus, struct view event, struct bytes *scratch);

#endif
