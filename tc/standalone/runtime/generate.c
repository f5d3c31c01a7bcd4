/* Generation over ids, with the keys and values of all layers kept from token to token.
 *
 * The prompt's program writes its rows into the caches and gives the logits of its last position;
 * the step's program appends one row for each sequence. A model with an encoder runs that first.
 */
#include "runtime.h"

#include <string.h>

/* Sizes of the generation in progress, and the tensors of its programs. */
typedef struct {
    int64_t batch;
    int64_t length;  /* of the ids of the program that runs */
    int64_t encoded; /* of the encoder's input */
    int64_t reach;   /* rows of the caches that are used */
    model_tensor *encoder;
    model_tensor *prompt;
    model_tensor *step;
    model_tensor *states; /* results of the encoder */
    model_tensor *made;   /* results of the prompt */
    model_tensor *logits; /* result of a step, in the memory of the prompt's */
    int64_t *chosen;      /* the token of each sequence */
} session;

static const program *numbered(int32_t n)
{
    return n < 0 ? NULL : model_description.programs[n];
}

static int64_t elements(const model_tensor *t)
{
    int64_t count = 1;
    for (int32_t k = 0; k < t->rank; k++) {
        count *= t->shape[k];
    }
    return count;
}

/* Shapes of tensors, dim after dim in `sizes`. */
static void set_shapes(const tensor_row *rows, int32_t count, const int64_t *sizes,
                       model_tensor *tensors)
{
    for (int32_t n = 0; n < count; n++) {
        tensors[n].dtype = rows[n].dtype;
        tensors[n].rank = rows[n].rank;
        for (int32_t k = 0; k < rows[n].rank; k++) {
            tensors[n].shape[k] = *sizes++;
        }
    }
}

/* --- memory: `at` counts from NULL when only the size is wanted */

static void *take(unsigned char *memory, int64_t *at, int64_t bytes)
{
    void *found = memory == NULL ? NULL : memory + *at;
    *at += align_up(bytes);
    return found;
}

/* Tensors of a program, each with memory for its largest size. */
static model_tensor *take_tensors(const model *m, const program *p, int results,
                                  unsigned char *memory, int64_t *at)
{
    if (p == NULL) {
        return NULL;
    }
    int32_t count = results ? p->outputs : p->inputs;
    model_tensor *made = take(memory, at, (int64_t)sizeof(model_tensor) * count);
    const tensor_row *rows = results ? p->output : p->input;
    const int64_t *sizes = m->sizes;
    largest_symbols(m, p, m->largest);
    (results ? p->output_sizes : p->input_sizes)(m->largest, m->sizes);
    for (int32_t n = 0; n < count; n++) {
        int64_t bytes = (int64_t)model_dtype_bytes(rows[n].dtype);
        for (int32_t k = 0; k < rows[n].rank; k++) {
            bytes *= *sizes++;
        }
        void *data = take(memory, at, bytes);
        if (made != NULL) {
            made[n].data = data;
            made[n].bytes = (size_t)bytes;
        }
    }
    return made;
}

/* As `take_tensors`, but inputs that are the memory of other tensors take none. */
static model_tensor *take_step(const model *m, session *s, unsigned char *memory, int64_t *at)
{
    const generation *g = model_description.generates;
    const program *p = numbered(g->step);
    model_tensor *made = take(memory, at, (int64_t)sizeof(model_tensor) * p->inputs);
    int32_t cross = 1;
    int64_t bytes = m->limit[model_batch_limit] * (int64_t)sizeof(int64_t);
    void *ids = take(memory, at, bytes), *positions = take(memory, at, bytes);
    for (int32_t n = 0; made != NULL && n < p->inputs; n++) {
        const tensor_row *row = &p->input[n];
        const model_tensor *same = NULL;
        if (g->step_role[n] == ROLE_CROSS) {
            same = &s->made[cross++];
        }
        for (int32_t k = 0; same == NULL && k < numbered(g->prompt)->inputs; k++) {
            if (strcmp(numbered(g->prompt)->input[k].name, row->name) == 0) {
                same = &s->prompt[k];
            }
        }
        made[n].data = same == NULL ? ids : same->data;
        made[n].bytes = same == NULL ? SIZE_MAX : same->bytes;
        if (g->step_role[n] == ROLE_IDS || g->step_role[n] == ROLE_POSITIONS) {
            made[n].data = g->step_role[n] == ROLE_IDS ? ids : positions;
            made[n].bytes = (size_t)bytes;
        }
    }
    return made;
}

