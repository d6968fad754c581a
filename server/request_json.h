/*
 * JSON body -> typed request, for every endpoint that has a body. Fields are rows of tables (name,
 * class, kind, range, where the value goes); every error names field, value and bound, and the
 * first failing check in the order of the table wins. Needs no tokenizer.
 *
 * What happens to a field follows its class: supported; accepted without effect; accepted only
 * with the value that changes nothing; refused. A top-level field that is in no table is ignored
 * and listed in `ignored`, or refused with --strict-params. Nothing is dropped silently.
 *
 * Any thread; no state.
 */
#ifndef UM_SERVER_REQUEST_JSON_H
#define UM_SERVER_REQUEST_JSON_H

#include "core/base/json.h"
#include "core/engine/params.h"
#include "core/text/chat_template.h"

#define UM_MESSAGES_MAX 2048
#define UM_PROMPTS_MAX 16
#define UM_CHOICES_MAX 8 /* --max-n's own maximum */
#define UM_TEMPLATE_PARTS_MAX 64
#define UM_TEXT_LOGPROBS_MAX 5  /* of completions */
#define UM_DRAFT_INTERVAL_MS 33 /* where a request says nothing */
#define UM_DRAFT_INTERVAL_MS_MAX 10000

/* Bits, so that a row of a table can be of several. */
typedef enum um_endpoint {
    UM_ENDPOINT_CHAT = 1,
    UM_ENDPOINT_COMPLETIONS = 2,
    UM_ENDPOINT_FIM = 4,
    UM_ENDPOINT_EDIT = 8,
    UM_ENDPOINT_RESPONSES = 16,
    UM_ENDPOINT_TOKENIZE = 32,
    UM_ENDPOINT_DETOKENIZE = 64,
} um_endpoint;

/* What a stream shows (diffusion.stream). */
typedef enum um_stream_mode {
    UM_STREAM_SETTLED, /* text that cannot change any more */
    UM_STREAM_DRAFT,   /* that, and frames of the draft beside it */
    UM_STREAM_REPLACE, /* the whole text as it stands, each time anew (`diffusing`) */
} um_stream_mode;

/* diffusion.draft */
typedef struct um_draft_options {
    int64_t interval_ms; /* frames come no more often */
    bool full_only;      /* frames: "full" */
    bool guess;
    bool confidence;
    bool token_ids;
} um_draft_options;

/* A piece of diffusion.template: text, or a gap of masked positions. */
typedef struct um_template_part {
    const char *text; /* borrowed from the body; NULL: a gap */
    size_t length;
    int32_t gap; /* positions */
} um_template_part;

/* What a Responses object repeats of its request. */
typedef struct um_responses_echo {
    um_buf instructions;       /* JSON text of the value, or empty: null; owned */
    um_buf metadata;           /* JSON object, or empty: {}; owned */
    um_buf user;               /* JSON string, or empty: null; owned */
    const char *effort;        /* static; NULL: null */
    int64_t max_output_tokens; /* 0: null */
    bool wants_logprobs;       /* include: message.output_text.logprobs */
} um_responses_echo;

/* What bodies are checked against. Read-only after load; everything borrowed. */
typedef struct um_api_rules {
    const char *model_id;
    char *const *model_aliases; /* [model_alias_count] */
    size_t model_alias_count;
    bool strict_params;
    int32_t vocab;       /* ids of a prompt are in [0, vocab) ... */
    int32_t mask_token;  /* ... and not this one, which is never predicted, */
    bool mask_is_text;   /* but where it is an ordinary token of prompts */
    int32_t max_choices; /* --max-n: of `n`; <= UM_CHOICES_MAX */
    const um_params_limits *limits;
} um_api_rules;

/* A prompt of /v1/completions: text, or ids when `text` is NULL. */
typedef struct um_api_prompt {
    const char *text; /* borrowed from the body */
    size_t length;
    int32_t *ids; /* [id_count], owned; NULL where there are none (detokenize of []) */
    size_t id_count;
} um_api_prompt;

/*
 * What each endpoint fills in beside what all generating ones have (given, stream, stops):
 *   CHAT         messages; prediction
 *   COMPLETIONS  prompts, suffix (then there is one prompt, and it is text), or parts alone
 *   FIM          one prompt, text; suffix where text follows
 *   EDIT         one message of role "user": the whole prompt with its sections
 *   RESPONSES    messages: instructions as the first, then the input; responses
 *   TOKENIZE     one prompt, text, or messages
 *   DETOKENIZE   one prompt: its ids, which may be none, and among which MASK may be
 */
typedef struct um_api_request {
    um_json *body; /* owned: texts below are borrowed from it */
    um_endpoint endpoint;
    um_message *messages; /* [message_count], owned */
    size_t message_count;
    um_api_prompt prompts[UM_PROMPTS_MAX];
    size_t prompt_count;
    const char *suffix; /* borrowed from the body, NULL: not given, or "" */
    size_t suffix_length;
    um_template_part *parts; /* [part_count], owned: diffusion.template; at least one is a gap */
    size_t part_count;
    const char *prediction; /* borrowed from the body, NULL: not given, or "" */
    size_t prediction_length;
    um_params_given given;
    bool has_max_completion_tokens; /* wins over given.max_tokens, and is put there */
    int64_t max_completion_tokens;
    int64_t choices; /* n: 1 where not given; of each prompt */
    um_stop_string stops[UM_STOP_STRINGS_MAX];
    int32_t stop_count;
    int32_t stop_tokens[UM_STOP_TOKENS_MAX]; /* stop_token_ids */
    int32_t stop_token_count;
    um_logit_edit *biases; /* [bias_count], owned: logit_bias; no token twice, never MASK */
    int32_t bias_count;
    bool echo_prompt;            /* echo: only without suffix and log-probabilities */
    bool no_generation_prompt;   /* add_generation_prompt: false */
    bool continue_final_message; /* the last message is the assistant's, and the answer goes on */
    bool stream;
    um_stream_mode mode;    /* other than settled only with `stream` */
    um_draft_options draft; /* counts in mode draft */
    um_responses_echo responses;
    /* tokenize; where not given, it is true for prompt and false for messages */
    bool has_add_special_tokens;
    bool add_special_tokens;
    bool return_token_strs;
    bool has_stream_options;
    bool include_usage;
    bool continuous_usage;
    bool echo_settings;   /* diffusion.echo */
    const char *user;     /* borrowed from the body, NULL: not given */
    um_buf ignored;       /* value of x-unmask-ignored; empty: nothing ignored */
    size_t ignored_count; /* names in it; no more are looked for once it is full */
} um_api_request;

/* On failure `out` is empty. */
um_status um_api_request_parse(um_endpoint endpoint, const char *body, size_t length,
                               const um_api_rules *rules, um_api_request *out, um_err *err);
void um_api_request_deinit(um_api_request *request);
/* Frees the tree early, and with it what is borrowed from it: messages, prompts, suffix, parts,
 * prediction and user. Biases and the echo of Responses stay. */
void um_api_request_drop_body(um_api_request *request);

/* The field that holds the prompt: "messages", "prompt", "input" or "tokens". */
const char *um_api_prompt_field(um_endpoint endpoint);

#endif
