/*
 * The pre-tokeniser's regex, run by PCRE2. Files are written for Oniguruma (Ruby syntax), which is
 * what Hugging Face tokenizers run, and the two engines read some constructs differently. So a
 * pattern is not handed over as it is: translate() lets through what means the same in both,
 * rewrites the classes that do not (\s under PCRE2's UCP holds U+180E; White_Space does not), and
 * refuses everything else by name, at load. Which characters are letters and numbers is a matter of
 * PCRE2's Unicode version (14 in 10.42); Oniguruma's may know a few scripts more.
 *
 * A compiled regex is read-only; a matcher belongs to one encode call.
 */
#define PCRE2_CODE_UNIT_WIDTH 8

#include "core/text/tokenizer_internal.h"

#include <ctype.h>
#include <pcre2.h>
#include <string.h>

#include "core/base/mem.h"

#define GROUPS_MAX 64
/* Limits of one match by the interpreter, which runs where the JIT is not allowed or its 32 KiB
 * stack is full. The regexes of the supported models need one step per byte of a match. */
#define MATCH_LIMIT 20000000u
#define DEPTH_LIMIT 100000u
#define HEAP_LIMIT_KIB (64u * 1024)

struct umi_regex {
    pcre2_general_context *memory;
    pcre2_match_context *limits;
    pcre2_code *code;
};

struct umi_matcher {
    pcre2_general_context *memory;
    pcre2_match_data *match;
};

/* ---- translation ---- */

typedef struct translation {
    const char *pattern;
    size_t length, at;
    um_buf *out;
    bool fold[GROUPS_MAX + 1]; /* [depth]: inside (?i: */
    size_t depth;
    char folded_before; /* the literal just copied inside (?i:, lower case; 0: none */
    um_err *err;
} translation;

static um_status refuse(const translation *t, const char *what)
{
    return um_fail(t->err, UM_E_UNSUPPORTED, "the regex holds %s at byte %zu", what, t->at);
}

/* The n-th byte from here; 0 behind the end (a NUL in the pattern is refused as a literal). */
static char peek(const translation *t, size_t n)
{
    return t->at + n < t->length ? t->pattern[t->at + n] : '\0';
}

static void copy(translation *t, size_t count)
{
    um_buf_append(t->out, t->pattern + t->at, count);
    t->at += count;
}

/* \p{L}, \P{Nd}: general categories only. Script names differ (PCRE2 reads script extensions). */
static um_status property(translation *t)
{
    static const char *const categories[] = {
        "L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M",  "Mn", "Mc", "Me", "N",
        "Nd", "Nl", "No", "P",  "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po",
        "S",  "Sm", "Sc", "Sk", "So", "Z",  "Zs", "Zl", "Zp",
    };

    for (size_t i = 0; peek(t, 2) == '{' && i < UM_COUNT_OF(categories); i++) {
        size_t length = strlen(categories[i]);

        if (t->length - t->at > length + 3 && peek(t, 3 + length) == '}' &&
            memcmp(t->pattern + t->at + 3, categories[i], length) == 0) {
            if (t->fold[t->depth] && length == 2 && categories[i][0] == 'L')
                return refuse(t, "a kind of letter inside (?i:)"); /* PCRE2 folds \p{Lu} too */
            copy(t, length + 4);
            return UM_OK;
        }
    }
    return refuse(t, "a property that is not a general category");
}

static um_status escape(translation *t)
{
    char c = peek(t, 1);

    t->folded_before = 0;
    switch (c) {
    case 'p':
    case 'P':
        return property(t);
    case 's':
        um_buf_text(t->out, "\\p{White_Space}");
        t->at += 2;
        return UM_OK;
    case 'S':
        um_buf_text(t->out, "\\P{White_Space}");
        t->at += 2;
        return UM_OK;
    case 'd':
        um_buf_text(t->out, "\\p{Nd}");
        t->at += 2;
        return UM_OK;
    case 'r':
    case 'n':
    case 't':
        copy(t, 2);
        return UM_OK;
    default:
        if (!ispunct((unsigned char)c) || (uint8_t)c >= 0x80)
            return refuse(t, "an escape that is not supported");
        copy(t, 2);
        return UM_OK;
    }
}

/* Oniguruma also folds ligatures: (?i:st) matches U+FB06, which PCRE2 does not. No model's regex
 * has such a pair; one that has is refused, and so is anything but ASCII inside (?i:. */
static um_status literal(translation *t)
{
    char c = peek(t, 0), lower;

    if (c == '\0')
        return refuse(t, "a NUL");
    lower = t->fold[t->depth] ? (char)tolower((unsigned char)c) : '\0';
    if (lower && ((uint8_t)c >= 0x80 || (t->folded_before == 's' && strchr("st", lower)) ||
                  (t->folded_before == 'f' && strchr("fil", lower))))
        return refuse(t, "a character inside (?i:) that folds with its neighbour");
    t->folded_before = lower;
    copy(t, 1);
    return UM_OK;
}

