/* Which pass comes first, what memory the two need, and which part of the source they read. */
#include "resample.h"

#include <stdlib.h>

void *allocate(size_t count, size_t size)
{
    if (size != 0 && count > (SIZE_MAX - 1) / size)
        return NULL;
    return malloc(count * size + 1); /* never malloc(0), whose NULL would read as failure */
}

size_t channels_of(size_t pixel_bytes)
{
    return pixel_bytes == 1 ? 1 : MAX_CHANNELS;
}

size_t divide_up(size_t value, size_t by)
{
    return (value + by - 1) / by;
}

/* Pillow 13's rule: where the height shrinks by more than twice what the width shrinks by, y comes first. */
static int down_first(const Source *source, const Window *window)
{
    const int64_t narrower = (int64_t)source->width - window->resized_width;
    const int64_t lower = (int64_t)source->height - window->resized_height;
    return lower > 0 && lower > 2 * narrower;
}

/* The rows from `row` on, which starts a group. */
static Rows rows_from(const Rows *rows, size_t row)
{
    const Rows rest = {rows->samples + row / rows->together * rows->stride, rows->stride, rows->together};
    return rest;
}

/* x first: the source's rows -> rows grouped for the second pass -> out. */
static Status across_then_down(const Variant *variant, Source *source, const Axis *across, const Axis *down,
                               size_t size, uint8_t *out)
{
    const size_t row_bytes = size * channels_of(source->pixel_bytes);
    const size_t line_bytes = divide_up(row_bytes, variant->lanes) * variant->lanes;
    const Rows between = {allocate(divide_up(down->count, variant->lanes) * variant->lanes, line_bytes),
                          line_bytes * GROUP, GROUP};
    uint8_t *packed = allocate(packed_bytes(variant, source->pixel_bytes, across), 1);
    uint8_t *line = allocate(line_bytes, 1);
    Status status = between.samples && packed && line ? RESAMPLE_OK : RESAMPLE_NO_MEMORY;
    Picture band;
    for (size_t row = 0; status == RESAMPLE_OK && row < down->count; row += band.height) {
        status = source->next(source, &band);
        if (status == RESAMPLE_OK) {
            const Rows to = rows_from(&between, row);
            pass_across(variant, &band, across, size, &to, packed);
        }
    }
    if (status == RESAMPLE_OK)
        pass_down(variant, &between, down, size, row_bytes, line, out);
    free(line);
    free(packed);
    free(between.samples);
    return status;
}

/* y first: the source's rows grouped -> plain rows, `size` of them -> out. */
static Status down_then_across(const Variant *variant, Source *source, const Axis *across, const Axis *down,
                               size_t size, uint8_t *out)
{
    const size_t row_bytes = across->count * source->pixel_bytes;
    const size_t line_bytes = divide_up(row_bytes, variant->lanes) * variant->lanes;
    const Rows grouped = {allocate(divide_up(down->count, GROUP) * GROUP, line_bytes), line_bytes * GROUP, GROUP};
    uint8_t *line = allocate(line_bytes, 1), *low = allocate(size, row_bytes);
    const Picture lower = {low, across->count, size, row_bytes, source->pixel_bytes};
    const Rows result = {out, size * channels_of(source->pixel_bytes), 1};
    uint8_t *packed = allocate(packed_bytes(variant, source->pixel_bytes, across), 1);
    Status status = grouped.samples && line && low && packed ? RESAMPLE_OK : RESAMPLE_NO_MEMORY;
    Picture band;
    for (size_t row = 0; status == RESAMPLE_OK && row < down->count; row += band.height) {
        status = source->next(source, &band);
        if (status == RESAMPLE_OK) {
            const Rows to = rows_from(&grouped, row);
            band.width = across->count;
            group_rows(&band, &to);
        }
    }
    if (status == RESAMPLE_OK) {
        pass_down(variant, &grouped, down, size, row_bytes, line, low);
        pass_across(variant, &lower, across, size, &result, packed);
    }
    free(packed);
    free(low);
    free(line);
    free(grouped.samples);
    return status;
}

Status resample(const Variant *variant, Source *source, const Window *window, uint8_t *out)
{
    const size_t size = window->size;
    Axis across = {0}, down = {0};
    Status status = axis_build(&across, variant, source->width, window->resized_width, window->left, size);
    if (status == RESAMPLE_OK)
        status = axis_build(&down, variant, source->height, window->resized_height, window->top, size);
    if (status == RESAMPLE_OK) {
        const Region region = {across.first, across.count, down.first, down.count};
        status = source->begin(source, &region);
    }
    if (status == RESAMPLE_OK)
        status = down_first(source, window) ? down_then_across(variant, source, &across, &down, size, out)
                                            : across_then_down(variant, source, &across, &down, size, out);
    axis_free(&down);
    axis_free(&across);
    return status;
}
