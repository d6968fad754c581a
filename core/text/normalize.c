/*
 * Normalisers: Unicode normalisation form C, and SentencePiece's marks put for blanks and in front
 * of a text. For form C utf8proc supplies the tables and the composition; the ordering of
 * combining marks is ours, because utf8proc's exchanges neighbours and needs quadratic time for a
 * long run of marks, which a client could send.
 */
#include "core/text/tokenizer_internal.h"

#include <string.h>
#include <utf8proc.h>

#include "core/base/mem.h"

#define OPTIONS ((utf8proc_option_t)(UTF8PROC_STABLE | UTF8PROC_COMPOSE))
#define DECOMPOSED_MAX 8 /* canonical decompositions have at most 4 code points */

typedef struct code_points {
    int32_t *data; /* owned */
    size_t count, capacity;
} code_points;

/* Cheap and one-sided: true only if `text` is its own NFC form. */
static bool nfc_is_plain(const char *text, size_t length)
{
    /* Below U+0300 (lead bytes below 0xCC) nothing composes, decomposes or reorders. */
    for (size_t i = 0; i < length; i++)
        if ((uint8_t)text[i] >= 0xCC)
            return false;
    return true;
}

static bool reserve(code_points *points, size_t count)
{
    size_t capacity = points->capacity * 2 > count ? points->capacity * 2 : count;
    size_t bytes;
    int32_t *data;

    if (count <= points->capacity)
        return true;
    if (!um_mem_mul(capacity, sizeof(*data), &bytes) ||
        !(data = um_mem_realloc(points->data, bytes)))
        return false;
    points->data = data;
    points->capacity = capacity;
    return true;
}

static bool decompose(const char *text, size_t length, code_points *points)
{
    const uint8_t *at = (const uint8_t *)text, *end = at + length;
    int boundary = 0; /* grapheme state, unused without UTF8PROC_CHARBOUND */

    while (at < end) {
        int32_t point = -1;
        utf8proc_ssize_t size = utf8proc_iterate(at, end - at, &point), made;

        UM_ASSERT(size > 0); /* validated by the caller */
        at += size;
        if (!reserve(points, points->count + DECOMPOSED_MAX))
            return false;
        made = utf8proc_decompose_char(point, points->data + points->count, DECOMPOSED_MAX, OPTIONS,
                                       &boundary);
        UM_ASSERT(made > 0 && made <= DECOMPOSED_MAX);
        points->count += (size_t)made;
    }
    return true;
}

static unsigned class_of(int32_t point)
{
    return (unsigned)utf8proc_get_property(point)->combining_class & 0xFF;
}

/* Stable counting sort of run[0..count) by combining class. */
static void sort_run(int32_t *run, size_t count, int32_t *copy)
{
    size_t start[257] = {0};

    memcpy(copy, run, count * sizeof(*run));
    for (size_t i = 0; i < count; i++)
        start[class_of(copy[i]) + 1]++;
    for (size_t i = 1; i < 257; i++)
        start[i] += start[i - 1];
    for (size_t i = 0; i < count; i++)
        run[start[class_of(copy[i])]++] = copy[i];
}

/* Canonical ordering: every run of marks (class above 0) ascending by class. */
static bool reorder(code_points *points)
{
    code_points copy = {0};
    bool fits = true;

    for (size_t i = 0; i < points->count && fits;) {
        size_t begin = i;
        bool sorted = true;

        for (unsigned last = 0, now; i < points->count && (now = class_of(points->data[i])) > 0;
             i++, last = now)
            sorted = sorted && last <= now;
        if (!sorted && (fits = reserve(&copy, i - begin)))
            sort_run(points->data + begin, i - begin, copy.data);
        if (i == begin)
            i++;
    }
    um_mem_free(copy.data);
    return fits;
}

um_status umi_nfc_append(um_buf *out, const char *text, size_t length, um_err *err)
{
    code_points points = {0};
    um_status status = UM_OK;
    utf8proc_ssize_t count;

    if (length == 0)
        return UM_OK;
    if (!decompose(text, length, &points) || !reorder(&points)) {
        status = um_fail(err, UM_E_NOMEM, "tokenizer: no memory to normalise %zu bytes", length);
        goto done;
    }
    count = utf8proc_normalize_utf32(points.data, (utf8proc_ssize_t)points.count, OPTIONS);
    UM_ASSERT(count > 0);
    for (utf8proc_ssize_t i = 0; i < count; i++) {
        uint8_t bytes[4];
        utf8proc_ssize_t size = utf8proc_encode_char(points.data[i], bytes);

        um_buf_append(out, bytes, (size_t)size);
    }
    if (um_buf_failed(out))
        status = um_fail(err, UM_E_NOMEM, "tokenizer: no memory to normalise %zu bytes", length);
done:
    um_mem_free(points.data);
    return status;
}

/* ---- marks ---- */

bool umi_mark_set(umi_mark *mark, const char *text, size_t length)
{
    if (length == 0 || length > sizeof(mark->text))
        return false;
    memcpy(mark->text, text, length);
    mark->length = length;
    return true;
}

void umi_replace_append(um_buf *out, const umi_mark *from, const umi_mark *to, const char *text,
                        size_t length)
{
    const char *end = text + length, *at;

    while ((at = memmem(text, (size_t)(end - text), from->text, from->length))) {
        um_buf_append(out, text, (size_t)(at - text));
        um_buf_append(out, to->text, to->length);
        text = at + from->length;
    }
    um_buf_append(out, text, (size_t)(end - text));
}

/* ---- all steps ---- */

/* True when the step leaves the text as it is. */
static bool step_is_idle(const umi_normal_step *step, const char *text, size_t length)
{
    return length == 0 || (step->kind == UMI_NORMAL_NFC && nfc_is_plain(text, length));
}

static um_status run_step(const umi_normal_step *step, um_buf *out, const char *text, size_t length,
                          um_err *err)
{
    um_status status = UM_OK;

    um_buf_clear(out);
    if (step->kind == UMI_NORMAL_NFC) {
        status = umi_nfc_append(out, text, length, err);
    } else if (step->kind == UMI_NORMAL_PREPEND) {
        um_buf_append(out, step->to.text, step->to.length);
        um_buf_append(out, text, length);
    } else {
        umi_replace_append(out, &step->from, &step->to, text, length);
    }
    if (status != UM_OK)
        return status;
    if (um_buf_failed(out))
        return um_fail(err, UM_E_NOMEM, "tokenizer: no memory to normalise %zu bytes", length);
    if (out->length > UMI_TEXT_MAX)
        return um_fail(err, UM_E_STRING_ABOVE_MAX,
                       "the text has %zu bytes once it is normalised; the limit is %zu",
                       out->length, UMI_TEXT_MAX);
    return UM_OK;
}

um_status umi_normalize(const umi_normalizer *normalizer, bool inside, um_buf buffers[2],
                        const char **text, size_t *length, um_err *err)
{
    for (size_t i = 0; i < normalizer->count; i++) {
        um_buf *out = *text == buffers[0].data ? &buffers[1] : &buffers[0];
        um_status status;

        if (step_is_idle(&normalizer->steps[i], *text, *length) ||
            (inside && normalizer->steps[i].kind == UMI_NORMAL_PREPEND))
            continue;
        status = run_step(&normalizer->steps[i], out, *text, *length, err);
        if (status != UM_OK)
            return status;
        *text = um_buf_view(out);
        *length = out->length;
    }
    return UM_OK;
}
