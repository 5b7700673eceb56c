/* Mistakes in configuration files: what each is called, to the column, and how it is shown. */
#include "tests/unit/config_fixture.h"

#include <stdlib.h>

#include "broker/edge/mistakes.h"

/* Takes the printed mistakes apart: "LINE:COL text\n" each. That each is followed by its source line, and by a caret below the
 * right character of it, is checked here for all. */
static const char *condensed(const char *name, const char *text)
{
    static char out[1 << 16];
    char *to = out;
    char *save = NULL;

    out[0] = '\0';
    for (char *line = strtok_r(printed, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save)) {
        unsigned row = 0, column = 0;
        int text_at = 0;
        char format[64];
        (void)snprintf(format, sizeof format, "%s:%%u:%%u: error: %%n", name);
        if (sscanf(line, format, &row, &column, &text_at) < 2 || text_at == 0) {
            to += snprintf(to, (size_t)(out + sizeof out - to), "%s\n", line);
            continue;
        }
        to += snprintf(to, (size_t)(out + sizeof out - to), "%u:%u %s\n", row, column, line + text_at);
        const char *source = text;
        for (unsigned i = 1; i < row && source != NULL; i++)
            source = strchr(source, '\n') + 1;
        size_t source_len = strcspn(source, "\r\n");
        /* strtok_r skips an empty source line; only the caret is left then. */
        char *shown = source_len > 0 ? strtok_r(NULL, "\n", &save) : NULL;
        if (source_len > 0 && (shown == NULL || strlen(shown) != source_len))
            test_fail(__FILE__, __LINE__, "the line shown is \"%s\"", shown);
        char *caret = strtok_r(NULL, "\n", &save);
        if (caret == NULL || strspn(caret, " \t") != column - 1 || caret[column - 1] != '^')
            test_fail(__FILE__, __LINE__, "column %u, caret line \"%s\"", column, caret);
    }
    return out;
}

#define F "functions:\n  f: {command: [sh], protocol: stdio, "
#define R FUNCTION_F "rules:\n  r:\n    "
#define NAME65 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define W FUNCTION_F "routes:\n  w: "

