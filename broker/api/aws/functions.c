/* functions.c - functions as Lambda's API shows them: what waiters, consoles and deploy tools read. All of it is the configuration's;
 * environments are left out, for nobody has to say who he is to read this. */
#include "broker/api/aws/lambda.h"

enum { FUNCTIONS_PAGE = 50, FUNCTIONS_PAGE_MAX = 10000, PAGE_BYTES_MAX = 1 << 20 };

static void respond(struct call *call, const struct bytes *json)
{
    struct answer answer = { .count = 0 };

    aws_answer_put(call, &answer, "application/json");
    call_respond(call, 200, &answer, bytes_view(json));
}

static struct bytes *answer_begin(struct call *call)
{
    bytes_clear(&call->api->text);
    return &call->api->text;
}

static void put_arn_member(struct bytes *out, const char *member, const struct config_function *function, const char *qualifier)
{
    struct function_name name = { .name = view_of(function->name), .qualifier = view_of(qualifier) };

    json_put_string(out, view_of(member));
    bytes_put_text(out, ":\"");
    function_arn_put(out, &name); /* nothing in it needs an escape */
    bytes_put_text(out, "\",");
}

/* The same for the same configuration, another when it changes: what RevisionId and CodeSha256 are compared for. */
static uint64_t function_hash(const struct config_function *function)
{
    uint64_t hash = hash_bytes(function->name, strlen(function->name), 0);

    for (const char *const *word = function->command; word != NULL && *word != NULL; word++)
        hash = hash_bytes(*word, strlen(*word), hash);
    for (const char *const *variable = function->environment; variable != NULL && *variable != NULL; variable++)
        hash = hash_bytes(*variable, strlen(*variable), hash);
    return hash_mix(hash ^ (uint64_t)function->timeout_ms ^ (uint64_t)function->memory_bytes << 20);
}

static void put_hashes(struct bytes *out, const struct config_function *function)
{
    uint64_t words[4] = { function_hash(function) };
    char revision[UUID_TEXT_LEN + 1];

    for (size_t i = 1; i < 4; i++)
        words[i] = hash_mix(words[i - 1] + i);
    uuid_to_text((const uint8_t *)words, revision);
    put_member(out, "RevisionId", view_of(revision));
    bytes_put_text(out, "\"CodeSha256\":\"");
    put_base64(out, (struct view){ (const char *)words, sizeof words });
    bytes_put_text(out, "\",");
}

static unsigned concurrency_of(const struct config_function *function)
{
    return function->scale_max * function->concurrency; /* both at most 10,000 */
}

static void put_runtime(struct bytes *out, const struct config_function *function)
{
    static const char *const runtimes[] = { [RUNTIME_NODEJS] = "nodejs", [RUNTIME_PYTHON] = "python", [RUNTIME_PROVIDED] = "provided" };

    if (function->runtime != RUNTIME_NONE)
        put_member(out, "Runtime", view_of(runtimes[function->runtime]));
    if (function->handler != NULL)
        put_member(out, "Handler", view_of(function->handler));
}

static void put_logging(struct bytes *out, const struct config_function *function)
{
    bytes_put_format(out, "\"LoggingConfig\":{\"LogFormat\":\"%s\",", function->log_format == LOG_FORMAT_JSON ? "JSON" : "Text");
    if (function->log_level != NULL)
        bytes_put_format(out, "\"ApplicationLogLevel\":\"%s\",\"SystemLogLevel\":\"INFO\",", function->log_level);
    bytes_put_format(out, "\"LogGroup\":\"/aws/lambda/%s\"},", function->name);
}

