/* Configurations of many files, of files that cannot be read, of many rules, and of noise. */
#include "tests/unit/config_fixture.h"

#include <stdlib.h>
#include <sys/stat.h>

/* ---- folders and files ---- */

static void given_folder(const char *name, const char *a, const char *b)
{
    char path[64];
    given_programs();
    (void)mkdir(in_directory(name), 0755);
    (void)snprintf(path, sizeof path, "%s/a.yaml", name);
    write_file(path, a, strlen(a), 0644);
    (void)snprintf(path, sizeof path, "%s/b.yaml", name);
    write_file(path, b, strlen(b), 0644);
}

TEST(files_of_a_folder_are_merged_by_name)
{
    unsigned count = 99;
    given_folder("merged", "functions: {f: {command: [../run.sh], protocol: stdio}}\nbuses: [one]\n",
                 "rules: {r: {pattern: {a: [1]}, targets: [{function: f}]}}\nlisten: {bus: ipc:///b}\nbuses: [two, one]\n");
    write_file("merged/notes.txt", "not yaml: [", 11, 0644);
    write_file("merged/.hidden.yaml", "not yaml: [", 11, 0644);
    struct config_file *file = load_path(in_directory("merged"), &count);
    EXPECT_TEXT("", printed);
    if (file == NULL)
        return;
    EXPECT_TEXT("merged/a.yaml", below(file->paths[0]));
    EXPECT_TEXT("merged/b.yaml", below(file->paths[1]));
    EXPECT(file->paths[2] == NULL);
    EXPECT_TEXT("merged/../run.sh", below(file->config.functions[0].command[0]));
    EXPECT_TEXT("merged", below(file->config.functions[0].directory));
    EXPECT_TEXT("merged/b.yaml", below(file->config.rules[0].file));
    EXPECT_TEXT("ipc:///b", file->config.bus_listeners[0]);
    EXPECT_EQ(3, file->config.buses_count);
    (void)config_file_free(file);
}

TEST(what_two_files_both_set_is_refused_naming_both)
{
    unsigned count = 0;
    given_folder("twice", "data: /a\nlisten: {bus: ipc:///a}\nfunctions:\n  f: {command: [sh], protocol: stdio}\nrules:\n  r: {pattern: {a: [1]}, targets: [{function: f}]}\n",
                 "rules:\n  r: {pattern: {a: [1]}, targets: [{function: f}]}\nfunctions:\n  f: {command: [sh], protocol: stdio}\nlisten: {bus: ipc:///b}\ndata: /b\n");
    (void)load_path(in_directory("twice"), &count);
    EXPECT_EQ(4, count);
    EXPECT_TEXT("twice/b.yaml:2:3: error: rule 'r' is already defined at twice/a.yaml:6\n"
                "  r: {pattern: {a: [1]}, targets: [{function: f}]}\n"
                "  ^\n"
                "twice/b.yaml:4:3: error: function 'f' is already defined at twice/a.yaml:4\n"
                "  f: {command: [sh], protocol: stdio}\n"
                "  ^\n"
                "twice/b.yaml:5:15: error: 'listen.bus' is already set at twice/a.yaml:2\n"
                "listen: {bus: ipc:///b}\n"
                "              ^\n"
                "twice/b.yaml:6:7: error: 'data' is already set at twice/a.yaml:1\n"
                "data: /b\n"
                "      ^\n", printed);
}

TEST(a_broken_file_does_not_hide_the_other_nor_blame_it)
{
    unsigned count = 0;
    given_folder("broken", "functions: {f: [\n", "rules: {r: {pattern: {a: [1]}, targets: [{function: f}]}}\n");
    (void)load_path(in_directory("broken"), &count);
    EXPECT_EQ(1, count);
    EXPECT(strncmp(printed, "broken/a.yaml:", 14) == 0);
}

TEST(what_cannot_be_read_is_said)
{
    unsigned count = 0;
    given_programs();
    (void)mkdir(in_directory("empty"), 0755);
    (void)mkdir(in_directory("folder-in-it"), 0755);
    (void)mkdir(in_directory("folder-in-it/x.yaml"), 0755);
    (void)mkfifo(in_directory("pipe.yaml"), 0600);
    static const struct { const char *path, *printed; } cases[] = {
        { "nope.yaml", "nope.yaml: error: cannot be read: No such file or directory\n" },
        { "empty", "empty: error: there is no *.yaml in this folder\n" },
        { "folder-in-it", "folder-in-it/x.yaml: error: cannot be read: not a regular file\n" },
        { "pipe.yaml", "pipe.yaml: error: cannot be read: not a regular file\n" },
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        test_label(cases[i].path);
        EXPECT(load_path(in_directory(cases[i].path), &count) == NULL);
        EXPECT_EQ(1, count);
        EXPECT_TEXT(cases[i].printed, printed);
    }
    EXPECT(load_path("", &count) == NULL);
    EXPECT_TEXT(": error: cannot be read: No such file or directory\n", printed);
}

/* ---- size and noise ---- */