static const struct { const char *label, *text, *told; } mistakes[] = {
    /* syntax and structure */
    { "tab as indentation", "data: /x\n\tlisten: {}\n", NULL },
    { "open bracket", "buses: [a, b\n", NULL },
    { "not UTF-8", "data: a\n# \xff\n", "2:3 not UTF-8\n" },
    { "overlong UTF-8", "# \xc0\x80\n", "1:3 not UTF-8\n" },
    { "control character", "data: 'a\x01'\n", "1:9 control character; write it as an escape in double quotes\n" },
    { "alias", "data: &a /x\n", "1:10 anchors and aliases are not supported; write the value out\n" },
    { "alias used", "buses: [a, *b]\n", "1:13 anchors and aliases are not supported; write the value out\n" },
    { "tag", "data: !!str 5\n", "1:13 tags are not supported; quote the value to make it text\n" },
    { "second document", "data: /x\n---\ndata: /y\n", "2:1 a second document; a configuration is one\n" },
    { "key is a list", "? [a]\n: b\n", "1:3 a key must be text, not a list or a map\n" },
    { "root is a list", "- a\n", "1:1 the configuration must be a map, not a list\n" },
    { "root is a word", "hello\n", "1:1 the configuration must be a map, not a single value\n" },
    { "duplicate key", "data: /a\nbuses: []\ndata: /b\n", "3:1 duplicate key 'data'; the first is on line 1\n" },
    { "duplicate key, quoted", "buses: []\n\"buses\": []\n", "2:1 duplicate key 'buses'; the first is on line 1\n" },
    { "duplicate key in a pattern", R "pattern: {a: [1], a: [2]}\n    targets: [{function: f}]\n",
      "4:23 duplicate key 'a'; the first is on line 4\n" },
    { "unknown key", "fucntions: {}\n", "1:1 unknown key 'fucntions' in the configuration (did you mean 'functions'?)\n" },
    { "unknown key, nothing near", "\nxyz: 1\n", "2:1 unknown key 'xyz' in the configuration\n" },
    { "column counts characters", "{data: /\xc3\xa9\xe2\x82\xac, nope: 1}\n", "1:13 unknown key 'nope' in the configuration\n" },
    { "sections of the wrong kind", "functions: []\nrules: 5\nbuses: {}\nlisten: x\n",
      "1:12 'functions' must be a map, not a list\n2:8 'rules' must be a map, not a single value\n"
      "3:8 'buses' must be a list, not a map\n4:9 'listen' must be a map, not a single value\n" },

    /* listen, data, buses */
    { "bus address of another kind", "listen: {bus: http://x}\n", "1:15 'listen.bus' must begin with ipc:// or tcp://, not 'http://x'\n" },
    { "tcp without a token", "listen:\n  bus: [tcp://127.0.0.1:1]\n",
      "2:9 a tcp address needs 'listen.token-file': anyone who reaches the port could publish\n" },
    { "tcp without a port", "listen: {bus: tcp://host, token-file: token}\n", "1:15 a tcp address is tcp://HOST:PORT, not 'tcp://host'\n" },
    { "port too large", "listen: {bus: 'tcp://host:65536', token-file: token}\n",
      "1:15 a tcp address is tcp://HOST:PORT, not 'tcp://host:65536'\n" },
    { "no addresses", "listen: {bus: []}\n", "1:15 'listen.bus' must have from 1 to 16 addresses, not 0; leave it out for the default\n" },
    { "address twice", "listen: {bus: [ipc:///a, ipc:///a]}\n", "1:26 'ipc:///a' is there twice\n" },
    { "long ipc path", "listen: {bus: ipc:///" NAME65 NAME65 "}\n", "1:15 the path of an ipc address can be 107 bytes long; this one has 131\n" },
    { "token missing", "listen: {token-file: nope}\n", "1:22 'listen.token-file': nope cannot be read: No such file or directory\n" },
    { "token open to others", "listen: {token-file: token-open}\n", "1:22 'listen.token-file': token-open is open to others; chmod 600 it\n" },
    { "token empty", "listen: {token-file: token-empty}\n", "1:22 'listen.token-file': token-empty is empty\n" },
    { "token is a folder", "listen: {token-file: code}\n", "1:22 'listen.token-file': code is not a regular file\n" },
    { "http is a number", "listen: {http: 4566}\n", "1:16 'listen.http' must be text; quote it: \"4566\"\n" },
    { "http without a host", "listen: {http: ':4566'}\n", "1:16 'listen.http' must be HOST:PORT like 127.0.0.1:4566, not ':4566'\n" },
    { "http without a port", "listen: {http: localhost}\n", "1:16 'listen.http' must be HOST:PORT like 127.0.0.1:4566, not 'localhost'\n" },
    { "data is left out", "data:\n", "1:1 'data' must be text, not empty\n" },
    { "data is a list", "data: [a]\n", "1:7 'data' must be text, not a list\n" },
    { "data is a number", "data: 12\n", "1:7 'data' must be text; quote it: \"12\"\n" },
    { "data holds a NUL", "data: \"a\\0b\"\n", "1:7 'data' must not contain a NUL character\n" },
    { "bus name", "buses: [ok, 'not ok', '']\n",
      "1:13 bus 'not ok': a name is 1 to 256 letters, digits, dots, underscores, dashes, slashes\n"
      "1:23 bus '': a name is 1 to 256 letters, digits, dots, underscores, dashes, slashes\n" },

    /* functions */
    { "function name", "functions:\n  'a b': {command: [sh], protocol: stdio}\n",
      "2:3 function 'a b': a name is 1 to 64 letters, digits, dots, underscores, dashes\n" },
    { "long function name", "functions:\n  " NAME65 ": {command: [sh], protocol: stdio}\n",
      "2:3 function '" NAME65 "': a name is 1 to 64 letters, digits, dots, underscores, dashes\n" },
    { "slash in a name", "functions:\n  a/b: {command: [sh], protocol: stdio}\n",
      "2:3 function 'a/b': a name is 1 to 64 letters, digits, dots, underscores, dashes\n" },
    { "function is left out", "functions:\n  f:\n", "2:3 function 'f' must be a map, not empty\n" },
    { "function is a list", "functions: {f: [sh]}\n", "1:16 function 'f' must be a map, not a list\n" },
    { "unknown key of a function", F "timeuot: 3s}\n", "2:39 unknown key 'timeuot' in function 'f' (did you mean 'timeout'?)\n" },
    { "underscore for dash", F "batch: {partial_failures: true}}\n",
      "2:47 unknown key 'partial_failures' in 'batch' (did you mean 'partial-failures'?)\n" },
    { "no command", "functions:\n  f: {protocol: stdio}\n", "2:3 function 'f' has no 'command'; only with protocol native may it be left out\n" },
    { "none of those that are not started are kept", "functions:\n  f: {protocol: native, scale: {min: 1}}\n",
      "2:3 function 'f' has no 'command', so that 'scale.min' cannot be kept\n" },
    { "command is a word", "functions:\n  f: {command: ./run.sh, protocol: stdio}\n",
      "2:16 'command' must be a list: [\"./run.sh\"]; no shell takes it apart\n" },
    { "command is empty", "functions:\n  f: {command: [], protocol: stdio}\n", "2:16 'command' must have from 1 to 1000 items, not 0\n" },
    { "command holds a list", "functions:\n  f: {command: [sh, [a]], protocol: stdio}\n", "2:21 'command' must be text, not a list\n" },
    { "command holds nothing", "functions:\n  f: {command: ['', x], protocol: stdio}\n",
      "2:17 the first item of 'command' must name a program\n" },
    { "not in PATH", "functions:\n  f: {command: [no-such-program-here], protocol: stdio}\n",
      "2:17 command 'no-such-program-here' was not found in PATH; a file beside it is ./no-such-program-here\n" },
    { "does not exist", "functions:\n  f: {command: [./nope.sh], protocol: stdio}\n",
      "2:17 command './nope.sh': nope.sh does not exist\n" },
    { "not executable", "functions:\n  f: {command: [./plain.txt], protocol: stdio}\n",
      "2:17 command './plain.txt': plain.txt is not executable; chmod +x it\n" },
    { "is a folder", "functions:\n  f: {command: [./code], protocol: stdio}\n", "2:17 command './code': code is a folder\n" },
    { "relative to code", "functions:\n  f: {command: [./run.sh], code: code, protocol: stdio}\n",
      "2:17 command './run.sh': code/run.sh does not exist\n" },
    { "code does not exist", "functions:\n  f: {command: [./run.sh], code: nope, protocol: stdio}\n",
      "2:34 'code' must be a readable folder; nope: No such file or directory\n" },
    { "code is a file", "functions:\n  f: {command: [./run.sh], code: run.sh, protocol: stdio}\n",
      "2:34 'code' must be a readable folder; run.sh: not a folder\n" },
    { "environment name", F "environment: {'A=B': 1, '': 2}}\n",
      "2:53 'A=B' cannot be the name of a variable: it is empty or contains '='\n"
      "2:63 '' cannot be the name of a variable: it is empty or contains '='\n" },
    { "environment value", F "environment: {A: [1], B: }}\n", "2:56 'A' must be text, not a list\n2:61 'B' must be text, not empty\n" },
    { "neither runtime nor command", "functions:\n  f: {handler: a.b}\n",
      "2:3 function 'f' needs a 'runtime' (nodejs, python, provided), or a 'command'\n" },
    { "runtime and command", "functions:\n  f: {command: [sh], runtime: provided, code: code}\n",
      "2:16 'command' and 'runtime' both say what runs; leave one of them out\n" },
    { "runtime of another protocol", "functions:\n  f: {command: [sh], protocol: stdio, runtime: nodejs, handler: index.handler}\n",
      "2:48 'runtime' belongs to protocol lambda; this function speaks stdio\n"
      "2:65 'handler' belongs to protocol lambda; this function speaks stdio\n" },
    { "runtime misspelt", "functions:\n  f: {runtime: node, handler: index.handler}\n",
      "2:16 'runtime' must be nodejs, python or provided, not 'node' (did you mean 'nodejs'?)\n" },
    { "runtime without a handler", "functions:\n  f: {runtime: nodejs}\n",
      "2:16 runtime nodejs needs 'handler': FILE.FUNCTION, like index.handler\n" },
    { "handler is half", "functions:\n  f: {runtime: python, handler: app}\n",
      "2:33 'handler' must be FILE.FUNCTION, like index.handler, not 'app'\n" },
    { "handler without a function", "functions:\n  f: {runtime: python, handler: app.}\n",
      "2:33 'handler' must be FILE.FUNCTION, like index.handler, not 'app.'\n" },
    { "handler is a folder's", "functions:\n  f: {runtime: nodejs, handler: a.b/handler}\n",
      "2:33 'handler' must be FILE.FUNCTION, like index.handler, not 'a.b/handler'\n" },
    { "handler is a number", "functions:\n  f: {runtime: nodejs, handler: 5}\n", "2:33 'handler' must be text; quote it: \"5\"\n" },
    { "no file for node", "functions:\n  f: {runtime: nodejs, handler: src/indx.handler}\n",
      "2:33 handler 'src/indx.handler': there is no such file (.js, .mjs or .cjs) in , and no such package\n" },
    { "a file in another folder for node", "functions:\n  f: {runtime: nodejs, handler: index.handler, code: code}\n",
      "2:33 handler 'index.handler': there is no such file (.js, .mjs or .cjs) in code, and no such package\n" },
    { "above the code for node", "functions:\n  f: {runtime: nodejs, handler: ../a.handler, code: src}\n",
      "2:33 'handler' must not have '..' in it: set 'code' to the folder that holds the file\n" },
    { "no module for python", "functions:\n  f: {runtime: python, handler: ap.handler, code: src}\n",
      "2:33 handler 'ap.handler': there is no such module (.py) in src; if it is elsewhere, say where by PYTHONPATH in 'environment'\n" },
    { "no module in a folder for python", "functions:\n  f: {runtime: python, handler: src/nope.handler}\n",
      "2:33 handler 'src/nope.handler': there is no such module (.py) in ; if it is elsewhere, say where by PYTHONPATH in 'environment'\n" },
    { "no folder for python", "functions:\n  f: {runtime: python, handler: nope/app.handler, code: src}\n",
      "2:33 handler 'nope/app.handler': there is no such module (.py) in src; if it is elsewhere, say where by PYTHONPATH in 'environment'\n" },
    { "no wrapper", "functions:\n  f:\n    runtime: nodejs\n    handler: a.b\n    environment:\n      A: b\n      AWS_LAMBDA_EXEC_WRAPPER: /opt/no-such\n",
      "7:32 AWS_LAMBDA_EXEC_WRAPPER is /opt/no-such, which does not exist\n" },
    { "a wrapper that cannot be run", "functions:\n  f: {runtime: python, handler: a.b, environment: {AWS_LAMBDA_EXEC_WRAPPER: plain.txt}}\n",
      "2:77 AWS_LAMBDA_EXEC_WRAPPER is plain.txt, which is not executable; chmod +x it\n" },
    { "a wrapper that is a folder", "functions:\n  f: {runtime: python, handler: a.b, environment: {AWS_LAMBDA_EXEC_WRAPPER: ./code}}\n",
      "2:77 AWS_LAMBDA_EXEC_WRAPPER is code, which is a folder\n" },
    { "provided without a bootstrap", "functions:\n  f: {runtime: provided}\n",
      "2:16 runtime provided runs bootstrap, which does not exist\n" },
    { "batch of protocol lambda", "functions:\n  f: {command: [sh], batch: {size: 2}}\n",
      "2:36 'batch.size' must be 1 with protocol lambda: it gets one event at a time; 'concurrency' has several at once\n" },
    { "reserved variable", "functions:\n  f: {command: [sh], environment: {TZ: x, AWS_REGION: a, _HANDLER: b, AWS_REGIONS: c}}\n",
      "2:43 'AWS_REGION' is set for each Lambda function by the daemon; it cannot be given\n"
      "2:58 '_HANDLER' is set for each Lambda function by the daemon; it cannot be given\n" },
    { "protocol misspelt", "functions:\n  f: {command: [sh], protocol: stdio_lines}\n",
      "2:32 'protocol' must be stdio, stdio-lines, native or lambda, not 'stdio_lines' (did you mean 'stdio-lines'?)\n" },
    { "duration without a unit", F "timeout: 30}\n", "2:48 'timeout' must be a duration like 250ms, 30s, 5m, 6h or 1d, not '30'\n" },
    { "duration with a fraction", F "timeout: 1.5s}\n", "2:48 'timeout' must be a duration like 250ms, 30s, 5m, 6h or 1d, not '1.5s'\n" },
    { "duration with a space", F "timeout: 1 s}\n", "2:48 'timeout' must be a duration like 250ms, 30s, 5m, 6h or 1d, not '1 s'\n" },
    { "duration in another unit", F "timeout: 1w}\n", "2:48 'timeout' must be a duration like 250ms, 30s, 5m, 6h or 1d, not '1w'\n" },
    { "duration beyond numbers", F "timeout: 9999999999999999d}\n",
      "2:48 'timeout' must be a duration like 250ms, 30s, 5m, 6h or 1d, not '9999999999999999d'\n" },
    { "duration out of range", F "timeout: 0s}\n", "2:48 'timeout' must be from 1ms to 7d, not '0s'\n" },
    { "duration out of range", F "timeout: 8d}\n", "2:48 'timeout' must be from 1ms to 7d, not '8d'\n" },
    { "size", F "memory: 64 MB}\n", "2:47 'memory' must be a size like 64MiB, 128MB, 1GiB or a number of bytes, not '64 MB'\n" },
    { "size too small", F "memory: 1000}\n", "2:47 'memory' must be from 1048576 to 1125899906842624 bytes, not '1000'\n" },
    { "size beyond numbers", F "memory: 99999999999999999999}\n",
      "2:47 'memory' must be a size like 64MiB, 128MB, 1GiB or a number of bytes, not '99999999999999999999'\n" },
    { "number is quoted", F "concurrency: '4'}\n", "2:52 'concurrency' must be a whole number from 1 to 10000, not the quoted '4'\n" },
    { "number out of range", F "concurrency: 0}\n", "2:52 'concurrency' must be a whole number from 1 to 10000, not '0'\n" },
    { "octal number", F "concurrency: 010}\n", "2:52 'concurrency' must be a whole number from 1 to 10000, not '010'\n" },
    { "number with a fraction", F "concurrency: 1.0}\n", "2:52 'concurrency' must be a whole number from 1 to 10000, not '1.0'\n" },
    { "batch is a number", F "batch: 5}\n", "2:46 'batch' must be a map, not a single value\n" },
    { "batch size", F "batch: {size: 10001}}\n", "2:53 'batch.size' must be a whole number from 1 to 10000, not '10001'\n" },
    { "batch window", F "batch: {window: 6m}}\n", "2:55 'batch.window' must be from 0ms to 5m, not '6m'\n" },
    { "yes is not true", F "batch: {partial-failures: yes}}\n", "2:65 'batch.partial-failures' must be true or false, not 'yes'\n" },
    { "quoted true", F "batch: {partial-failures: 'true'}}\n", "2:65 'batch.partial-failures' must be true or false, not the quoted 'true'\n" },
    { "min above max", F "scale: {min: 5, max: 4}}\n", "2:52 'scale.min' is 5, more than 'scale.max', which is 4\n" },
    { "min above the default max", F "scale: {min: 11}}\n", "2:52 'scale.min' is 11, more than 'scale.max', which is 10 unless given\n" },
    { "drain target", F "scale: {drain-target: 0ms}}\n", "2:61 'scale.drain-target' must be from 1ms to 1d, not '0ms'\n" },
    { "attempts", F "retry: {attempts: 0}}\n", "2:57 'retry.attempts' must be a whole number from 1 to 1000, not '0'\n" },
    { "backoff backwards", F "retry: {backoff: 60s..1s}}\n",
      "2:56 'retry.backoff' must go from the shorter to the longer, not '60s..1s'\n" },
    { "backoff half", F "retry: {backoff: 1s..}}\n", "2:56 'retry.backoff' must be a duration or a range of durations like 1s..60s, not '1s..'\n" },
    { "backoff too long", F "retry: {backoff: 1s..2d}}\n", "2:56 'retry.backoff' must be from 1ms to 1d, not '1s..2d'\n" },
    { "max age", F "retry: {max-age: 1ms}}\n", "2:56 'retry.max-age' must be from 1s to 365d, not '1ms'\n" },
    { "input shape", F "input: evnt}\n", "2:46 'input' must be event, cloudevent or detail, not 'evnt' (did you mean 'event'?)\n" },

    { "log format", F "log: {format: jsn}}\n", "2:53 'log.format' must be text or json, not 'jsn' (did you mean 'json'?)\n" },
    { "level of another protocol", F "log: {format: json, level: info}}\n",
      "2:66 'log.level' belongs to protocol lambda: what others log is their own affair\n" },
    { "level of text", "functions:\n  f: {command: [sh], log: {level: warn}}\n", "2:35 'log.level' needs 'log.format: json', as on Lambda\n" },
    { "unknown level", "functions:\n  f: {command: [sh], log: {format: json, level: WARN}}\n",
      "2:49 'log.level' must be trace, debug, info, warn, error or fatal, not 'WARN'\n" },
    { "unknown key of a URL", F "url: {streams: true}}\n", "2:45 unknown key 'streams' in 'url' (did you mean 'stream'?)\n" },
    { "URL that is a word", F "url: 'on'}\n", "2:44 'url' must be a map, not a single value\n" },
    { "URL that streams a word", F "url: {stream: yes}}\n", "2:53 'url.stream' must be true or false, not 'yes'\n" },
    { "URL with cors of nobody", F "url: {cors: {}}}\n", "2:51 'cors' has no 'allow-origins'\n" },
    { "every site with its visitors' cookies", F "url: {cors: {allow-origins: '*', allow-credentials: true}}}\n",
      "2:91 'cors.allow-credentials' with the origin '*' would let every site act as its visitors: name the origins\n" },
    { "URL of a native function", "functions: {f: {command: [./run.sh], protocol: native, url: {}}}\n",
      "1:61 'url' is of no use: function 'f' has protocol native, which returns nothing to a caller\n" },

    /* rules */
    { "host with a port", "listen: {http-hosts: ['a:1', 5]}\n",
      "1:23 'listen.http-hosts': 'a:1' is not the name of a host, without a port\n1:30 'listen.http-hosts' must be text; quote it: \"5\"\n" },
    { "route without keys", W "{}\n", "3:3 route 'w' has no 'path'\n3:3 route 'w' has no 'function'\n" },
    { "unknown key of a route", W "{path: /, function: f, method: GET}\n", "3:29 unknown key 'method' in route 'w' (did you mean 'methods'?)\n" },
    { "path without a slash", W "{path: a, function: f}\n", "3:13 'path': a path begins with '/' and has at most 1024 bytes\n" },
    { "names in a path", W "{path: '/{a}/{a}', function: f}\n", "3:13 'path': the name {a} is there twice\n" },
    { "path of the daemon", W "{path: /healthz, function: f}\n", "3:13 'path': /healthz is answered by the daemon itself\n" },
    { "path of the daemon", W "{path: '/2015-03-31/{a+}', function: f}\n", "3:13 'path': /2015-03-31/{a+} is answered by the daemon itself\n" },
    { "method in small letters", W "{path: /, function: f, methods: [GET, put]}\n", "3:44 'put' is not a method like GET\n" },
    { "no methods", W "{path: /, function: f, methods: []}\n",
      "3:38 'methods' must have from 1 to 100 items, not 0; leave it out for the default\n" },
    { "function of a route", W "{path: /, function: fx}\n", "3:26 route 'w': there is no function 'fx' (did you mean 'f'?)\n" },
    { "native function of a route", "functions: {f: {command: [./run.sh], protocol: native}}\nroutes:\n  w: {path: /, function: f}\n",
      "3:26 route 'w': function 'f' has protocol native, which returns nothing to a caller\n" },
    { "cors of nobody", W "{path: /, function: f, cors: {max-age: 2d}}\n",
      "3:35 'cors' has no 'allow-origins'\n3:45 'cors.max-age' must be from 0ms to 1d, not '2d'\n" },
    { "origin with a path", W "{path: /, function: f, cors: {allow-origins: 'http://a/'}}\n",
      "3:51 'http://a/' is not an origin like https://example.com, or '*'\n" },
    { "two routes that are one", W "{path: '/{a}', methods: [GET, PUT], function: f}\n  x: {path: '/{b}', methods: [PUT], function: f}\n",
      "4:3 route 'x' takes the same requests as route 'w' at c.yaml:3\n" },
    { "rule name", FUNCTION_F "rules:\n  'a b': {pattern: {a: [1]}, targets: [{function: f}]}\n",
      "3:3 rule 'a b': a name is 1 to 64 letters, digits, dots, underscores, dashes\n" },
    { "rule is left out", FUNCTION_F "rules:\n  r:\n", "3:3 rule 'r' must be a map, not empty\n" },
    { "unknown key of a rule", R "patern: {}\n    pattern: {a: [1]}\n    targets: [{function: f}]\n",
      "4:5 unknown key 'patern' in rule 'r' (did you mean 'pattern'?)\n" },
    { "no pattern, no targets", R "enabled: true\n", "3:3 rule 'r' has no 'pattern'\n3:3 rule 'r' has no 'targets'\n" },
    { "pattern is a list", R "pattern: [a]\n    targets: [{function: f}]\n", "4:14 'pattern' must be a map, or text that holds JSON\n" },
    { "pattern is a number", R "pattern: 5\n    targets: [{function: f}]\n", "4:14 'pattern' must be a map, or text that holds JSON\n" },
    { "value left out in a pattern", R "pattern: {a: [1], b: }\n    targets: [{function: f}]\n",
      "4:23 a value is missing; write null, \"\" or []\n" },
    { "enabled", R "enabled: on\n    pattern: {a: [1]}\n    targets: [{function: f}]\n", "4:14 'enabled' must be true or false, not 'on'\n" },
    { "bus of a rule", R "bus: a b\n    pattern: {a: [1]}\n    targets: [{function: f}]\n",
      "4:10 bus 'a b': a name is 1 to 256 letters, digits, dots, underscores, dashes, slashes\n" },
    { "no targets", R "pattern: {a: [1]}\n    targets: []\n",
      "5:14 'targets' must have from 1 to 64 items, not 0; a rule is switched off by enabled: false\n" },
    { "targets is a map", R "pattern: {a: [1]}\n    targets: {function: f}\n", "5:14 'targets' must be a list, not a map\n" },
    { "target is a word", R "pattern: {a: [1]}\n    targets: [f]\n", "5:15 a target must be a map, not a single value\n" },
    { "target without a function", R "pattern: {a: [1]}\n    targets: [{input: 1}]\n", "5:15 a target of rule 'r' has no 'function'\n" },
    { "missing function", "functions: {thumbnail: {command: [sh], protocol: stdio}}\nrules:\n  r:\n    pattern: {a: [1]}\n"
      "    targets: [{function: thumbnial}]\n",
      "5:26 rule 'r': there is no function 'thumbnial' (did you mean 'thumbnail'?)\n" },
    { "input twice", R "pattern: {a: [1]}\n    targets: [{function: f, input: 1, input-path: $.detail}]\n",
      "5:36 a target takes 'input-path' or 'input', not both\n" },
    { "template and path", R "pattern: {a: [1]}\n    targets: [{function: f, input-template: '[]', input-path: $.a}]\n",
      "5:45 a target takes 'input-path' or 'input-template', not both\n" },
    { "template and input", R "pattern: {a: [1]}\n    targets: [{function: f, input-template: '[]', input: 1}]\n",
      "5:45 a target takes 'input' or 'input-template', not both\n" },
    { "map without template", R "pattern: {a: [1]}\n    targets: [{function: f, input-paths-map: {a: $.a}}]\n",
      "5:46 'input-paths-map' has no 'input-template' beside it\n" },
    { "template that is no text", R "pattern: {a: [1]}\n    targets: [{function: f, input-template: {a: <b>}}]\n",
      "5:45 'input-template' must be text: put it in quotes, or after '|'\n" },
    { "placeholder nobody defines", R "pattern: {a: [1]}\n    targets:\n      - function: f\n        input-paths-map: {a: $.a}\n"
      "        input-template: |\n          {\"x\": <a>,\n           \"y\": \"it is <b>\"}\n",
      "10:24 rule 'r': 'input-template': placeholder '<b>' is neither in 'input-paths-map' nor a reserved one\n" },
    { "name of a placeholder", R "pattern: {a: [1]}\n    targets: [{function: f, input-template: '[]', input-paths-map: {a.b: $.a}}]\n",
      "5:69 'input-paths-map': name 'a.b': only A-Z, a-z, 0-9, '_' and '-' may stand in it\n" },
    { "path of a placeholder", R "pattern: {a: [1]}\n    targets: [{function: f, input-template: '[]', input-paths-map: {a: b}}]\n",
      "5:72 'input-paths-map': input path 'b': it must begin with '$'\n" },
    { "empty input", R "pattern: {a: [1]}\n    targets: [{function: f, input: }]\n", "5:29 a value is missing; write null, \"\" or []\n" },
    { "all mistakes in the order of the file", "rules:\n  r: {pattern: {a: [1]}, targets: [{function: g}]}\nfunctions:\n  f: {command: [sh], protocol: x}\ndata: 5\n",
      "2:47 rule 'r': there is no function 'g' (did you mean 'f'?)\n"
      "4:32 'protocol' must be stdio, stdio-lines, native or lambda, not 'x'\n5:7 'data' must be text; quote it: \"5\"\n" },
};