/* The members of a FunctionConfiguration, each with its comma. */
static void put_configuration(struct api *api, struct bytes *out, const struct config_function *function, bool qualified)
{
    char time[TIME_TEXT_MAX];
    size_t len = time_to_text(api->opened_ms, true, time);
    int64_t memory_mb = function->memory_bytes > 0 ? function->memory_bytes >> 20 : 128;

    put_member(out, "FunctionName", view_of(function->name));
    put_arn_member(out, "FunctionArn", function, qualified ? "$LATEST" : NULL);
    put_runtime(out, function);
    put_member(out, "Role", VIEW_LITERAL("arn:aws:iam::" EVENT_ACCOUNT_DEFAULT ":role/sluice"));
    put_member(out, "Description", VIEW_LITERAL(""));
    put_member_number(out, "CodeSize", 0);
    put_member_number(out, "Timeout", (function->timeout_ms + 999) / 1000);
    put_member_number(out, "MemorySize", memory_mb);
    bytes_put_format(out, "\"LastModified\":\"%.*s+0000\",", (int)len - 1, time); /* without its Z */
    put_member(out, "Version", VIEW_LITERAL("$LATEST"));
    put_hashes(out, function);
    bytes_put_text(out, "\"PackageType\":\"Zip\",\"Architectures\":[\"x86_64\"],\"TracingConfig\":{\"Mode\":\"PassThrough\"},"
                        "\"EphemeralStorage\":{\"Size\":512},\"State\":\"Active\",\"LastUpdateStatus\":\"Successful\",");
    put_logging(out, function);
}

/* ---- one ---- */

void function_get_serve(struct call *call)
{
    struct lambda_target target;

    if (!lambda_target_find(call, &target))
        return;
    struct bytes *out = answer_begin(call);
    bytes_put_text(out, "{\"Configuration\":{");
    put_configuration(call->api, out, target.config, false);
    put_object_end(out);
    bytes_put_text(out, ",\"Code\":{\"RepositoryType\":\"S3\",\"Location\":\"\"},\"Tags\":{},");
    bytes_put_format(out, "\"Concurrency\":{\"ReservedConcurrentExecutions\":%u}}", concurrency_of(target.config));
    respond(call, out);
}

void function_configuration_serve(struct call *call)
{
    struct lambda_target target;

    if (!lambda_target_find(call, &target))
        return;
    struct bytes *out = answer_begin(call);
    bytes_put_char(out, '{');
    put_configuration(call->api, out, target.config, false);
    put_object_end(out);
    respond(call, out);
}

void function_versions_serve(struct call *call)
{
    struct lambda_target target;

    if (!lambda_target_find(call, &target))
        return;
    struct bytes *out = answer_begin(call);
    bytes_put_text(out, "{\"Versions\":[{");
    put_configuration(call->api, out, target.config, true);
    put_object_end(out);
    bytes_put_text(out, "]}");
    respond(call, out);
}

static void serve_constant(struct call *call, const char *json)
{
    struct lambda_target target;

    if (!lambda_target_find(call, &target))
        return;
    struct bytes *out = answer_begin(call);
    bytes_put_text(out, json);
    respond(call, out);
}

void function_aliases_serve(struct call *call)
{
    serve_constant(call, "{\"Aliases\":[]}");
}

void function_tags_serve(struct call *call)
{
    serve_constant(call, "{\"Tags\":{}}");
}

void function_nothing_serve(struct call *call)
{
    serve_constant(call, "{}");
}

void function_policy_serve(struct call *call)
{
    struct lambda_target target;

    if (lambda_target_find(call, &target))
        lambda_refuse(call, AWS_RESOURCE_NOT_FOUND, "The resource you requested does not exist.");
}

void function_concurrency_serve(struct call *call)
{
    struct lambda_target target;

    if (!lambda_target_find(call, &target))
        return;
    struct bytes *out = answer_begin(call);
    bytes_put_format(out, "{\"ReservedConcurrentExecutions\":%u}", concurrency_of(target.config));
    respond(call, out);
}

static void put_texts(struct bytes *out, const char *name, const char *const *texts)
{
    if (*texts == NULL)
        return;
    json_put_string(out, view_of(name));
    bytes_put_char(out, ':');
    for (char before = '['; *texts != NULL; texts++, before = ',') {
        bytes_put_char(out, before);
        json_put_string(out, view_of(*texts));
    }
    bytes_put_text(out, "],");
}

