/* Instances of a model: checks of what goes in, memory planned by liveness, calls of its programs.
 *
 * Everything that is particular to the model stands in model.c, as tables and functions.
 */
#define _POSIX_C_SOURCE 200809L

#include "runtime.h"
#include "weights.h"

#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef _OPENMP
#include <omp.h>
#endif

enum { MOST_THREADS = 1024, SPINS = 500 };

static const size_t DTYPE_BYTES[] = {1, 1, 2, 4, 8, 1, 2, 2, 4, 8};
static const char *const DTYPE_NAMES[] = {"bool", "i8",  "i16",  "i32", "i64",
                                          "u8",   "f16", "bf16", "f32", "f64"};

size_t model_dtype_bytes(model_dtype dtype)
{
    return (unsigned)dtype <= MODEL_F64 ? DTYPE_BYTES[dtype] : 0;
}

const char *model_dtype_name(model_dtype dtype)
{
    return (unsigned)dtype <= MODEL_F64 ? DTYPE_NAMES[dtype] : "unknown";
}

model_code fail(model_error *error, model_code code, const char *format, ...)
{
    if (error != NULL) {
        va_list values;
        va_start(values, format);
        error->code = code;
        (void)vsnprintf(error->text, sizeof error->text, format, values);
        va_end(values);
        for (unsigned char *c = (unsigned char *)error->text; *c != 0; c++) {
            *c = *c < ' ' ? (unsigned char)'?' : *c; /* one line, whatever a path holds */
        }
    }
    return code;
}

static model_code succeed(model_error *error)
{
    if (error != NULL) {
        error->code = MODEL_OK;
        error->text[0] = '\0';
    }
    return MODEL_OK;
}

/* --- planning: the symbols at the limits, and places of the temporaries */

void largest_symbols(const model *m, const program *p, int64_t *values)
{
    for (int32_t n = 0; n < p->symbols; n++) {
        const symbol_row *row = &p->symbol[n];
        int64_t high = row->limit >= 0 ? min_size(row->high, m->limit[row->limit]) : row->high;
        values[n] = row->input < 0 ? row->low : max_size(row->low, high);
    }
}

/* Whether [begin, begin + size) is free of the temporaries that live together with number n. */
static int is_free(const program *p, const int64_t *places, const int64_t *bytes, int32_t n,
                   int64_t begin)
{
    for (int32_t k = 0; k < p->temps; k++) {
        int placed = k != n && places[k] >= 0;
        int together = p->life[k].first <= p->life[n].last && p->life[n].first <= p->life[k].last;
        if (placed && together && begin < places[k] + align_up(bytes[k]) &&
            places[k] < begin + align_up(bytes[n])) {
            return 0;
        }
    }
    return 1;
}

/* The lowest free place for number n: at 0, or behind one that was placed before. */
static int64_t lowest(const program *p, const int64_t *places, const int64_t *bytes, int32_t n)
{
    int64_t best = -1;
    if (is_free(p, places, bytes, n, 0)) {
        return 0;
    }
    for (int32_t k = 0; k < p->temps; k++) {
        if (k != n && places[k] >= 0) {
            int64_t begin = places[k] + align_up(bytes[k]);
            if ((best < 0 || begin < best) && is_free(p, places, bytes, n, begin)) {
                best = begin;
            }
        }
    }
    return best;
}

/* Place all temporaries, those first that are used first, larger ones before smaller ones. */
static int64_t place_temps(const program *p, const int64_t *bytes, int64_t *places)
{
    int64_t total = 0;
    for (int32_t n = 0; n < p->temps; n++) {
        places[n] = -1;
    }
    for (int32_t count = 0; count < p->temps; count++) {
        int32_t next = -1;
        for (int32_t n = 0; n < p->temps; n++) {
            if (places[n] >= 0) {
                continue;
            }
            if (next < 0 || p->life[n].first < p->life[next].first ||
                (p->life[n].first == p->life[next].first && bytes[n] > bytes[next])) {
                next = n;
            }
        }
        places[next] = lowest(p, places, bytes, next);
        total = max_size(total, places[next] + align_up(bytes[next]));
    }
    return total;
}

