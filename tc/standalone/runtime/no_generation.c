/* This model does not generate: no memory is needed for it. */
#include "runtime.h"

int64_t session_bytes(const model *m)
{
    (void)m;
    return 0;
}

void session_place(model *m, unsigned char *memory)
{
    (void)m;
    (void)memory;
}