TEST(each_mistake_is_told_with_its_place)
{
    for (size_t i = 0; i < sizeof mistakes / sizeof mistakes[0]; i++) {
        unsigned count = 0, told = 0;
        char label[128];
        (void)snprintf(label, sizeof label, "%zu %s", i, mistakes[i].label);
        test_label(label);
        struct config_file *file = load_text("c.yaml", mistakes[i].text, &count);
        EXPECT(file == NULL);
        const char *text = condensed("c.yaml", mistakes[i].text);
        for (const char *end = text; (end = strchr(end, '\n')) != NULL; end++)
            told++;
        EXPECT_EQ(told, count);
        if (mistakes[i].told != NULL) /* NULL: libfyaml's words; that and where they are told is enough */
            EXPECT_TEXT(mistakes[i].told, text);
        else
            EXPECT(count == 1 && text[0] >= '1' && text[0] <= '9');
        (void)config_file_free(file);
    }
}

/* Each of them may be there; but together they are handed to the process that starts the function's. */
TEST(command_and_environment_have_a_limit_together)
{
    enum { HALF = CONFIG_PROCESS_BYTES_MAX / 2 };
    static char text[2 * CONFIG_PROCESS_BYTES_MAX], value[HALF];

    memset(value, 'v', sizeof value);
    for (int over = 0; over < 2; over++) {
        int rest = CONFIG_PROCESS_BYTES_MAX - (int)sizeof "/bin/sh" - (int)sizeof "A=" - HALF - (int)sizeof "B=" + over;
        unsigned count = 0;
        (void)snprintf(text, sizeof text, "functions:\n  f:\n    command: [/bin/sh]\n    protocol: stdio\n    environment:\n      A: %.*s\n      B: %.*s\n",
                       HALF, value, rest, value);
        (void)config_file_free(load_text("c.yaml", text, &count));
        EXPECT_EQ(over, count);
        EXPECT_TEXT(over ? "2:3 function 'f': 'command' (8 bytes) and 'environment' (98297) are more than 98304 together; put what is large into a file\n" : "",
                    condensed("c.yaml", text));
    }
}