/* Lay out the memory of every program; the bytes of the arena. */
static int64_t plan(model *m, int64_t *bytes)
{
    int64_t total = 0;
    int64_t *places = m->places;
    for (int32_t n = 0; n < model_description.count; n++) {
        const program *p = model_description.programs[n];
        largest_symbols(m, p, m->largest);
        p->temp_bytes(m->largest, bytes);
        m->scratch[2 * n] = place_temps(p, bytes, places);
        m->scratch[2 * n + 1] = align_up(p->scratch_bytes(m->largest));
        total = max_size(total, m->scratch[2 * n] + m->scratch[2 * n + 1] * m->limits.threads);
        places += p->temps;
    }
    return total;
}

/* --- instances */

/* The most inputs (0), outputs (1) or sizes of positions (2) that a program has. */
static size_t most_of(int which)
{
    int32_t most = 0;
    for (int32_t n = 0; n < model_description.count; n++) {
        const program *p = model_description.programs[n];
        const int32_t counts[] = {p->inputs, p->outputs, p->positions};
        most = counts[which] > most ? counts[which] : most;
    }
    return (size_t)most;
}

/* An instance without arena and weights, in one block of memory. */
static model *new_model(const model_limits *limits, model_error *error)
{
    const description *d = &model_description;
    size_t inputs = most_of(0), outputs = most_of(1);
    size_t sizes = (inputs > outputs ? inputs : outputs) * MODEL_MAX_RANK + most_of(2);
    size_t errors = (size_t)d->checks * (size_t)limits->threads;
    size_t numbers = (size_t)model_about.limits + 2 * (size_t)d->symbols +
                     sizes + (size_t)d->temps + 2 * (size_t)d->count;
    size_t bytes = sizeof(model) + numbers * sizeof(int64_t) +
                   (inputs + outputs) * sizeof(void *) + errors * sizeof(int32_t);
    model *m = calloc(1, bytes);
    if (m == NULL) {
        (void)fail(error, MODEL_ERROR_MEMORY, "no memory for an instance (%zu bytes)", bytes);
        return NULL;
    }
    m->inputs = (void **)(m + 1);
    m->outputs = m->inputs + inputs;
    m->limit = (int64_t *)(void *)(m->outputs + outputs);
    m->symbols = m->limit + model_about.limits;
    m->largest = m->symbols + d->symbols;
    m->sizes = m->largest + d->symbols;
    m->places = m->sizes + sizes;
    m->scratch = m->places + d->temps;
    m->errors = (int32_t *)(void *)(m->scratch + 2 * d->count);
    m->limits = *limits;
    model_limit_values(limits, m->limit);
    return m;
}

static model_code check_limits(const model_limits *limits, model_error *error)
{
    model_limits most = model_default_limits();
    int64_t given[MODEL_LIMITS + 1], bound[MODEL_LIMITS + 1];
    model_limit_values(limits, given);
    model_limit_values(&most, bound);
    for (int32_t n = 0; n < model_about.limits; n++) {
        if (given[n] < 1 || given[n] > bound[n]) {
            return fail(error, MODEL_ERROR_LIMIT, "limit %s: is %lld, must be 1 to %lld",
                        model_about.limit_names[n], (long long)given[n], (long long)bound[n]);
        }
    }
    if (limits->threads < 1 || limits->threads > MOST_THREADS) {
        return fail(error, MODEL_ERROR_LIMIT, "threads: is %lld, must be 1 to %d",
                    (long long)limits->threads, MOST_THREADS);
    }
#ifndef _OPENMP
    if (limits->threads > 1) {
        return fail(error, MODEL_ERROR_THREADS,
                    "threads: is %lld, this build has 1; build with make THREADS=openmp",
                    (long long)limits->threads);
    }
#endif
    if (limits->private_weights != 0 && limits->private_weights != 1) {
        return fail(error, MODEL_ERROR_LIMIT, "private_weights: is %lld, must be 0 or 1",
                    (long long)limits->private_weights);
    }
    return MODEL_OK;
}

