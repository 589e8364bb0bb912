/* The module: its functions by name, and no state. */
#include "edge.h"

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
    {"jpeg_resize_crop", jpeg_resize_crop, METH_VARARGS, jpeg_resize_crop_doc},
    {"libjpeg", libjpeg, METH_VARARGS, libjpeg_doc},
    {"variants", variants, METH_NOARGS, variants_doc},
    {NULL, NULL, 0, NULL},
};

/* Nothing to execute: no state, so any interpreter may load it. */
static PyModuleDef_Slot slots[] = {{0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "_resample",
    .m_doc = "Pillow's bicubic resize of 8-bit pixels, the kept square only. See resample.py and jpeg.py, its users.",
    .m_methods = methods,
    .m_slots = slots,
};

PyMODINIT_FUNC PyInit__resample(void)
{
    return PyModuleDef_Init(&definition);
}
