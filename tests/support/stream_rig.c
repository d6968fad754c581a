#include "tests/support/stream_rig.h"

#include <string.h>

#include "tests/support/byte_tokenizer.h"
#include "tests/test.h"

/* ---- the exchange and the engine that stand in ---------------------------------------------- */

void um_exchange_set_context(um_exchange *exchange, void *context, void (*on_gone)(void *context))
{
    exchange->context = context;
    exchange->on_gone = on_gone;
}

void um_exchange_stream_begin(um_exchange *exchange)
{
    UM_ASSERT(!exchange->begun && !exchange->replied);
    exchange->begun = true;
}

void um_exchange_stream_write(um_exchange *exchange, const char *bytes, size_t length)
{
    UM_ASSERT(exchange->begun && !exchange->ended);
    um_buf_append(&exchange->out, bytes, length);
}

size_t um_exchange_unsent(const um_exchange *exchange)
{
    return exchange->unsent;
}

void um_exchange_stream_end(um_exchange *exchange)
{
    UM_ASSERT(exchange->begun && !exchange->ended && !exchange->on_gone);
    exchange->ended = true;
}

void um_exchange_stream_abort(um_exchange *exchange)
{
    UM_ASSERT(exchange->begun && !exchange->ended && !exchange->on_gone);
    exchange->ended = exchange->aborted = true;
}

void um_exchange_reply(um_exchange *exchange, unsigned http_status, const char *content_type,
                       const char *body, size_t length)
{
    UM_ASSERT(!exchange->begun && !exchange->replied && !exchange->on_gone);
    UM_ASSERT(strcmp(content_type, "application/json") == 0);
    exchange->replied = http_status;
    um_buf_append(&exchange->out, body, length);
}

const char *um_exchange_request_id(const um_exchange *exchange)
{
    (void)exchange;
    return "rig";
}

void um_exchange_reply_error(um_exchange *exchange, const um_err *err)
{
    UM_ASSERT(!exchange->begun && !exchange->replied && !exchange->on_gone);
    exchange->replied = 400;
    exchange->refused = err->status;
}

void um_exchange_retry_after(um_exchange *exchange, uint32_t milliseconds)
{
    exchange->retry_after_ms = milliseconds;
}

void um_engine_cancel(um_engine *engine, uint64_t id)
{
    um_rig *rig = (um_rig *)engine;

    UM_ASSERT(rig->cancel_count < UM_RIG_CANCELS_MAX);
    rig->cancelled[rig->cancel_count++] = id;
}

double um_engine_wait_estimate(um_engine *engine)
{
    (void)engine;
    return 2.5;
}

static uint64_t rig_now(void *context)
{
    const um_rig *rig = context;

    return rig->now_ns;
}

/* ---- driving -------------------------------------------------------------------------------- */

um_status um_rig_open(um_rig *rig, um_stream_options options, const um_submission *submission,
                      const um_stream_frame *frames, size_t count, um_err *err)
{
    static const int32_t ends[] = {UM_BYTE_END, UM_BYTE_TURN};
    um_submission submissions[UM_RIG_CHOICES_MAX];
    uint64_t ids[UM_RIG_CHOICES_MAX];
    um_status status;

    UM_ASSERT(count <= UM_RIG_CHOICES_MAX);
    *rig = (um_rig){.now_ns = 1};
    if (!options.tokenizer)
        options.tokenizer = rig->tokenizer = um_byte_tokenizer_open();
    rig->clock = (um_clock){.now_ns = rig_now, .context = rig};
    options.model = "tiny";
    options.fingerprint = "fp_0123456789";
    options.engine = (um_engine *)rig; /* only handed to um_engine_cancel */
    options.counts = &rig->counts;
    options.mask_token = UM_BYTE_MASK;
    options.end_tokens = ends;
    options.end_token_count = 2;
    options.clock = &rig->clock;
    for (size_t i = 0; i < count; i++) {
        submissions[i] = *submission;
        ids[i] = 100 + i;
    }
    status = um_stream_create(&options, submissions, frames, count, &rig->stream, err);
    if (status == UM_OK)
        um_stream_attach(rig->stream, &rig->exchange, ids);
    return status;
}

