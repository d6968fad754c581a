/* Tokens that a request treats specially, in an open-addressed table: what is known at submission
 * stays in it, the tokens of the canvas come and go with every step. */
#include "core/engine/edits.h"

#include <math.h>

#include "core/base/mem.h"

typedef enum edit_ban {
    BAN_NEVER,
    BAN_EARLY, /* in the first min_tokens positions */
    BAN_ALWAYS,
} edit_ban;

typedef struct edit_entry {
    int32_t token;
    int32_t slot;
    int32_t count;  /* on the canvas, in this step */
    float bias;     /* logit_bias */
    bool is_around; /* in the prompt or the suffix */
    edit_ban ban;
} edit_entry;

struct um_edits {
    float frequency;
    float presence;
    float repetition; /* 1: none */
    bool counts;      /* any of the three is in force */
    int32_t mask_token;
    int32_t *slots; /* [slot_count] index of an entry + 1; 0: free. Owned */
    int32_t slot_count;
    edit_entry *entries; /* [entry_max] owned */
    int32_t entry_max;
    int32_t entry_count;
    int32_t lasting; /* those from the submission come first */
};

/* ---- the table ------------------------------------------------------------------------------- */

static edit_entry *find_or_add(um_edits *edits, int32_t token)
{
    uint32_t mask = (uint32_t)edits->slot_count - 1;
    uint32_t slot = (uint32_t)token * 2654435761u & mask;
    edit_entry *entry;

    while (edits->slots[slot] != 0) {
        entry = &edits->entries[edits->slots[slot] - 1];
        if (entry->token == token)
            return entry;
        slot = (slot + 1) & mask;
    }
    UM_ASSERT(edits->entry_count < edits->entry_max);
    entry = &edits->entries[edits->entry_count++];
    *entry = (edit_entry){.token = token, .slot = (int32_t)slot};
    edits->slots[slot] = edits->entry_count;
    return entry;
}

/* Last in, first out: what is taken away stood behind what stays in every chain. */
static void forget_canvas(um_edits *edits)
{
    while (edits->entry_count > edits->lasting)
        edits->slots[edits->entries[--edits->entry_count].slot] = 0;
    for (int32_t i = 0; i < edits->lasting; i++)
        edits->entries[i].count = 0;
}

static void count_canvas(um_edits *edits, const um_canvas *canvas)
{
    const int32_t *tokens = um_canvas_generated(canvas);
    const uint8_t *masked = canvas->masked + canvas->prompt_tokens;

    forget_canvas(edits);
    for (int32_t i = 0; i < canvas->extent; i++)
        if (!masked[i] && tokens[i] != edits->mask_token)
            find_or_add(edits, tokens[i])->count++;
}

/* ---- making ---------------------------------------------------------------------------------- */

static int32_t power_of_two(int32_t least)
{
    int32_t size = 1;

    while (size < least)
        size *= 2;
    return size;
}

static um_status reserve(um_edits *edits, int32_t entry_max, um_err *err)
{
    UM_ASSERT(entry_max > 0 && entry_max < INT32_MAX / 4);
    edits->entry_max = entry_max;
    edits->slot_count = power_of_two(2 * entry_max);
    edits->entries = um_mem_calloc((size_t)entry_max, sizeof(*edits->entries));
    edits->slots = um_mem_calloc((size_t)edits->slot_count, sizeof(*edits->slots));
    if (!edits->entries || !edits->slots)
        return um_fail(err, UM_E_NOMEM, "edits: no memory for %d tokens", entry_max);
    return UM_OK;
}

static void note_around(um_edits *edits, const int32_t *tokens, int32_t count)
{
    for (int32_t i = 0; i < count; i++)
        if (tokens[i] != edits->mask_token)
            find_or_add(edits, tokens[i])->is_around = true;
}

static void note_bans(um_edits *edits, const int32_t *tokens, int32_t count, edit_ban ban)
{
    for (int32_t i = 0; i < count && ban != BAN_NEVER; i++) {
        edit_entry *entry = find_or_add(edits, tokens[i]);

        if (ban > entry->ban)
            entry->ban = ban;
    }
}

