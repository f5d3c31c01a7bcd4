/* Damaged files: every one is refused, and nothing is read out of bounds (sanitizers watch).
 *
 * usage: fuzz WEIGHTS ARRAY.npy SCRATCH COUNT
 */
#include "model.h"
#include "npy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint32_t state = 1;

static uint32_t next(uint32_t below)
{
    state = state * 1664525u + 1013904223u;
    return (state >> 8) % below;
}

static size_t read_all(const char *path, unsigned char *data, size_t size)
{
    FILE *file = fopen(path, "rb");
    size_t count = file == NULL ? 0 : fread(data, 1, size, file);
    if (file != NULL) {
        (void)fclose(file);
    }
    return count;
}

static void write_all(const char *path, const unsigned char *data, size_t size)
{
    FILE *file = fopen(path, "wb");
    if (file == NULL || fwrite(data, 1, size, file) != size || fclose(file) != 0) {
        exit(99);
    }
}

/* Change up to four of the first `span` bytes, or cut the file; whether anything is different. */
static int mutate(const unsigned char *good, unsigned char *bad, size_t *size, uint32_t span)
{
    size_t whole = *size;
    memcpy(bad, good, whole);
    for (uint32_t n = next(4) + 1; n > 0; n--) {
        bad[next(span)] = (unsigned char)next(256);
    }
    if (next(8) == 0) {
        *size = next((uint32_t)whole);
    }
    return *size != whole || memcmp(good, bad, whole) != 0;
}

int main(int count, char **words)
{
    static unsigned char good[1 << 20], bad[1 << 20];
    long rounds = count == 5 ? strtol(words[4], NULL, 10) : 0, refused = 0, read = 0;
    for (long n = 0; n < rounds; n++) {
        model_error error;
        size_t size = read_all(words[1], good, sizeof good);
        int differs = mutate(good, bad, &size, 64);
        write_all(words[3], bad, size);
        model *m = model_create(words[3], NULL, &error);
        if ((m == NULL) != differs || (m == NULL) != (error.code != MODEL_OK)) {
            printf("weights %ld: %s\n", n, error.text);
            return 1;
        }
        refused += m == NULL;
        model_free(m);
    }
    for (long n = 0; n < rounds; n++) {
        model_error error;
        model_tensor array;
        size_t size = read_all(words[2], good, sizeof good);
        (void)mutate(good, bad, &size, 96);
        write_all(words[3], bad, size);
        if (npy_read(words[3], &array, &error) == MODEL_OK) {
            read++;
        } else if (error.code == MODEL_OK || error.text[0] == '\0' || array.data != NULL) {
            printf("array %ld: %s\n", n, error.text);
            return 1;
        }
        npy_free(&array);
    }
    printf("%ld refused, %ld read\n", refused, read);
    return 0;
}
