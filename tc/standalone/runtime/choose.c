/* Which id comes next: the most probable one that the settings of the model allow. */
#include "runtime.h"

#include <math.h>

static int64_t id_at(const history *h, int64_t n)
{
    return n < h->length ? h->prompt[n] : h->made[n - h->length];
}

static int occurs_before(const history *h, int64_t n)
{
    for (int64_t k = 0; k < n; k++) {
        if (id_at(h, k) == id_at(h, n)) {
            return 1;
        }
    }
    return 0;
}

/* Make every id that occurred less probable, once. */
static void penalise(float *logits, const history *h, float penalty)
{
    for (int64_t n = 0; n < h->length + h->count; n++) {
        int64_t id = id_at(h, n);
        if (id < model_vocabulary && !occurs_before(h, n)) {
            float *logit = &logits[id];
            *logit = *logit < 0.0f ? *logit * penalty : *logit / penalty;
        }
    }
}

/* Forbid what would make the last `size` ids a row that occurred. */
static void forbid_rows(float *logits, const history *h, int64_t size)
{
    int64_t total = h->length + h->count, last = total - (size - 1);
    for (int64_t start = 0; start + size <= total; start++) {
        int64_t same = 0;
        while (same < size - 1 && id_at(h, start + same) == id_at(h, last + same)) {
            same++;
        }
        if (same == size - 1 && id_at(h, start + same) < model_vocabulary) {
            logits[id_at(h, start + same)] = -INFINITY;
        }
    }
}

static void forbid(float *logits, const id_list *list)
{
    for (int32_t n = 0; n < list->count; n++) {
        logits[list->ids[n]] = -INFINITY;
    }
}

static void force(float *logits, const id_list *list)
{
    for (int64_t n = 0; n < model_vocabulary; n++) {
        logits[n] = -INFINITY;
    }
    for (int32_t n = 0; n < list->count; n++) {
        logits[list->ids[n]] = 0.0f;
    }
}

/* The first of the greatest; as elsewhere, nothing is greater than NaN. */
static int64_t most_probable(const float *logits)
{
    int64_t best = 0;
    for (int64_t n = 1; n < model_vocabulary && logits[best] == logits[best]; n++) {
        if (!(logits[n] <= logits[best])) {
            best = n;
        }
    }
    return best;
}

int64_t choose(float *logits, const history *h)
{
    const choice_rules *r = &model_rules;
    int64_t total = h->length + h->count;
    if (r->penalty != 1.0f) {
        penalise(logits, h, r->penalty);
    }
    if (r->unrepeated > 0) {
        forbid_rows(logits, h, r->unrepeated);
    }
    if (total < r->least || h->count < r->least_new) {
        forbid(logits, &r->ends);
    }
    if (total == 1 && r->first.count > 0) {
        force(logits, &r->first);
    }
    if (h->count + 1 == h->most && r->last.count > 0) {
        force(logits, &r->last);
    }
    forbid(logits, &r->never);
    if (h->count == (h->length == 1 && r->first.count > 0)) {
        forbid(logits, &r->not_first);
    }
    return most_probable(logits);
}

int is_end(int64_t id)
{
    for (int32_t n = 0; n < model_rules.ends.count; n++) {
        if (id == model_rules.ends.ids[n]) {
            return 1;
        }
    }
    return 0;
}
