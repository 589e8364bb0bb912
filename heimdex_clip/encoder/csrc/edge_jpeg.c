/* libjpeg and jpeg_resize_crop: a JPEG's bytes, and who decodes them. */
#include "edge.h"
#include "jpeg.h"

const char libjpeg_doc[] = "libjpeg(path, /)\n--\n\n"
                           "The libjpeg that the shared object at `path` is linked to. Raises OSError where it has none.";
const char jpeg_resize_crop_doc[] =
    "jpeg_resize_crop(libjpeg, data, width, height, out, resized_width, resized_height, left, top, variant, /)\n--\n\n"
    "`resize_crop` of a JPEG of that size. False where its verdict is Pillow's; `out` then holds anything.";

static const char CAPSULE[] = "heimdex_clip.encoder._resample.libjpeg";

static void forget(PyObject *capsule)
{
    PyMem_Free(PyCapsule_GetPointer(capsule, CAPSULE));
}

PyObject *libjpeg(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *path;
    if (!PyArg_ParseTuple(args, "O&:libjpeg", PyUnicode_FSConverter, &path))
        return NULL;
    Libjpeg *library = PyMem_Calloc(1, sizeof *library);
    PyObject *capsule = library != NULL ? PyCapsule_New(library, CAPSULE, forget) : PyErr_NoMemory();
    const char *wrong = capsule != NULL ? libjpeg_find(library, PyBytes_AsString(path)) : NULL;
    if (wrong != NULL) {
        PyErr_SetString(PyExc_OSError, wrong);
        Py_CLEAR(capsule);
    }
    Py_DECREF(path);
    return capsule;
}

static PyObject *resized(const Variant *variant, const Libjpeg *library, const Py_buffer *data, Py_ssize_t width,
                         Py_ssize_t height, const Place *place, const Py_buffer *out)
{
    const size_t channels = out->ndim == 2 ? 1 : MAX_CHANNELS;
    Window window;
    if (!edge_window(width, height, channels, place, out, &window))
        return NULL;
    const JpegFile file = {data->buf, (size_t)data->len, (size_t)width, (size_t)height, channels};
    Status status;
    Py_BEGIN_ALLOW_THREADS
    status = resample_jpeg(variant, library, &file, &window, out->buf);
    Py_END_ALLOW_THREADS
    if (status != RESAMPLE_OK && status != RESAMPLE_REFUSED)
        return edge_failed(status);
    return PyBool_FromLong(status == RESAMPLE_OK);
}

PyObject *jpeg_resize_crop(PyObject *module, PyObject *args)
{
    (void)module;
    PyObject *capsule, *out_object, *result = NULL;
    Py_buffer data, out;
    Py_ssize_t width, height;
    Place place;
    const char *name;
    if (!PyArg_ParseTuple(args, "Oy*nnOnnnns:jpeg_resize_crop", &capsule, &data, &width, &height, &out_object,
                          &place.resized_width, &place.resized_height, &place.left, &place.top, &name))
        return edge_not_parsed();
    const Libjpeg *library = PyCapsule_GetPointer(capsule, CAPSULE); /* which raises ValueError for anything else */
    const Variant *variant = library != NULL ? edge_variant(name) : NULL;
    if (variant != NULL && edge_pixels(out_object, PyBUF_WRITABLE, "out", &out)) {
        result = resized(variant, library, &data, width, height, &place, &out);
        PyBuffer_Release(&out);
    }
    PyBuffer_Release(&data);
    return result;
}