TEST(a_runtime_that_is_not_installed_says_what_is_missing)
{
    static const char text[] = "functions: {f: {runtime: python, handler: a.b}}\n";
    char *path = strdup(getenv("PATH"));
    given_programs();
    (void)setenv("PATH", in_directory("code"), 1);
    (void)rename(in_directory("runtimes"), in_directory("gone"));
    (void)load_text("missing.yaml", text, NULL);
    EXPECT_TEXT("1:26 runtime python needs 'python3', which was not found in PATH; install it\n"
                "1:26 runtime python needs runtimes/python/bootstrap.py, which is not there; install sluice again\n",
                condensed("missing.yaml", text));
    (void)rename(in_directory("gone"), in_directory("runtimes"));
    (void)setenv("PATH", path, 1);
    free(path);
}

TEST(a_mistake_is_shown_as_compilers_show_it)
{
    unsigned count = 0;
    (void)load_text("shown.yaml", "functions:\n  f: {command: [sh], protocol: stdio,\n   \ttimeout:\t30}\n", &count);
    EXPECT_TEXT("shown.yaml:3:14: error: 'timeout' must be a duration like 250ms, 30s, 5m, 6h or 1d, not '30'\n"
                "   \ttimeout:\t30}\n"
                "   \t        \t^\n", printed);
    (void)load_text("shown.yaml", "buses: []\r\ndaat: x\r\n", &count);
    EXPECT_TEXT("shown.yaml:2:1: error: unknown key 'daat' in the configuration (did you mean 'data'?)\ndaat: x\n^\n", printed);
}

