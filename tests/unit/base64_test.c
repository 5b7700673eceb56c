#include "schemas/codec/base64.h"
#include "tests/test.h"

static const struct pair { const char *bytes, *text; } pairs[] = { /* RFC 4648 section 10, and the two last characters of the alphabet */
    { "", "" }, { "f", "Zg==" }, { "fo", "Zm8=" }, { "foo", "Zm9v" }, { "foob", "Zm9vYg==" }, { "fooba", "Zm9vYmE=" }, { "foobar", "Zm9vYmFy" },
    { "\xff\xfe\xfb\xf0", "//778A==" }, { "\xfb\xef\xbe", "++++" },
};

TEST(base64_is_what_the_standard_says)
{
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        struct view bytes = view_of(pairs[i].bytes);
        char text[16];
        EXPECT_VIEW(pairs[i].text, ((struct view){ text, (size_t)(base64_encode(bytes, text) - text) }));
        EXPECT_EQ(strlen(pairs[i].text), base64_len(bytes.len));
    }
}

TEST(base64_is_read_with_and_without_padding)
{
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        struct bytes out = { 0 };
        struct view text = view_of(pairs[i].text);
        bytes_put_text(&out, "kept ");
        EXPECT(base64_decode(text, &out));
        EXPECT_VIEW(pairs[i].bytes, ((struct view){ out.data + 5, out.len - 5 }));
        bytes_clear(&out);
        while (text.len > 0 && text.data[text.len - 1] == '=')
            text.len--;
        EXPECT(base64_decode(text, &out));
        EXPECT_VIEW(pairs[i].bytes, bytes_view(&out));
        bytes_done(&out);
    }
}

TEST(what_is_no_base64_is_refused_and_appends_nothing)
{
    static const char *const bad[] = { "a", "Zg=", "Zm8==", "Zm9v=", "=", "====", "Zg==Zg==", "Zm9 v", "Zm-_", "Zm9v\n", "{}" };

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct bytes out = { 0 };
        bytes_put_text(&out, "kept");
        EXPECT(!base64_decode(view_of(bad[i]), &out));
        EXPECT_VIEW("kept", bytes_view(&out));
        bytes_done(&out);
    }
}
