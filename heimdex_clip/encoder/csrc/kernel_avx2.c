/* AVX2: a coefficient is high * 2^12 + low, both within 16 bits; vpmaddwd multiplies two samples by each. */
#include "resample.h"

#ifdef HAS_X86
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))
#define AVX2_INLINE AVX2 __attribute__((always_inline)) static inline

enum { LANES = 8, LOW_BITS = 12, TOGETHER = 3 };

static int runs_here(void)
{
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx2");
}

static uint32_t pair(int32_t first, int32_t second)
{
    return (uint32_t)(uint16_t)first | (uint32_t)(uint16_t)second << 16;
}

/* Samples 0 and 2 of a group, then 1 and 3: so they lie when the word is masked, and when it is shifted. */
static void encode(const int32_t coefficients[GROUP], uint32_t words[WORDS])
{
    int32_t low[GROUP], high[GROUP];
    for (size_t i = 0; i < GROUP; i++) {
        high[i] = (coefficients[i] + (1 << (LOW_BITS - 1))) >> LOW_BITS;
        low[i] = coefficients[i] - high[i] * (1 << LOW_BITS);
    }
    words[0] = pair(low[0], low[2]);
    words[1] = pair(low[1], low[3]);
    words[2] = pair(high[0], high[2]);
    words[3] = pair(high[1], high[3]);
}

AVX2_INLINE void together(const uint8_t *data, size_t stride, const uint32_t *words, size_t groups, uint8_t *out,
                          const size_t vectors)
{
    const __m256i byte = _mm256_set1_epi16(0xff);
    __m256i low[TOGETHER], high[TOGETHER];
    for (size_t v = 0; v < vectors; v++) {
        low[v] = _mm256_set1_epi32(1 << (PRECISION_BITS - 1));
        high[v] = _mm256_setzero_si256();
    }
    for (size_t g = 0; g < groups; g++, data += stride, words += WORDS) {
        const __m256i low_even = _mm256_set1_epi32((int32_t)words[0]), low_odd = _mm256_set1_epi32((int32_t)words[1]);
        const __m256i high_even = _mm256_set1_epi32((int32_t)words[2]), high_odd = _mm256_set1_epi32((int32_t)words[3]);
        for (size_t v = 0; v < vectors; v++) {
            const __m256i samples = _mm256_loadu_si256((const __m256i *)(data + v * LANES * GROUP));
            const __m256i even = _mm256_and_si256(samples, byte), odd = _mm256_srli_epi16(samples, 8);
            low[v] = _mm256_add_epi32(low[v], _mm256_madd_epi16(even, low_even));
            low[v] = _mm256_add_epi32(low[v], _mm256_madd_epi16(odd, low_odd));
            high[v] = _mm256_add_epi32(high[v], _mm256_madd_epi16(even, high_even));
            high[v] = _mm256_add_epi32(high[v], _mm256_madd_epi16(odd, high_odd));
        }
    }
    for (size_t v = 0; v < vectors; v++) {
        const __m256i sum = _mm256_add_epi32(low[v], _mm256_slli_epi32(high[v], LOW_BITS));
        const __m256i value = _mm256_srai_epi32(sum, PRECISION_BITS);
        const __m128i words16 = _mm_packs_epi32(_mm256_castsi256_si128(value), _mm256_extracti128_si256(value, 1));
        _mm_storel_epi64((__m128i *)(out + v * LANES), _mm_packus_epi16(words16, words16));
    }
}

AVX2 static void convolve(const uint8_t *data, size_t stride, const uint32_t *words, size_t groups, size_t vectors,
                          uint8_t *out)
{
    for (; vectors >= TOGETHER; vectors -= TOGETHER, data += TOGETHER * LANES * GROUP, out += TOGETHER * LANES)
        together(data, stride, words, groups, out, TOGETHER);
    for (; vectors > 0; vectors--, data += LANES * GROUP, out += LANES)
        together(data, stride, words, groups, out, 1);
}

const Variant VARIANT_AVX2 = {"avx2", LANES, runs_here, encode, pack_x86, convolve};
#endif
