/*
 * A checkpoint ready to answer: backend, model, tokenizer, chat template, step and the facts that
 * requests are checked against. `serve` and `generate` both stand on it; `serve` opens it on a
 * thread of its own.
 *
 * After open everything is read-only but the step (with model and backend), which is the engine
 * thread's.
 */
#ifndef UM_SERVER_SERVED_H
#define UM_SERVER_SERVED_H

#include "config/config.h"
#include "core/engine/engine.h"
#include "core/text/chat_template.h"

typedef struct um_served {
    um_backend *backend; /* owned, as are model, tokenizer and step */
    um_model *model;
    const um_model_info *info; /* the model's */
    um_tokenizer *tokenizer;
    const um_chat_template *chat; /* static; NULL: a base model, or switched off */
    um_step *step;
    um_params_limits limits;
    um_engine_options engine; /* for um_engine_create; clock and wake are the caller's */
    char fingerprint[16];     /* "fp_" + 10 hex */
} um_served;

/* The backend that the options ask for; says in the log which. */
um_status um_served_open_backend(const um_config *config, um_backend **out, um_err *err);
/* --rows-per-step, or where it is not given what suits the backend. */
int32_t um_served_step_rows(const um_config *config, const um_backend *backend);

/* Errors name file, tensor, value. `progress` (may be NULL) is told the share loaded and may give
 * up: UM_E_CANCELLED. */
um_status um_served_open(const um_config *config, um_load_progress_fn progress, void *context,
                         um_served *out, um_err *err);
void um_served_close(um_served *served);

/* Encodes a conversation or a text for this model, at most context ids. An overlong prompt is
 * UM_E_CONTEXT_LENGTH with `field`, found out without encoding all of it; one that spells MASK is
 * UM_E_VALUE. `ids` is empty before. */
um_status um_served_encode_chat(const um_served *served, const um_message *messages, size_t count,
                                um_chat_end end, const char *field, um_ids *ids, um_err *err);
um_status um_served_encode_text(const um_served *served, const char *text, size_t length,
                                const char *field, um_ids *ids, um_err *err);
/* A text in the middle of another: nothing is put in front of it or behind it, and the bytes of its
 * tokens are its own. Appends to `ids`, at most
 * context ids in all. */
um_status um_served_encode_more(const um_served *served, const char *text, size_t length,
                                const char *field, um_ids *ids, um_err *err);
/* The same ids to be looked at: any number of them, and MASK may be among them. `around`: with what
 * tokenizer and family put in front of a text and behind it (chat: all of it in front). Errors have
 * the field "prompt" or "messages". */
um_status um_served_tokenize_text(const um_served *served, const char *text, size_t length,
                                  bool around, um_ids *ids, um_err *err);
um_status um_served_tokenize_chat(const um_served *served, const um_message *messages, size_t count,
                                  um_chat_end end, bool around, um_ids *ids, um_err *err);
/* One prompt of the command line: a user's message, or with `raw` (and for models without chat) the
 * text itself. */
um_status um_served_encode_prompt(const um_served *served, bool raw, const char *text,
                                  size_t length, um_ids *ids, um_err *err);

/* The sampler options of the command line, for um_params_resolve; the seed is left to the caller.
 * The algorithm's name is borrowed. UM_E_CONFLICT. */
um_status um_served_given(const um_served *served, const um_config *config, um_params_given *out,
                          um_err *err);

#endif
