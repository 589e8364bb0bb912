/* The same as pack.c, four rows at a time: a byte shuffle sorts a group by channel, a 4 x 4 transpose sets lane beside
 * lane. AVX2 only for its encoding: mixing it with SSE's costs transitions. */
#include "resample.h"

#ifdef HAS_X86
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))

enum { ROWS = 4, LOAD = 16 };

/* Four vectors of four words, transposed; the first `count` are stored `stride` bytes apart. */
AVX2 __attribute__((always_inline)) static inline void store_transposed(const __m128i rows[ROWS], uint8_t *to,
                                                                        size_t stride, const size_t count)
{
    const __m128i low01 = _mm_unpacklo_epi32(rows[0], rows[1]), low23 = _mm_unpacklo_epi32(rows[2], rows[3]);
    const __m128i high01 = _mm_unpackhi_epi32(rows[0], rows[1]), high23 = _mm_unpackhi_epi32(rows[2], rows[3]);
    _mm_storeu_si128((__m128i *)to, _mm_unpacklo_epi64(low01, low23));
    _mm_storeu_si128((__m128i *)(to + stride), _mm_unpackhi_epi64(low01, low23));
    _mm_storeu_si128((__m128i *)(to + 2 * stride), _mm_unpacklo_epi64(high01, high23));
    if (count == 4)
        _mm_storeu_si128((__m128i *)(to + 3 * stride), _mm_unpackhi_epi64(high01, high23));
}

/* Grey: one load holds four groups, one vector each. */
AVX2 static void pack_grey(const uint8_t *const *rows, size_t groups, size_t lanes, uint8_t *packed)
{
    for (size_t lane = 0; lane < lanes; lane += ROWS)
        for (size_t group = 0; group < groups; group += GROUP) {
            __m128i words[ROWS];
            for (size_t row = 0; row < ROWS; row++)
                words[row] = _mm_loadu_si128((const __m128i *)(rows[lane + row] + group * GROUP));
            store_transposed(words, packed + (group * lanes + lane) * GROUP, lanes * GROUP, 4);
        }
}

/* Colour: one load holds one group, a vector a channel. */
AVX2 static void pack_colour(const uint8_t *const *rows, size_t pixel_bytes, size_t groups, size_t lanes,
                             uint8_t *packed)
{
    const __m128i by_three = _mm_setr_epi8(0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11, -1, -1, -1, -1);
    const __m128i by_four = _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, -1, -1, -1, -1);
    const __m128i order = pixel_bytes == 3 ? by_three : by_four;
    for (size_t lane = 0; lane < lanes; lane += ROWS)
        for (size_t group = 0; group < groups; group++) {
            __m128i words[ROWS];
            for (size_t row = 0; row < ROWS; row++) {
                const uint8_t *pixels = rows[lane + row] + group * GROUP * pixel_bytes;
                words[row] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)pixels), order);
            }
            store_transposed(words, packed + (group * MAX_CHANNELS * lanes + lane) * GROUP, lanes * GROUP, 3);
        }
}

void pack_x86(const uint8_t *const *rows, size_t width, size_t pixel_bytes, size_t groups, size_t lanes,
              uint8_t *packed)
{
    /* Groups whose loads end inside the row. */
    const size_t row_bytes = width * pixel_bytes, step = pixel_bytes == 1 ? LOAD : GROUP * pixel_bytes;
    size_t whole = row_bytes < LOAD ? 0 : (row_bytes - LOAD) / step + 1;
    if (pixel_bytes == 1)
        whole *= GROUP;
    if (whole > groups)
        whole = pixel_bytes == 1 ? groups / GROUP * GROUP : groups;
    if (pixel_bytes == 1)
        pack_grey(rows, whole, lanes, packed);
    else
        pack_colour(rows, pixel_bytes, whole, lanes, packed);
    pack_rest(rows, width, pixel_bytes, whole, groups, lanes, packed);
}
#endif
