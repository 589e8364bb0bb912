/* The convolution in plain C: the base, and the meaning of the others. */
#include "resample.h"

enum { LANES = 8 };

static int always(void)
{
    return 1;
}

static void encode(const int32_t coefficients[GROUP], uint32_t words[WORDS])
{
    for (size_t i = 0; i < GROUP; i++)
        words[i] = (uint32_t)coefficients[i];
}

static uint8_t clip(uint32_t sum)
{
    const int32_t value = (int32_t)sum >> PRECISION_BITS;
    return (uint8_t)(value < 0 ? 0 : value > 255 ? 255 : value);
}

static void convolve(const uint8_t *data, size_t stride, const uint32_t *words, size_t groups, size_t vectors,
                     uint8_t *out)
{
    for (size_t vector = 0; vector < vectors; vector++) {
        const uint8_t *group = data + vector * LANES * GROUP;
        const uint32_t *word = words;
        uint32_t sums[LANES]; /* unsigned: the arithmetic is modulo 2^32 */
        for (size_t lane = 0; lane < LANES; lane++)
            sums[lane] = 1u << (PRECISION_BITS - 1);
        for (size_t g = 0; g < groups; g++, group += stride, word += WORDS)
            for (size_t lane = 0; lane < LANES; lane++)
                for (size_t i = 0; i < GROUP; i++)
                    sums[lane] += word[i] * group[lane * GROUP + i];
        for (size_t lane = 0; lane < LANES; lane++)
            out[vector * LANES + lane] = clip(sums[lane]);
    }
}

const Variant VARIANT_C = {"c", LANES, always, encode, pack_portable, convolve};
