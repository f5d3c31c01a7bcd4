/* The command line of a model: info, run, generate, bench. See README.md.
 *
 * Exit status 0, or one line on standard error and the error's number of model.h.
 */
#define _POSIX_C_SOURCE 200809L

#include "model.h"
#include "npy.h"
#include "runtime.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char USAGE[] =
    "usage: model_cli [--weights FILE] [--private-weights 0|1] [--threads N] COMMAND\n"
    "  info                                     what the model takes and gives\n"
    "  run --input NAME=in.npy ... --output NAME=out.npy ...\n"
    "  generate --ids 1,2,3 [--max-new-tokens N]    (generative models)\n"
    "  bench [--repeat N] [--LIMIT N ...]       microseconds of a call on made-up inputs\n";

/* What the command line says; limits are 0 where they are not given. */
typedef struct {
    char beside[4096]; /* where the weights lie if nothing is said: in the program's folder */
    const char *weights;
    const char *command;
    const char *ids;
    int64_t threads;
    int64_t private_weights;
    int64_t repeat;
    int64_t tokens;
    int64_t limit[MODEL_LIMITS + 1];
    const char *input[MODEL_INPUTS + 1];
    const char *output[MODEL_OUTPUTS + 1];
} options;

/* --- reading the command line */

static model_code read_number(const char *what, const char *given, int64_t least, int64_t *value,
                              const char **rest, model_error *error)
{
    char *end = NULL;
    errno = 0;
    long long found = strtoll(given, &end, 10);
    int begins = *given == '-' || (*given >= '0' && *given <= '9');
    int stops = *end == '\0' || (rest != NULL && *end == ',');
    if (!begins || !stops || errno != 0) {
        return fail(error, MODEL_ERROR_NUMBER, "%s: '%.40s' is no number", what, given);
    }
    if (found < least) {
        return fail(error, MODEL_ERROR_NUMBER, "%s: is %lld, must be at least %lld", what, found,
                    (long long)least);
    }
    if (rest != NULL) {
        *rest = *end == ',' ? end + 1 : NULL;
    }
    *value = found;
    return MODEL_OK;
}

/* Enter NAME=FILE in the table of files by the number of the input or output of that name. */
static model_code take_file(const char *given, const model_tensor_info *known, int count,
                            const char **files, model_error *error)
{
    for (int n = 0; n < count; n++) {
        size_t length = strlen(known[n].name);
        if (strncmp(given, known[n].name, length) != 0 || given[length] != '=') {
            continue;
        }
        if (files[n] != NULL) {
            return fail(error, MODEL_ERROR_USAGE, "%s: is given twice", known[n].name);
        }
        files[n] = given + length + 1;
        return MODEL_OK;
    }
    return fail(error, MODEL_ERROR_USAGE, "'%.80s': expected NAME=FILE; model_cli info lists names",
                given);
}

static model_code take_option(const char *name, const char *value, options *o, model_error *error)
{
    if (strcmp(name, "--weights") == 0) {
        o->weights = value;
        return MODEL_OK;
    }
    if (strcmp(name, "--ids") == 0) {
        o->ids = value;
        return MODEL_OK;
    }
    if (strcmp(name, "--input") == 0) {
        return take_file(value, model_inputs, MODEL_INPUTS, o->input, error);
    }
    if (strcmp(name, "--output") == 0) {
        return take_file(value, model_outputs, MODEL_OUTPUTS, o->output, error);
    }
    if (strcmp(name, "--threads") == 0) {
        return read_number(name, value, 1, &o->threads, NULL, error);
    }
    if (strcmp(name, "--private-weights") == 0) {
        return read_number(name, value, 0, &o->private_weights, NULL, error);
    }
    if (strcmp(name, "--repeat") == 0) {
        return read_number(name, value, 1, &o->repeat, NULL, error);
    }
    if (strcmp(name, "--max-new-tokens") == 0) {
        return read_number(name, value, 0, &o->tokens, NULL, error);
    }
    for (int32_t n = 0; n < model_about.limits; n++) {
        if (strncmp(name, "--", 2) == 0 && strcmp(name + 2, model_about.limit_names[n]) == 0) {
            return read_number(name, value, 1, &o->limit[n], NULL, error);
        }
    }
    return fail(error, MODEL_ERROR_USAGE, "'%.80s': unknown option; model_cli --help", name);
}