static void put_cors(struct bytes *out, const struct config_cors *cors)
{
    bytes_put_text(out, "\"Cors\":{");
    put_texts(out, "AllowOrigins", cors->allow_origins);
    put_texts(out, "AllowMethods", cors->allow_methods);
    put_texts(out, "AllowHeaders", cors->allow_headers);
    put_texts(out, "ExposeHeaders", cors->expose_headers);
    if (cors->max_age_ms > 0)
        put_member_number(out, "MaxAge", cors->max_age_ms / 1000);
    bytes_put_text(out, cors->allow_credentials ? "\"AllowCredentials\":true}," : "\"AllowCredentials\":false},");
}

void function_url_serve(struct call *call)
{
    struct lambda_target target;
    char time[TIME_TEXT_MAX];

    if (!lambda_target_find(call, &target))
        return;
    struct bytes *out = answer_begin(call);
    bytes_put_format(out, "{\"FunctionUrl\":\"http://%s.lambda-url.localhost:%u/\",", target.config->name, call->api->port);
    put_arn_member(out, "FunctionArn", target.config, NULL);
    if (target.config->url.cors != NULL)
        put_cors(out, target.config->url.cors);
    bytes_put_text(out, "\"AuthType\":\"NONE\",");
    put_member(out, "InvokeMode", target.config->url.stream ? VIEW_LITERAL("RESPONSE_STREAM") : VIEW_LITERAL("BUFFERED"));
    (void)time_to_text(call->api->opened_ms, true, time);
    put_member(out, "CreationTime", view_of(time));
    put_member(out, "LastModifiedTime", view_of(time));
    put_object_end(out);
    respond(call, out);
}

/* ---- all ---- */

/* 1 to max. */
static bool number_parse(struct view text, unsigned max, unsigned *ret_number)
{
    unsigned number = 0;

    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9' || number > max)
            return false;
        number = number * 10 + (unsigned)(text.data[i] - '0');
    }
    *ret_number = number;
    return number >= 1 && number <= max;
}

/* Where the page begins: behind the name that the last one ended with. */
static unsigned page_first(const struct config *config, struct view marker)
{
    unsigned low = 0, high = config->functions_count;

    while (low < high) {
        unsigned middle = low + (high - low) / 2;
        struct view name = view_of(config->functions[middle].name);
        int order = memcmp(name.data, marker.data, name.len < marker.len ? name.len : marker.len);
        if (order < 0 || (order == 0 && name.len <= marker.len))
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void functions_list_serve(struct call *call)
{
    const struct config *config = call->api->hands.config(call->api->hands.ctx);
    struct view query = http_query(call->exchange), marker = http_query_value(query, "Marker"), items = http_query_value(query, "MaxItems");
    struct bytes decoded = { 0 };
    unsigned first = 0, shown = 0, most = FUNCTIONS_PAGE;

    if (items.len > 0 && !number_parse(items, FUNCTIONS_PAGE_MAX, &most)) {
        lambda_refuse(call, AWS_INVALID_PARAMETER_VALUE, "MaxItems must be from 1 to %d.", FUNCTIONS_PAGE_MAX);
        return;
    }
    if (marker.len > 0 && (!http_unescape(marker, &decoded) || decoded.len == 0)) {
        bytes_done(&decoded);
        lambda_refuse(call, AWS_INVALID_PARAMETER_VALUE, "Marker is not one of ours.");
        return;
    }
    if (decoded.len > 0)
        first = page_first(config, bytes_view(&decoded));
    bytes_done(&decoded);
    struct bytes *out = answer_begin(call);
    bytes_put_text(out, "{\"Functions\":[");
    for (; first + shown < config->functions_count && shown < most && out->len < PAGE_BYTES_MAX; shown++) {
        bytes_put_text(out, shown > 0 ? ",{" : "{");
        put_configuration(call->api, out, &config->functions[first + shown], false);
        put_object_end(out);
    }
    bytes_put_text(out, "],");
    if (shown > 0 && first + shown < config->functions_count)
        put_member(out, "NextMarker", view_of(config->functions[first + shown - 1].name));
    put_object_end(out);
    respond(call, out);
}