/* An instance that knows how much memory it needs, but has none; NULL: an error. */
static model *planned(const model_limits *limits, model_error *error)
{
    model_limits chosen = limits != NULL ? *limits : model_default_limits();
    if (check_limits(&chosen, error) != MODEL_OK) {
        return NULL;
    }
    model *m = new_model(&chosen, error);
    if (m == NULL) {
        return NULL;
    }
    int64_t *bytes = calloc((size_t)model_description.temps + 1, sizeof *bytes);
    if (bytes == NULL) {
        (void)fail(error, MODEL_ERROR_MEMORY, "no memory for planning");
        model_free(m);
        return NULL;
    }
    m->arena_bytes = plan(m, bytes);
    free(bytes);
    return m;
}

int64_t model_arena_size(const model_limits *limits, model_error *error)
{
    (void)succeed(error);
    model *m = planned(limits, error);
    if (m == NULL) {
        return -1;
    }
    int64_t bytes = m->arena_bytes + session_bytes(m) + LINE;
    model_free(m);
    return bytes;
}

static int is_little_endian(void)
{
    const uint16_t one = 1;
    unsigned char first;
    memcpy(&first, &one, 1);
    return first == 1;
}

static model_code take_memory(model *m, model_error *error)
{
    uint64_t bytes = (uint64_t)m->arena_bytes + (uint64_t)session_bytes(m) + LINE;
    if (bytes <= SIZE_MAX) {
        m->block = calloc(1, (size_t)bytes);
    }
    if (m->block == NULL) {
        return fail(error, MODEL_ERROR_MEMORY,
                    "no memory for an arena of %llu bytes; lower the limits",
                    (unsigned long long)bytes);
    }
    m->arena = m->block + (LINE - (uintptr_t)m->block % LINE) % LINE;
    session_place(m, m->arena + m->arena_bytes);
    return MODEL_OK;
}

model *model_create(const char *weights, const model_limits *limits, model_error *error)
{
    (void)succeed(error);
    if (!is_little_endian() || sizeof(float) != 4) {
        (void)fail(error, MODEL_ERROR_MACHINE, "this machine is big-endian, which is not served");
        return NULL;
    }
    model *m = planned(limits, error);
    if (m == NULL) {
        return NULL;
    }
    model_code code = map_weights(weights, &m->weights, &m->mapped, error);
    if (code == MODEL_OK && m->limits.private_weights != 0) {
        code = own_weights(&m->weights, &m->mapped, error);
    }
    if (code != MODEL_OK || take_memory(m, error) != MODEL_OK) {
        model_free(m);
        return NULL;
    }
    return m;
}

void model_free(model *m)
{
    if (m != NULL) {
        unmap_weights(m->weights, m->mapped);
        free(m->block);
        free(m);
    }
}

/* --- calls */

/* Whether the tensor is of the type and rank of its row. */
static model_code check_kind(const tensor_row *row, const model_tensor *t, model_error *error)
{
    if (t->dtype != row->dtype) {
        return fail(error, MODEL_ERROR_DTYPE, "input %s: is of type %s, the model takes %s",
                    row->name, model_dtype_name(t->dtype), model_dtype_name(row->dtype));
    }
    if (t->rank != row->rank) {
        return fail(error, MODEL_ERROR_RANK, "input %s: has rank %d, the model takes %d",
                    row->name, (int)t->rank, (int)row->rank);
    }
    return MODEL_OK;
}

static model_code bind_symbol(const model *m, const program *p, const symbol_row *row,
                              const model_tensor *inputs, int64_t *value, model_error *error)
{
    if (row->input < 0) {
        *value = row->low;
        return MODEL_OK;
    }
    int64_t high = row->limit >= 0 ? min_size(row->high, m->limit[row->limit]) : row->high;
    *value = inputs[row->input].shape[row->dim];
    if (*value < row->low || *value > high) {
        model_code code = *value > high ? MODEL_ERROR_LIMIT : MODEL_ERROR_SHAPE;
        return fail(error, code, "input %s: dim %d (%s) is %lld, must be %lld to %lld",
                    p->input[row->input].name, (int)row->dim, row->label, (long long)*value,
                    (long long)row->low, (long long)high);
    }
    return MODEL_OK;
}

