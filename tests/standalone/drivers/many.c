/* Instances in threads: each gives what one alone gives, and none allocates after it was made.
 *
 * usage: many WEIGHTS; the model takes ids [2, 3] and floats [2, 8]. Linked with --wrap=malloc etc.
 */
#include "model.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { THREADS = 4, CALLS = 25, MOST = 256 };

static volatile int running, allocated;

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);

void *__wrap_malloc(size_t size)
{
    allocated += running;
    return __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    allocated += running;
    return __real_calloc(count, size);
}

typedef struct {
    const char *weights;
    float shift;
    model *m;
    float out[MOST];
    int failed;
} job;

static void compute(job *j)
{
    int64_t ids[6] = {1, 2, 3, 4, 5, 6};
    float x[16], *out = j->out;
    model_error error;
    model_tensor inputs[MODEL_INPUTS], outputs[MODEL_OUTPUTS];
    for (int n = 0; n < 16; n++) {
        x[n] = (float)n * 0.1f + j->shift;
    }
    memset(inputs, 0, sizeof inputs);
    inputs[0] = (model_tensor){MODEL_I64, 2, {2, 3}, ids, sizeof ids};
    inputs[1] = (model_tensor){MODEL_F32, 2, {2, 8}, x, sizeof x};
    outputs[0].data = out;
    outputs[0].bytes = sizeof j->out;
    j->failed |= model_run(j->m, inputs, outputs, &error) != MODEL_OK;
}

static void *work(void *given)
{
    job *j = given;
    for (int n = 0; n < CALLS; n++) {
        compute(j);
    }
    return NULL;
}

int main(int count, char **words)
{
    static job alone[THREADS], jobs[THREADS];
    pthread_t threads[THREADS];
    int wrong = 0;
    for (int n = 0; n < THREADS && count == 2; n++) {
        alone[n].shift = jobs[n].shift = (float)n;
        alone[n].m = model_create(words[1], NULL, NULL);
        jobs[n].m = model_create(words[1], NULL, NULL);
        compute(&alone[n]);
    }
    running = 1;
    compute(&jobs[0]);
    running = 0;
    for (int n = 0; n < THREADS; n++) {
        wrong += pthread_create(&threads[n], NULL, work, &jobs[n]);
    }
    for (int n = 0; n < THREADS; n++) {
        wrong += pthread_join(threads[n], NULL);
        wrong += jobs[n].failed + alone[n].failed;
        wrong += memcmp(jobs[n].out, alone[n].out, sizeof jobs[n].out) != 0;
        model_free(jobs[n].m);
        model_free(alone[n].m);
    }
    printf("%d wrong, %d allocated\n", wrong, allocated);
    return wrong + allocated;
}
