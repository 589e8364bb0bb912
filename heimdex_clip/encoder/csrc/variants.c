/* Which variants there are, best first. */
#include "resample.h"

const Variant *const VARIANTS[] = {
#ifdef HAS_X86
    &VARIANT_AVX512,
    &VARIANT_AVX2,
#endif
#ifdef HAS_NEON
    &VARIANT_NEON,
#endif
    &VARIANT_C,
    NULL,
};
