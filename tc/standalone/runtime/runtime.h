/* How model.c describes its programs, and what runtime.c does with them. Not for users. */
#ifndef MODEL_RUNTIME_H
#define MODEL_RUNTIME_H

#include "model.h"

/* What files call of each other has other names for those who link a program with the library. */
#define choose model_choose
#define fail model_fail
#define is_end model_is_end
#define largest_symbols model_largest_symbols
#define run_program model_run_program
#define session_bytes model_session_bytes
#define session_place model_session_place
#define step_end model_step_end

enum { LINE = 64, HEADER_BYTES = 64, WEIGHTS_VERSION = 1, MODEL_LIMITS = @SIZES@ };

/* `ids`: how many rows the table has that its elements index; 0: they index nothing. */
typedef struct {
    const char *name;
    model_dtype dtype;
    int32_t rank;
    int64_t ids;
} tensor_row;

/* A size that is known at each call: dim `dim` of input `input`, or `low` where that is -1.
 * `limit` is the number of the size in model_limits that bounds it, or -1. */
typedef struct {
    const char *label;
    int64_t low;
    int64_t high;
    int32_t limit;
    int32_t input;
    int32_t dim;
} symbol_row;

/* The first and the last step that uses a temporary. */
typedef struct {
    int32_t first;
    int32_t last;
} lifetime;

/* The model has so many positions: a size of an input that must not be exceeded. */
typedef struct {
    int32_t input;
    int32_t dim;
    int64_t maximum;
} position_row;

/* Everything that the steps of one call need. */
typedef struct {
    const int64_t *symbols;
    const unsigned char *weights;
    unsigned char *arena;
    const int64_t *places; /* of each temporary in the arena */
    void *const *inputs;
    void *const *outputs;
    unsigned char *scratch;
    int64_t scratch_bytes; /* of each thread */
    int32_t *errors;       /* of each thread: one word for each kernel that checks values */
    int32_t checks;        /* how many words that are for a thread */
    int64_t *arrived;      /* threads at a barrier so far */
} call;

/* One program: its tables, and functions of the symbols' values. */
typedef struct {
    const char *name;
    int32_t symbols;
    int32_t inputs;
    int32_t outputs;
    int32_t temps;
    int32_t positions;
    const symbol_row *symbol;
    const tensor_row *input;
    const tensor_row *output;
    const lifetime *life;
    const position_row *position;
    void (*input_sizes)(const int64_t *s, int64_t *sizes);  /* dim after dim, input after input */
    void (*output_sizes)(const int64_t *s, int64_t *sizes);
    void (*temp_bytes)(const int64_t *s, int64_t *bytes);
    void (*position_sizes)(const int64_t *s, int64_t *sizes);
    int64_t (*scratch_bytes)(const int64_t *s);
    void (*run)(const call *c, int64_t tid, int64_t team);
} program;

/* What an input of a generation's program is. */
typedef enum {
    ROLE_IDS, ROLE_CACHE, ROLE_MASK, ROLE_POSITIONS, ROLE_STATES, ROLE_CROSS, ROLE_REACH
} role;

/* The programs of a generation, by their numbers, and what their inputs are. The first result of
 * the encoder is its states; those of a prompt are the logits, then keys and values of states. */
typedef struct {
    int32_t encoder; /* -1: there is none */
    int32_t prompt;
    int32_t step;
    const role *encoder_role;
    const role *prompt_role;
    const role *step_role;
    int32_t limit; /* number of the limit of what is generated, prompts among it */
    int64_t start; /* the decoder's first id, of a model with an encoder */
} generation;

typedef struct {
    const int64_t *ids;
    int32_t count;
} id_list;

/* What is said of the ids that a search chooses. */
typedef struct {
    float penalty;      /* of ids that occurred before; 1: none */
    int64_t unrepeated; /* how long a row of ids may not occur twice; 0: any may */
    int64_t least;      /* ids, prompts among them, before one that ends */
    int64_t least_new;  /* new ids before one that ends */
    id_list ends;
    id_list never;
    id_list not_first;
    id_list first; /* which are forced after a prompt of one id */
    id_list last;  /* and where no more may follow */
} choice_rules;

extern const choice_rules model_rules;

/* The ids of one sequence: a prompt, then what was chosen. */
typedef struct {
    const int64_t *prompt;
    int64_t length;
    const int64_t *made;
    int64_t count;
    int64_t most; /* how many may be made */
} history;

/* The most probable id that the rules allow; what they say is written into the logits. */
int64_t choose(float *logits, const history *ids);
int is_end(int64_t id);

/* The model as model.c describes it. */
typedef struct {
    const program *forward;
    const program *const *programs;
    int32_t count; /* of all programs */
    int32_t symbols; /* the most that one of them has */
    int32_t temps;   /* of all of them */
    int32_t checks;  /* kernels that check values, and one word for the others */
    const char *const *const *messages; /* of those */
    const generation *generates; /* NULL: it does not */
} description;

extern const description model_description;
extern const int32_t model_batch_limit;   /* which of the limits is the batch */
extern const int32_t model_encoder_limit; /* and the length of an encoder's input */

/* The sizes of limits in order, and back; threads stay. */
void model_limit_values(const model_limits *limits, int64_t *values);
void model_set_limits(model_limits *limits, const int64_t *values);

/* Limits for one prompt and so many new ids, none larger than before. */
model_code model_generation_limits(model_limits *limits, int64_t length, int64_t tokens,
                                   model_error *error);

/* An instance. */
struct model {
    const unsigned char *weights;
    size_t mapped;
    model_limits limits;
    int64_t *limit;    /* the values of the limits */
    int64_t *symbols;  /* of the call in progress */
    int64_t *largest;  /* the symbols of a program at the limits */
    int64_t *sizes;    /* dims of a program's inputs or outputs */
    int64_t *places;   /* of the temporaries of every program, one after the other */
    int64_t *scratch;  /* where each program's scratch memory begins, and its bytes for a thread */
    int32_t *errors;
    void **inputs;
    void **outputs;
    unsigned char *block; /* as it was allocated */
    unsigned char *arena;
    int64_t arena_bytes;
    void *session; /* of a generation */
};

/* Run program number `n` of the description on checked tensors. */
model_code run_program(model *m, int32_t n, const model_tensor *inputs, model_tensor *outputs,
                       model_error *error);

/* The bytes that a generation's memory takes in the arena, and laying it out there. */
int64_t session_bytes(const model *m);
void session_place(model *m, unsigned char *memory);

/* The symbols of a program at an instance's limits. */
void largest_symbols(const model *m, const program *p, int64_t *values);

/* Set an error; the text is cut to what fits. Returns the code. */
model_code fail(model_error *error, model_code code, const char *format, ...);

/* Between two steps every thread waits for all others. */
void step_end(const call *c, int64_t team, int64_t step);

/* Where an array of the weights, or a temporary, lies. */
static inline const void *weight(const call *c, size_t offset)
{
    return c->weights + offset;
}

static inline void *temp(const call *c, int32_t n)
{
    return c->arena + c->places[n];
}

/* `a` divided by `b`, rounded down, for positive b; and what is left. */
static inline int64_t div_floor(int64_t a, int64_t b)
{
    return a >= 0 ? a / b : -((-a + b - 1) / b);
}

static inline int64_t mod_floor(int64_t a, int64_t b)
{
    return a - div_floor(a, b) * b;
}

static inline int64_t min_size(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

static inline int64_t max_size(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static inline int64_t align_up(int64_t size)
{
    return (size + LINE - 1) / LINE * LINE;
}

#endif