static void look_beside(const char *program, options *o)
{
    const char *slash = strrchr(program, '/');
    size_t length = slash == NULL ? 0 : (size_t)(slash - program) + 1;
    if (length + sizeof "weights.bin" <= sizeof o->beside) {
        memcpy(o->beside, program, length);
        memcpy(o->beside + length, "weights.bin", sizeof "weights.bin");
        o->weights = o->beside;
    }
}

static model_code read_options(int count, char **words, options *o, model_error *error)
{
    memset(o, 0, sizeof *o);
    o->weights = "weights.bin";
    look_beside(count > 0 ? words[0] : "", o);
    o->threads = 1;
    o->repeat = 100;
    o->tokens = 32;
    for (int n = 1; n < count; n++) {
        if (strncmp(words[n], "--", 2) != 0 && o->command == NULL) {
            o->command = words[n];
            continue;
        }
        if (n + 1 == count) {
            return fail(error, MODEL_ERROR_USAGE, "'%.80s': needs a value; model_cli --help",
                        words[n]);
        }
        model_code code = take_option(words[n], words[n + 1], o, error);
        if (code != MODEL_OK) {
            return code;
        }
        n++;
    }
    if (o->command == NULL) {
        return fail(error, MODEL_ERROR_USAGE, "no command; model_cli --help");
    }
    return MODEL_OK;
}

/* --- info */

static void print_tensors(const char *kind, const model_tensor_info *infos, int count)
{
    for (int n = 0; n < count; n++) {
        printf("%s %s: %s[%s]\n", kind, infos[n].name, model_dtype_name(infos[n].dtype),
               infos[n].shape);
    }
}

static model_code show(const options *o, model_error *error)
{
    model_limits limits = model_default_limits();
    int64_t most[MODEL_LIMITS + 1];
    limits.threads = o->threads;
    int64_t arena = model_arena_size(&limits, error);
    if (arena < 0) {
        return error->code;
    }
    printf("%s for %s, made by tc %s\n", model_about.name, model_about.target,
           model_about.version);
    print_tensors("input", model_inputs, MODEL_INPUTS);
    print_tensors("output", model_outputs, MODEL_OUTPUTS);
    model_limit_values(&limits, most);
    for (int32_t n = 0; n < model_about.limits; n++) {
        printf("%s: at most %lld\n", model_about.limit_names[n], (long long)most[n]);
    }
    printf("weights: %llu bytes\narena: %lld bytes at these limits\ngenerates: %s\n",
           (unsigned long long)model_about.weights_bytes, (long long)arena,
           MODEL_GENERATES ? "yes" : "no");
    return MODEL_OK;
}

/* --- instances */

static model_limits limits_for(const options *o)
{
    model_limits limits = model_default_limits();
    int64_t values[MODEL_LIMITS + 1];
    model_limit_values(&limits, values);
    for (int32_t n = 0; n < model_about.limits; n++) {
        values[n] = o->limit[n] > 0 ? o->limit[n] : values[n];
    }
    model_set_limits(&limits, values);
    limits.threads = o->threads;
    limits.private_weights = o->private_weights;
    return limits;
}

/* Limits that were not given fit the inputs: an instance for one call needs memory for no more. */
static void fit(const options *o, const model_tensor *inputs, model_limits *limits)
{
    const program *p = model_description.forward;
    int64_t values[MODEL_LIMITS + 1], needed[MODEL_LIMITS + 1] = {0};
    model_limit_values(limits, values);
    for (int32_t n = 0; n < p->symbols; n++) {
        const symbol_row *row = &p->symbol[n];
        if (row->limit >= 0 && row->input >= 0 && row->dim < inputs[row->input].rank) {
            int64_t given = inputs[row->input].shape[row->dim];
            needed[row->limit] = max_size(needed[row->limit], given);
        }
    }
    for (int32_t n = 0; n < model_about.limits; n++) {
        if (o->limit[n] == 0 && needed[n] > 0) {
            values[n] = min_size(values[n], needed[n]);
        }
    }
    model_set_limits(limits, values);
}