static model_code check_sizes(const program *p, const int64_t *sizes, const model_tensor *inputs,
                              model_error *error)
{
    for (int32_t n = 0; n < p->inputs; n++) {
        uint64_t bytes = model_dtype_bytes(inputs[n].dtype);
        for (int32_t k = 0; k < p->input[n].rank; k++, sizes++) {
            if (inputs[n].shape[k] != *sizes) {
                return fail(error, MODEL_ERROR_SHAPE, "input %s: dim %d is %lld, must be %lld",
                            p->input[n].name, (int)k, (long long)inputs[n].shape[k],
                            (long long)*sizes);
            }
            bytes *= (uint64_t)*sizes;
        }
        if (inputs[n].bytes < bytes) {
            return fail(error, MODEL_ERROR_BUFFER, "input %s: has %zu bytes of memory, needs %llu",
                        p->input[n].name, inputs[n].bytes, (unsigned long long)bytes);
        }
    }
    return MODEL_OK;
}

/* The values of the symbols for these inputs, checked in full. */
static model_code bind(const model *m, const program *p, const model_tensor *inputs,
                       model_error *error)
{
    model_code code = MODEL_OK;
    for (int32_t n = 0; n < p->inputs && code == MODEL_OK; n++) {
        code = check_kind(&p->input[n], &inputs[n], error);
    }
    for (int32_t n = 0; n < p->symbols && code == MODEL_OK; n++) {
        code = bind_symbol(m, p, &p->symbol[n], inputs, &m->symbols[n], error);
    }
    if (code != MODEL_OK) {
        return code;
    }
    p->input_sizes(m->symbols, m->sizes);
    code = check_sizes(p, m->sizes, inputs, error);
    if (code != MODEL_OK) {
        return code;
    }
    p->position_sizes(m->symbols, m->sizes);
    for (int32_t n = 0; n < p->positions; n++) {
        const position_row *row = &p->position[n];
        if (m->sizes[n] > row->maximum) {
            return fail(error, MODEL_ERROR_LIMIT,
                        "input %s: dim %d reaches position %lld, the model has %lld",
                        p->input[row->input].name, (int)row->dim, (long long)m->sizes[n],
                        (long long)row->maximum);
        }
    }
    return MODEL_OK;
}

static int64_t element(const model_tensor *t, size_t n)
{
    if (t->dtype == MODEL_I64) {
        return ((const int64_t *)t->data)[n];
    }
    return t->dtype == MODEL_I32 ? ((const int32_t *)t->data)[n] : 0;
}

/* Whether every id has a row in its table. */
static model_code check_ids(const tensor_row *row, const model_tensor *t, model_error *error)
{
    size_t count = row->ids > 0 ? 1 : 0;
    for (int32_t k = 0; k < row->rank; k++) {
        count *= (size_t)t->shape[k];
    }
    for (size_t n = 0; n < count; n++) {
        int64_t id = element(t, n);
        if (id < 0 || id >= row->ids) {
            return fail(error, MODEL_ERROR_ID, "input %s: holds id %lld, the table has 0 to %lld",
                        row->name, (long long)id, (long long)(row->ids - 1));
        }
    }
    return MODEL_OK;
}

static void set_outputs(const model *m, const program *p, model_tensor *outputs, int ask)
{
    const int64_t *sizes = m->sizes;
    p->output_sizes(m->symbols, m->sizes);
    for (int32_t n = 0; n < p->outputs; n++) {
        size_t bytes = model_dtype_bytes(p->output[n].dtype);
        outputs[n].dtype = p->output[n].dtype;
        outputs[n].rank = p->output[n].rank;
        for (int32_t k = 0; k < p->output[n].rank; k++, sizes++) {
            outputs[n].shape[k] = *sizes;
            bytes *= (size_t)*sizes;
        }
        if (ask) {
            outputs[n].bytes = bytes;
        }
    }
}

static model_code check_outputs(const program *p, const model_tensor *outputs, model_error *error)
{
    for (int32_t n = 0; n < p->outputs; n++) {
        size_t bytes = model_dtype_bytes(outputs[n].dtype);
        for (int32_t k = 0; k < outputs[n].rank; k++) {
            bytes *= (size_t)outputs[n].shape[k];
        }
        if (outputs[n].bytes < bytes || outputs[n].data == NULL) {
            return fail(error, MODEL_ERROR_BUFFER,
                        "output %s: has %zu bytes of memory, needs %zu", p->output[n].name,
                        outputs[n].data == NULL ? (size_t)0 : outputs[n].bytes, bytes);
        }
    }
    return MODEL_OK;
}

