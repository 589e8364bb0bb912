/* Rows of interleaved pixels -> groups of samples a channel, lane beside lane; any machine. */
#include "resample.h"

void pack_rest(const uint8_t *const *rows, size_t width, size_t pixel_bytes, size_t first_group, size_t groups,
               size_t lanes, uint8_t *packed)
{
    const size_t channels = channels_of(pixel_bytes);
    for (size_t group = first_group; group < groups; group++)
        for (size_t channel = 0; channel < channels; channel++)
            for (size_t lane = 0; lane < lanes; lane++) {
                uint8_t *word = packed + ((group * channels + channel) * lanes + lane) * GROUP;
                for (size_t i = 0; i < GROUP; i++) {
                    const size_t x = group * GROUP + i;
                    word[i] = x < width ? rows[lane][x * pixel_bytes + channel] : 0;
                }
            }
}

void pack_portable(const uint8_t *const *rows, size_t width, size_t pixel_bytes, size_t groups, size_t lanes,
                   uint8_t *packed)
{
    pack_rest(rows, width, pixel_bytes, 0, groups, lanes, packed);
}
