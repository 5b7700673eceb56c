#include "broker/core/image.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "broker/core/image_internal.h"
#include "broker/core/text_hash.h"

enum { ALIGNMENT = 16, BYTE_ORDER_MARK = 0x01020304 };
static const char magic[8] = "SLUICEri";

#define X(name, type) SECTION_##name,
enum section { IMAGE_SECTIONS(X) SECTIONS };
#undef X

struct header {
    char magic[8];
    uint32_t version, byte_order;
    uint64_t bytes;
    uint64_t checksum;        /* of all behind this field; 0 until it is sealed */
    uint64_t price, join_steps, fingerprint;
    uint32_t absent_paths, absent_paths_count;
    uint32_t always, always_count;
    struct structure_names names;
    struct { uint64_t offset, count; } sections[SECTIONS];
};

#define X(name, type) [SECTION_##name] = sizeof(type),
static const size_t record_bytes[SECTIONS] = { IMAGE_SECTIONS(X) };
#undef X

static uint64_t aligned(uint64_t bytes)
{
    return (bytes + ALIGNMENT - 1) & ~(uint64_t)(ALIGNMENT - 1);
}

/* A large index is read all over: with large pages an entry costs one miss, not two. It is a wish; nothing depends on it. */
enum { LARGE_PAGE_BYTES = 2 << 20 };

static char *allocate(size_t bytes)
{
    if (bytes < LARGE_PAGE_BYTES)
        return aligned_alloc(ALIGNMENT, bytes);
    char *base = aligned_alloc(LARGE_PAGE_BYTES, (bytes + LARGE_PAGE_BYTES - 1) & ~((size_t)LARGE_PAGE_BYTES - 1));
    if (base != NULL)
        (void)madvise(base, bytes, MADV_HUGEPAGE);
    return base;
}

void *image_write(const struct image_parts *parts, size_t *ret_bytes)
{
    struct header header = { .version = IMAGE_VERSION, .byte_order = BYTE_ORDER_MARK, .price = parts->price, .join_steps = parts->join_steps, .fingerprint = parts->fingerprint,
                             .absent_paths = parts->absent_paths, .absent_paths_count = parts->absent_paths_count,
                             .always = parts->always, .always_count = parts->always_count, .names = parts->names };
    const void *data[SECTIONS];
    uint64_t at = aligned(sizeof header);

    memcpy(header.magic, magic, sizeof magic);
#define X(name, type)                                                                                              \
    data[SECTION_##name] = parts->name;                                                                            \
    header.sections[SECTION_##name].offset = at;                                                                   \
    header.sections[SECTION_##name].count = parts->name##_count;                                                   \
    at = aligned(at + parts->name##_count * sizeof(type));
    IMAGE_SECTIONS(X)
#undef X
    header.bytes = at;
    char *base = allocate(at);
    if (base == NULL)
        return NULL;
    memcpy(base, &header, sizeof header);
    uint64_t end = sizeof header;
    for (size_t s = 0; s < SECTIONS; s++) {
        size_t len = header.sections[s].count * record_bytes[s];
        memset(base + end, 0, header.sections[s].offset - end); /* what is between sections is part of the checksum */
        if (len > 0)
            memcpy(base + header.sections[s].offset, data[s], len);
        end = header.sections[s].offset + len;
    }
    memset(base + end, 0, at - end);
    *ret_bytes = at;
    return base;
}

void image_bind_own(void *base, size_t bytes, struct image *ret_image)
{
    static uint64_t last_number; /* the only state of the core that is no argument: it tells images apart and decides nothing */
    const struct header *header = base;

    *ret_image = (struct image){ .number = __atomic_add_fetch(&last_number, 1, __ATOMIC_RELAXED), .base = base, .bytes = bytes, .price = header->price,
                                 .join_steps = header->join_steps, .fingerprint = header->fingerprint,
                                 .absent_paths = header->absent_paths, .absent_paths_count = header->absent_paths_count,
                                 .always = header->always, .always_count = header->always_count, .names = header->names };
#define X(name_, type)                                                                                               \
    ret_image->name_ = (const type *)(const void *)((const char *)base + header->sections[SECTION_##name_].offset);  \
    ret_image->name_##_count = (uint32_t)header->sections[SECTION_##name_].count;
    IMAGE_SECTIONS(X)
#undef X
}

static uint64_t checksum_of(const void *base, size_t bytes)
{
    size_t from = offsetof(struct header, checksum) + sizeof(uint64_t);
    uint64_t checksum = text_hash((const char *)base + from, bytes - from);

    return checksum == 0 ? 1 : checksum;
}

void image_seal(struct image *image)
{
    struct header *header = image->base;

    if (header->checksum == 0) /* a mapped one has it already */
        header->checksum = checksum_of(image->base, image->bytes);
}

void image_reseal(void *base, size_t bytes)
{
    ((struct header *)base)->checksum = checksum_of(base, bytes);
}

static enum sluice_err corrupt(struct sluice_error *reterr, const char *what)
{
    return sluice_fail(reterr, SLUICE_ECORRUPT, "the saved rule index cannot be used: %s; it will be made anew from the rules", what);
}

enum sluice_err image_bind(struct view bytes, struct image *ret_image, struct sluice_error *reterr)
{
    const struct header *header = (const void *)bytes.data;
    struct image image;

    if (bytes.len < sizeof *header || (uintptr_t)bytes.data % ALIGNMENT != 0 || memcmp(header->magic, magic, sizeof magic) != 0)
        return corrupt(reterr, "it is not a rule index");
    if (header->version != IMAGE_VERSION || header->byte_order != BYTE_ORDER_MARK)
        return corrupt(reterr, "it was made by another version or on another kind of machine");
    if (header->bytes != bytes.len)
        return corrupt(reterr, "it is shorter or longer than it says");
    if (header->checksum != checksum_of(bytes.data, bytes.len))
        return corrupt(reterr, "its checksum is wrong");
    for (size_t s = 0; s < SECTIONS; s++) {
        uint64_t offset = header->sections[s].offset, count = header->sections[s].count;
        if (offset % ALIGNMENT != 0 || offset > bytes.len || count >= IMAGE_NONE || count > (bytes.len - offset) / record_bytes[s])
            return corrupt(reterr, "a section lies outside");
    }
    image_bind_own((void *)(uintptr_t)bytes.data, bytes.len, &image); /* nothing writes to it: it is sealed */
    const char *mistake = image_check(&image);
    if (mistake != NULL)
        return corrupt(reterr, mistake);
    *ret_image = image;
    return SLUICE_OK;
}
