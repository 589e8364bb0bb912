/* The Python edge: everything that a caller may hand over is checked here, and nothing behind it checks again. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "resample.h"

#include <string.h>

static const Variant *variant_named(const char *name)
{
    for (const Variant *const *variant = VARIANTS; *variant != NULL; variant++)
        if (strcmp((*variant)->name, name) == 0 && (*variant)->runs_here())
            return *variant;
    return NULL;
}

/* A C-contiguous buffer of unsigned bytes with 2 or 3 dimensions, none of them 0. Returns 0 with an exception set. */
static int bytes_of(PyObject *object, int flags, const char *name, Py_buffer *view)
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

static size_t depth_of(const Py_buffer *view)
{
    return view->ndim == 2 ? 1 : (size_t)view->shape[2];
}

static const char *complaint(const Py_buffer *source, const Py_buffer *out, Py_ssize_t resized_width,
                             Py_ssize_t resized_height, Py_ssize_t left, Py_ssize_t top)
{
    const size_t pixel_bytes = depth_of(source);
    if (pixel_bytes != 1 && pixel_bytes != 3 && pixel_bytes != 4)
        return "source must have 1, 3 or 4 bytes a pixel";
    if (source->shape[0] > MAX_SIDE || source->shape[1] > MAX_SIDE)
        return "source may have at most 2^24 pixels a side";
    if (depth_of(out) != channels_of(pixel_bytes) || out->shape[0] != out->shape[1])
        return "out must be [size, size] for a grey source, [size, size, 3] for a colour one";
    if (resized_width < 1 || resized_height < 1 || resized_width > INT32_MAX || resized_height > INT32_MAX)
        return "a resized side must be from 1 to 2^31 - 1";
    if (left < 0 || top < 0 || out->shape[0] > resized_width || out->shape[0] > resized_height ||
        left > resized_width - out->shape[0] || top > resized_height - out->shape[0])
        return "out must lie inside the resized picture";
    return NULL;
}

static PyObject *failed(Status status)
{
    if (status == RESAMPLE_NO_MEMORY)
        return PyErr_NoMemory();
    PyErr_SetString(PyExc_ValueError, "the coefficients leave the fixed-point range");
    return NULL;
}

PyDoc_STRVAR(resize_crop_doc, "resize_crop(source, out, resized_width, resized_height, left, top, variant, /)\n--\n\n"
                              "Write the square of the resized source that `out` has room for, from (left, top) on.");

static PyObject *resize_crop(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *source_object, *out_object;
    Py_ssize_t resized_width, resized_height, left, top;
    const char *name;
    if (!PyArg_ParseTuple(args, "OOnnnns:resize_crop", &source_object, &out_object, &resized_width, &resized_height,
                          &left, &top, &name)) {
        if (PyErr_ExceptionMatches(PyExc_OverflowError))
            PyErr_SetString(PyExc_ValueError, "a number is beyond 64 bits");
        return NULL;
    }
    const Variant *variant = variant_named(name);
    if (variant == NULL)
        return PyErr_Format(PyExc_ValueError, "this machine has no variant '%.20s'", name);

    Py_buffer source, out;
    if (!bytes_of(source_object, PyBUF_SIMPLE, "source", &source))
        return NULL;
    if (!bytes_of(out_object, PyBUF_WRITABLE, "out", &out)) {
        PyBuffer_Release(&source);
        return NULL;
    }
    PyObject *result = NULL;
    const char *wrong = complaint(&source, &out, resized_width, resized_height, left, top);
    if (wrong != NULL) {
        PyErr_SetString(PyExc_ValueError, wrong);
    } else {
        const size_t width = (size_t)source.shape[1], height = (size_t)source.shape[0], depth = depth_of(&source);
        const Picture picture = {source.buf, width, height, width * depth, depth};
        const Window window = {(int32_t)resized_width, (int32_t)resized_height, (int32_t)left, (int32_t)top,
                               (size_t)out.shape[0]};
        Status status;
        Py_BEGIN_ALLOW_THREADS
        status = resample(variant, &picture, &window, out.buf);
        Py_END_ALLOW_THREADS
        result = status == RESAMPLE_OK ? Py_NewRef(Py_None) : failed(status);
    }
    PyBuffer_Release(&out);
    PyBuffer_Release(&source);
    return result;
}

PyDoc_STRVAR(variants_doc, "variants()\n--\n\nThe names of the variants that this machine runs, best first.");

static PyObject *variants(PyObject *module, PyObject *unused)
{
    (void)module, (void)unused;
    PyObject *names = PyList_New(0);
    for (const Variant *const *variant = VARIANTS; names != NULL && *variant != NULL; variant++) {
        if (!(*variant)->runs_here())
            continue;
        PyObject *name = PyUnicode_FromString((*variant)->name);
        if (name == NULL || PyList_Append(names, name) != 0)
            Py_CLEAR(names);
        Py_XDECREF(name);
    }
    return names;
}

static PyMethodDef methods[] = {
    {"resize_crop", resize_crop, METH_VARARGS, resize_crop_doc},
    {"variants", variants, METH_NOARGS, variants_doc},
    {NULL, NULL, 0, NULL},
};

/* Nothing to execute: no state, so any interpreter may load it. */
static PyModuleDef_Slot slots[] = {{0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_resample",
    .m_doc = "Pillow's bicubic resize of 8-bit pixels, the kept square only. See resample.py, its only user.",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__resample(void)
{
    return PyModuleDef_Init(&definition);
}
