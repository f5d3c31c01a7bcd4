/* Arrays in .npy files: ten bytes, a header that is a Python dict, the data. */
#include "npy.h"
#include "runtime.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_HEADER = 65536, MOST_TEXT = 256 };

/* NumPy's name of each element type, by model_dtype. */
static const char *const NAMES[] = {"|b1", "|i1", "<i2", "<i4", "<i8",
                                    "|u1", "<f2", "<u2", "<f4", "<f8"};

/* What is left of a header. */
typedef struct {
    const char *at;
    const char *end;
} text;

static void skip_blanks(text *t)
{
    while (t->at < t->end && (*t->at == ' ' || *t->at == '\n')) {
        t->at++;
    }
}

static int take_char(text *t, char wanted)
{
    skip_blanks(t);
    if (t->at < t->end && *t->at == wanted) {
        t->at++;
        return 1;
    }
    return 0;
}

/* A word in quotes, at most `size` - 1 characters. */
static int take_word(text *t, char *word, size_t size)
{
    size_t n = 0;
    char quote = '\'';
    if (!take_char(t, '\'')) {
        quote = '"';
        if (!take_char(t, '"')) {
            return 0;
        }
    }
    while (t->at < t->end && *t->at != quote && n + 1 < size) {
        word[n++] = *t->at++;
    }
    word[n] = '\0';
    return take_char(t, quote);
}

static int take_name(text *t, const char *name)
{
    size_t length = strlen(name);
    skip_blanks(t);
    if ((size_t)(t->end - t->at) >= length && memcmp(t->at, name, length) == 0) {
        t->at += length;
        return 1;
    }
    return 0;
}

static int take_size(text *t, int64_t *value)
{
    int digits = 0;
    skip_blanks(t);
    *value = 0;
    while (t->at < t->end && *t->at >= '0' && *t->at <= '9') {
        if (*value > (INT64_MAX - 9) / 10) {
            return 0;
        }
        *value = *value * 10 + (*t->at++ - '0');
        digits++;
    }
    return digits > 0;
}

static int take_shape(text *t, model_tensor *made)
{
    made->rank = 0;
    if (!take_char(t, '(')) {
        return 0;
    }
    while (!take_char(t, ')')) {
        if (made->rank == MODEL_MAX_RANK || !take_size(t, &made->shape[made->rank])) {
            return 0;
        }
        made->rank++;
        if (!take_char(t, ',')) {
            return take_char(t, ')');
        }
    }
    return 1;
}

/* The dict of a header; `fortran` is set. */
static int parse(text *t, model_tensor *made, char *descr, size_t size, int *fortran)
{
    unsigned seen = 0;
    char key[MOST_TEXT];
    *fortran = 0;
    if (!take_char(t, '{')) {
        return 0;
    }
    while (!take_char(t, '}')) {
        if (!take_word(t, key, sizeof key) || !take_char(t, ':')) {
            return 0;
        }
        if (strcmp(key, "descr") == 0 && take_word(t, descr, size)) {
            seen |= 1u;
        } else if (strcmp(key, "fortran_order") == 0 && take_name(t, "True")) {
            *fortran = 1;
            seen |= 2u;
        } else if (strcmp(key, "fortran_order") == 0 && take_name(t, "False")) {
            seen |= 2u;
        } else if (strcmp(key, "shape") == 0 && take_shape(t, made)) {
            seen |= 4u;
        } else {
            return 0;
        }
        if (!take_char(t, ',')) {
            return take_char(t, '}') && seen == 7u;
        }
    }
    return seen == 7u;
}

static model_code damaged(const char *path, const char *why, model_error *error)
{
    return fail(error, MODEL_ERROR_FORMAT, "%s: is no valid .npy file: %s", path, why);
}

static model_code set_type(const char *path, const char *descr, model_tensor *made,
                           model_error *error)
{
    for (int n = 0; n <= (int)MODEL_F64; n++) {
        if (n != (int)MODEL_BF16 && strcmp(descr, NAMES[n]) == 0) {
            made->dtype = (model_dtype)n;
            return MODEL_OK;
        }
    }
    if (strcmp(descr, "<u2") == 0) {
        made->dtype = MODEL_BF16;
        return MODEL_OK;
    }
    for (const char *c = descr; *c != '\0'; c++) {
        if (*c < ' ' || *c > '~') {
            return damaged(path, "its header cannot be read", error);
        }
    }
    return fail(error, MODEL_ERROR_DTYPE, "%s: holds elements of type %.20s, which no model takes",
                path, descr);
}

/* The bytes of the data; 0 and a failure where that is no size. */
static model_code data_size(const char *path, model_tensor *made, model_error *error)
{
    uint64_t bytes = model_dtype_bytes(made->dtype);
    for (int32_t n = 0; n < made->rank; n++) {
        uint64_t size = (uint64_t)made->shape[n];
        if (size != 0 && bytes > (uint64_t)(SIZE_MAX / 2) / size) {
            return damaged(path, "its shape is too large", error);
        }
        bytes *= size;
    }
    made->bytes = (size_t)bytes;
    return MODEL_OK;
}

