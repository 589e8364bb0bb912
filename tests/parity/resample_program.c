/* The resampler without Python, to run it where only an emulator is: `program VARIANT < cases > squares`.
 * A case is eight int32 (width, height, pixel bytes, resized width and height, left, top, size) and its pixels. */
#include "resample.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const Variant *named(const char *name)
{
    for (const Variant *const *variant = VARIANTS; *variant != NULL; variant++)
        if (strcmp((*variant)->name, name) == 0 && (*variant)->runs_here())
            return *variant;
    return NULL;
}

int main(int count, char **arguments)
{
    const Variant *variant = count == 2 ? named(arguments[1]) : NULL;
    if (variant == NULL)
        return 2;
    int32_t head[8];
    while (fread(head, sizeof head, 1, stdin) == 1) {
        const size_t width = (size_t)head[0], height = (size_t)head[1], depth = (size_t)head[2];
        const Window window = {head[3], head[4], head[5], head[6], (size_t)head[7]};
        const size_t result = window.size * window.size * channels_of(depth);
        uint8_t *pixels = malloc(width * height * depth), *out = malloc(result);
        const Picture picture = {pixels, width, height, width * depth, depth};
        if (!pixels || !out || fread(pixels, width * height * depth, 1, stdin) != 1)
            return 3;
        if (resample_picture(variant, &picture, &window, out) != RESAMPLE_OK || fwrite(out, result, 1, stdout) != 1)
            return 4;
        free(out);
        free(pixels);
    }
    return 0;
}
