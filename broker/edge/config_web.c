/* What a route and a function's URL say of their answers: `cors` and `stream`. */
#include "broker/edge/config_sections.h"
#include "broker/edge/yaml_values.h"

enum { LIST_MAX = 100, WORD_BYTES_MAX = 256 };

const char *const config_no_texts[] = { NULL };

/* A list of texts, or one text. What is wrong with one does not keep the others from being read. */
const char *const *config_texts_read(struct loader *loader, const struct yaml_file *file, const struct yaml_node *node, const char *what,
                                     bool (*good)(const char *text), const char *kind)
{
    if (node == NULL)
        return config_no_texts;
    bool is_list = node->kind == YAML_LIST;
    const struct yaml_node *item = is_list ? yaml_first(node) : node;
    uint32_t count = is_list ? node->count : 1;
    if (count < 1 || count > LIST_MAX) {
        yaml_mistake(file, node, "'%s' must have from 1 to %d items, not %u; leave it out for the default", what, LIST_MAX, count);
        return config_no_texts;
    }
    const char **texts = arena_zalloc(loader->arena, (count + 1) * sizeof *texts);
    for (uint32_t i = 0; i < count; i++, item = yaml_next(item)) {
        texts[i] = "";
        if (yaml_get_text(file, item, what, WORD_BYTES_MAX, loader->arena, &texts[i]) && !good(texts[i]))
            yaml_mistake(file, item, "'" YAML_SHOWN "' is not %s", YAML_SHOW(item), kind);
    }
    return texts;
}

bool config_is_method(const char *text)
{
    return strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == strlen(text) && strlen(text) <= 20;
}

static bool is_method_or_all(const char *text)
{
    return strcmp(text, "*") == 0 || config_is_method(text);
}

static bool is_header_name(const char *text)
{
    static const char token[] = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    return strspn(text, token) == strlen(text);
}

static bool is_origin(const char *text)
{
    const char *host = strncmp(text, "http://", 7) == 0 ? text + 7 : strncmp(text, "https://", 8) == 0 ? text + 8 : "";

    if (strcmp(text, "*") == 0)
        return true;
    for (const char *at = host; *at != '\0'; at++) {
        if (*at <= ' ' || *at >= 0x7f || *at == '/' || *at == '*')
            return false;
    }
    return host[0] != '\0';
}

static const struct config_cors *cors_read(struct loader *loader, const struct yaml_file *file, const struct yaml_node *node)
{
    enum { KEY_ORIGINS, KEY_METHODS, KEY_HEADERS, KEY_EXPOSE, KEY_MAX_AGE, KEY_CREDENTIALS, CORS_KEYS };
    static const char *const keys[CORS_KEYS] = {
        "allow-origins", "allow-methods", "allow-headers", "expose-headers", "max-age", "allow-credentials",
    };
    const struct yaml_node *values[CORS_KEYS];

    if (node == NULL)
        return NULL;
    (void)yaml_map_spread(file, node, "'cors'", keys, CORS_KEYS, values);
    if (node->kind != YAML_MAP)
        return NULL;
    struct config_cors *cors = arena_zalloc(loader->arena, sizeof *cors);
    if (values[KEY_ORIGINS] == NULL)
        yaml_mistake(file, node, "'cors' has no 'allow-origins'");
    cors->allow_origins = config_texts_read(loader, file, values[KEY_ORIGINS], "cors.allow-origins", is_origin, "an origin like https://example.com, or '*'");
    cors->allow_methods = config_texts_read(loader, file, values[KEY_METHODS], "cors.allow-methods", is_method_or_all, "a method like GET, or '*'");
    cors->allow_headers = config_texts_read(loader, file, values[KEY_HEADERS], "cors.allow-headers", is_header_name, "the name of a header, or '*'");
    cors->expose_headers = config_texts_read(loader, file, values[KEY_EXPOSE], "cors.expose-headers", is_header_name, "the name of a header, or '*'");
    (void)yaml_get_duration(file, values[KEY_MAX_AGE], "cors.max-age", 0, CONFIG_CORS_MAX_AGE_MS_MAX, &cors->max_age_ms);
    (void)yaml_get_bool(file, values[KEY_CREDENTIALS], "cors.allow-credentials", &cors->allow_credentials);
    for (const char *const *origin = cors->allow_origins; cors->allow_credentials && *origin != NULL; origin++)
        if (strcmp(*origin, "*") == 0)
            yaml_mistake(file, values[KEY_CREDENTIALS], "'cors.allow-credentials' with the origin '*' would let every site act as its visitors: name the origins");
    return cors;
}

void config_web_read(struct loader *loader, const struct yaml_file *file, const struct yaml_node *cors, const struct yaml_node *stream,
                     const char *stream_key, struct config_web *web)
{
    web->cors = cors_read(loader, file, cors);
    (void)yaml_get_bool(file, stream, stream_key, &web->stream);
}
