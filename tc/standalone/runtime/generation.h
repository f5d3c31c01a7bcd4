
/* Generation: ids in, the most probable next ids out, with the keys and values of all layers kept
 * in the instance. One generation at a time for an instance. */

extern const int64_t model_vocabulary;  /* how many logits there are for each sequence */

/* Begin with prompts [batch, length]; of a model with an encoder they are the encoder's input. */
model_code model_start(model *m, const int64_t *ids, int64_t batch, int64_t length,
                       model_error *error);

/* Append one token [batch] to each sequence. */
model_code model_step(model *m, const int64_t *tokens, model_error *error);

/* After model_start and model_step: the logits of the next token, [batch, model_vocabulary]. */
const float *model_logits(const model *m);

/* Greedy search over one prompt of `length` ids: up to `most` new ids in `made`, how many in
 * `count`. It ends early after an id that ends a sequence, which is among them. Ids that the model's
 * settings forbid or force are left out or put in. */
model_code model_generate(model *m, const int64_t *ids, int64_t length, int64_t most,
                          int64_t *made, int64_t *count, model_error *error);
