/* One pass along x: a block of `lanes` rows at a time is packed, then each output is a convolution over the block. */
#include "resample.h"

#include <string.h>

size_t packed_bytes(const Variant *variant, size_t pixel_bytes, const Axis *axis)
{
    return divide_up(axis->count, GROUP) * channels_of(pixel_bytes) * variant->lanes * GROUP;
}

/* One output's samples, [channels][lanes], into the rows from `first_row` on that exist. */
static void store(const uint8_t *columns, size_t channels, size_t lanes, size_t x, size_t first_row, size_t height,
                  const Rows *to)
{
    const size_t together = to->together;
    for (size_t channel = 0; channel < channels; channel++)
        for (size_t lane = 0; lane < lanes && first_row + lane < height; lane += together)
            memcpy(to->samples + (first_row + lane) / together * to->stride + (x * channels + channel) * together,
                   columns + channel * lanes + lane, together);
}

void pass_across(const Variant *variant, const Picture *source, const Axis *axis, size_t outputs, const Rows *to,
                 uint8_t *packed)
{
    const size_t channels = channels_of(source->pixel_bytes), lanes = variant->lanes;
    const size_t group_bytes = channels * lanes * GROUP, groups = divide_up(axis->count, GROUP);

    for (size_t row = 0; row < source->height; row += lanes) {
        const uint8_t *rows[MAX_LANES];
        for (size_t lane = 0; lane < lanes; lane++) {
            /* Below the last row any row will do: nothing weighs it. */
            const size_t y = row + lane < source->height ? row + lane : source->height - 1;
            rows[lane] = source->pixels + y * source->stride;
        }
        variant->pack(rows, source->width, source->pixel_bytes, groups, lanes, packed);
        for (size_t x = 0; x < outputs; x++) {
            const Span span = axis->spans[x];
            uint8_t columns[MAX_CHANNELS * MAX_LANES];
            variant->convolve(packed + span.start * group_bytes, group_bytes,
                              axis->words + x * axis->groups_at_most * WORDS, span.length, channels, columns);
            store(columns, channels, lanes, x, row, source->height, to);
        }
    }
}
