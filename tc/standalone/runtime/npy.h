/* Arrays in .npy files (NumPy's format, versions 1 to 3), little-endian and in C order. */
#ifndef MODEL_NPY_H
#define MODEL_NPY_H

#include "model.h"

/* Read a file into memory that npy_free gives back. Nothing of the file is trusted. */
model_code npy_read(const char *path, model_tensor *made, model_error *error);

/* Write an array; an existing file is replaced. bf16 is written as u2, the bits. */
model_code npy_write(const char *path, const model_tensor *array, model_error *error);

void npy_free(model_tensor *array);

#endif