TEST(a_long_line_is_shown_around_the_place)
{
    char text[2000];
    unsigned count = 0;
    int len = snprintf(text, sizeof text, "{\"buses\": [");
    for (int i = 0; i < 100; i++)
        len += snprintf(text + len, sizeof text - (size_t)len, "\"bus%03d\", ", i);
    (void)snprintf(text + len, sizeof text - (size_t)len, "\"\"], \"data\": \"/tmp/%0500d\"}", 0);
    (void)load_text("long.json", text, &count);
    EXPECT_EQ(1, count);
    EXPECT(strncmp(printed, "long.json:1:1012: error: bus ''", 31) == 0);
    const char *shown = strchr(printed, '\n') + 1;
    const char *caret = strchr(shown, '\n') + 1;
    EXPECT(strncmp(shown, "...", 3) == 0);
    EXPECT(strncmp(caret - 4, "...\n", 4) == 0);
    EXPECT(caret - shown <= MISTAKE_LINE_BYTES_MAX + 7);
    size_t at = strspn(caret, " ");
    EXPECT_TEXT("^\n", caret + at);
    EXPECT(strncmp(shown + at, "\"\"], ", 5) == 0);
}

TEST(only_the_first_fifty_mistakes_are_printed)
{
    char text[4000] = "functions:\n";
    unsigned count = 0, lines = 0;
    size_t len = strlen(text);
    for (int i = 0; i < 70; i++)
        len += (size_t)snprintf(text + len, sizeof text - len, "  f%02d: {protocol: stdio}\n", i);
    (void)load_text("many.yaml", text, &count);
    EXPECT_EQ(70, count);
    for (const char *end = printed; (end = strchr(end, '\n')) != NULL; end++)
        lines++;
    EXPECT_EQ(3 * MISTAKES_PRINTED_MAX + 1, lines);
    EXPECT(strstr(printed, "many.yaml:51:3: ") != NULL);
    EXPECT(strstr(printed, "many.yaml:52:3: ") == NULL);
    EXPECT(strstr(printed, "\n20 more errors are not shown\n") != NULL);
}

