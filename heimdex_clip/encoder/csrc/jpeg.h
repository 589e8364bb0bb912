/* JPEGs as sources of rows, decoded by the libjpeg that Pillow itself calls. docs/adr/0008-jpeg-rows.md has the reasons. */
#ifndef HEIMDEX_JPEG_H
#define HEIMDEX_JPEG_H

#include "resample.h"

#include <stdio.h> /* which jpeglib.h wants before it */

#include "libjpeg/jpeglib.h"

#define LIBJPEG_FUNCTIONS(EACH)                                                                                        \
    EACH(jpeg_std_error)                                                                                               \
    EACH(jpeg_CreateDecompress)                                                                                        \
    EACH(jpeg_destroy_decompress)                                                                                      \
    EACH(jpeg_mem_src)                                                                                                 \
    EACH(jpeg_read_header)                                                                                             \
    EACH(jpeg_has_multiple_scans)                                                                                      \
    EACH(jpeg_start_decompress)                                                                                        \
    EACH(jpeg_crop_scanline)                                                                                           \
    EACH(jpeg_skip_scanlines)                                                                                          \
    EACH(jpeg_read_scanlines)                                                                                          \
    EACH(jpeg_finish_decompress)

/* The library's functions, by their own names and types. */
typedef struct {
#define LIBJPEG_FIELD(name) __typeof__(name) *name;
    LIBJPEG_FUNCTIONS(LIBJPEG_FIELD)
#undef LIBJPEG_FIELD
} Libjpeg;

/* Find them where the shared object `path` finds its own. NULL, or what is wrong, valid until the next call. The object
 * stays loaded. */
const char *libjpeg_find(Libjpeg *library, const char *path);

/* What the caller knows of the file; `channels` is 1 for grey and 3 for YCbCr. */
typedef struct {
    const uint8_t *data;
    size_t size;
    size_t width, height, channels;
} JpegFile;

/* As `resample_picture` of the decoded picture. RESAMPLE_REFUSED for a file that is not what was said of it, and one
 * that the library as much as warns of anywhere; `out` then holds anything. */
Status resample_jpeg(const Variant *variant, const Libjpeg *library, const JpegFile *file, const Window *window,
                     uint8_t *out);

#endif
