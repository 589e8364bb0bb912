/* A JPEG that is resized while it is decoded: some rows at a time, and of those the columns that the result needs.
 *
 * Every Huffman code is read, to the file's last byte, so that a flaw anywhere is noticed; outside the region nothing
 * is computed from them. */
#include "jpeg.h"

#include <setjmp.h>
#include <stdlib.h>
#include <string.h>

enum { BAND_ROWS = MAX_LANES, MARKER = 0xFF, END_OF_IMAGE = 0xD9 };

typedef struct {
    Source source; /* first, so that a pointer to it is one to the whole */
    const Libjpeg *library;
    const JpegFile *file;
    struct jpeg_decompress_struct decoder;
    struct jpeg_error_mgr errors;
    jmp_buf refusal;
    int several_scans;
    Region region;
    size_t rows_left; /* of the region */
    uint8_t *rows;    /* BAND_ROWS of them */
    size_t row_bytes, first_column; /* what the library gives of a row, and which column of the picture comes first */
} Jpeg;

static void refuse(j_common_ptr decoder)
{
    longjmp(((Jpeg *)decoder->client_data)->refusal, 1);
}

static void refuse_what_is_warned_of(j_common_ptr decoder, int level)
{
    if (level < 0)
        refuse(decoder);
}

/* Run one step. The library leaves it by `refuse` at its first complaint. */
static Status guarded(Jpeg *jpeg, Status (*step)(Jpeg *))
{
    return setjmp(jpeg->refusal) != 0 ? RESAMPLE_REFUSED : step(jpeg);
}

/* Whether 0xFF stands twice in a row in the scans, which no encoder writes: then the pixels would depend on the pieces in
 * which the library is given the file. What follows the end of a single scan does not matter. */
static int has_fill_bytes(const uint8_t *at, size_t size, int several_scans)
{
    const uint8_t *const last = at + (size != 0 ? size - 1 : 0);
    while (at < last && (at = memchr(at, MARKER, (size_t)(last - at))) != NULL) {
        if (at[1] == MARKER)
            return 1;
        if (at[1] == END_OF_IMAGE && !several_scans)
            return 0;
        at += 2;
    }
    return 0;
}

static Status open_file(Jpeg *jpeg)
{
    const JpegFile *file = jpeg->file;
    struct jpeg_decompress_struct *decoder = &jpeg->decoder;
    jpeg->library->jpeg_CreateDecompress(decoder, JPEG_LIB_VERSION, sizeof *decoder);
    jpeg->library->jpeg_mem_src(decoder, file->data, file->size);
    if (jpeg->library->jpeg_read_header(decoder, TRUE) != JPEG_HEADER_OK)
        return RESAMPLE_REFUSED;
    /* Whether three components are YCbCr or RGB is the library's own decision, by several signs. */
    const J_COLOR_SPACE colour = file->channels == 1 ? JCS_GRAYSCALE : JCS_YCbCr;
    if (decoder->image_width != file->width || decoder->image_height != file->height ||
        decoder->num_components != (int)file->channels || decoder->jpeg_color_space != colour)
        return RESAMPLE_REFUSED;
    decoder->out_color_space = file->channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
    jpeg->several_scans = jpeg->library->jpeg_has_multiple_scans(decoder);
    return has_fill_bytes(decoder->src->next_input_byte, decoder->src->bytes_in_buffer, jpeg->several_scans)
               ? RESAMPLE_REFUSED
               : RESAMPLE_OK;
}

static size_t at_most_a_band(size_t rows)
{
    return rows < BAND_ROWS ? rows : BAND_ROWS;
}

/* Read `count` rows, at most BAND_ROWS. */
static Status read_rows(Jpeg *jpeg, size_t count)
{
    JSAMPROW rows[BAND_ROWS];
    for (size_t row = 0; row < count; row++)
        rows[row] = jpeg->rows + row * jpeg->row_bytes;
    for (size_t done = 0; done < count;) {
        const JDIMENSION read =
            jpeg->library->jpeg_read_scanlines(&jpeg->decoder, rows + done, (JDIMENSION)(count - done));
        if (read == 0)
            return RESAMPLE_REFUSED; /* it waits for more of the file, and there is no more */
        done += read;
    }
    return RESAMPLE_OK;
}

/* Read on, to the row `until`. */
static Status pass_over(Jpeg *jpeg, size_t until)
{
    Status status = RESAMPLE_OK;
    while (status == RESAMPLE_OK && jpeg->decoder.output_scanline < until)
        status = read_rows(jpeg, at_most_a_band(until - jpeg->decoder.output_scanline));
    return status;
}

