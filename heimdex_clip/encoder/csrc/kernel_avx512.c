/* AVX-512 VNNI: a coefficient is three signed bytes; vpdpbusd multiplies four samples by one byte of each. */
#include "resample.h"

#ifdef HAS_X86
#include <immintrin.h>

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512vnni")))
#define AVX512_INLINE AVX512 __attribute__((always_inline)) static inline

enum { LANES = 16, DIGITS = 3, TOGETHER = 3 };

static int runs_here(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
}

/* words[d]: the four coefficients' digits of weight 256^d, each from -128 to 127. */
static void encode(const int32_t coefficients[GROUP], uint32_t words[WORDS])
{
    int32_t rest[GROUP];
    for (size_t i = 0; i < GROUP; i++)
        rest[i] = coefficients[i];
    for (size_t d = 0; d < DIGITS; d++) {
        words[d] = 0;
        for (size_t i = 0; i < GROUP; i++) {
            const int32_t digit = ((rest[i] + 128) & 0xff) - 128;
            words[d] |= (uint32_t)(uint8_t)digit << (8 * i);
            rest[i] = (rest[i] - digit) / 256;
        }
    }
    words[DIGITS] = 0;
}

AVX512_INLINE void together(const uint8_t *data, size_t stride, const uint32_t *words, size_t groups, uint8_t *out,
                            const size_t vectors)
{
    __m512i sums[TOGETHER][DIGITS];
    for (size_t v = 0; v < vectors; v++) {
        sums[v][0] = _mm512_set1_epi32(1 << (PRECISION_BITS - 1));
        sums[v][1] = sums[v][2] = _mm512_setzero_si512();
    }
    for (size_t g = 0; g < groups; g++, data += stride, words += WORDS)
        for (size_t v = 0; v < vectors; v++) {
            const __m512i samples = _mm512_loadu_si512(data + v * LANES * GROUP);
            for (size_t d = 0; d < DIGITS; d++)
                sums[v][d] = _mm512_dpbusd_epi32(sums[v][d], samples, _mm512_set1_epi32((int32_t)words[d]));
        }
    for (size_t v = 0; v < vectors; v++) {
        const __m512i upper = _mm512_add_epi32(_mm512_slli_epi32(sums[v][1], 8), _mm512_slli_epi32(sums[v][2], 16));
        const __m512i value = _mm512_srai_epi32(_mm512_add_epi32(sums[v][0], upper), PRECISION_BITS);
        const __m512i positive = _mm512_max_epi32(value, _mm512_setzero_si512());
        _mm_storeu_si128((__m128i *)(out + v * LANES), _mm512_cvtusepi32_epi8(positive));
    }
}

AVX512 static void convolve(const uint8_t *data, size_t stride, const uint32_t *words, size_t groups, size_t vectors,
                            uint8_t *out)
{
    for (; vectors >= TOGETHER; vectors -= TOGETHER, data += TOGETHER * LANES * GROUP, out += TOGETHER * LANES)
        together(data, stride, words, groups, out, TOGETHER);
    for (; vectors > 0; vectors--, data += LANES * GROUP, out += LANES)
        together(data, stride, words, groups, out, 1);
}

const Variant VARIANT_AVX512 = {"avx512", LANES, runs_here, encode, pack_x86, convolve};
#endif
