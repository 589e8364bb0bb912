/* Window and fixed-point coefficients of each output along one axis.
 *
 * Every line of double arithmetic is written in the order that gives Pillow's last bit; the file must be compiled
 * without contraction into fused multiply-add (-ffp-contract=off). */
#include "resample.h"

#include <math.h>
#include <stdlib.h>

/* The sum of |coefficient| that keeps 255 * sum + half within int32 and each coefficient within three signed bytes. */
static const int64_t LARGEST_SUM = 127 * 65536 + 127 * 256 + 127;

/* Keys' cubic with a = -0.5. */
static double bicubic(double x)
{
    const double a = -0.5;
    x = fabs(x);
    if (x < 1.0)
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1.0;
    if (x < 2.0)
        return (((x - 5.0) * x + 8.0) * x - 4.0) * a;
    return 0.0;
}

/* Rounded half away from zero. */
static int32_t fixed_point(double weight)
{
    const double scaled = weight * (1 << PRECISION_BITS);
    return (int32_t)(scaled < 0.0 ? scaled - 0.5 : scaled + 0.5);
}

typedef struct {
    double scale, stretch, support;
    size_t source;
} Filter;

static size_t window_start(const Filter *filter, double centre)
{
    const double start = centre - filter->support + 0.5;
    return start < 0.0 ? 0 : (size_t)start;
}

static size_t window_end(const Filter *filter, double centre)
{
    const double end = centre + filter->support + 0.5;
    return end > (double)filter->source ? filter->source : (size_t)end;
}

static void weigh(const Filter *filter, double centre, size_t low, size_t high, double *weights)
{
    const double shrink = 1.0 / filter->stretch;
    double sum = 0.0;
    for (size_t x = low; x < high; x++) {
        weights[x - low] = bicubic(((double)x - centre + 0.5) * shrink);
        sum += weights[x - low];
    }
    for (size_t x = low; x < high && sum != 0.0; x++)
        weights[x - low] /= sum;
}

static Status encode(const Variant *variant, const double *weights, size_t taps, size_t before, size_t groups,
                     uint32_t *words)
{
    int64_t sum = 0;
    for (size_t group = 0; group < groups; group++) {
        int32_t coefficients[GROUP];
        for (size_t i = 0; i < GROUP; i++) {
            const size_t tap = group * GROUP + i;
            coefficients[i] = tap >= before && tap - before < taps ? fixed_point(weights[tap - before]) : 0;
            sum += llabs(coefficients[i]);
        }
        variant->encode(coefficients, words + group * WORDS);
    }
    return sum <= LARGEST_SUM ? RESAMPLE_OK : RESAMPLE_RANGE;
}

Status axis_build(Axis *axis, const Variant *variant, size_t source, int32_t resized, int32_t first_output,
                  size_t outputs)
{
    const double scale = (double)source / resized;
    const double stretch = scale < 1.0 ? 1.0 : scale;
    const Filter filter = {scale, stretch, 2.0 * stretch, source};
    const size_t taps_at_most = (size_t)ceil(filter.support) * 2 + 1;

    axis->groups_at_most = (taps_at_most + GROUP - 2) / GROUP + 1;
    axis->spans = allocate(outputs, sizeof *axis->spans);
    axis->words = allocate(outputs, axis->groups_at_most * WORDS * sizeof *axis->words);
    double *weights = allocate(taps_at_most, sizeof *weights);
    Status status = axis->spans && axis->words && weights ? RESAMPLE_OK : RESAMPLE_NO_MEMORY;

    for (size_t i = 0; i < outputs && status == RESAMPLE_OK; i++) {
        const double centre = ((double)first_output + (double)i + 0.5) * scale;
        const size_t low = window_start(&filter, centre), high = window_end(&filter, centre);
        if (i == 0)
            axis->first = low;
        axis->count = high - axis->first;
        const size_t start = (low - axis->first) / GROUP;
        const size_t before = low - axis->first - start * GROUP;
        axis->spans[i] = (Span){start, (before + high - low + GROUP - 1) / GROUP};
        weigh(&filter, centre, low, high, weights);
        status = encode(variant, weights, high - low, before, axis->spans[i].length,
                        axis->words + i * axis->groups_at_most * WORDS);
    }
    free(weights);
    return status;
}

void axis_free(Axis *axis)
{
    free(axis->spans);
    free(axis->words);
}
