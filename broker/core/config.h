/* config.h - the configuration as data: what the operator wrote, checked, with every default filled in.
 * Owns nothing itself: a config and all it points to live in one arena, made by edge/config_file and freed by config_free().
 * Lists are sorted by name; names are unique within their list. Times in ms, sizes in bytes. */
#ifndef SLUICE_CORE_CONFIG_H
#define SLUICE_CORE_CONFIG_H

#include "schemas/codec/envelope.h"

enum {
    CONFIG_FUNCTIONS_MAX = 10000,
    CONFIG_RULES_MAX = 1000000,
    CONFIG_BUSES_MAX = 1000,
    CONFIG_ROUTES_MAX = 1000,
    CONFIG_TARGETS_PER_RULE_MAX = 64,
    CONFIG_NAME_BYTES_MAX = 64,          /* [A-Za-z0-9._-]+, as EventBridge rule names */
    CONFIG_BUS_NAME_BYTES_MAX = 256,
    CONFIG_LISTENERS_MAX = 16,
    CONFIG_CONCURRENCY_MAX = 10000,
    CONFIG_BATCH_MAX = 10000,
    CONFIG_INSTANCES_MAX = 10000,
    CONFIG_ATTACHED_MAX = 1000,          /* consumers attached to one function; one more is told SLUICE_ELIMIT */
    CONFIG_ATTEMPTS_MAX = 1000,
    CONFIG_ARGUMENTS_MAX = 1000,         /* of a command; variables of an environment */
    CONFIG_ARGUMENT_BYTES_MAX = 128 << 10, /* one argument or NAME=value: the kernel's own MAX_ARG_STRLEN */
    CONFIG_PROCESS_BYTES_MAX = 96 << 10, /* command and environment of a function together: more cannot be handed to the spawner */
    CONFIG_DESCRIPTION_BYTES_MAX = 512,  /* as EventBridge */
    CONFIG_INPUT_BYTES_MAX = 256 << 10,  /* a target's constant input */
};

/* Bounds of durations and sizes: wide enough to never be met in earnest, narrow enough that their sums do not overflow. */
#define CONFIG_TIMEOUT_MS_MAX (INT64_C(7) * 86400000)
#define CONFIG_BATCH_WINDOW_MS_MAX (INT64_C(5) * 60000)
#define CONFIG_IDLE_MS_MAX (INT64_C(7) * 86400000)
#define CONFIG_DRAIN_TARGET_MS_MAX (INT64_C(24) * 3600000)
#define CONFIG_CORS_MAX_AGE_MS_MAX (INT64_C(24) * 3600000)
#define CONFIG_BACKOFF_MS_MAX (INT64_C(24) * 3600000)
#define CONFIG_MAX_AGE_MS_MAX (INT64_C(365) * 86400000)
#define CONFIG_MEMORY_BYTES_MIN (INT64_C(1) << 20)
#define CONFIG_MEMORY_BYTES_MAX (INT64_C(1) << 50)

enum function_protocol { PROTOCOL_STDIO, PROTOCOL_STDIO_LINES, PROTOCOL_NATIVE, PROTOCOL_LAMBDA };
/* What runs a Lambda function: a bootstrap of ours, `bootstrap` in its folder, or (NONE) a command that speaks the Runtime API itself. */
enum function_runtime { RUNTIME_NONE, RUNTIME_NODEJS, RUNTIME_PYTHON, RUNTIME_PROVIDED };

/* What browsers are told of a route or a function's URL. Lists are NULL-terminated; "*": all. */
struct config_cors {
    const char *const *allow_origins, *const *allow_methods, *const *allow_headers, *const *expose_headers;
    int64_t max_age_ms;                  /* 0: not said */
    bool allow_credentials;
};

/* How a route, or a function's URL, answers. */
struct config_web {
    const struct config_cors *cors;      /* NULL: the function answers browsers itself */
    bool stream;                         /* the response is passed on as it comes */
};

/* What the daemon writes into a function's log: lines as Lambda's, or JSON records. */
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

struct config_function {
    const char *name;
    const char *const *command;          /* NULL-terminated argv; [0] resolved to an absolute path. Empty: none is started, they attach */
    const char *directory;               /* `code`, else the configuration file's folder; absolute */
    const char *const *environment;      /* NULL-terminated "KEY=value" */
    enum function_protocol protocol;
    enum function_runtime runtime;       /* of protocol lambda; its command is filled in */
    const char *handler;                 /* of protocol lambda: _HANDLER; NULL: not given */
    const char *path;                    /* of protocol lambda: PATH, unless its environment says; else NULL */
    int64_t timeout_ms;
    int64_t memory_bytes;                /* 0: no limit */
    unsigned concurrency;                /* invocations at once in one instance */
    unsigned batch_size;
    int64_t batch_window_ms;
    bool batch_partial_failures;
    unsigned scale_min, scale_max;       /* max 0: paused; events queue up */
    int64_t idle_ms, drain_target_ms;
    bool idle_freeze;                    /* lambda: an idle instance's processes are stopped until it is needed */
    unsigned retry_attempts;             /* tries in all, at least 1 */
    int64_t backoff_min_ms, backoff_max_ms, max_age_ms;
    bool retry_given;                    /* the three above were said: they hold for asynchronous invocations too */
    enum event_shape input;
    struct config_web url;
    bool report;                         /* START, END and REPORT in its log, around every invocation */
    enum log_format log_format;
    const char *log_level;               /* AWS_LAMBDA_LOG_LEVEL, with JSON: "INFO"; NULL: none */
};

/* Stored in the targets table: never renumbered. */
enum target_input { TARGET_INPUT_EVENT, TARGET_INPUT_PATH, TARGET_INPUT_CONSTANT, TARGET_INPUT_TEMPLATE };

struct config_target {
    const char *function;                /* exists in functions */
    enum target_input input;
    const char *text;                    /* PATH: the JSONPath ("$.detail.a[0]"); CONSTANT: JSON text on one line;
                                          * TEMPLATE: as template_encode() makes it; else NULL */
};

struct config_rule {
    const char *name;
    const char *bus;
    const char *pattern;                 /* JSON text; compiles */
    bool enabled;
    const struct config_target *targets;
    unsigned targets_count;
    const char *file;                    /* where it stands, for messages */
    unsigned line;
};

struct config_route {
    const char *name;
    const char *path;                    /* route_path.h */
    const char *const *methods;          /* NULL-terminated; empty: all */
    const char *function;                /* exists in functions */
    struct config_web web;
    const char *file;                    /* where it stands, for messages */
    unsigned line;
};

struct config {
    const char *const *bus_listeners;    /* nng URLs, NULL-terminated; empty: not said, the daemon listens on its default socket */
    const char *token_file;              /* NULL: none */
    const char *http;                    /* "host:port"; NULL: no HTTP */
    const char *const *http_hosts;       /* more names it is reached by, NULL-terminated; NULL: none */
    const char *data;                    /* the data directory; NULL: not said */
    const char *const *buses;            /* all known ones, "default" included, sorted, NULL-terminated */
    unsigned buses_count;
    const struct config_function *functions;
    unsigned functions_count;
    const struct config_rule *rules;
    unsigned rules_count;
    const struct config_route *routes;   /* not by name: the first whose path and method match is meant */
    unsigned routes_count;
};

/* NULL when absent. By binary search. */
const struct config_function *config_function_find(const struct config *config, const char *name);
const struct config_rule *config_rule_find(const struct config *config, const char *name);
bool config_bus_known(const struct config *config, struct view bus);

#endif
