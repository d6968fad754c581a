#include "server/request_json.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "core/base/mem.h"
#include "server/request_internal.h"

#define IGNORED_NAMES_MAX 16
#define IGNORED_NAME_BYTES_MAX 64
#define METADATA_PAIRS_MAX 16
#define METADATA_KEY_MAX 64    /* code points */
#define METADATA_VALUE_MAX 512 /* code points */

#define CHAT UM_ENDPOINT_CHAT
#define TEXT UM_ENDPOINT_COMPLETIONS
#define BOTH (CHAT | TEXT)

typedef enum field_class {
    SUPPORTED,
    ACCEPTED, /* without effect; checked only */
    NEUTRAL,  /* accepted when its value changes nothing */
    REFUSED,
} field_class;

typedef enum field_kind {
    BOOL,
    INT,
    NUMBER,
    STRING,
    ARRAY,
    OBJECT,
    ANY,
} field_kind;

/* Readers of fields that are more than a scalar; `value` is never null. */
typedef um_status (*read_fn)(um_api_request *request, const um_api_rules *rules, json_t *value,
                             const char *label, um_err *err);

typedef struct field {
    const char *name;
    unsigned endpoints;
    field_class class;
    field_kind kind;
    bool required;
    double min, max;     /* INT and NUMBER: bounds, where max > min */
    bool above_min;      /* the minimum itself is excluded */
    const char *words;   /* STRING: what it may be, space-separated; NULL: anything */
    const char *neutral; /* NEUTRAL: JSON array of the values that change nothing */
    const char *instead; /* REFUSED: what to use */
    size_t value, has;   /* SUPPORTED scalars: where they go in um_api_request; has 0: nowhere */
    read_fn read;        /* instead of value and has; also for checks of ACCEPTED fields */
} field;

static um_status read_stop(um_api_request *, const um_api_rules *, json_t *, const char *,
                           um_err *);
static um_status read_stream_options(um_api_request *, const um_api_rules *, json_t *, const char *,
                                     um_err *);
static um_status read_metadata(um_api_request *, const um_api_rules *, json_t *, const char *,
                               um_err *);
static um_status read_user(um_api_request *, const um_api_rules *, json_t *, const char *,
                           um_err *);
static um_status read_algorithm(um_api_request *, const um_api_rules *, json_t *, const char *,
                                um_err *);
static um_status read_eos_rule(um_api_request *, const um_api_rules *, json_t *, const char *,
                               um_err *);
static um_status read_diffusion(um_api_request *, const um_api_rules *, json_t *, const char *,
                                um_err *);

#define FIELD(text, users, what, shape)                                                            \
    .name = (text), .endpoints = (users), .class = (what), .kind = (shape)
