/* A generation that is given what nobody should: refused, and nothing goes on from there.
 *
 * usage: wrong WEIGHTS; the vocabulary is of 29.
 */
#include "runtime.h"

#include <math.h>
#include <stdio.h>

int main(int count, char **words)
{
    int64_t ids[2] = {1, 29}, made[2];
    float logits[29];
    const history h = {ids, 1, made, 0, 2};
    model_error error;
    model *m = model_create(words[count - 1], NULL, &error);
    int wrong = m == NULL;
    wrong += model_start(m, NULL, 1, 1, &error) != MODEL_ERROR_USAGE;
    wrong += model_generate(m, ids, 1, 2, made, NULL, &error) != MODEL_ERROR_USAGE;
    wrong += model_step(m, ids, &error) != MODEL_ERROR_LIMIT;
    wrong += model_start(m, ids, 1, 2, &error) != MODEL_ERROR_ID;
    wrong += model_step(m, ids, &error) != MODEL_ERROR_LIMIT;
    wrong += model_start(m, ids, 1, 1, &error) != MODEL_OK || error.code != MODEL_OK;
    for (int n = 0; n < 29; n++) {
        logits[n] = n == 5 || n == 9 ? NAN : (float)n;
    }
    wrong += choose(logits, &h) != 5; /* as torch.argmax has it */
    model_free(m);
    printf("%d wrong\n", wrong);
    return wrong;
}