static model_code open_model(const options *o, const model_limits *limits, model **m,
                             model_error *error)
{
    *m = model_create(o->weights, limits, error);
    return *m == NULL ? error->code : MODEL_OK;
}

/* --- run */

static model_code take_results(model_tensor *outputs, model_error *error)
{
    for (int n = 0; n < MODEL_OUTPUTS; n++) {
        outputs[n].data = malloc(outputs[n].bytes + 1);
        if (outputs[n].data == NULL) {
            return fail(error, MODEL_ERROR_MEMORY, "output %s: no memory for %zu bytes",
                        model_outputs[n].name, outputs[n].bytes);
        }
    }
    return MODEL_OK;
}

static model_code read_inputs(const options *o, model_tensor *inputs, model_error *error)
{
    for (int n = 0; n < MODEL_INPUTS; n++) {
        if (o->input[n] == NULL) {
            return fail(error, MODEL_ERROR_USAGE, "input %s: is missing (--input %s=FILE)",
                        model_inputs[n].name, model_inputs[n].name);
        }
        model_code code = npy_read(o->input[n], &inputs[n], error);
        if (code != MODEL_OK) {
            return code;
        }
    }
    return MODEL_OK;
}

static model_code compute(model *m, const options *o, const model_tensor *inputs,
                          model_tensor *outputs, model_error *error)
{
    model_code code = model_shape(m, inputs, outputs, error);
    if (code == MODEL_OK) {
        code = take_results(outputs, error);
    }
    if (code == MODEL_OK) {
        code = model_run(m, inputs, outputs, error);
    }
    for (int n = 0; n < MODEL_OUTPUTS && code == MODEL_OK; n++) {
        if (o->output[n] != NULL) {
            code = npy_write(o->output[n], &outputs[n], error);
        }
    }
    return code;
}

static void free_all(model_tensor *inputs, model_tensor *outputs)
{
    for (int n = 0; n < MODEL_INPUTS; n++) {
        npy_free(&inputs[n]);
    }
    for (int n = 0; n < MODEL_OUTPUTS; n++) {
        npy_free(&outputs[n]);
    }
}

static model_code run(const options *o, model_limits limits, model_error *error)
{
    model_tensor inputs[MODEL_INPUTS + 1], outputs[MODEL_OUTPUTS + 1];
    model *m = NULL;
    memset(inputs, 0, sizeof inputs);
    memset(outputs, 0, sizeof outputs);
    model_code code = read_inputs(o, inputs, error);
    if (code == MODEL_OK) {
        fit(o, inputs, &limits);
        code = open_model(o, &limits, &m, error);
    }
    if (code == MODEL_OK) {
        code = compute(m, o, inputs, outputs, error);
    }
    model_free(m);
    free_all(inputs, outputs);
    return code;
}

/* --- bench */

