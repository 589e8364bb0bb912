/* A picture in memory as a source: its region is one band. */
#include "resample.h"

typedef struct {
    Source source; /* first, so that a pointer to it is one to the whole */
    Picture picture;
    Picture region;
} PictureSource;

static Status begin(Source *source, const Region *region)
{
    PictureSource *own = (PictureSource *)source;
    own->region = own->picture;
    own->region.pixels += region->row * own->picture.stride + region->column * own->picture.pixel_bytes;
    own->region.width -= region->column;
    own->region.height = region->rows;
    return RESAMPLE_OK;
}

static Status next(Source *source, Picture *band)
{
    *band = ((PictureSource *)source)->region;
    return RESAMPLE_OK;
}

Status resample_picture(const Variant *variant, const Picture *picture, const Window *window, uint8_t *out)
{
    PictureSource own = {{picture->width, picture->height, picture->pixel_bytes, begin, next}, *picture, *picture};
    return resample(variant, &own.source, window, out);
}