static int64_t lay_out(const model *m, unsigned char *memory)
{
    const generation *g = model_description.generates;
    session empty = {0};
    int64_t at = 0;
    session *s = take(memory, &at, (int64_t)sizeof(session));
    if (s == NULL) {
        s = &empty;
    }
    s->encoder = take_tensors(m, numbered(g->encoder), 0, memory, &at);
    s->states = take_tensors(m, numbered(g->encoder), 1, memory, &at);
    s->prompt = take_tensors(m, numbered(g->prompt), 0, memory, &at);
    s->made = take_tensors(m, numbered(g->prompt), 1, memory, &at);
    s->step = take_step(m, s, memory, &at);
    s->logits = take(memory, &at, (int64_t)sizeof(model_tensor));
    s->chosen = take(memory, &at, m->limit[model_batch_limit] * (int64_t)sizeof(int64_t));
    if (s->logits != NULL) {
        *s->logits = s->made[0];
    }
    return at;
}

int64_t session_bytes(const model *m)
{
    return model_description.generates == NULL ? 0 : lay_out(m, NULL);
}

void session_place(model *m, unsigned char *memory)
{
    if (model_description.generates != NULL) {
        m->session = memory;
        (void)lay_out(m, memory);
    }
}

/* --- calls */

static int64_t symbol_value(const model *m, const session *s, const char *label)
{
    const generation *g = model_description.generates;
    if (strcmp(label, "batch") == 0) {
        return s->batch;
    }
    if (strcmp(label, "capacity") == 0) {
        return m->limit[g->limit];
    }
    if (strcmp(label, "encoder") == 0) {
        return s->encoded;
    }
    return strcmp(label, "reach") == 0 ? s->reach : s->length;
}

/* Fill in the shapes of a program's inputs, and the values of ids, masks and positions. */
static void fill(model *m, const session *s, const program *p, const role *roles,
                 model_tensor *inputs, const int64_t *ids)
{
    for (int32_t n = 0; n < p->symbols; n++) {
        m->symbols[n] = symbol_value(m, s, p->symbol[n].label);
    }
    p->input_sizes(m->symbols, m->sizes);
    set_shapes(p->input, p->inputs, m->sizes, inputs);
    for (int32_t n = 0; n < p->inputs; n++) {
        int64_t *data = inputs[n].data;
        int64_t count = elements(&inputs[n]);
        for (int64_t k = 0; k < count && roles[n] == ROLE_IDS; k++) {
            data[k] = ids[k];
        }
        for (int64_t k = 0; k < count && roles[n] == ROLE_MASK; k++) {
            data[k] = 1;
        }
        for (int64_t k = 0; k < count && roles[n] == ROLE_POSITIONS; k++) {
            data[k] = s->reach - s->length + k % s->length;
        }
    }
}

static model_code encode(model *m, session *s, const int64_t *ids, model_error *error)
{
    const generation *g = model_description.generates;
    const program *p = numbered(g->prompt);
    s->encoded = s->length;
    fill(m, s, numbered(g->encoder), g->encoder_role, s->encoder, ids);
    model_code code = run_program(m, g->encoder, s->encoder, s->states, error);
    for (int32_t n = 0; n < p->inputs && code == MODEL_OK; n++) {
        if (g->prompt_role[n] == ROLE_STATES) {
            size_t bytes = model_dtype_bytes(s->states->dtype) * (size_t)elements(s->states);
            memcpy(s->prompt[n].data, s->states->data, bytes);
        }
    }
    s->length = 1;
    return code;
}

static model_code check_start(const model *m, int64_t batch, int64_t length, model_error *error)
{
    const generation *g = model_description.generates;
    int64_t most = m->limit[g->encoder < 0 ? g->limit : model_encoder_limit];
    if (batch < 1 || batch > m->limit[model_batch_limit]) {
        return fail(error, MODEL_ERROR_LIMIT, "prompts: are %lld, must be 1 to %lld",
                    (long long)batch, (long long)m->limit[model_batch_limit]);
    }
    if (length < 1 || length > most) {
        return fail(error, MODEL_ERROR_LIMIT, "prompt: has %lld ids, must have 1 to %lld",
                    (long long)length, (long long)most);
    }
    return MODEL_OK;
}

