/* What the calls from Python have in common. */
#include "edge.h"

#include <string.h>

const Variant *edge_variant(const char *name)
{
    for (const Variant *const *variant = VARIANTS; *variant != NULL; variant++)
        if (strcmp((*variant)->name, name) == 0 && (*variant)->runs_here())
            return *variant;
    PyErr_Format(PyExc_ValueError, "this machine has no variant '%.20s'", name);
    return NULL;
}

int edge_pixels(PyObject *object, int flags, const char *name, Py_buffer *view)
{
    if (PyObject_GetBuffer(object, view, flags | PyBUF_C_CONTIGUOUS | PyBUF_FORMAT) != 0) {
        if (PyErr_ExceptionMatches(PyExc_BufferError)) {
            PyErr_Clear();
            PyErr_Format(PyExc_ValueError, "%s must be C-contiguous%s", name, flags ? " and writable" : "");
        }
        return 0;
    }
    int good = (view->ndim == 2 || view->ndim == 3) && view->itemsize == 1 &&
               (view->format == NULL || strcmp(view->format, "B") == 0);
    for (int i = 0; good && i < view->ndim; i++)
        good = view->shape[i] > 0;
    if (!good) {
        PyBuffer_Release(view);
        PyErr_Format(PyExc_ValueError, "%s must be uint8 [height, width] or [height, width, channels], none 0", name);
    }
    return good;
}

size_t edge_depth(const Py_buffer *view)
{
    return view->ndim == 2 ? 1 : (size_t)view->shape[2];
}

static const char *complaint(Py_ssize_t width, Py_ssize_t height, size_t channels, const Place *place,
                             const Py_buffer *out)
{
    if (width < 1 || height < 1 || width > MAX_SIDE || height > MAX_SIDE)
        return "a picture may have from 1 to 2^24 pixels a side";
    if (edge_depth(out) != channels || out->shape[0] != out->shape[1])
        return "out must be [size, size] for a grey source, [size, size, 3] for a colour one";
    if (place->resized_width < 1 || place->resized_height < 1 || place->resized_width > INT32_MAX ||
        place->resized_height > INT32_MAX)
        return "a resized side must be from 1 to 2^31 - 1";
    if (place->left < 0 || place->top < 0 || out->shape[0] > place->resized_width ||
        out->shape[0] > place->resized_height || place->left > place->resized_width - out->shape[0] ||
        place->top > place->resized_height - out->shape[0])
        return "out must lie inside the resized picture";
    return NULL;
}

int edge_window(Py_ssize_t width, Py_ssize_t height, size_t channels, const Place *place, const Py_buffer *out,
                Window *window)
{
    const char *wrong = complaint(width, height, channels, place, out);
    if (wrong != NULL) {
        PyErr_SetString(PyExc_ValueError, wrong);
        return 0;
    }
    *window = (Window){(int32_t)place->resized_width, (int32_t)place->resized_height, (int32_t)place->left,
                       (int32_t)place->top, (size_t)out->shape[0]};
    return 1;
}

PyObject *edge_not_parsed(void)
{
    if (PyErr_ExceptionMatches(PyExc_OverflowError))
        PyErr_SetString(PyExc_ValueError, "a number is beyond 64 bits");
    return NULL;
}

PyObject *edge_failed(Status status)
{
    if (status == RESAMPLE_NO_MEMORY)
        return PyErr_NoMemory();
    PyErr_SetString(PyExc_ValueError, "the coefficients leave the fixed-point range");
    return NULL;
}
