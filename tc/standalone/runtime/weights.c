/* The weights file, mapped into memory.
 *
 * A header of 64 bytes, all numbers little-endian, then the arrays, each at a multiple of 64 bytes,
 * where model.c says:
 *
 *      0  8 bytes  "tcweight"
 *      8  u32      version of the format
 *     12  u32      0
 *     16  u64      bytes of the file
 *     24  u64      fingerprint of the layout: which model's weights these are
 *     32  u64      checksum of everything behind the header
 *     40  u64      0
 *     48  u64      0
 *     56  u64      checksum of the 56 bytes before
 */
#define _DEFAULT_SOURCE

#include "weights.h"
#include "runtime.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static uint64_t number(const unsigned char *at)
{
    uint64_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

/* Eight interleaved polynomials over 64-bit words, modulo 2^64, then one over their values. The
 * prime is odd, so that no change of one word goes unseen. `size` is a multiple of 8. */
static uint64_t checksum(const unsigned char *data, size_t size)
{
    const uint64_t prime = 1099511628211u, basis = 14695981039346656037u;
    uint64_t lane[8], all = basis;
    size_t words = size / 8, n = 0;
    for (size_t k = 0; k < 8; k++) {
        lane[k] = basis + k;
    }
    for (; n + 8 <= words; n += 8) {
        for (size_t k = 0; k < 8; k++) {
            lane[k] = lane[k] * prime + number(data + 8 * (n + k));
        }
    }
    for (; n < words; n++) {
        lane[n % 8] = lane[n % 8] * prime + number(data + 8 * n);
    }
    for (size_t k = 0; k < 8; k++) {
        all = all * prime + (lane[k] ^ (lane[k] >> 32));
    }
    return all;
}

static model_code check(const char *path, const unsigned char *data, size_t size,
                        model_error *error)
{
    if (memcmp(data, "tcweight", 8) != 0) {
        return fail(error, MODEL_ERROR_WEIGHTS_DAMAGED, "weights %s: is no weights file", path);
    }
    uint64_t version = number(data + 8);
    if (version != WEIGHTS_VERSION) {
        return fail(error, MODEL_ERROR_WEIGHTS_VERSION,
                    "weights %s: is of version %llu, this program reads %d", path,
                    (unsigned long long)version, (int)WEIGHTS_VERSION);
    }
    if (number(data + 56) != checksum(data, 56)) {
        return fail(error, MODEL_ERROR_WEIGHTS_DAMAGED,
                    "weights %s: its header does not match its checksum", path);
    }
    if (number(data + 24) != model_about.fingerprint) {
        return fail(error, MODEL_ERROR_WEIGHTS_OTHER, "weights %s: belongs to another model", path);
    }
    if (size != model_about.weights_bytes || number(data + 16) != size) {
        return fail(error, MODEL_ERROR_WEIGHTS_TRUNCATED,
                    "weights %s: has %zu bytes, expected %llu", path, size,
                    (unsigned long long)model_about.weights_bytes);
    }
    if (number(data + 32) != checksum(data + HEADER_BYTES, size - HEADER_BYTES)) {
        return fail(error, MODEL_ERROR_WEIGHTS_DAMAGED,
                    "weights %s: its content does not match its checksum", path);
    }
    return MODEL_OK;
}

/* The file at a multiple of the size of large pages, and a request for such: what a system keeps in
 * them is then mapped in them. Where that cannot be, it is mapped anywhere. */
static void *map_pages(int file, size_t size)
{
#if defined(MADV_HUGEPAGE) && defined(MAP_ANONYMOUS)
    const size_t large = (size_t)1 << 21, page = (size_t)sysconf(_SC_PAGESIZE);
    if (size >= large && size < SIZE_MAX / 2 && large % page == 0) {
        size_t whole = (size + page - 1) / page * page;
        void *room = mmap(NULL, whole + large, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (room != MAP_FAILED) {
            size_t before = (large - (uintptr_t)room % large) % large;
            unsigned char *at = (unsigned char *)room + before;
            if (mmap(at, size, PROT_READ, MAP_SHARED | MAP_FIXED, file, 0) != MAP_FAILED) {
                unmap_weights(room, before);
                unmap_weights(at + whole, large - before);
                (void)madvise(at, size, MADV_HUGEPAGE);
                return at;
            }
            unmap_weights(room, whole + large);
        }
    }
#endif
    return mmap(NULL, size, PROT_READ, MAP_SHARED, file, 0);
}

static model_code map_file(const char *path, int file, const unsigned char **data, size_t *mapped,
                           model_error *error)
{
    struct stat info;
    if (fstat(file, &info) != 0 || !S_ISREG(info.st_mode)) {
        return fail(error, MODEL_ERROR_WEIGHTS_MISSING, "weights %s: is no regular file", path);
    }
    if (info.st_size < HEADER_BYTES || (uint64_t)info.st_size > SIZE_MAX) {
        return fail(error, MODEL_ERROR_WEIGHTS_TRUNCATED,
                    "weights %s: has %lld bytes, expected %llu", path, (long long)info.st_size,
                    (unsigned long long)model_about.weights_bytes);
    }
    size_t size = (size_t)info.st_size;
    void *found = map_pages(file, size);
    if (found == MAP_FAILED) {
        return fail(error, MODEL_ERROR_MEMORY, "weights %s: cannot be mapped: %s", path,
                    strerror(errno));
    }
    *data = found;
    *mapped = size;
    return check(path, *data, size, error);
}

model_code map_weights(const char *path, const unsigned char **data, size_t *mapped,
                       model_error *error)
{
    if (model_about.weights_bytes == 0) {
        return MODEL_OK; /* they are part of the program */
    }
    if (path == NULL) {
        return fail(error, MODEL_ERROR_USAGE, "weights: no path is given");
    }
    int file = open(path, O_RDONLY);
    if (file < 0) {
        return fail(error, MODEL_ERROR_WEIGHTS_MISSING, "weights %s: %s", path, strerror(errno));
    }
    model_code code = map_file(path, file, data, mapped, error);
    (void)close(file);
    return code;
}

model_code own_weights(const unsigned char **data, size_t *mapped, model_error *error)
{
    if (*data == NULL) {
        return MODEL_OK;
    }
    void *own = mmap(NULL, *mapped, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (own == MAP_FAILED) {
        return fail(error, MODEL_ERROR_MEMORY, "weights: no memory for %zu bytes", *mapped);
    }
#ifdef MADV_HUGEPAGE
    (void)madvise(own, *mapped, MADV_HUGEPAGE);
#endif
    memcpy(own, *data, *mapped);
    unmap_weights(*data, *mapped);
    *data = own;
    return MODEL_OK;
}

void unmap_weights(const unsigned char *data, size_t mapped)
{
    if (data != NULL && mapped > 0) {
        (void)munmap((void *)(uintptr_t)data, mapped);
    }
}
