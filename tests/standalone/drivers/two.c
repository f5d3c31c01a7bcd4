/* Two models in one program: what each makes of the same four numbers. */
#include "alpha.h"
#include "recommender_of_the_second_kind.h"

#include <stdio.h>

int main(int count, char **words)
{
    float x[4] = {1, 2, 3, 4}, y[3], z[3];
    alpha_tensor in = {ALPHA_F32, 2, {1, 4}, x, sizeof x}, out = {.data = y, .bytes = sizeof y};
    recommender_of_the_second_kind_tensor other_in =
        {RECOMMENDER_OF_THE_SECOND_KIND_F32, 2, {1, 4}, x, sizeof x};
    recommender_of_the_second_kind_tensor other_out = {.data = z, .bytes = sizeof z};
    alpha *a = alpha_create(words[count - 2], NULL, NULL);
    recommender_of_the_second_kind *b =
        recommender_of_the_second_kind_create(words[count - 1], NULL, NULL);
    if (a == NULL || b == NULL || alpha_run(a, &in, &out, NULL) != ALPHA_OK ||
        recommender_of_the_second_kind_run(b, &other_in, &other_out, NULL) != 0) {
        return 1;
    }
    for (int n = 0; n < 3; n++) {
        printf("%.9g %.9g\n", y[n], z[n]);
    }
    alpha_free(a);
    recommender_of_the_second_kind_free(b);
    return 0;
}