static model_code read_header(const char *path, FILE *file, model_tensor *made, model_error *error)
{
    unsigned char head[12];
    char descr[MOST_TEXT] = "";
    int fortran = 0;
    if (fread(head, 1, 10, file) != 10 || memcmp(head, "\x93NUMPY", 6) != 0) {
        return damaged(path, "it does not begin like one", error);
    }
    size_t length = (size_t)head[8] | (size_t)head[9] << 8;
    if (head[6] < 1 || head[6] > 3 || head[7] != 0) {
        return damaged(path, "it is of an unknown version", error);
    }
    if (head[6] > 1) {
        if (fread(head + 10, 1, 2, file) != 2) {
            return damaged(path, "it is truncated", error);
        }
        length |= (size_t)head[10] << 16 | (size_t)head[11] << 24;
    }
    if (length > MOST_HEADER) {
        return damaged(path, "its header is too long", error);
    }
    char *header = malloc(length + 1);
    if (header == NULL) {
        return fail(error, MODEL_ERROR_MEMORY, "%s: no memory for its header", path);
    }
    text t = {header, header + length};
    int whole = fread(header, 1, length, file) == length;
    int good = whole && parse(&t, made, descr, sizeof descr, &fortran);
    free(header);
    if (!good) {
        return damaged(path, whole ? "its header cannot be read" : "it is truncated", error);
    }
    if (fortran && made->rank > 1) {
        return fail(error, MODEL_ERROR_ORDER, "%s: is in Fortran order; save it in C order", path);
    }
    model_code code = set_type(path, descr, made, error);
    return code == MODEL_OK ? data_size(path, made, error) : code;
}

/* Whether the file has just `bytes` left: a header must not make us take memory for nothing. */
static int has_left(FILE *file, size_t bytes)
{
    long at = ftell(file);
    if (at < 0 || fseek(file, 0, SEEK_END) != 0) {
        return 0;
    }
    long end = ftell(file);
    return fseek(file, at, SEEK_SET) == 0 && end >= at && (uint64_t)(end - at) == bytes;
}

static model_code read_data(const char *path, FILE *file, model_tensor *made, model_error *error)
{
    if (!has_left(file, made->bytes)) {
        return damaged(path, "the size of its data does not match its shape", error);
    }
    made->data = malloc(made->bytes + 1);
    if (made->data == NULL) {
        return fail(error, MODEL_ERROR_MEMORY, "%s: no memory for %zu bytes", path, made->bytes);
    }
    if (fread(made->data, 1, made->bytes, file) != made->bytes) {
        return fail(error, MODEL_ERROR_FILE, "%s: cannot be read", path);
    }
    return MODEL_OK;
}

model_code npy_read(const char *path, model_tensor *made, model_error *error)
{
    memset(made, 0, sizeof *made);
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        return fail(error, MODEL_ERROR_FILE, "%s: %s", path, strerror(errno));
    }
    model_code code = read_header(path, file, made, error);
    if (code == MODEL_OK) {
        code = read_data(path, file, made, error);
    }
    (void)fclose(file);
    if (code != MODEL_OK) {
        npy_free(made);
    }
    return code;
}

void npy_free(model_tensor *array)
{
    free(array->data);
    array->data = NULL;
}

/* The header with its ten bytes, padded to a multiple of 64; its length. */
static size_t make_header(const model_tensor *array, char *header, size_t size)
{
    int n = snprintf(header + 10, size - 10, "{'descr': '%s', 'fortran_order': False, 'shape': (",
                     NAMES[array->dtype]);
    size_t at = 10 + (size_t)n;
    for (int32_t k = 0; k < array->rank; k++) {
        n = snprintf(header + at, size - at, "%lld,%s", (long long)array->shape[k],
                     k + 1 < array->rank ? " " : "");
        at += (size_t)n;
    }
    n = snprintf(header + at, size - at, "), }");
    at += (size_t)n;
    while (at % 64 != 63) {
        header[at++] = ' ';
    }
    header[at++] = '\n';
    memcpy(header, "\x93NUMPY\x01\x00", 8);
    header[8] = (char)((at - 10) & 0xff);
    header[9] = (char)((at - 10) >> 8);
    return at;
}

model_code npy_write(const char *path, const model_tensor *array, model_error *error)
{
    char header[256 + 24 * MODEL_MAX_RANK];
    size_t length = make_header(array, header, sizeof header - 64);
    size_t bytes = model_dtype_bytes(array->dtype);
    for (int32_t n = 0; n < array->rank; n++) {
        bytes *= (size_t)array->shape[n];
    }
    FILE *file = fopen(path, "wb");
    int good = file != NULL && fwrite(header, 1, length, file) == length &&
               fwrite(array->data, 1, bytes, file) == bytes;
    int reason = errno;
    if (file != NULL && fclose(file) != 0) {
        good = 0;
        reason = errno;
    }
    if (!good) {
        return fail(error, MODEL_ERROR_OUTPUT, "%s: cannot be written: %s", path, strerror(reason));
    }
    return MODEL_OK;
}