/* Leave out what is more than a block away from the region. The block's breadth is for the library's smoothing of
 * colours, which looks at neighbours; of several scans it may smooth blocks too, which looks further. */
static void crop(Jpeg *jpeg)
{
    struct jpeg_decompress_struct *decoder = &jpeg->decoder;
    const size_t breadth = (size_t)(DCTSIZE * decoder->max_h_samp_factor), end = jpeg->region.column + jpeg->region.columns;
    JDIMENSION first = jpeg->region.column > breadth ? (JDIMENSION)(jpeg->region.column - breadth) : 0;
    JDIMENSION width = decoder->output_width - first;
    if (end + breadth < decoder->output_width)
        width = (JDIMENSION)(end + breadth) - first;
    if (width < decoder->output_width)
        jpeg->library->jpeg_crop_scanline(decoder, &first, &width); /* and from where on it gives them */
    jpeg->first_column = first;
}

static Status start(Jpeg *jpeg)
{
    struct jpeg_decompress_struct *decoder = &jpeg->decoder;
    if (!jpeg->library->jpeg_start_decompress(decoder))
        return RESAMPLE_REFUSED;
    if (!jpeg->several_scans)
        crop(jpeg);
    jpeg->row_bytes = decoder->output_width * jpeg->file->channels;
    jpeg->rows = allocate(BAND_ROWS, jpeg->row_bytes);
    if (jpeg->rows == NULL)
        return RESAMPLE_NO_MEMORY;
    const size_t breadth = (size_t)(2 * DCTSIZE * decoder->max_v_samp_factor);
    if (!jpeg->several_scans && jpeg->region.row > breadth)
        jpeg->library->jpeg_skip_scanlines(decoder, (JDIMENSION)(jpeg->region.row - breadth));
    return pass_over(jpeg, jpeg->region.row);
}

static Status begin(Source *source, const Region *region)
{
    Jpeg *jpeg = (Jpeg *)source;
    jpeg->region = *region;
    jpeg->rows_left = region->rows;
    return guarded(jpeg, start);
}

static Status read_band(Jpeg *jpeg)
{
    return read_rows(jpeg, at_most_a_band(jpeg->rows_left));
}

static Status next(Source *source, Picture *band)
{
    Jpeg *jpeg = (Jpeg *)source;
    const size_t before = jpeg->region.column - jpeg->first_column, channels = jpeg->file->channels;
    const Status status = guarded(jpeg, read_band);
    *band = (Picture){jpeg->rows + before * channels, jpeg->row_bytes / channels - before,
                      at_most_a_band(jpeg->rows_left), jpeg->row_bytes, channels};
    jpeg->rows_left -= band->height;
    return status;
}

/* Read what is below the region, for its flaws. Of several scans the whole file has been read already. */
static Status finish(Jpeg *jpeg)
{
    struct jpeg_decompress_struct *decoder = &jpeg->decoder;
    if (jpeg->several_scans)
        return RESAMPLE_OK;
    /* All but the last row: skipping that one too would end at once, without a look at what it skips. */
    const JDIMENSION last = decoder->output_height - 1;
    if (decoder->output_scanline < last)
        jpeg->library->jpeg_skip_scanlines(decoder, last - decoder->output_scanline);
    const Status status = pass_over(jpeg, decoder->output_height);
    return status == RESAMPLE_OK && !jpeg->library->jpeg_finish_decompress(decoder) ? RESAMPLE_REFUSED : status;
}

Status resample_jpeg(const Variant *variant, const Libjpeg *library, const JpegFile *file, const Window *window,
                     uint8_t *out)
{
    Jpeg jpeg;
    memset(&jpeg, 0, sizeof jpeg);
    jpeg.source = (Source){file->width, file->height, file->channels, begin, next};
    jpeg.library = library;
    jpeg.file = file;
    jpeg.decoder.err = library->jpeg_std_error(&jpeg.errors);
    jpeg.decoder.client_data = &jpeg;
    jpeg.errors.error_exit = refuse;
    jpeg.errors.emit_message = refuse_what_is_warned_of;

    Status status = guarded(&jpeg, open_file);
    if (status == RESAMPLE_OK)
        status = resample(variant, &jpeg.source, window, out);
    if (status == RESAMPLE_OK)
        status = guarded(&jpeg, finish);
    library->jpeg_destroy_decompress(&jpeg.decoder);
    free(jpeg.rows);
    return status;
}