um_status um_edits_create(const um_submission *submission, const int32_t *end_tokens,
                          int32_t end_token_count, int32_t mask_token, um_edits **out, um_err *err)
{
    const um_params *params = &submission->params;
    bool repeats = params->repetition_penalty > 0 && params->repetition_penalty != 1.0f;
    bool counts = repeats || params->frequency_penalty != 0.0f || params->presence_penalty != 0.0f;
    int32_t around = repeats ? submission->prompt_tokens + submission->suffix_tokens : 0;
    edit_ban early = params->min_tokens > 0 ? BAN_EARLY : BAN_NEVER;
    um_edits *edits;

    *out = NULL;
    UM_ASSERT(submission->bias_count >= 0 && submission->bias_count <= UM_BIASES_MAX);
    UM_ASSERT(end_token_count + submission->stop_token_count <= UM_EDITS_ENDS_MAX);
    if (!counts && submission->bias_count == 0 && early == BAN_NEVER && !params->ignore_eos)
        return UM_OK;
    edits = um_mem_zalloc(sizeof(*edits));
    if (!edits)
        return um_fail(err, UM_E_NOMEM, "edits: no memory for %zu bytes", sizeof(*edits));
    edits->frequency = params->frequency_penalty;
    edits->presence = params->presence_penalty;
    edits->repetition = repeats ? params->repetition_penalty : 1.0f;
    edits->counts = counts;
    edits->mask_token = mask_token;
    if (reserve(edits,
                submission->bias_count + end_token_count + submission->stop_token_count + around +
                    (counts ? params->canvas_tokens : 0) + 1,
                err) != UM_OK) {
        um_edits_destroy(edits);
        return UM_E_NOMEM;
    }
    for (int32_t i = 0; i < submission->bias_count; i++)
        find_or_add(edits, submission->biases[i].token)->bias = submission->biases[i].bias;
    note_bans(edits, end_tokens, end_token_count, params->ignore_eos ? BAN_ALWAYS : early);
    note_bans(edits, submission->stop_tokens, submission->stop_token_count, early);
    if (repeats) {
        note_around(edits, submission->prompt, submission->prompt_tokens);
        note_around(edits, submission->suffix, submission->suffix_tokens);
    }
    edits->lasting = edits->entry_count;
    *out = edits;
    return UM_OK;
}

void um_edits_destroy(um_edits *edits)
{
    if (!edits)
        return;
    um_mem_free(edits->slots);
    um_mem_free(edits->entries);
    um_mem_free(edits);
}

/* ---- writing --------------------------------------------------------------------------------- */

int64_t um_edits_max(int64_t rows, int64_t requests)
{
    /* an early ban and the same token's edit elsewhere are two */
    return rows + requests * (UM_BIASES_MAX + 2 * UM_EDITS_ENDS_MAX);
}

static um_logit_edit edit_of(const um_edits *edits, const edit_entry *entry)
{
    bool is_there = entry->count > 0;

    if (entry->ban == BAN_ALWAYS)
        return (um_logit_edit){.token = entry->token, .bias = -INFINITY, .repetition = 1.0f};
    return (um_logit_edit){
        .token = entry->token,
        .bias = entry->bias -
                ((float)entry->count * edits->frequency + (is_there ? edits->presence : 0.0f)),
        .repetition = is_there || entry->is_around ? edits->repetition : 1.0f,
    };
}

/* Appends what changes anything of the entries that are banned early, or of the others. */
static int32_t write_entries(const um_edits *edits, bool banned_early, um_logit_edit *out)
{
    int32_t written = 0;

    for (int32_t i = 0; i < edits->entry_count; i++) {
        const edit_entry *entry = &edits->entries[i];
        um_logit_edit edit = edit_of(edits, entry);

        if ((entry->ban == BAN_EARLY) == banned_early &&
            (edit.bias != 0.0f || edit.repetition != 1.0f))
            out[written++] = edit;
    }
    return written;
}

static int32_t write_early_bans(const um_edits *edits, um_logit_edit *out)
{
    int32_t written = 0;

    for (int32_t i = 0; i < edits->lasting; i++)
        if (edits->entries[i].ban == BAN_EARLY)
            out[written++] = (um_logit_edit){
                .token = edits->entries[i].token, .bias = -INFINITY, .repetition = 1.0f};
    return written;
}

/* Early bans, what both runs share, the other edits of the tokens banned early. */
um_edits_runs um_edits_write(um_edits *edits, const um_canvas *canvas, bool early,
                             um_logit_edit *out)
{
    um_edits_runs runs = {0};

    if (edits->counts)
        count_canvas(edits, canvas);
    if (early)
        runs.general_first = write_early_bans(edits, out);
    runs.early_count = runs.general_first + write_entries(edits, false, out + runs.general_first);
    runs.count = runs.early_count + write_entries(edits, true, out + runs.early_count);
    runs.general_count = runs.count - runs.general_first;
    if (!early)
        runs.early_count = 0;
    return runs;
}