/* A tenth of what must load: with the sanitizers on this tells a quadratic step by the test's own time limit. */
TEST(many_rules_load)
{
    enum { RULES = 10000 };
    char *text = NULL;
    size_t len = 0;
    unsigned count = 0;
    FILE *out = open_memstream(&text, &len);
    (void)fputs(FUNCTION_F "rules:\n", out);
    for (unsigned i = 0; i < RULES; i++)
        (void)fprintf(out, "  rule-%05u:\n    pattern: {source: [files], detail: {object: {key: [{suffix: .jpg}], size: [{numeric: ['>', %u]}]}}}\n"
                           "    targets: [{function: f}]\n", i * 7919 % RULES, i);
    (void)fclose(out);
    struct config_file *file = load_text("large.yaml", text, &count);
    EXPECT_TEXT("", printed);
    if (file != NULL)
        EXPECT_EQ(RULES, file->config.rules_count);
    for (unsigned i = 0; file != NULL && i < RULES; i += 99)
        EXPECT_EQ(i, atoi(file->config.rules[i].name + 5));
    (void)config_file_free(file);
    free(text);
}

/* Bytes of a good file changed, dropped, doubled and swapped for what means something to YAML: no crash, no leak, and either a
 * config or a mistake. */
TEST(noise_gives_a_config_or_a_mistake)
{
    static const char yaml[] =
        "listen:\n  bus: [ipc://bus.sock]\ndata: /x # comment\nbuses: [a, \"b\\u0065\"]\n"
        "functions:\n  f:\n    command: [./run.sh, \"a\\tb\", 'it''s']\n    protocol: stdio\n    timeout: 15m\n"
        "    environment:\n      A: 1\n      B: >-\n        folded\n        text\n    retry: {attempts: 5, backoff: 2s..5m}\n"
        "rules:\n  r:\n    pattern: {source: [files], n: [1.50, {suffix: .jpg}]}\n    targets:\n"
        "      - {function: f, input: {a: [1, two]}}\n      - function: f\n        input-path: $.detail\n"
        "  s:\n    pattern: |\n      {\"a\": [1]}\n    targets: [{function: f}]\n";
    static const char json[] =
        "{\n  \"data\": \"/\\u00e9\", \"buses\": [\"a\", \"b\"],\n  \"functions\": {\"f\": {\"command\": [\"./run.sh\", 1e5],\n"
        "    \"protocol\": \"native\", \"scale\": {\"max\": 0}}},\n  \"rules\": {\"r\": {\"pattern\": {\"a\": [1, null, {\"prefix\": \"x\"}]},\n"
        "    \"enabled\": false, \"targets\": [{\"function\": \"f\", \"input\": {\"b\": [[], {}]}}]}}\n}\n";
    static const struct { const char *name, *text; } good[] = { { "noise.yaml", yaml }, { "noise.json", json } };
    static const char *const pieces[] = {
        "\n", "  ", "\t", ":", ": ", "- ", "[", "]", "{", "}", "'", "\"", "#", "&a ", "*a", "!!str ", "|\n", ">\n", "? ", "---\n", "...\n",
        "%YAML 1.1\n", "\\", "\xc3", "\xef\xbb\xbf", "\r\n", ",", "<<: ", "null", "~", "\"\\ud800\"", "\"\\0\"", "@", "`", "\xe2\x80\xa8",
    };
    uint64_t seed = 20231;
    unsigned loaded[2] = { 0, 0 };
    for (unsigned round = 0; round < 2000; round++) {
        char text[4096], label[32];
        const char *name = good[round % 2].name;
        size_t len = strlen(good[round % 2].text);
        memcpy(text, good[round % 2].text, len);
        for (unsigned change = 0; change <= round / 2 % 4; change++) {
            seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
            size_t at = (size_t)(seed >> 33) % (len + 1);
            unsigned how = (unsigned)(seed >> 20) % 4;
            const char *piece = pieces[(seed >> 24) % (sizeof pieces / sizeof pieces[0])];
            size_t piece_len = strlen(piece);
            if (how == 0 && at < len) {
                text[at] = (char)(seed >> 40);
            } else if (how == 1) {
                size_t cut = at + (size_t)(seed >> 50) % 40 < len ? (size_t)(seed >> 50) % 40 : len - at;
                memmove(text + at, text + at + cut, len - at - cut);
                len -= cut;
            } else if (len + piece_len < sizeof text) {
                memmove(text + at + piece_len, text + at, len - at);
                memcpy(text + at, piece, piece_len);
                len += piece_len;
            }
        }
        unsigned count = 0;
        (void)snprintf(label, sizeof label, "round %u", round);
        test_label(label);
        given_programs();
        write_file(name, text, len, 0644);
        struct config_file *file = load_path(in_directory(name), &count);
        EXPECT((file == NULL) == (count > 0));
        loaded[round % 2] += file != NULL;
        EXPECT((count > 0) == (printed[0] != '\0'));
        (void)config_file_free(file);
    }
    test_label(NULL);
    EXPECT(loaded[0] > 0); /* else the texts were not good to begin with, and nothing behind the syntax was reached */
    EXPECT(loaded[1] > 0);
}