static um_status class_of_characters(translation *t)
{
    copy(t, peek(t, 1) == '^' ? 2 : 1);
    if (peek(t, 0) == ']')
        return refuse(t, "a class that starts with ]");
    while (t->at < t->length && peek(t, 0) != ']') {
        um_status status;

        if (peek(t, 0) == '[')
            return refuse(t, "a class within a class");
        if (peek(t, 0) == '&' && peek(t, 1) == '&')
            return refuse(t, "an intersection of classes");
        t->folded_before = 0; /* members are no neighbours */
        status = peek(t, 0) == '\\' ? escape(t) : literal(t);
        if (status != UM_OK)
            return status;
    }
    t->folded_before = 0;
    if (t->at == t->length)
        return refuse(t, "a class without its ]");
    copy(t, 1);
    return UM_OK;
}

static um_status open_group(translation *t)
{
    static const char *const openers[] = {"(?:", "(?i:", "(?=", "(?!", "(?<=", "(?<!", "(?>"};
    size_t length = peek(t, 1) == '?' || peek(t, 1) == '*' ? 0 : 1;
    bool fold = t->fold[t->depth];

    for (size_t i = 0; i < UM_COUNT_OF(openers) && length == 0; i++)
        if (t->length - t->at >= strlen(openers[i]) &&
            memcmp(t->pattern + t->at, openers[i], strlen(openers[i])) == 0) {
            length = strlen(openers[i]);
            fold = fold || peek(t, 2) == 'i';
        }
    if (length == 0)
        return refuse(t, "a kind of group that is not supported");
    if (t->depth == GROUPS_MAX)
        return refuse(t, "groups nested too deep");
    t->fold[++t->depth] = fold;
    copy(t, length);
    return UM_OK;
}

static bool is_quantifier(char c)
{
    return c != '\0' && strchr("*+?{", c);
}

/* {n}, {n,}, {n,m}: with a + or ? behind them they mean other things in Ruby. */
static um_status counted(translation *t)
{
    size_t n = 1, digits = 0;

    for (; isdigit((unsigned char)peek(t, n)); n++)
        digits++;
    if (digits > 0 && peek(t, n) == ',')
        for (n++; isdigit((unsigned char)peek(t, n)); n++)
            continue;
    if (digits == 0 || peek(t, n) != '}' || is_quantifier(peek(t, n + 1)))
        return refuse(t, "a { that is not a plain {n}, {n,} or {n,m}");
    copy(t, n + 1);
    return UM_OK;
}

static um_status quantifier(translation *t)
{
    if (peek(t, 0) == '{')
        return counted(t);
    copy(t, peek(t, 1) == '?' || peek(t, 1) == '+' ? 2 : 1); /* lazy, possessive */
    if (is_quantifier(peek(t, 0)))
        return refuse(t, "a quantifier behind a quantifier");
    return UM_OK;
}

static um_status item(translation *t)
{
    char c = peek(t, 0);

    if (c == '\\')
        return escape(t);
    if (c != '\0' && !strchr("[(){*+?|^$", c))
        return literal(t);
    t->folded_before = 0;
    switch (c) {
    case '[':
        return class_of_characters(t);
    case '(':
        return open_group(t);
    case ')':
        if (t->depth == 0)
            return refuse(t, "a ) without its (");
        t->depth--;
        copy(t, 1);
        return UM_OK;
    case '|':
        copy(t, 1);
        return UM_OK;
    case '{':
    case '*':
    case '+':
    case '?':
        return quantifier(t);
    default:
        return refuse(t, c ? "an anchor" : "a NUL");
    }
}

static um_status translate(const char *pattern, size_t length, um_buf *out, um_err *err)
{
    translation t = {.pattern = pattern, .length = length, .out = out, .err = err};
    um_status status = UM_OK;

    if (length == 0 || length > UMI_REGEX_TEXT_MAX)
        return um_fail(err, UM_E_UNSUPPORTED, "the regex has %zu bytes; 1 to %d are supported",
                       length, UMI_REGEX_TEXT_MAX);
    while (status == UM_OK && t.at < length)
        status = item(&t);
    if (status == UM_OK && um_buf_failed(out))
        status = um_fail(err, UM_E_NOMEM, "tokenizer: no memory for a regex of %zu bytes", length);
    return status;
}

/* ---- compilation ---- */

static void *allocate(size_t bytes, void *unused)
{
    (void)unused;
    return um_mem_realloc(NULL, bytes);
}

static void release(void *block, void *unused)
{
    (void)unused;
    um_mem_free(block);
}

