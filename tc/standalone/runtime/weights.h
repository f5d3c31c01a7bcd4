/* The weights file: found, checked and mapped. Not for users. */
#ifndef MODEL_WEIGHTS_H
#define MODEL_WEIGHTS_H

#include "model.h"

/* See runtime.h. */
#define map_weights model_map_weights
#define own_weights model_own_weights
#define unmap_weights model_unmap_weights

/* Map the file, read-only and shared; refuse any that is not just this model's. */
model_code map_weights(const char *path, const unsigned char **data, size_t *mapped,
                       model_error *error);

/* Copy what was mapped into memory of this process, in large pages where the system has them: the
 * processor looks pages up less often. The mapping is given up. */
model_code own_weights(const unsigned char **data, size_t *mapped, model_error *error);

/* Undo it; NULL is allowed. */
void unmap_weights(const unsigned char *data, size_t mapped);

#endif
