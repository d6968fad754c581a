/* Order of admission. Requests here are bare: the queue reads owner and links only. */
#include "tests/test.h"

#include "core/engine/queue.h"

#define COUNT 6

static void push_all(um_queue *queue, um_request *requests, const uint64_t *owners)
{
    for (int i = 0; i < COUNT; i++) {
        requests[i] = (um_request){.id = (uint64_t)i, .owner = owners[i]};
        um_queue_push(queue, &requests[i]);
    }
}

/* Picks until empty, each pick running beside the ones before. */
static void expect_order(const uint64_t *owners, const int *expected)
{
    um_request requests[COUNT], *running[COUNT];
    um_queue queue = {0};

    push_all(&queue, requests, owners);
    for (int i = 0; i < COUNT; i++) {
        running[i] = um_queue_pick(&queue, running, i);
        UM_CHECK_INT(running[i]->id, expected[i]);
        UM_CHECK_INT(queue.count, COUNT - 1 - i);
    }
    UM_CHECK(um_queue_pick(&queue, running, COUNT) == NULL);
}

static void first_come_first_served(void)
{
    expect_order((uint64_t[]){1, 2, 3, 4, 5, 6}, (int[]){0, 1, 2, 3, 4, 5});
    expect_order((uint64_t[]){0, 0, 0, 0, 0, 0}, (int[]){0, 1, 2, 3, 4, 5});
}

static void every_owner_gets_one_place_first(void)
{
    expect_order((uint64_t[]){7, 7, 7, 8, 9, 8}, (int[]){0, 3, 4, 1, 2, 5});
}

static void nobody_in_particular_always_counts_as_somebody_new(void)
{
    expect_order((uint64_t[]){7, 7, 0, 0, 8, 7}, (int[]){0, 2, 3, 4, 1, 5});
}

static void any_place_can_be_left(void)
{
    um_request requests[COUNT];
    um_queue queue = {0};

    push_all(&queue, requests, (uint64_t[]){1, 2, 3, 4, 5, 6});
    um_queue_remove(&queue, &requests[0]);
    um_queue_remove(&queue, &requests[3]);
    um_queue_remove(&queue, &requests[5]);
    UM_CHECK_INT(queue.count, 3);
    um_queue_push(&queue, &requests[3]);
    UM_CHECK_INT(um_queue_pick(&queue, NULL, 0)->id, 1);
    UM_CHECK_INT(um_queue_pick(&queue, NULL, 0)->id, 2);
    UM_CHECK_INT(um_queue_pick(&queue, NULL, 0)->id, 4);
    UM_CHECK_INT(um_queue_pick(&queue, NULL, 0)->id, 3);
    UM_CHECK(queue.head == NULL && queue.tail == NULL);
}

static const um_test tests[] = {
    UM_TEST(first_come_first_served),
    UM_TEST(every_owner_gets_one_place_first),
    UM_TEST(nobody_in_particular_always_counts_as_somebody_new),
    UM_TEST(any_place_can_be_left),
};
UM_TEST_MAIN(tests)