static um_status compile(umi_regex *regex, const um_buf *pattern, um_err *err)
{
    pcre2_compile_context *context = pcre2_compile_context_create(regex->memory);
    uint32_t matches_empty = 0;
    int code = 0;
    size_t at = 0;

    if (!context)
        return um_fail(err, UM_E_NOMEM, "tokenizer: no memory for the regex");
    pcre2_set_newline(context, PCRE2_NEWLINE_LF); /* what a dot leaves out, as in Ruby */
    regex->code = pcre2_compile((PCRE2_SPTR)um_buf_view(pattern), pattern->length,
                                PCRE2_UTF | PCRE2_UCP | PCRE2_NO_AUTO_CAPTURE, &code, &at, context);
    pcre2_compile_context_free(context);
    if (!regex->code) {
        char text[128] = "";

        if (code == PCRE2_ERROR_HEAP_FAILED)
            return um_fail(err, UM_E_NOMEM, "tokenizer: no memory for the regex");
        pcre2_get_error_message(code, (PCRE2_UCHAR *)text, sizeof(text));
        return um_fail(err, UM_E_UNSUPPORTED, "the regex does not compile: %s (near byte %zu)",
                       text, at);
    }
    pcre2_pattern_info(regex->code, PCRE2_INFO_MATCHEMPTY, &matches_empty);
    if (matches_empty)
        return um_fail(err, UM_E_UNSUPPORTED, "the regex can match an empty text");
    /* Where pages cannot be made executable this fails, and the interpreter does the work. */
    (void)pcre2_jit_compile(regex->code, PCRE2_JIT_COMPLETE);
    return UM_OK;
}

um_status umi_regex_create(const char *pattern, size_t length, umi_regex **out, um_err *err)
{
    um_buf translated = {0};
    umi_regex *regex = um_mem_zalloc(sizeof(*regex));
    um_status status = UM_E_NOMEM;

    *out = NULL;
    if (regex)
        regex->memory = pcre2_general_context_create(allocate, release, NULL);
    if (regex && regex->memory)
        regex->limits = pcre2_match_context_create(regex->memory);
    if (!regex || !regex->limits) {
        um_fail(err, UM_E_NOMEM, "tokenizer: no memory for the regex");
        goto done;
    }
    pcre2_set_match_limit(regex->limits, MATCH_LIMIT);
    pcre2_set_depth_limit(regex->limits, DEPTH_LIMIT);
    pcre2_set_heap_limit(regex->limits, HEAP_LIMIT_KIB);
    status = translate(pattern, length, &translated, err);
    if (status == UM_OK)
        status = compile(regex, &translated, err);
    if (status != UM_OK)
        goto done;
    *out = regex;
    regex = NULL;
done:
    um_buf_deinit(&translated);
    umi_regex_destroy(regex);
    return status;
}

void umi_regex_destroy(umi_regex *regex)
{
    if (!regex)
        return;
    pcre2_code_free(regex->code);
    pcre2_match_context_free(regex->limits);
    pcre2_general_context_free(regex->memory);
    um_mem_free(regex);
}

/* ---- matching ---- */

umi_matcher *umi_matcher_create(void)
{
    umi_matcher *matcher = um_mem_zalloc(sizeof(*matcher));

    if (matcher)
        matcher->memory = pcre2_general_context_create(allocate, release, NULL);
    if (matcher && matcher->memory)
        matcher->match = pcre2_match_data_create(1, matcher->memory);
    if (matcher && !matcher->match) {
        umi_matcher_destroy(matcher);
        matcher = NULL;
    }
    return matcher;
}

void umi_matcher_destroy(umi_matcher *matcher)
{
    if (!matcher)
        return;
    pcre2_match_data_free(matcher->match);
    pcre2_general_context_free(matcher->memory);
    um_mem_free(matcher);
}

um_status umi_regex_find(const umi_regex *regex, umi_matcher *matcher, const char *text,
                         size_t length, size_t from, size_t *begin, size_t *end, um_err *err)
{
    const size_t *range;
    int found = pcre2_match(regex->code, (PCRE2_SPTR)text, length, from, PCRE2_NO_UTF_CHECK,
                            matcher->match, regex->limits);

    if (found == PCRE2_ERROR_JIT_STACKLIMIT)
        found = pcre2_match(regex->code, (PCRE2_SPTR)text, length, from,
                            PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, matcher->match, regex->limits);
    if (found == PCRE2_ERROR_NOMATCH)
        return UM_EMPTY;
    if (found == PCRE2_ERROR_NOMEMORY)
        return um_fail(err, UM_E_NOMEM, "tokenizer: no memory to split the text");
    if (found < 0)
        return um_fail(err, UM_E_VALUE,
                       "the text cannot be split: the tokenizer's regex gave up at byte %zu of a "
                       "piece of %zu (PCRE2 error %d)",
                       from, length, found);
    range = pcre2_get_ovector_pointer(matcher->match);
    UM_ASSERT(range[0] >= from && range[1] > range[0] && range[1] <= length);
    *begin = range[0];
    *end = range[1];
    return UM_OK;
}
