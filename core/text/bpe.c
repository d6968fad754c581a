/*
 * Byte-pair merges of one piece: a linked list of symbols and a heap of candidate merges, so that
 * any piece takes O(n log n) time and a few dozen bytes of scratch per byte. Read-only after load
 * apart from the scratch, which belongs to the calling thread.
 *
 * Order of merging as in Hugging Face tokenizers: lowest rank first, the leftmost of equals.
 */
#include "core/text/tokenizer_internal.h"

#include "core/base/mem.h"

#define NONE UINT32_MAX

static size_t slot_of(const umi_bpe *bpe, int32_t left, int32_t right)
{
    uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;

    /* Fibonacci hashing; the high half is the well mixed one. */
    return (size_t)((key * 0x9E3779B97F4A7C15u) >> 32) & bpe->mask;
}

bool umi_bpe_init(umi_bpe *bpe, size_t merge_count)
{
    size_t slots = 16;

    while (slots < merge_count * 2)
        slots *= 2;
    UM_ASSERT(merge_count <= UMI_MERGES_MAX);
    bpe->table = um_mem_calloc(slots, sizeof(*bpe->table));
    if (!bpe->table)
        return false;
    bpe->mask = slots - 1;
    for (size_t i = 0; i < slots; i++)
        bpe->table[i].rank = NONE;
    return true;
}

void umi_bpe_deinit(umi_bpe *bpe)
{
    um_mem_free(bpe->table);
    *bpe = (umi_bpe){0};
}

static umi_merge *find_slot(const umi_bpe *bpe, int32_t left, int32_t right)
{
    size_t i = slot_of(bpe, left, right);

    while (bpe->table[i].rank != NONE &&
           (bpe->table[i].left != left || bpe->table[i].right != right))
        i = (i + 1) & bpe->mask;
    return &bpe->table[i];
}

void umi_bpe_add(umi_bpe *bpe, int32_t left, int32_t right, uint32_t rank, int32_t result)
{
    UM_ASSERT(rank != NONE);
    *find_slot(bpe, left, right) =
        (umi_merge){.left = left, .right = right, .result = result, .rank = rank};
}

/* Room for `count` elements; contents are kept. */
static bool grow(void **block, size_t *capacity, size_t count, size_t bytes_each)
{
    size_t wanted = *capacity * 2 > count ? *capacity * 2 : count + 64;
    size_t bytes;
    void *grown;

    if (count <= *capacity)
        return true;
    if (!um_mem_mul(wanted, bytes_each, &bytes) || !(grown = um_mem_realloc(*block, bytes)))
        return false;
    *block = grown;
    *capacity = wanted;
    return true;
}

static bool heap_push(umi_bpe_scratch *scratch, uint64_t value)
{
    size_t i = scratch->heap_count;
    uint64_t *heap;

    if (i == scratch->heap_capacity &&
        !grow((void **)&scratch->heap, &scratch->heap_capacity, i + 1, sizeof(*scratch->heap)))
        return false;
    heap = scratch->heap;
    scratch->heap_count++;
    while (i > 0 && heap[(i - 1) / 2] > value) {
        heap[i] = heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    heap[i] = value;
    return true;
}

static uint64_t heap_pop(umi_bpe_scratch *scratch)
{
    uint64_t *heap = scratch->heap;
    uint64_t top = heap[0], last = heap[--scratch->heap_count];
    size_t count = scratch->heap_count, i = 0, child;

    while ((child = 2 * i + 1) < count) {
        if (child + 1 < count && heap[child + 1] < heap[child])
            child++;
        if (heap[child] >= last)
            break;
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = last;
    return top;
}

/* Looks up the merge of symbol `at` with its successor and makes it a candidate. */
static bool offer(const umi_bpe *bpe, umi_bpe_scratch *scratch, uint32_t at)
{
    umi_symbol *symbol = &scratch->symbols[at];
    const umi_merge *merge;

    symbol->merge = NONE;
    if (symbol->next == NONE)
        return true;
    merge = find_slot(bpe, symbol->id, scratch->symbols[symbol->next].id);
    if (merge->rank == NONE)
        return true;
    symbol->merge = (uint32_t)(merge - bpe->table);
    return heap_push(scratch, (uint64_t)merge->rank << 32 | at);
}

umi_symbol *umi_bpe_begin(umi_bpe_scratch *scratch, size_t count_max)
{
    return grow((void **)&scratch->symbols, &scratch->symbol_capacity, count_max,
                sizeof(*scratch->symbols))
               ? scratch->symbols
               : NULL;
}

static bool start(const umi_bpe *bpe, umi_bpe_scratch *scratch, size_t count)
{
    umi_symbol *symbols = scratch->symbols;

    for (size_t i = 0; i < count; i++) {
        symbols[i].previous = i == 0 ? NONE : (uint32_t)(i - 1);
        symbols[i].next = i + 1 == count ? NONE : (uint32_t)(i + 1);
    }
    scratch->heap_count = 0;
    for (size_t i = 0; i < count; i++)
        if (!offer(bpe, scratch, (uint32_t)i))
            return false;
    return true;
}

/* Candidates are not removed when a neighbour changes. What the heap gives is the candidate of its
 * place exactly if that has its rank: pairs of one rank at one place are equals in the order of
 * merging, so it does not matter for which of them the entry was made. */
static bool merge_all(const umi_bpe *bpe, umi_bpe_scratch *scratch)
{
    umi_symbol *symbols = scratch->symbols;

    while (scratch->heap_count > 0) {
        uint64_t top = heap_pop(scratch);
        uint32_t at = (uint32_t)top, gone;
        const umi_merge *merge = symbols[at].merge == NONE ? NULL : &bpe->table[symbols[at].merge];

        if (!merge || merge->rank != (uint32_t)(top >> 32))
            continue;
        gone = symbols[at].next;
        symbols[at].id = merge->result;
        symbols[at].next = symbols[gone].next;
        symbols[gone].merge = NONE;
        if (symbols[at].next != NONE)
            symbols[symbols[at].next].previous = at;
        if (!offer(bpe, scratch, at))
            return false;
        if (symbols[at].previous != NONE && !offer(bpe, scratch, symbols[at].previous))
            return false;
    }
    return true;
}

um_status umi_bpe_finish(const umi_bpe *bpe, umi_bpe_scratch *scratch, size_t count, size_t ids_max,
                         um_ids *ids, um_err *err)
{
    UM_ASSERT(count > 0 && count < NONE && count <= scratch->symbol_capacity);
    if (!start(bpe, scratch, count) || !merge_all(bpe, scratch))
        return um_fail(err, UM_E_NOMEM, "tokenizer: no memory for a piece of %zu symbols", count);
    for (uint32_t at = 0; at != NONE; at = scratch->symbols[at].next) {
        um_status status = umi_ids_push(ids, ids_max, scratch->symbols[at].id, err);

        if (status != UM_OK)
            return status;
    }
    return UM_OK;
}

void umi_bpe_scratch_deinit(umi_bpe_scratch *scratch)
{
    um_mem_free(scratch->symbols);
    um_mem_free(scratch->heap);
    *scratch = (umi_bpe_scratch){0};
}