/* Both programs of a prompt; `reach` is set when the caches hold it. */
static model_code run_prompt(model *m, session *s, const int64_t *ids, model_error *error)
{
    const generation *g = model_description.generates;
    model_code code = MODEL_OK;
    if (g->encoder >= 0) {
        code = encode(m, s, ids, error);
        for (int64_t k = 0; k < s->batch; k++) {
            s->chosen[k] = g->start;
        }
        ids = s->chosen;
    }
    if (code == MODEL_OK) {
        s->reach = s->length;
        fill(m, s, numbered(g->prompt), g->prompt_role, s->prompt, ids);
        code = run_program(m, g->prompt, s->prompt, s->made, error);
    }
    if (code != MODEL_OK) {
        s->reach = 0;
    }
    return code;
}

model_code model_start(model *m, const int64_t *ids, int64_t batch, int64_t length,
                       model_error *error)
{
    if (m == NULL || ids == NULL) {
        return fail(error, MODEL_ERROR_USAGE, "model_start: an argument is NULL");
    }
    session *s = m->session;
    model_code code = check_start(m, batch, length, error);
    if (code == MODEL_OK) {
        s->batch = batch;
        s->length = length;
        code = run_prompt(m, s, ids, error);
    }
    return code;
}

model_code model_step(model *m, const int64_t *tokens, model_error *error)
{
    if (m == NULL || tokens == NULL) {
        return fail(error, MODEL_ERROR_USAGE, "model_step: an argument is NULL");
    }
    const generation *g = model_description.generates;
    session *s = m->session;
    if (s->reach < 1 || s->reach >= m->limit[g->limit]) {
        return fail(error, MODEL_ERROR_LIMIT, "generation: has %lld positions, the limit is %lld",
                    (long long)s->reach, (long long)m->limit[g->limit]);
    }
    s->length = 1;
    s->reach++;
    fill(m, s, numbered(g->step), g->step_role, s->step, tokens);
    model_code code = run_program(m, g->step, s->step, s->logits, error);
    if (code != MODEL_OK) {
        s->reach--;
    }
    return code;
}

const float *model_logits(const model *m)
{
    const session *s = m->session;
    return s->logits->data;
}

model_code model_generation_limits(model_limits *limits, int64_t length, int64_t tokens,
                                   model_error *error)
{
    const generation *g = model_description.generates;
    int64_t values[MODEL_LIMITS + 1];
    model_limit_values(limits, values);
    int64_t prompt = g->encoder < 0 ? length : 1, most = values[g->limit];
    int64_t encoded = g->encoder < 0 ? 0 : values[model_encoder_limit];
    if (g->encoder >= 0 && length > encoded) {
        return fail(error, MODEL_ERROR_LIMIT, "prompt: has %lld ids, must have 1 to %lld",
                    (long long)length, (long long)encoded);
    }
    /* The last new id is not run. */
    if (prompt > most || tokens - 1 > most - prompt) {
        return fail(error, MODEL_ERROR_LIMIT, "%lld ids and %lld new ones: the limit is %lld",
                    (long long)prompt, (long long)tokens, (long long)most);
    }
    values[g->limit] = max_size(prompt + tokens - 1, prompt);
    if (g->encoder >= 0) {
        values[model_encoder_limit] = length;
    }
    values[model_batch_limit] = 1;
    model_set_limits(limits, values);
    return MODEL_OK;
}

model_code model_generate(model *m, const int64_t *ids, int64_t length, int64_t most,
                          int64_t *made, int64_t *count, model_error *error)
{
    if (m == NULL || ids == NULL || made == NULL || count == NULL) {
        return fail(error, MODEL_ERROR_USAGE, "model_generate: an argument is NULL");
    }
    const generation *g = model_description.generates;
    const session *s = m->session;
    history h = {ids, length, made, 0, most};
    if (g->encoder >= 0) {
        h.prompt = &g->start;
        h.length = 1;
    }
    *count = 0;
    model_code code = fail(error, MODEL_OK, "%s", "");
    if (most > 0) {
        code = model_start(m, ids, 1, length, error);
    }
    while (code == MODEL_OK && *count < most) {
        int64_t token = choose(s->logits->data, &h);
        made[(*count)++] = token;
        h.count = *count;
        if (*count == most || is_end(token)) {
            break;
        }
        code = model_step(m, &token, error);
    }
    return code;
}
