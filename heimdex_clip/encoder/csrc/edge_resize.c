/* resize_crop: a picture in memory. */
#include "edge.h"

const char resize_crop_doc[] = "resize_crop(source, out, resized_width, resized_height, left, top, variant, /)\n--\n\n"
                               "Write the square of the resized source that `out` has room for, from (left, top) on.";

static PyObject *resized(const Variant *variant, const Py_buffer *source, const Place *place, const Py_buffer *out)
{
    const size_t pixel_bytes = edge_depth(source);
    if (pixel_bytes != 1 && pixel_bytes != 3 && pixel_bytes != 4) {
        PyErr_SetString(PyExc_ValueError, "source must have 1, 3 or 4 bytes a pixel");
        return NULL;
    }
    Window window;
    if (!edge_window(source->shape[1], source->shape[0], channels_of(pixel_bytes), place, out, &window))
        return NULL;
    const size_t width = (size_t)source->shape[1], height = (size_t)source->shape[0];
    const Picture picture = {source->buf, width, height, width * pixel_bytes, pixel_bytes};
    Status status;
    Py_BEGIN_ALLOW_THREADS
    status = resample_picture(variant, &picture, &window, out->buf);
    Py_END_ALLOW_THREADS
    return status == RESAMPLE_OK ? Py_NewRef(Py_None) : edge_failed(status);
}

PyObject *resize_crop(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *source_object, *out_object;
    Place place;
    const char *name;
    if (!PyArg_ParseTuple(args, "OOnnnns:resize_crop", &source_object, &out_object, &place.resized_width,
                          &place.resized_height, &place.left, &place.top, &name))
        return edge_not_parsed();
    const Variant *variant = edge_variant(name);
    Py_buffer source, out;
    if (variant == NULL || !edge_pixels(source_object, PyBUF_SIMPLE, "source", &source))
        return NULL;
    PyObject *result = NULL;
    if (edge_pixels(out_object, PyBUF_WRITABLE, "out", &out)) {
        result = resized(variant, &source, &place, &out);
        PyBuffer_Release(&out);
    }
    PyBuffer_Release(&source);
    return result;
}
