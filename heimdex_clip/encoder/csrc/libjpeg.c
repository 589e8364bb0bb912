/* Where libjpeg's functions are: dlsym looks through an object's dependencies too. */
#include "jpeg.h"

#include <dlfcn.h>

const char *libjpeg_find(Libjpeg *library, const char *path)
{
    void *object = dlopen(path, RTLD_LAZY | RTLD_LOCAL);
    if (object == NULL)
        return dlerror();
#define LIBJPEG_FIND(name)                                                                                             \
    *(void **)&library->name = dlsym(object, #name);                                                                   \
    if (library->name == NULL)                                                                                         \
        return #name " is not within reach";
    LIBJPEG_FUNCTIONS(LIBJPEG_FIND)
#undef LIBJPEG_FIND
    return NULL;
}
