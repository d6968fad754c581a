#include "core/base/utf8.h"

#include <string.h>

typedef enum subpart_kind {
    SUBPART_VALID,     /* a whole code point */
    SUBPART_TRUNCATED, /* the text ends inside one that could still become valid */
    SUBPART_INVALID,   /* maximal invalid subpart: one U+FFFD */
} subpart_kind;

/* How many bytes follow a lead byte, and the range of the first of them, which is what excludes
 * overlong forms, surrogates and everything above U+10FFFF (Unicode 15, table 3-7). */
typedef struct lead_rule {
    uint8_t lead_first, lead_last, followers, low, high;
} lead_rule;

static const lead_rule lead_rules[] = {
    {0xC2, 0xDF, 1, 0x80, 0xBF}, {0xE0, 0xE0, 2, 0xA0, 0xBF}, {0xE1, 0xEC, 2, 0x80, 0xBF},
    {0xED, 0xED, 2, 0x80, 0x9F}, {0xEE, 0xEF, 2, 0x80, 0xBF}, {0xF0, 0xF0, 3, 0x90, 0xBF},
    {0xF1, 0xF3, 3, 0x80, 0xBF}, {0xF4, 0xF4, 3, 0x80, 0x8F},
};

static const lead_rule *find_rule(uint8_t lead)
{
    for (size_t i = 0; i < UM_COUNT_OF(lead_rules); i++)
        if (lead >= lead_rules[i].lead_first && lead <= lead_rules[i].lead_last)
            return &lead_rules[i];
    return NULL;
}

/* Length (at least 1) and kind of what stands at `bytes`; length > 0. */
static size_t subpart(const uint8_t *bytes, size_t length, subpart_kind *kind)
{
    const lead_rule *rule;
    uint8_t low, high;

    *kind = SUBPART_VALID;
    if (bytes[0] < 0x80)
        return 1;
    *kind = SUBPART_INVALID;
    rule = find_rule(bytes[0]);
    if (!rule)
        return 1;
    low = rule->low;
    high = rule->high;
    for (size_t i = 1; i <= rule->followers; i++) {
        if (i == length) {
            *kind = SUBPART_TRUNCATED;
            return i;
        }
        if (bytes[i] < low || bytes[i] > high)
            return i;
        low = 0x80;
        high = 0xBF;
    }
    *kind = SUBPART_VALID;
    return (size_t)rule->followers + 1;
}

/* Length of the ASCII prefix that whole 8-byte words make; the rest is left to the caller. */
static size_t ascii_words(const char *bytes, size_t length)
{
    size_t i = 0;
    uint64_t word;

    for (; length - i >= sizeof(word); i += sizeof(word)) {
        memcpy(&word, bytes + i, sizeof(word));
        if (word & 0x8080808080808080u)
            break;
    }
    return i;
}

size_t um_utf8_valid_prefix(const char *bytes, size_t length)
{
    size_t i = 0;

    while (i < length) {
        subpart_kind kind;
        size_t step = ascii_words(bytes + i, length - i);

        if (step == 0) {
            step = subpart((const uint8_t *)bytes + i, length - i, &kind);
            if (kind != SUBPART_VALID)
                return i;
        }
        i += step;
    }
    return length;
}

size_t um_utf8_complete_prefix(const char *bytes, size_t length)
{
    /* A lead byte always opens a new sequence, so only the last lead byte can be unfinished, and
     * an unfinished sequence has at most three bytes. */
    for (size_t back = 1; back <= 3 && back <= length; back++) {
        const uint8_t *at = (const uint8_t *)bytes + length - back;
        subpart_kind kind;

        if (*at >= 0x80 && *at < 0xC0)
            continue;
        return subpart(at, back, &kind) == back && kind == SUBPART_TRUNCATED ? length - back
                                                                             : length;
    }
    return length;
}

/* U+0000..U+001F, U+007F, U+0080..U+009F in `length` bytes. */
static bool is_control(const uint8_t *bytes, size_t length)
{
    if (length == 1)
        return bytes[0] < 0x20 || bytes[0] == 0x7F;
    return length == 2 && bytes[0] == 0xC2 && bytes[1] < 0xA0;
}

void um_utf8_make_printable(char *text)
{
    const uint8_t *from = (const uint8_t *)text;
    size_t left = strlen(text);
    char *to = text;

    while (left > 0) {
        subpart_kind kind;
        size_t length = subpart(from, left, &kind);

        if (kind == SUBPART_VALID && !is_control(from, length)) {
            memmove(to, from, length);
            to += length;
        } else {
            *to++ = *from >= '\t' && *from <= '\r' ? ' ' : '?';
        }
        from += length;
        left -= length;
    }
    *to = '\0';
}

void um_utf8_append_lossy(um_buf *out, const char *bytes, size_t length)
{
    size_t i = 0;

    while (i < length) {
        size_t valid = um_utf8_valid_prefix(bytes + i, length - i);
        subpart_kind kind;

        um_buf_append(out, bytes + i, valid);
        i += valid;
        if (i == length)
            break;
        i += subpart((const uint8_t *)bytes + i, length - i, &kind);
        um_buf_text(out, "\xEF\xBF\xBD"); /* U+FFFD */
    }
}
