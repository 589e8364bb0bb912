/* One pass along y: each output row is a convolution over rows, its columns in the lanes. */
#include "resample.h"

#include <string.h>

void group_rows(const Picture *source, const Rows *to)
{
    const size_t row_bytes = source->width * source->pixel_bytes;
    for (size_t row = 0; row < source->height; row += GROUP) {
        const uint8_t *rows[GROUP];
        for (size_t i = 0; i < GROUP; i++)
            rows[i] = source->pixels + (row + i < source->height ? row + i : source->height - 1) * source->stride;
        uint8_t *restrict words = to->samples + row / GROUP * to->stride;
        for (size_t x = 0; x < row_bytes; x++)
            for (size_t i = 0; i < GROUP; i++)
                words[x * GROUP + i] = rows[i][x];
    }
}

void pass_down(const Variant *variant, const Rows *from, const Axis *axis, size_t outputs, size_t row_bytes,
               uint8_t *line, uint8_t *out)
{
    const size_t vectors = divide_up(row_bytes, variant->lanes);
    for (size_t y = 0; y < outputs; y++) {
        const Span span = axis->spans[y];
        variant->convolve(from->samples + span.start * from->stride, from->stride,
                          axis->words + y * axis->groups_at_most * WORDS, span.length, vectors, line);
        memcpy(out + y * row_bytes, line, row_bytes);
    }
}