#define INTO(member) .value = offsetof(um_api_request, member)
#define GIVEN(member)                                                                              \
    .value = offsetof(um_api_request, given.member),                                               \
    .has = offsetof(um_api_request, given.has_##member)
#define RANGE(low, high) .min = (low), .max = (high)
#define ABOVE_ZERO .max = INFINITE, .above_min = true
#define INFINITE 1e300

/* Top level, in the order in which failures are reported. `model` and, before all, the JSON itself
 * are checked ahead of this table. */
static const field top_fields[] = {
    {FIELD("messages", CHAT, SUPPORTED, ARRAY), .required = true, .read = umi_read_messages},
    {FIELD("prompt", TEXT, SUPPORTED, ANY), .required = true, .read = umi_read_prompt},
    {FIELD("suffix", TEXT, NEUTRAL, STRING), .neutral = "[\"\"]"},
    {FIELD("max_completion_tokens", CHAT, SUPPORTED, INT), RANGE(1, INFINITE),
     INTO(max_completion_tokens), .has = offsetof(um_api_request, has_max_completion_tokens)},
    {FIELD("max_tokens", BOTH, SUPPORTED, INT), RANGE(1, INFINITE), GIVEN(max_tokens)},
    {FIELD("temperature", BOTH, SUPPORTED, NUMBER), RANGE(0, 2), GIVEN(temperature)},
    {FIELD("top_p", BOTH, SUPPORTED, NUMBER), RANGE(0, 1), GIVEN(top_p)},
    {FIELD("seed", BOTH, SUPPORTED, INT), GIVEN(seed)},
    {FIELD("n", BOTH, NEUTRAL, INT), RANGE(1, 8), .neutral = "[1]"},
    {FIELD("stop", BOTH, SUPPORTED, ANY), .read = read_stop},
    {FIELD("stream", BOTH, SUPPORTED, BOOL), INTO(stream)},
    {FIELD("stream_options", BOTH, SUPPORTED, OBJECT), .read = read_stream_options},
    {FIELD("logprobs", CHAT, NEUTRAL, BOOL), .neutral = "[false]"},
    {FIELD("logprobs", TEXT, REFUSED, INT)},
    {FIELD("top_logprobs", CHAT, NEUTRAL, INT), RANGE(0, 20), .neutral = "[0]"},
    {FIELD("echo", TEXT, NEUTRAL, BOOL), .neutral = "[false]"},
    {FIELD("best_of", TEXT, NEUTRAL, INT), .neutral = "[1]"},
    {FIELD("logit_bias", BOTH, NEUTRAL, OBJECT), .neutral = "[{}]"},
    {FIELD("frequency_penalty", BOTH, NEUTRAL, NUMBER), RANGE(-2, 2), .neutral = "[0]"},
    {FIELD("presence_penalty", BOTH, NEUTRAL, NUMBER), RANGE(-2, 2), .neutral = "[0]"},
    {FIELD("response_format", CHAT, NEUTRAL, OBJECT), .neutral = "[{\"type\":\"text\"}]"},
    {FIELD("tools", CHAT, NEUTRAL, ARRAY), .neutral = "[[]]"},
    {FIELD("tool_choice", CHAT, NEUTRAL, ANY), .neutral = "[\"none\",\"auto\"]"},
    {FIELD("parallel_tool_calls", CHAT, NEUTRAL, BOOL), .neutral = "[true]"},
    {FIELD("functions", CHAT, REFUSED, ANY), .instead = "tools"},
    {FIELD("function_call", CHAT, REFUSED, ANY), .instead = "tool_choice"},
    {FIELD("prediction", CHAT, ACCEPTED, OBJECT)},
    {FIELD("reasoning_effort", CHAT, NEUTRAL, STRING),
     .words = "none instant minimal low medium high xhigh max", .neutral = "[\"medium\"]"},
    {FIELD("verbosity", CHAT, ACCEPTED, STRING), .words = "low medium high"},
    {FIELD("modalities", CHAT, NEUTRAL, ARRAY), .neutral = "[[\"text\"]]"},
    {FIELD("audio", CHAT, REFUSED, ANY)},
    {FIELD("web_search_options", CHAT, REFUSED, ANY)},
    {FIELD("moderation", CHAT, REFUSED, ANY)},
    {FIELD("metadata", CHAT, ACCEPTED, OBJECT), .read = read_metadata},
    {FIELD("store", CHAT, ACCEPTED, BOOL)},
    {FIELD("user", BOTH, ACCEPTED, STRING), .read = read_user},
    {FIELD("safety_identifier", CHAT, ACCEPTED, STRING)},
    {FIELD("prompt_cache_key", CHAT, ACCEPTED, STRING)},
    {FIELD("prompt_cache_retention", CHAT, ACCEPTED, ANY)},
    {FIELD("prompt_cache_options", CHAT, ACCEPTED, ANY)},
    {FIELD("service_tier", CHAT, ACCEPTED, ANY)},
    {FIELD("top_k", BOTH, SUPPORTED, INT), RANGE(-1, INT32_MAX), GIVEN(top_k)},
    {FIELD("min_p", BOTH, SUPPORTED, NUMBER), RANGE(0, 1), GIVEN(min_p)},
    {FIELD("repetition_penalty", BOTH, NEUTRAL, NUMBER), ABOVE_ZERO, .neutral = "[1]"},
    {FIELD("min_tokens", BOTH, NEUTRAL, INT), RANGE(0, INFINITE), .neutral = "[0]"},
    {FIELD("ignore_eos", BOTH, NEUTRAL, BOOL), .neutral = "[false]"},
    {FIELD("stop_token_ids", BOTH, NEUTRAL, ARRAY), .neutral = "[[]]"},
    {FIELD("skip_special_tokens", BOTH, NEUTRAL, BOOL), .neutral = "[true]"},
    {FIELD("add_generation_prompt", CHAT, NEUTRAL, BOOL), .neutral = "[true]"},
    {FIELD("continue_final_message", CHAT, NEUTRAL, BOOL), .neutral = "[false]"},
    {FIELD("chat_template_kwargs", CHAT, NEUTRAL, OBJECT), .neutral = "[{}]"},
    {FIELD("diffusion", BOTH, SUPPORTED, OBJECT), .read = read_diffusion},
    {FIELD("diffusing", BOTH, NEUTRAL, BOOL), .neutral = "[false]"},
    {FIELD("realtime", CHAT, ACCEPTED, BOOL)},
    {FIELD("reasoning_summary", CHAT, ACCEPTED, ANY)},
    {FIELD("reasoning_summary_wait", CHAT, ACCEPTED, ANY)},
};

/* The members of `diffusion`. */
static const field diffusion_fields[] = {
    {FIELD("preset", BOTH, NEUTRAL, STRING), .words = "fast balanced recommended max",
     .neutral = "[\"recommended\"]"},
    {FIELD("steps", BOTH, SUPPORTED, INT), RANGE(1, UM_STEPS_MAX), GIVEN(steps)},
    {FIELD("steps_per_block", BOTH, SUPPORTED, INT), RANGE(1, UM_STEPS_PER_BLOCK_MAX),
     GIVEN(steps_per_block)},
    {FIELD("block_length", BOTH, SUPPORTED, INT), RANGE(1, INFINITE), GIVEN(block_length)},
    {FIELD("algorithm", BOTH, SUPPORTED, STRING), .read = read_algorithm},
    {FIELD("threshold", BOTH, SUPPORTED, NUMBER), RANGE(0, 1), GIVEN(threshold)},
    {FIELD("edit_threshold", BOTH, REFUSED, NUMBER)},
    {FIELD("max_post_steps", BOTH, NEUTRAL, INT), RANGE(0, 256), .neutral = "[0]"},
    {FIELD("entropy_bound", BOTH, REFUSED, NUMBER)},
    {FIELD("order_temperature", BOTH, SUPPORTED, NUMBER), RANGE(0, UM_ORDER_TEMPERATURE_MAX),
     GIVEN(order_temperature)},
    {FIELD("eps", BOTH, SUPPORTED, NUMBER), RANGE(UM_EPS_MIN, UM_EPS_MAX), GIVEN(eps)},
    {FIELD("cfg_scale", BOTH, SUPPORTED, NUMBER), RANGE(0, 20), GIVEN(cfg_scale)},
    {FIELD("cache", BOTH, NEUTRAL, STRING), .words = "auto exact none prefix dual bounded",
     .neutral = "[\"auto\",\"exact\",\"none\"]"},
    {FIELD("factor", BOTH, SUPPORTED, NUMBER), ABOVE_ZERO, GIVEN(factor)},
    {FIELD("deadline_ms", BOTH, REFUSED, INT)},
    {FIELD("eos_rule", BOTH, SUPPORTED, STRING), .read = read_eos_rule},
    {FIELD("reference_quirks", BOTH, SUPPORTED, BOOL), GIVEN(reference_quirks)},
    {FIELD("early_stop", BOTH, SUPPORTED, BOOL), GIVEN(early_stop)},
    {FIELD("infill_length", BOTH, NEUTRAL, ANY), .neutral = "[\"auto\"]"},
    {FIELD("noise", BOTH, NEUTRAL, NUMBER), RANGE(0, 1), .neutral = "[0.5]"},
    {FIELD("template", BOTH, REFUSED, ARRAY)},
    {FIELD("stream", BOTH, NEUTRAL, STRING), .words = "settled draft replace",
     .neutral = "[\"settled\"]"},
    {FIELD("draft", BOTH, REFUSED, OBJECT)},
    {FIELD("echo", BOTH, SUPPORTED, BOOL), INTO(echo_settings)},
};

static const field stream_option_fields[] = {
    {FIELD("include_usage", BOTH, SUPPORTED, BOOL), INTO(include_usage)},
    {FIELD("include_obfuscation", BOTH, ACCEPTED, BOOL)},
    {FIELD("continuous_usage_stats", BOTH, SUPPORTED, BOOL), INTO(continuous_usage)},
};

/* Names of peers at the top level, for rows of the tables above. */
static const struct {
    const char *name;
    const char *target;
    bool at_top; /* the target is a top-level field; else a member of `diffusion` */
} aliases[] = {
    {"steps", "steps", false},
    {"num_denoising_steps", "steps", false},
    {"diffusion_steps", "steps", false},
    {"denoising_steps", "steps_per_block", false},
    {"max_denoising_steps", "steps_per_block", false},
    {"num_inference_steps", "steps_per_block", false},
    {"dllm_denoising_steps", "steps_per_block", false},
    {"block_length", "block_length", false},
    {"block_size", "block_length", false},
    {"dllm_block_length", "block_length", false},
    {"remasking", "algorithm", false},
    {"alg", "algorithm", false},
    {"remasking_strategy", "algorithm", false},
    {"dllm_algorithm", "algorithm", false},
    {"dllm_unmasking_strategy", "algorithm", false},
    {"threshold", "threshold", false},
    {"dynamic_threshold", "threshold", false},
    {"confidence_threshold", "threshold", false},
    {"dllm_confidence_threshold", "threshold", false},
    {"edit_threshold", "edit_threshold", false},
    {"editing_threshold", "edit_threshold", false},
    {"alg_temp", "order_temperature", false},
    {"eps", "eps", false},
    {"cfg_scale", "cfg_scale", false},
    {"max_post_steps", "max_post_steps", false},
    {"gen_length", "max_tokens", true},
    {"max_new_tokens", "max_tokens", true},
    {"target_length", "max_tokens", true},
};

typedef struct table {
    const field *fields;
    size_t count;
    const char *prefix; /* of the names in errors: "diffusion." */
} table;

static const table top_table = {top_fields, UM_COUNT_OF(top_fields), ""};
static const table diffusion_table = {diffusion_fields, UM_COUNT_OF(diffusion_fields),
                                      "diffusion."};
static const table stream_table = {stream_option_fields, UM_COUNT_OF(stream_option_fields),
                                   "stream_options."};

umi_label umi_labelled(const char *format, ...)
{
    umi_label label;
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(label.text, sizeof(label.text), format, arguments);
    va_end(arguments);
    return label;
}

um_status umi_wrong_type(const um_json *value, const char *label, const char *expected, um_err *err)
{
    return um_fail_field(err, UM_E_TYPE, label, "`%s` is %s; expected %s", label,
                         um_json_kind_name(um_json_kind_of(value)), expected);
}

bool umi_is_word(const um_json *value, const char *word)
{
    size_t length = strlen(word);

    return json_is_string(value) && json_string_length(value) == length &&
           memcmp(json_string_value(value), word, length) == 0;
}

/* ---- checks --------------------------------------------------------------------------------- */

static um_status check_type(const field *f, const json_t *value, const char *label, um_err *err)
{
    static const char *const expected[] = {"a boolean", "an integer", "a number",
                                           "a string",  "an array",   "an object"};
    bool fits = true;

    switch (f->kind) {
    case BOOL:
        fits = json_is_boolean(value);
        break;
    case INT:
        fits = json_is_integer(value);
        break;
    case NUMBER:
        fits = json_is_number(value);
        break;
    case STRING:
        fits = json_is_string(value);
        break;
    case ARRAY:
        fits = json_is_array(value);
        break;
    case OBJECT:
        fits = json_is_object(value);
        break;
    case ANY:
        break;
    }
    return fits ? UM_OK : umi_wrong_type(value, label, expected[f->kind], err);
}

static um_status check_range(const field *f, const json_t *value, const char *label, um_err *err)
{
    bool integer = f->kind == INT;
    int digits = integer ? 17 : 6;
    double number = json_number_value(value);

    if (!(f->max > f->min) || !json_is_number(value))
        return UM_OK;
    if (f->above_min && !(number > f->min))
        return um_fail_field(err, UM_E_DEC_BELOW_MIN, label, "`%s` is %g; it must be above %g",
                             label, number, f->min);
    if (!(number >= f->min))
        return um_fail_field(err, integer ? UM_E_INT_BELOW_MIN : UM_E_DEC_BELOW_MIN, label,
                             "`%s` is %.*g; the minimum is %.*g", label, digits, number, digits,
                             f->min);
    if (!(number <= f->max))
        return um_fail_field(err, integer ? UM_E_INT_ABOVE_MAX : UM_E_DEC_ABOVE_MAX, label,
                             "`%s` is %.*g; the maximum is %.*g", label, digits, number, digits,
                             f->max);
    return UM_OK;
}

static bool has_word(const char *words, const char *word, size_t length)
{
    for (const char *at = words; *at;) {
        size_t n = strcspn(at, " ");

        if (n == length && memcmp(at, word, n) == 0)
            return true;
        at += n + (at[n] == ' ');
    }
    return false;
}

static um_status check_words(const field *f, const json_t *value, const char *label, um_err *err)
{
    if (!f->words || has_word(f->words, json_string_value(value), json_string_length(value)))
        return UM_OK;
    return um_fail_field(err, UM_E_VALUE, label, "`%s` is \"%.64s\"; expected one of: %s", label,
                         json_string_value(value), f->words);
}

/* 1 and 1.0 are the same number. */
static bool same_value(const json_t *a, const json_t *b)
{
    if (json_is_number(a) && json_is_number(b))
        return json_number_value(a) == json_number_value(b);
    return json_equal(a, b) != 0;
}

/* A field of enumerated words has a wrong value, any other is wrong to be there. */
static um_status check_neutral(const field *f, const json_t *value, const char *label, um_err *err)
{
    json_t *neutral = json_loads(f->neutral, 0, NULL);
    bool found = false;

    if (!neutral)
        return um_fail_field(err, UM_E_OVERLOADED, label, "no memory to check `%s`", label);
    for (size_t i = 0; i < json_array_size(neutral) && !found; i++)
        found = same_value(value, json_array_get(neutral, i));
    json_decref(neutral);
    if (found)
        return UM_OK;
    return um_fail_field(err, f->words ? UM_E_UNSUPPORTED_VALUE : UM_E_UNSUPPORTED_PARAM, label,
                         "`%s` is not supported here; accepted without effect: %s", label,
                         f->neutral);
}

static um_status refuse(const field *f, const char *label, um_err *err)
{
    if (f->instead)
        return um_fail_field(err, UM_E_UNSUPPORTED_PARAM, label, "`%s` is not supported; use `%s`",
                             label, f->instead);
    return um_fail_field(err, UM_E_UNSUPPORTED_PARAM, label, "`%s` is not supported here", label);
}

/* ---- storing -------------------------------------------------------------------------------- */

static um_status conflict(const char *label, um_err *err)
{
    return um_fail_field(err, UM_E_CONFLICT, label,
                         "`%s` contradicts another name of the same setting in this request",
                         label);
}

/* Writes a scalar where its row says. A second name for the same place must agree with the first. */
static um_status store(const field *f, um_api_request *request, const json_t *value,
                       const char *label, um_err *err)
{
    void *place = (char *)request + f->value;
    bool *has = f->has ? (bool *)((char *)request + f->has) : NULL;
    bool again = has && *has, differs = false;

    if (f->kind == BOOL) {
        differs = *(bool *)place != json_is_true(value);
        *(bool *)place = json_is_true(value);
    } else if (f->kind == INT) {
        differs = *(int64_t *)place != json_integer_value(value);
        *(int64_t *)place = json_integer_value(value);
    } else {
        UM_ASSERT(f->kind == NUMBER);
        differs = *(double *)place != json_number_value(value);
        *(double *)place = json_number_value(value);
    }
    if (has)
        *has = true;
    return again && differs ? conflict(label, err) : UM_OK;
}

static um_status take_field(const field *f, um_api_request *request, const um_api_rules *rules,
                            json_t *value, const char *label, um_err *err)
{
    um_status status;

    if (!value || json_is_null(value)) {
        if (f->required)
            return um_fail_field(err, UM_E_MISSING, label, "`%s` is missing", label);
        return UM_OK;
    }
    if (f->class == REFUSED)
        return refuse(f, label, err);
    status = check_type(f, value, label, err);
    if (status == UM_OK)
        status = check_range(f, value, label, err);
    if (status == UM_OK)
        status = check_words(f, value, label, err);
    if (status == UM_OK && f->class == NEUTRAL)
        status = check_neutral(f, value, label, err);
    if (status == UM_OK && f->read)
        status = f->read(request, rules, value, label, err);
    else if (status == UM_OK && f->class == SUPPORTED)
        status = store(f, request, value, label, err);
    return status;
}

static um_status take_table(const table *t, um_api_request *request, const um_api_rules *rules,
                            const json_t *object, um_err *err)
{
    um_status status = UM_OK;

    for (size_t i = 0; i < t->count && status == UM_OK; i++) {
        const field *f = &t->fields[i];
        umi_label label;

        if (!(f->endpoints & (unsigned)request->endpoint))
            continue;
        label = umi_labelled("%s%s", t->prefix, f->name);
        status = take_field(f, request, rules, json_object_get(object, f->name), label.text, err);
    }
    return status;
}

static const field *find_field(const table *t, const char *name, um_endpoint endpoint)
{
    for (size_t i = 0; i < t->count; i++)
        if ((t->fields[i].endpoints & (unsigned)endpoint) && strcmp(t->fields[i].name, name) == 0)
            return &t->fields[i];
    return NULL;
}

static um_status take_aliases(um_api_request *request, const um_api_rules *rules,
                              const json_t *object, um_err *err)
{
    um_status status = UM_OK;

    for (size_t i = 0; i < UM_COUNT_OF(aliases) && status == UM_OK; i++) {
        const table *t = aliases[i].at_top ? &top_table : &diffusion_table;
        const field *f = find_field(t, aliases[i].target, request->endpoint);

        UM_ASSERT(f != NULL);
        status = take_field(f, request, rules, json_object_get(object, aliases[i].name),
                            aliases[i].name, err);
    }
    return status;
}

/* ---- names in no table ---------------------------------------------------------------------- */

static bool is_alias(const char *name)
{
    for (size_t i = 0; i < UM_COUNT_OF(aliases); i++)
        if (strcmp(aliases[i].name, name) == 0)
            return true;
    return false;
}

/* Header text: visible ASCII only, and no comma, which separates the names. */
static void note_ignored(um_api_request *request, const char *name)
{
    if (request->ignored_count++ >= IGNORED_NAMES_MAX)
        return;
    if (request->ignored.length > 0)
        um_buf_text(&request->ignored, ", ");
    for (size_t i = 0; name[i] && i < IGNORED_NAME_BYTES_MAX; i++) {
        bool plain = name[i] > 0x20 && name[i] < 0x7f && name[i] != ',';

        um_buf_char(&request->ignored, plain ? name[i] : '?');
    }
}

static um_status find_unknown(const table *t, um_api_request *request, bool strict,
                              const json_t *object, um_err *err)
{
    const char *key;
    json_t *value;

    json_object_foreach((json_t *)object, key, value)
    {
        umi_label label = umi_labelled("%s%s", t->prefix, key);

        if (find_field(t, key, request->endpoint))
            continue;
        if (t == &top_table && (strcmp(key, "model") == 0 || is_alias(key)))
            continue;
        if (strict)
            return um_fail_field(err, UM_E_UNKNOWN_PARAM, label.text, "unknown parameter `%.64s`",
                                 label.text);
        note_ignored(request, label.text);
    }
    return UM_OK;
}

/* ---- readers -------------------------------------------------------------------------------- */

static um_status add_stop(um_api_request *request, const json_t *value, const char *label,
                          um_err *err)
{
    um_stop_string *stop = &request->stops[request->stop_count];
    size_t length = json_string_length(value);

    if (!json_is_string(value))
        return umi_wrong_type(value, label, "a string", err);
    if (length == 0)
        return um_fail_field(err, UM_E_VALUE, label, "`%s` is empty", label);
    if (length > UM_STOP_STRING_BYTES_MAX)
        return um_fail_field(err, UM_E_STRING_ABOVE_MAX, label,
                             "`%s` has %zu bytes; the maximum is %d", label, length,
                             UM_STOP_STRING_BYTES_MAX);
    memcpy(stop->bytes, json_string_value(value), length);
    stop->length = (int32_t)length;
    request->stop_count++;
    return UM_OK;
}

static um_status read_stop(um_api_request *request, const um_api_rules *rules, json_t *value,
                           const char *label, um_err *err)
{
    um_status status = UM_OK;

    (void)rules;
    if (!json_is_array(value))
        return json_is_string(value)
                   ? add_stop(request, value, label, err)
                   : umi_wrong_type(value, label, "a string or an array of strings", err);
    if (json_array_size(value) > UM_STOP_STRINGS_MAX)
        return um_fail_field(err, UM_E_ARRAY_ABOVE_MAX, label,
                             "`%s` has %zu entries; the maximum is %d", label,
                             json_array_size(value), UM_STOP_STRINGS_MAX);
    for (size_t i = 0; i < json_array_size(value) && status == UM_OK; i++)
        status = add_stop(request, json_array_get(value, i), umi_labelled("%s[%zu]", label, i).text,
                          err);
    return status;
}

static um_status read_stream_options(um_api_request *request, const um_api_rules *rules,
                                     json_t *value, const char *label, um_err *err)
{
    um_status status = take_table(&stream_table, request, rules, value, err);

    (void)label;
    request->has_stream_options = true;
    if (status == UM_OK)
        status = find_unknown(&stream_table, request, rules->strict_params, value, err);
    return status;
}

static size_t code_points(const char *text, size_t length)
{
    size_t count = 0;

    for (size_t i = 0; i < length; i++)
        count += ((unsigned char)text[i] & 0xc0) != 0x80;
    return count;
}

static um_status read_metadata(um_api_request *request, const um_api_rules *rules, json_t *value,
                               const char *label, um_err *err)
{
    const char *key;
    json_t *member;

    (void)request;
    (void)rules;
    if (json_object_size(value) > METADATA_PAIRS_MAX)
        return um_fail_field(err, UM_E_VALUE, label, "`%s` has %zu pairs; the maximum is %d", label,
                             json_object_size(value), METADATA_PAIRS_MAX);
    json_object_foreach(value, key, member)
    {
        umi_label name = umi_labelled("%s.%.64s", label, key);
        size_t characters = code_points(key, strlen(key));

        if (characters > METADATA_KEY_MAX)
            return um_fail_field(err, UM_E_STRING_ABOVE_MAX, label,
                                 "a key of `%s` has %zu characters; the maximum is %d", label,
                                 characters, METADATA_KEY_MAX);
        if (!json_is_string(member))
            return umi_wrong_type(member, name.text, "a string", err);
        characters = code_points(json_string_value(member), json_string_length(member));
        if (characters > METADATA_VALUE_MAX)
            return um_fail_field(err, UM_E_STRING_ABOVE_MAX, name.text,
                                 "`%s` has %zu characters; the maximum is %d", name.text,
                                 characters, METADATA_VALUE_MAX);
    }
    return UM_OK;
}

static um_status read_user(um_api_request *request, const um_api_rules *rules, json_t *value,
                           const char *label, um_err *err)
{
    (void)rules;
    (void)label;
    (void)err;
    request->user = json_string_value(value);
    return UM_OK;
}

static um_status read_algorithm(um_api_request *request, const um_api_rules *rules, json_t *value,
                                const char *label, um_err *err)
{
    const char *name = json_string_value(value);
    const um_policy *policy = umi_is_word(value, name) ? um_policy_find(name) : NULL;

    (void)rules;
    if (!policy)
        return um_fail_field(err, UM_E_UNSUPPORTED_VALUE, label,
                             "`%s` is \"%.64s\"; this model offers: %s", label, name,
                             um_policy_names());
    if (request->given.algorithm && strcmp(request->given.algorithm, policy->name) != 0)
        return conflict(label, err);
    request->given.algorithm = policy->name;
    return UM_OK;
}

static um_status read_eos_rule(um_api_request *request, const um_api_rules *rules, json_t *value,
                               const char *label, um_err *err)
{
    static const char *const names[] = {
        [UM_EOS_NONE] = "none", [UM_EOS_CONFIDENCE] = "confidence", [UM_EOS_LOGITS] = "logits"};

    (void)rules;
    for (size_t i = 0; i < UM_COUNT_OF(names); i++) {
        if (umi_is_word(value, names[i])) {
            request->given.has_eos_rule = true;
            request->given.eos_rule = (um_eos_rule)i;
            return UM_OK;
        }
    }
    return um_fail_field(err, UM_E_VALUE, label,
                         "`%s` is \"%.64s\"; expected one of: none confidence logits", label,
                         json_string_value(value));
}

/* Whoever writes this object means it: unknown members are always errors. */
static um_status read_diffusion(um_api_request *request, const um_api_rules *rules, json_t *value,
                                const char *label, um_err *err)
{
    um_status status = take_table(&diffusion_table, request, rules, value, err);

    (void)label;
    if (status == UM_OK)
        status = find_unknown(&diffusion_table, request, true, value, err);
    return status;
}

/* ---- the whole body ------------------------------------------------------------------------- */

static um_status check_model(const json_t *body, const um_api_rules *rules, um_err *err)
{
    const json_t *value = json_object_get(body, "model");
    const char *name = json_string_value(value);

    if (!value || json_is_null(value))
        return UM_OK; /* the only model there is */
    if (!name)
        return umi_wrong_type(value, "model", "a string", err);
    if (umi_is_word(value, "") || umi_is_word(value, rules->model_id))
        return UM_OK;
    for (size_t i = 0; i < rules->model_alias_count; i++)
        if (umi_is_word(value, rules->model_aliases[i]))
            return UM_OK;
    return um_fail_field(err, UM_E_MODEL_NOT_FOUND, "model",
                         "The model `%.128s` does not exist; this server has `%.128s`", name,
                         rules->model_id);
}

static um_status check_together(um_api_request *request, const um_api_rules *rules, um_err *err)
{
    if (request->has_stream_options && !request->stream)
        return um_fail_field(err, UM_E_VALUE, "stream_options",
                             "`stream_options` is only allowed when `stream` is true");
    if (request->has_max_completion_tokens) {
        request->given.has_max_tokens = true;
        request->given.max_tokens = request->max_completion_tokens;
    }
    return um_params_check(&request->given, rules->limits, err);
}

um_status um_api_request_parse(um_endpoint endpoint, const char *body, size_t length,
                               const um_api_rules *rules, um_api_request *out, um_err *err)
{
    um_status status;

    *out = (um_api_request){.endpoint = endpoint};
    status = um_json_parse(body, length, &out->body, err);
    if (status == UM_OK && !json_is_object(out->body))
        status = um_fail(err, UM_E_JSON, "the request body must be a JSON object");
    if (status == UM_OK)
        status = check_model(out->body, rules, err);
    if (status == UM_OK)
        status = take_table(&top_table, out, rules, out->body, err);
    if (status == UM_OK)
        status = take_aliases(out, rules, out->body, err);
    if (status == UM_OK)
        status = find_unknown(&top_table, out, rules->strict_params, out->body, err);
    if (status == UM_OK)
        status = check_together(out, rules, err);
    if (status == UM_OK && um_buf_failed(&out->ignored))
        status = um_fail(err, UM_E_OVERLOADED, "no memory for the request");
    if (status != UM_OK)
        um_api_request_deinit(out);
    return status;
}

void um_api_request_drop_body(um_api_request *request)
{
    for (size_t i = 0; i < request->prompt_count; i++)
        um_mem_free(request->prompts[i].ids);
    request->prompt_count = 0;
    um_mem_free(request->messages);
    request->messages = NULL;
    request->message_count = 0;
    um_json_free(request->body);
    request->body = NULL;
    request->user = NULL;
}

void um_api_request_deinit(um_api_request *request)
{
    um_api_request_drop_body(request);
    um_buf_deinit(&request->ignored);
    *request = (um_api_request){0};
}

const char *um_api_prompt_field(um_endpoint endpoint)
{
    return endpoint == UM_ENDPOINT_CHAT ? "messages" : "prompt";
}
