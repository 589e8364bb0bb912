/* NEON: 32-bit multiply-add of one sample a lane; no split, the coefficient is used whole. */
#include "resample.h"

#ifdef HAS_NEON
#include <arm_neon.h>

enum { LANES = 8, VECTORS = LANES / 4 };

/* Every 64-bit Arm has it. */
static int runs_here(void)
{
    return 1;
}

static void encode(const int32_t coefficients[GROUP], uint32_t words[WORDS])
{
    for (size_t i = 0; i < GROUP; i++)
        words[i] = (uint32_t)coefficients[i];
}

static void one_vector(const uint8_t *data, size_t stride, const uint32_t *words, size_t groups, uint8_t *out)
{
    const uint32x4_t byte = vdupq_n_u32(0xff);
    uint32x4_t sums[VECTORS];
    for (size_t v = 0; v < VECTORS; v++)
        sums[v] = vdupq_n_u32(1u << (PRECISION_BITS - 1));
    for (size_t g = 0; g < groups; g++, data += stride, words += WORDS) {
        const uint32x4_t word = vld1q_u32(words);
        for (size_t v = 0; v < VECTORS; v++) {
            const uint32x4_t samples = vreinterpretq_u32_u8(vld1q_u8(data + v * 16));
            sums[v] = vmlaq_laneq_u32(sums[v], vandq_u32(samples, byte), word, 0);
            sums[v] = vmlaq_laneq_u32(sums[v], vandq_u32(vshrq_n_u32(samples, 8), byte), word, 1);
            sums[v] = vmlaq_laneq_u32(sums[v], vandq_u32(vshrq_n_u32(samples, 16), byte), word, 2);
            sums[v] = vmlaq_laneq_u32(sums[v], vshrq_n_u32(samples, 24), word, 3);
        }
    }
    const int32x4_t first = vshrq_n_s32(vreinterpretq_s32_u32(sums[0]), PRECISION_BITS);
    const int32x4_t second = vshrq_n_s32(vreinterpretq_s32_u32(sums[1]), PRECISION_BITS);
    vst1_u8(out, vqmovun_s16(vcombine_s16(vmovn_s32(first), vmovn_s32(second))));
}

static void convolve(const uint8_t *data, size_t stride, const uint32_t *words, size_t groups, size_t vectors,
                     uint8_t *out)
{
    for (; vectors > 0; vectors--, data += LANES * GROUP, out += LANES)
        one_vector(data, stride, words, groups, out);
}

const Variant VARIANT_NEON = {"neon", LANES, runs_here, encode, pack_neon, convolve};
#endif