static double now(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec * 1e-3;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Made-up values: ids of the table, ones for other whole numbers, floats between -1 and 1. */
static void make_up(const tensor_row *row, model_tensor *t, size_t count)
{
    uint32_t state = 1;
    for (size_t n = 0; n < count; n++) {
        state = state * 1664525u + 1013904223u;
        if (t->dtype == MODEL_F32) {
            ((float *)t->data)[n] = (float)(state >> 8) / 8388608.0f - 1.0f;
        } else if (t->dtype == MODEL_I64) {
            ((int64_t *)t->data)[n] = row->ids > 0 ? (int64_t)(state >> 1) % row->ids : 1;
        } else if (t->dtype == MODEL_I32) {
            ((int32_t *)t->data)[n] = row->ids > 0 ? (int32_t)((state >> 1) % row->ids) : 1;
        } else if (t->dtype == MODEL_BOOL) {
            ((unsigned char *)t->data)[n] = 1;
        }
    }
}

/* Inputs of the sizes that the instance was made for. */
static model_code make_inputs(const model *m, model_tensor *inputs, model_error *error)
{
    const program *p = model_description.forward;
    const int64_t *size = m->sizes;
    largest_symbols(m, p, m->symbols);
    p->input_sizes(m->symbols, m->sizes);
    for (int32_t n = 0; n < p->inputs; n++) {
        size_t count = 1;
        inputs[n].dtype = p->input[n].dtype;
        inputs[n].rank = p->input[n].rank;
        for (int32_t k = 0; k < p->input[n].rank; k++) {
            inputs[n].shape[k] = *size++;
            count *= (size_t)inputs[n].shape[k];
        }
        inputs[n].bytes = count * model_dtype_bytes(inputs[n].dtype);
        inputs[n].data = calloc(1, inputs[n].bytes + 1);
        if (inputs[n].data == NULL) {
            return fail(error, MODEL_ERROR_MEMORY, "input %s: no memory", p->input[n].name);
        }
        make_up(&p->input[n], &inputs[n], count);
    }
    return MODEL_OK;
}

static void print_times(double *times, int64_t count)
{
    static const struct {
        const char *name;
        double share;
    } rows[] = {{"min", 0.0}, {"median", 0.5}, {"p90", 0.9}, {"p95", 0.95}, {"p99", 0.99},
                {"max", 1.0}};
    qsort(times, (size_t)count, sizeof *times, by_size);
    for (size_t n = 0; n < sizeof rows / sizeof rows[0]; n++) {
        size_t at = (size_t)(rows[n].share * (double)(count - 1) + 0.5);
        printf("%s%s %.1f", n == 0 ? "" : "  ", rows[n].name, times[at]);
    }
    printf("  us over %lld calls\n", (long long)count);
}

static model_code time_calls(model *m, int64_t repeat, model_tensor *inputs, model_tensor *outputs,
                             model_error *error)
{
    model_code code = make_inputs(m, inputs, error);
    if (code == MODEL_OK) {
        code = model_shape(m, inputs, outputs, error);
    }
    if (code == MODEL_OK) {
        code = take_results(outputs, error);
    }
    if (code == MODEL_OK) {
        code = model_run(m, inputs, outputs, error);
    }
    double *times = code == MODEL_OK ? calloc((size_t)repeat, sizeof *times) : NULL;
    if (code == MODEL_OK && times == NULL) {
        return fail(error, MODEL_ERROR_MEMORY, "no memory for %lld times", (long long)repeat);
    }
    for (int64_t n = 0; n < repeat && code == MODEL_OK; n++) {
        double begin = now();
        code = model_run(m, inputs, outputs, error);
        times[n] = now() - begin;
    }
    if (code == MODEL_OK) {
        print_times(times, repeat);
    }
    free(times);
    return code;
}

/* A made-up call has one sequence of 128 where nothing else is said. */
static void shrink(const options *o, model_limits *limits)
{
    int64_t values[MODEL_LIMITS + 1];
    model_limit_values(limits, values);
    for (int32_t n = 0; n < model_about.limits; n++) {
        if (o->limit[n] == 0) {
            values[n] = min_size(values[n], n == model_batch_limit ? 1 : 128);
        }
    }
    model_set_limits(limits, values);
}

static model_code bench(const options *o, model_limits limits, model_error *error)
{
    model_tensor inputs[MODEL_INPUTS + 1], outputs[MODEL_OUTPUTS + 1];
    model *m = NULL;
    memset(inputs, 0, sizeof inputs);
    memset(outputs, 0, sizeof outputs);
    shrink(o, &limits);
    model_code code = open_model(o, &limits, &m, error);
    if (code == MODEL_OK) {
        code = time_calls(m, o->repeat, inputs, outputs, error);
    }
    model_free(m);
    free_all(inputs, outputs);
    return code;
}

/* --- generate */

static model_code read_ids(const char *given, int64_t **ids, int64_t *count, model_error *error)
{
    size_t most = 1;
    *count = 0;
    for (const char *c = given; *c != '\0'; c++) {
        most += *c == ',';
    }
    *ids = calloc(most, sizeof **ids);
    if (*ids == NULL) {
        return fail(error, MODEL_ERROR_MEMORY, "--ids: no memory for %zu ids", most);
    }
    while (given != NULL) {
        model_code code = read_number("--ids", given, 0, &(*ids)[*count], &given, error);
        if (code != MODEL_OK) {
            return code;
        }
        ++*count;
    }
    return MODEL_OK;
}

#if @GENERATES@
static model_code generate_ids(model *m, const int64_t *ids, int64_t length, int64_t *made,
                               int64_t tokens, model_error *error)
{
    int64_t count = 0;
    model_code code = model_generate(m, ids, length, tokens, made, &count, error);
    for (int64_t n = 0; n < count && code == MODEL_OK; n++) {
        printf("%s%lld", n == 0 ? "" : ",", (long long)made[n]);
    }
    if (code == MODEL_OK) {
        printf("\n");
    }
    return code;
}

static model_code generate(const options *o, model_error *error)
{
    int64_t *ids = NULL, *made = NULL, length = 0;
    model *m = NULL;
    model_limits limits = limits_for(o);
    if (o->ids == NULL) {
        return fail(error, MODEL_ERROR_USAGE, "generate: --ids is missing");
    }
    model_code code = read_ids(o->ids, &ids, &length, error);
    if (code == MODEL_OK) {
        code = model_generation_limits(&limits, length, o->tokens, error);
    }
    if (code == MODEL_OK) {
        made = calloc((size_t)o->tokens + 1, sizeof *made);
        code = made == NULL ? fail(error, MODEL_ERROR_MEMORY, "no memory for the new ids")
                            : open_model(o, &limits, &m, error);
    }
    if (code == MODEL_OK) {
        code = generate_ids(m, ids, length, made, o->tokens, error);
    }
    model_free(m);
    free(made);
    free(ids);
    return code;
}
#else
static model_code generate(const options *o, model_error *error)
{
    int64_t *ids = NULL, length = 0;
    model_code code = o->ids == NULL ? MODEL_OK : read_ids(o->ids, &ids, &length, error);
    free(ids);
    return code != MODEL_OK ? code
                            : fail(error, MODEL_ERROR_USAGE, "generate: %s is no generative model",
                                   model_about.name);
}
#endif

/* --- main */

static model_code command(const options *o, model_error *error)
{
    if (strcmp(o->command, "info") == 0) {
        return show(o, error);
    }
    if (strcmp(o->command, "run") == 0) {
        return run(o, limits_for(o), error);
    }
    if (strcmp(o->command, "generate") == 0) {
        return generate(o, error);
    }
    if (strcmp(o->command, "bench") == 0) {
        return bench(o, limits_for(o), error);
    }
    return fail(error, MODEL_ERROR_USAGE, "'%.80s': unknown command; model_cli --help",
                o->command);
}

int main(int count, char **words)
{
    options o;
    model_error error = {MODEL_OK, ""};
    if (count == 2 && (strcmp(words[1], "--help") == 0 || strcmp(words[1], "-h") == 0)) {
        (void)fputs(USAGE, stdout);
        return 0;
    }
    model_code code = read_options(count, words, &o, &error);
    if (code == MODEL_OK) {
        code = command(&o, &error);
    }
    if (code == MODEL_OK && (fflush(stdout) != 0 || ferror(stdout))) {
        code = fail(&error, MODEL_ERROR_OUTPUT, "standard output: cannot be written");
    }
    if (code != MODEL_OK) {
        (void)fprintf(stderr, "model_cli: %s\n", error.text);
    }
    return (int)code;
}
