/* Pillow's 8-bit bicubic resize, restricted to a square of its result. docs/adr/0005-resampling.md explains the
 * arithmetic.
 *
 *     module.c ─┬─> edge_resize.c ─> picture.c ─┬─> resample.c ─> coefficients.c, pass_across.c, pass_down.c
 *               └─> edge_jpeg.c ───> jpeg.c ────┘                        └─> pack_*.c, kernel_*.c by variants.c
 *
 * Everything works on groups of GROUP neighbouring samples: the bytes of a group lie in one 32-bit word a lane, and
 * `lanes` such words make a vector. Horizontally the lanes are source rows, vertically the columns of the result, so
 * both passes are one function. No file keeps state. */
#ifndef HEIMDEX_RESAMPLE_H
#define HEIMDEX_RESAMPLE_H

#include <stddef.h>
#include <stdint.h>

enum {
    PRECISION_BITS = 22, /* 32 bits less 8 of the sample and 2 for the overshoot of the negative lobes */
    GROUP = 4,
    WORDS = 4,      /* 32-bit words that a variant may use for the coefficients of a group */
    MAX_LANES = 16, /* every variant's lanes are a multiple of GROUP and divide this */
    MAX_CHANNELS = 3,
    MAX_SIDE = 1 << 24 /* Pillow takes the source's box as 32-bit floats */
};

typedef enum {
    RESAMPLE_OK,
    RESAMPLE_NO_MEMORY,
    RESAMPLE_RANGE,
    RESAMPLE_REFUSED /* by the source: see jpeg.h */
} Status;

/* Interleaved 8-bit samples, rows `stride` bytes apart. */
typedef struct {
    const uint8_t *pixels;
    size_t width, height, stride;
    size_t pixel_bytes; /* 1 grey, 3 RGB, 4 RGB and one byte that is skipped */
} Picture;

/* What the resampler reads of a picture. */
typedef struct {
    size_t column, columns, row, rows;
} Region;

/* A picture that gives its rows in order, so that it need not be in memory as a whole. */
typedef struct Source Source;
struct Source {
    size_t width, height, pixel_bytes;
    /* Once, before `next`: nothing outside the region will be asked for. */
    Status (*begin)(Source *source, const Region *region);
    /* The region's next rows, their first pixel in its first column: those that are left, or a multiple of MAX_LANES.
     * They may be wider than the region. Valid until the next call. */
    Status (*next)(Source *source, Picture *band);
};

/* Which part of the resized picture is wanted: `size` x `size` pixels at (left, top), inside it. */
typedef struct {
    int32_t resized_width, resized_height;
    int32_t left, top;
    size_t size;
} Window;

/* `vectors` vectors a group, the groups `stride` bytes apart -> vectors * lanes bytes. */
typedef void Convolve(const uint8_t *data, size_t stride, const uint32_t *words, size_t groups, size_t vectors,
                      uint8_t *out);

/* `lanes` rows from `width` pixels each -> [groups][channels][lanes] words; zeros beyond the width. */
typedef void Pack(const uint8_t *const *rows, size_t width, size_t pixel_bytes, size_t groups, size_t lanes,
                  uint8_t *packed);

typedef struct {
    const char *name;
    size_t lanes;
    int (*runs_here)(void);
    void (*encode)(const int32_t coefficients[GROUP], uint32_t words[WORDS]);
    Pack *pack;
    Convolve *convolve;
} Variant;

/* Which groups an output reads, counted from the axis' first sample. */
typedef struct {
    size_t start, length;
} Span;

typedef struct {
    size_t first, count;   /* the source samples that the outputs read */
    size_t groups_at_most; /* words has WORDS * groups_at_most an output */
    Span *spans;
    uint32_t *words;
} Axis;

/* The coefficients of `outputs` outputs from `first_output` on, in the variant's encoding. Free it in any case. */
Status axis_build(Axis *axis, const Variant *variant, size_t source, int32_t resized, int32_t first_output,
                  size_t outputs);
void axis_free(Axis *axis);

/* 8-bit rows, `together` of them side by side: sample x of row y is at
 * samples[y / together * stride + x * together + y % together]. 1 is a plain picture; GROUP is what pass_down reads. */
typedef struct {
    uint8_t *samples;
    size_t stride, together;
} Rows;

/* Resize a picture's rows along x into as many rows of `to`; the axis' first sample is in its first column. `packed` is
 * scratch: packed_bytes(). */
void pass_across(const Variant *variant, const Picture *source, const Axis *axis, size_t outputs, const Rows *to,
                 uint8_t *packed);
size_t packed_bytes(const Variant *variant, size_t pixel_bytes, const Axis *axis);

/* Resize rows that lie GROUP together along y into `outputs` plain rows of `row_bytes`. `line` is scratch: a stride. */
void pass_down(const Variant *variant, const Rows *from, const Axis *axis, size_t outputs, size_t row_bytes,
               uint8_t *line, uint8_t *out);
/* Set a picture's rows GROUP together; those below its last are copies of it. */
void group_rows(const Picture *source, const Rows *to);

size_t channels_of(size_t pixel_bytes);
size_t divide_up(size_t value, size_t by);

/* `out` has size * size * channels_of(pixel_bytes) bytes. Bounds are the caller's to check. */
Status resample(const Variant *variant, Source *source, const Window *window, uint8_t *out);
Status resample_picture(const Variant *variant, const Picture *picture, const Window *window, uint8_t *out);

/* NULL, or memory for count * size bytes; NULL too when that does not fit a size_t. */
void *allocate(size_t count, size_t size);

/* The variants that were compiled in, best first, NULL at the end. */
extern const Variant *const VARIANTS[];
extern const Variant VARIANT_C, VARIANT_AVX2, VARIANT_AVX512, VARIANT_NEON;

Pack pack_portable, pack_x86, pack_neon;
/* What a faster pack leaves over: the groups from `first_group` on. */
void pack_rest(const uint8_t *const *rows, size_t width, size_t pixel_bytes, size_t first_group, size_t groups,
               size_t lanes, uint8_t *packed);

#if defined(__GNUC__) && defined(__x86_64__)
#define HAS_X86 1
#endif
#if defined(__GNUC__) && defined(__aarch64__)
#define HAS_NEON 1
#endif

#endif
