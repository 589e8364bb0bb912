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
static int down_first(const Picture *source, const Window *window)
{
    const int64_t narrower = (int64_t)source->width - window->resized_width;
    const int64_t lower = (int64_t)source->height - window->resized_height;
    return lower > 0 && lower > 2 * narrower;
}

/* The rows that the axis reads. */
static Picture rows_of(const Picture *source, const Axis *down)
{
    Picture part = *source;
    part.pixels += down->first * source->stride;
    part.height = down->count;
    return part;
}

/* The columns that the axis reads. */
static Picture columns_of(const Picture *source, const Axis *across)
{
    Picture part = *source;
    part.pixels += across->first * source->pixel_bytes;
    part.width = across->count;
    return part;
}

/* x first: source rows -> rows grouped for the second pass -> out. */
static Status across_then_down(const Variant *variant, const Picture *source, const Axis *across, const Axis *down,
                               size_t size, uint8_t *out)
{
    const Picture part = rows_of(source, down);
    const size_t row_bytes = size * channels_of(source->pixel_bytes);
    const size_t line_bytes = divide_up(row_bytes, variant->lanes) * variant->lanes;
    const Rows between = {allocate(divide_up(part.height, variant->lanes) * variant->lanes, line_bytes),
                          line_bytes * GROUP, GROUP};
    uint8_t *packed = allocate(packed_bytes(variant, &part, across), 1);
    uint8_t *line = allocate(line_bytes, 1);
    const int enough = between.samples && packed && line;
    if (enough) {
        pass_across(variant, &part, across, size, &between, packed);
        pass_down(variant, &between, down, size, row_bytes, line, out);
    }
    free(line);
    free(packed);
    free(between.samples);
    return enough ? RESAMPLE_OK : RESAMPLE_NO_MEMORY;
}

/* y first: source rows grouped -> plain rows, `size` of them -> out. */
static Status down_then_across(const Variant *variant, const Picture *source, const Axis *across, const Axis *down,
                               size_t size, uint8_t *out)
{
    const Picture rows = rows_of(source, down), part = columns_of(&rows, across);
    const size_t row_bytes = part.width * part.pixel_bytes;
    const size_t line_bytes = divide_up(row_bytes, variant->lanes) * variant->lanes;
    const Rows grouped = {allocate(divide_up(part.height, GROUP) * GROUP, line_bytes), line_bytes * GROUP, GROUP};
    uint8_t *line = allocate(line_bytes, 1), *low = allocate(size, row_bytes);
    Axis from_zero = *across; /* a view: the columns before the first are cut off */
    from_zero.first = 0;
    const Picture lower = {low, part.width, size, row_bytes, part.pixel_bytes};
    const Rows result = {out, size * channels_of(part.pixel_bytes), 1};
    uint8_t *packed = allocate(packed_bytes(variant, &lower, &from_zero), 1);
    const int enough = grouped.samples && line && low && packed;
    if (enough) {
        group_rows(&part, &grouped);
        pass_down(variant, &grouped, down, size, row_bytes, line, low);
        pass_across(variant, &lower, &from_zero, size, &result, packed);
    }
    free(packed);
    free(low);
    free(line);
    free(grouped.samples);
    return enough ? RESAMPLE_OK : RESAMPLE_NO_MEMORY;
}

Status resample(const Variant *variant, const Picture *source, const Window *window, uint8_t *out)
{
    const size_t size = window->size;
    Axis across = {0}, down = {0};
    Status status = axis_build(&across, variant, source->width, window->resized_width, window->left, size);
    if (status == RESAMPLE_OK)
        status = axis_build(&down, variant, source->height, window->resized_height, window->top, size);
    if (status == RESAMPLE_OK)
        status = down_first(source, window) ? down_then_across(variant, source, &across, &down, size, out)
                                            : across_then_down(variant, source, &across, &down, size, out);
    axis_free(&down);
    axis_free(&across);
    return status;
}
