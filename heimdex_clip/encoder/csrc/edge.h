/* The Python edge: everything that a caller may hand over is checked here, and nothing behind it checks again. */
#ifndef HEIMDEX_EDGE_H
#define HEIMDEX_EDGE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "resample.h"

/* Where the result is: a square of the resized picture, as a caller names it. */
typedef struct {
    Py_ssize_t resized_width, resized_height, left, top;
} Place;

/* NULL with an exception set where this machine has no such variant. */
const Variant *edge_variant(const char *name);
/* A C-contiguous buffer of unsigned bytes with 2 or 3 dimensions, none of them 0. Returns 0 with an exception set. */
int edge_pixels(PyObject *object, int flags, const char *name, Py_buffer *view);
/* 1 for two dimensions, otherwise the third. */
size_t edge_depth(const Py_buffer *view);
/* Returns 0 with an exception set where the place of `out` is not inside what a picture of this size is resized to. */
int edge_window(Py_ssize_t width, Py_ssize_t height, size_t channels, const Place *place, const Py_buffer *out,
                Window *window);
/* For a call whose arguments were not numbers of 64 bits. */
PyObject *edge_not_parsed(void);
/* NULL, with the exception for a status that is neither good nor the file's fault. */
PyObject *edge_failed(Status status);

PyObject *resize_crop(PyObject *module, PyObject *args);
PyObject *jpeg_resize_crop(PyObject *module, PyObject *args);
PyObject *libjpeg(PyObject *module, PyObject *args);
extern const char resize_crop_doc[], jpeg_resize_crop_doc[], libjpeg_doc[];

#endif
