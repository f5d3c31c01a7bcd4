/* @TITLE@: create it from its weights file, run it, free it.
 *
 * Made by tc for @TARGET@. See README.md for building and for the command line.
 * Every function that can fail says why in a model_error, which may be NULL. An instance serves one
 * call at a time; any number of instances may run at the same time, in threads of one process too.
 * Nothing is allocated after model_create.
 */
#ifndef MODEL_H
#define MODEL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { MODEL_MAX_RANK = @RANK@, MODEL_GENERATES = @GENERATES@ };

/* Types of elements. */
typedef enum {
    MODEL_BOOL, MODEL_I8, MODEL_I16, MODEL_I32, MODEL_I64, MODEL_U8,
    MODEL_F16, MODEL_BF16, MODEL_F32, MODEL_F64
} model_dtype;

/* What went wrong; model_cli exits with these numbers. */
typedef enum {
    MODEL_OK = 0,
    MODEL_ERROR_USAGE = 2,            /* unknown command, option or name; NULL for something */
    MODEL_ERROR_WEIGHTS_MISSING = 3,  /* no weights file, or it cannot be opened */
    MODEL_ERROR_WEIGHTS_TRUNCATED = 4, /* it is shorter or longer than it should be */
    MODEL_ERROR_WEIGHTS_DAMAGED = 5,  /* its content does not match its checksum */
    MODEL_ERROR_WEIGHTS_VERSION = 6,  /* its format is of another version */
    MODEL_ERROR_WEIGHTS_OTHER = 7,    /* it belongs to another model */
    MODEL_ERROR_MEMORY = 8,           /* the system gives no memory */
    MODEL_ERROR_MACHINE = 9,          /* big-endian, or with other kinds of numbers */
    MODEL_ERROR_LIMIT = 10,           /* larger than the instance, or the model, allows */
    MODEL_ERROR_DTYPE = 11,           /* an element type other than the model takes */
    MODEL_ERROR_RANK = 12,            /* another number of dims */
    MODEL_ERROR_SHAPE = 13,           /* sizes that do not fit the model or each other */
    MODEL_ERROR_ID = 14,              /* an id out of the range of its table */
    MODEL_ERROR_VALUE = 15,           /* another value that the model cannot use */
    MODEL_ERROR_BUFFER = 16,          /* memory for a result that is too small or missing */
    MODEL_ERROR_THREADS = 17,         /* several threads, of a build that has one */
    MODEL_ERROR_FILE = 20,            /* a file that cannot be read */
    MODEL_ERROR_FORMAT = 21,          /* a file that is no valid .npy file */
    MODEL_ERROR_ORDER = 22,           /* an .npy file in Fortran order */
    MODEL_ERROR_NUMBER = 23,          /* text that is no number, or out of range */
    MODEL_ERROR_OUTPUT = 24           /* a file that cannot be written */
} model_code;

/* The code and one line of text. */
typedef struct {
    model_code code;
    char text[256];
} model_error;

/* A dense, row-major array in the caller's memory; `bytes` is the size of that memory. */
typedef struct {
    model_dtype dtype;
    int32_t rank;
    int64_t shape[MODEL_MAX_RANK];
    void *data;
    size_t bytes;
} model_tensor;

/* What an input or output is called and how it looks; `shape` is text like "batch, length". */
typedef struct {
    const char *name;
    model_dtype dtype;
    int32_t rank;
    const char *shape;
} model_tensor_info;

/* The largest sizes that an instance serves, from which its memory follows, and its threads. */
typedef struct {
@LIMITS@
    int64_t threads; /* of a call; more than 1 needs a build with THREADS=openmp */
    int64_t private_weights; /* 1: read into memory of the instance, in large pages; 0: mapped */
} model_limits;

typedef struct {
    const char *name;       /* class of the model */
    const char *target;     /* what it was compiled for */
    const char *version;    /* of tc */
    uint64_t fingerprint;   /* of the layout of its weights */
    uint64_t weights_bytes; /* size of the weights file */
    int32_t limits;         /* how many sizes there are in model_limits */
    const char *const *limit_names;
} model_info;

/* Inputs and outputs of model_run, in order. */
enum {
@INPUTS@
    MODEL_INPUTS
};
enum {
@OUTPUTS@
    MODEL_OUTPUTS
};

extern const model_tensor_info model_inputs[];
extern const model_tensor_info model_outputs[];
extern const model_info model_about;

typedef struct model model;

/* The bounds chosen at export, and one thread. */
model_limits model_default_limits(void);

/* Bytes of working memory of an instance with these limits (NULL: the default); -1: an error. */
int64_t model_arena_size(const model_limits *limits, model_error *error);

/* A new instance, or NULL. The weights are mapped, read-only and shared between processes. */
model *model_create(const char *weights, const model_limits *limits, model_error *error);

/* Free an instance; NULL is allowed. */
void model_free(model *m);

/* Set dtype, rank and shape of the MODEL_OUTPUTS outputs for these MODEL_INPUTS inputs, and in
 * `bytes` the memory that each needs. Nothing is computed, and no data is looked at. */
model_code model_shape(const model *m, const model_tensor *inputs, model_tensor *outputs,
                       model_error *error);

/* Compute the outputs, each into `data` of at least the bytes that model_shape tells, where nothing
 * else lies; the other fields are set. */
model_code model_run(model *m, const model_tensor *inputs, model_tensor *outputs,
                     model_error *error);

/* Bytes of one element. */
size_t model_dtype_bytes(model_dtype dtype);

/* The name of an element type, "f32". */
const char *model_dtype_name(model_dtype dtype);
@GENERATION@
#ifdef __cplusplus
}
#endif

#endif
