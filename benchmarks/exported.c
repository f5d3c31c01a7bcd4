/* What benchmarks/exported.py needs of an exported model beside model.h, in one library with it. */
#define _POSIX_C_SOURCE 200809L

#include "model.h"

#include <time.h>

/* How many inputs, or outputs, model_run takes. */
int32_t bench_count(int32_t of_outputs)
{
    return of_outputs ? (int32_t)MODEL_OUTPUTS : (int32_t)MODEL_INPUTS;
}

/* Seconds of each of `calls` calls of model_run, one right after another; their mean.
 * Negative: a call failed. */
double bench_calls(model *m, const model_tensor *inputs, model_tensor *outputs, int64_t calls,
                   model_error *error)
{
    struct timespec begin, end;
    (void)clock_gettime(CLOCK_MONOTONIC, &begin);
    for (int64_t n = 0; n < calls; n++) {
        if (model_run(m, inputs, outputs, error) != MODEL_OK) {
            return -1.0;
        }
    }
    (void)clock_gettime(CLOCK_MONOTONIC, &end);
    double seconds = (double)(end.tv_sec - begin.tv_sec);
    return (seconds + (double)(end.tv_nsec - begin.tv_nsec) * 1e-9) / (double)calls;
}