model_code model_shape(const model *m, const model_tensor *inputs, model_tensor *outputs,
                       model_error *error)
{
    (void)succeed(error);
    if (m == NULL || (inputs == NULL && MODEL_INPUTS > 0) || outputs == NULL) {
        return fail(error, MODEL_ERROR_USAGE, "model_shape: an argument is NULL");
    }
    model_code code = bind(m, model_description.forward, inputs, error);
    if (code == MODEL_OK) {
        set_outputs(m, model_description.forward, outputs, 1);
    }
    return code;
}

void step_end(const call *c, int64_t team, int64_t step)
{
#ifdef _OPENMP
    /* Not OpenMP's barrier, which spins for long where a core is shared. */
    if (team > 1) {
        int64_t due = team * (step + 1), now;
        int64_t *arrived = c->arrived;
#pragma omp atomic capture seq_cst
        now = ++*arrived;
        for (int spins = 0; now < due; spins++) {
            if (spins > SPINS) {
                (void)sched_yield();
            }
#pragma omp atomic read seq_cst
            now = *arrived;
        }
    }
#else
    (void)c;
    (void)team;
    (void)step;
#endif
}

static void run_team(const program *p, const call *c, int64_t threads)
{
#ifdef _OPENMP
    if (threads > 1) {
#pragma omp parallel num_threads((int)threads)
        p->run(c, omp_get_thread_num(), omp_get_num_threads());
        return;
    }
#endif
    (void)threads;
    p->run(c, 0, 1);
}

static model_code reported(const model *m, model_error *error)
{
    int32_t checks = model_description.checks;
    for (int32_t check = 0; check < checks; check++) {
        for (int64_t thread = 0; thread < m->limits.threads; thread++) {
            int32_t number = m->errors[thread * checks + check];
            if (number > 0) {
                return fail(error, MODEL_ERROR_VALUE, "input value: %s",
                            model_description.messages[check][number - 1]);
            }
        }
    }
    return succeed(error);
}

model_code run_program(model *m, int32_t n, const model_tensor *inputs, model_tensor *outputs,
                       model_error *error)
{
    const program *p = model_description.programs[n];
    const int64_t *places = m->places;
    int64_t arrived = 0;
    model_code code = bind(m, p, inputs, error);
    for (int32_t k = 0; k < p->inputs && code == MODEL_OK; k++) {
        if (inputs[k].data == NULL) {
            return fail(error, MODEL_ERROR_USAGE, "input %s: is NULL", p->input[k].name);
        }
        code = check_ids(&p->input[k], &inputs[k], error);
        m->inputs[k] = inputs[k].data;
    }
    if (code != MODEL_OK) {
        return code;
    }
    set_outputs(m, p, outputs, 0);
    code = check_outputs(p, outputs, error);
    if (code != MODEL_OK) {
        return code;
    }
    for (int32_t k = 0; k < p->outputs; k++) {
        m->outputs[k] = outputs[k].data;
    }
    for (int32_t k = 0; k < n; k++) {
        places += model_description.programs[k]->temps;
    }
    int32_t checks = model_description.checks;
    memset(m->errors, 0, (size_t)checks * (size_t)m->limits.threads * sizeof *m->errors);
    call c = {m->symbols, m->weights, m->arena, places, m->inputs, m->outputs,
              m->arena + m->scratch[2 * n], m->scratch[2 * n + 1], m->errors, checks, &arrived};
    run_team(p, &c, m->limits.threads);
    return reported(m, error);
}

model_code model_run(model *m, const model_tensor *inputs, model_tensor *outputs,
                     model_error *error)
{
    if (m == NULL || (inputs == NULL && MODEL_INPUTS > 0) || outputs == NULL) {
        return fail(error, MODEL_ERROR_USAGE, "model_run: an argument is NULL");
    }
    return run_program(m, 0, inputs, outputs, error);
}
