/* The same as pack.c, sixteen pixels at a time: NEON loads sort bytes by channel by themselves. */
#include "resample.h"

#ifdef HAS_NEON
#include <arm_neon.h>

enum { PIXELS = 16, GROUPS = PIXELS / GROUP };

static void store_words(uint8x16_t samples, uint8_t *to, size_t stride)
{
    const uint32x4_t words = vreinterpretq_u32_u8(samples);
    vst1q_lane_u32((uint32_t *)(void *)to, words, 0);
    vst1q_lane_u32((uint32_t *)(void *)(to + stride), words, 1);
    vst1q_lane_u32((uint32_t *)(void *)(to + 2 * stride), words, 2);
    vst1q_lane_u32((uint32_t *)(void *)(to + 3 * stride), words, 3);
}

void pack_neon(const uint8_t *const *rows, size_t width, size_t pixel_bytes, size_t groups, size_t lanes,
               uint8_t *packed)
{
    const size_t channels = channels_of(pixel_bytes), stride = channels * lanes * GROUP;
    const size_t inside = width / PIXELS * GROUPS, whole = inside < groups ? inside : groups / GROUPS * GROUPS;
    for (size_t lane = 0; lane < lanes; lane++)
        for (size_t group = 0; group < whole; group += GROUPS) {
            const uint8_t *pixels = rows[lane] + group * GROUP * pixel_bytes;
            uint8_t *to = packed + group * stride + lane * GROUP;
            if (pixel_bytes == 1) {
                store_words(vld1q_u8(pixels), to, stride);
                continue;
            }
            uint8x16_t by_channel[MAX_CHANNELS];
            if (pixel_bytes == 3) {
                const uint8x16x3_t loaded = vld3q_u8(pixels);
                for (size_t channel = 0; channel < MAX_CHANNELS; channel++)
                    by_channel[channel] = loaded.val[channel];
            } else {
                const uint8x16x4_t loaded = vld4q_u8(pixels);
                for (size_t channel = 0; channel < MAX_CHANNELS; channel++)
                    by_channel[channel] = loaded.val[channel];
            }
            for (size_t channel = 0; channel < MAX_CHANNELS; channel++)
                store_words(by_channel[channel], to + channel * lanes * GROUP, stride);
        }
    pack_rest(rows, width, pixel_bytes, whole, groups, lanes, packed);
}
#endif