void um_rig_close(um_rig *rig)
{
    um_stream_destroy(rig->stream);
    um_buf_deinit(&rig->exchange.out);
    um_tokenizer_close(rig->tokenizer);
}

void um_rig_send(um_rig *rig, size_t choice, um_event event, const char *text)
{
    event.id = 100 + choice;
    event.started = true;
    um_buf_text(&event.text, text);
    um_stream_event(rig->stream, choice, &event);
    um_buf_deinit(&event.text);
}

void um_rig_fail(um_rig *rig, size_t choice, um_status status)
{
    um_err error;

    um_fail(&error, status, "it did not work");
    um_rig_send(rig, choice, (um_event){.done = true, .status = status, .error = &error}, "");
}

/* ---- reading -------------------------------------------------------------------------------- */

um_json *um_rig_take(um_rig *rig, const char **line)
{
    const char *at, *end, *data;
    um_json *root = NULL;
    um_err err = {0};

    if (line)
        *line = "";
    if (rig->taken >= rig->exchange.out.length)
        return NULL;
    at = rig->exchange.out.data + rig->taken;
    end = strstr(at, "\n\n");
    UM_ASSERT(end);
    rig->exchange.out.data[end - at + (ptrdiff_t)rig->taken] = '\0';
    rig->taken += (size_t)(end - at) + 2;
    if (line)
        *line = at;
    data = strncmp(at, "event: ", 7) == 0 ? strchr(at, '\n') + 1 : at;
    UM_CHECK(strchr(data, '\n') == NULL);
    if (strncmp(data, "data: {", 7) == 0)
        UM_CHECK_OK(um_json_parse(data + 6, strlen(data + 6), &root, &err), err);
    return root;
}

static bool same_json(const um_json *a, const um_json *b);

static bool same_members(const um_json *a, const um_json *b)
{
    if (um_json_count(a) != um_json_count(b))
        return false;
    for (void *it = um_json_first(b); it; it = um_json_next(b, it)) {
        const um_json *member = um_json_member(a, um_json_iter_key(it));

        if (!member || !same_json(member, um_json_iter_value(it))) {
            fprintf(stderr, "in `%s`\n", um_json_iter_key(it));
            return false;
        }
    }
    return true;
}

static bool same_elements(const um_json *a, const um_json *b)
{
    if (um_json_count(a) != um_json_count(b))
        return false;
    for (size_t i = 0; i < um_json_count(b); i++)
        if (!same_json(um_json_element(a, i), um_json_element(b, i)))
            return false;
    return true;
}

static bool same_strings(const um_json *a, const um_json *b)
{
    size_t a_length, b_length;
    const char *a_text = um_json_string_value(a, &a_length);
    const char *b_text = um_json_string_value(b, &b_length);

    return a_length == b_length && memcmp(a_text, b_text, a_length) == 0;
}

static bool same_json(const um_json *a, const um_json *b)
{
    um_json_kind kind = um_json_kind_of(b);

    if (kind == UM_JSON_STRING && strcmp(um_json_string_value(b, NULL), "*") == 0)
        return um_json_kind_of(a) != UM_JSON_NULL;
    if (kind == UM_JSON_INT || kind == UM_JSON_REAL)
        return (um_json_kind_of(a) == UM_JSON_INT || um_json_kind_of(a) == UM_JSON_REAL) &&
               fabs(um_json_number_value(a) - um_json_number_value(b)) <= 1e-6;
    if (um_json_kind_of(a) != kind)
        return false;
    switch (kind) {
    case UM_JSON_BOOL:
        return um_json_bool_value(a) == um_json_bool_value(b);
    case UM_JSON_STRING:
        return same_strings(a, b);
    case UM_JSON_ARRAY:
        return same_elements(a, b);
    case UM_JSON_OBJECT:
        return same_members(a, b);
    default:
        return true;
    }
}

void um_expect_json(const um_json *actual, const char *expected)
{
    um_json *root = NULL;
    um_err err = {0};

    UM_CHECK(actual != NULL);
    UM_CHECK_OK(um_json_parse(expected, strlen(expected), &root, &err), err);
    if (!same_json(actual, root))
        um_test_fail(__FILE__, __LINE__, "not as expected: %s", expected);
    um_json_free(root);
}