TEST(mistakes_in_patterns_are_placed_inside_them)
{
    static const struct { const char *label, *text, *place; } cases[] = {
        { "flow map", R "pattern: {a: [x], b: [ok, {BAD: 1}]}\n    targets: [{function: f}]\n",
          "4:32 rule 'r': Event pattern is not valid. Reason: Unrecognized match type BAD at b[1]\n" },
        { "block map", R "pattern:\n      a: [x]\n      b:\n        - prefix: 5\n    targets: [{function: f}]\n",
          "7:19 rule 'r': Event pattern is not valid. Reason: prefix match pattern must be a string at b[0]\n" },
        { "a leaf that is no list", R "pattern:\n      a: {b: x}\n    targets: [{function: f}]\n", "5:14 rule 'r': " },
        { "quoted text", R "pattern: '{\"a\":[{\"BAD\":1}]}'\n    targets: [{function: f}]\n", "4:22 rule 'r': " },
        { "block text", R "pattern: |\n        {\"a\":\n          [{\"BAD\":1}]}\n    targets: [{function: f}]\n", "6:13 rule 'r': " },
        { "text with escapes", R "pattern: \"{\\\"a\\\":[{\\\"BAD\\\":1}]}\"\n    targets: [{function: f}]\n", "4:14 rule 'r': " },
        { "folded text", R "pattern: >\n        {\"a\":\n\n        [{\"BAD\":1}]}\n    targets: [{function: f}]\n", "5:" },
        { "not JSON", R "pattern: hello\n    targets: [{function: f}]\n", "4:14 rule 'r': " },
        { "nothing to match", R "pattern: {}\n    targets: [{function: f}]\n", "4:14 rule 'r': " },
        { "input path", R "pattern: {a: [1]}\n    targets: [{function: f, input-path: detail}]\n", "5:41 'input-path': " },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        unsigned count = 0;
        test_label(cases[i].label);
        (void)config_file_free(load_text("c.yaml", cases[i].text, &count));
        EXPECT_EQ(1, count);
        const char *text = condensed("c.yaml", cases[i].text);
        if (strncmp(text, cases[i].place, strlen(cases[i].place)) != 0)
            EXPECT_TEXT(cases[i].place, text);
    }
}

TEST(nesting_is_bounded)
{
    char text[2000];
    unsigned count = 0;
    size_t len = (size_t)snprintf(text, sizeof text, "data: ");
    memset(text + len, '[', 600);
    memset(text + len + 600, ']', 600);
    text[len + 1200] = '\0';
    (void)load_text("deep.yaml", text, &count);
    EXPECT_EQ(1, count);
    EXPECT(strncmp(printed, "deep.yaml:1:262: error: nested deeper than 256\n", 47) == 0);
}
