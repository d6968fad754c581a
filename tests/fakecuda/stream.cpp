/*
 * Streams and events. A stream is a queue; an event remembers a place in one. Stream 0 is the
 * legacy default stream: it and the streams made without cudaStreamNonBlocking wait for each other.
 */
#include "tests/fakecuda/runtime.h"

#include <deque>
#include <memory>
#include <set>
#include <utility>

namespace
{

struct Queue {
    std::deque<fakecuda::Work> work;
    uint64_t pushed = 0; /* put in so far */
    uint64_t done = 0;
};

} // namespace

struct CUstream_st {
    /* Shared with the events recorded here, which may outlive the stream. */
    std::shared_ptr<Queue> queue = std::make_shared<Queue>();
    bool blocking = true;
};

struct CUevent_st {
    std::shared_ptr<Queue> queue; /* of the last record */
    uint64_t place = 0;           /* done >= place: complete */

    bool is_complete() const
    {
        return !queue || queue->done >= place;
    }
};

namespace fakecuda
{

namespace
{

struct State {
    CUstream_st legacy;
    std::set<CUstream_st *> streams;
    std::set<CUevent_st *> events;
    cudaError_t failed = cudaSuccess; /* of work that ran since the host last waited */
};

State &state()
{
    static State *const state = new State; /* lives on: freed by nobody, used by exit handlers */
    return *state;
}

void drain_until(Queue &queue, uint64_t place)
{
    while (queue.done < place) {
        Work work = std::move(queue.work.front());

        queue.work.pop_front();
        {
            DeviceAccess access;
            if (!work())
                state().failed = cudaErrorLaunchFailure;
        }
        queue.done++;
    }
}

CUevent_st *find_event(cudaEvent_t handle)
{
    if (state().events.count(handle))
        return handle;
    report("invalid handle", "%p is no live event", static_cast<void *>(handle));
    return nullptr;
}

cudaError_t take_failure()
{
    return std::exchange(state().failed, cudaSuccess);
}

template <class T> cudaError_t create(std::set<T *> &live, T **out)
{
    if (allocation_fails())
        return cudaErrorMemoryAllocation;
    *out = *live.insert(new T).first;
    counts().live_objects++;
    counts().objects_created++;
    return cudaSuccess;
}

template <class T> void destroy(std::set<T *> &live, T *object)
{
    live.erase(object);
    delete object;
    counts().live_objects--;
}

/* Work of stream 0 and of blocking streams is done in the order in which it was given. */
void wait_for_others(CUstream_st *stream)
{
    if (stream != &state().legacy) {
        if (stream->blocking)
            drain(&state().legacy);
        return;
    }
    for (CUstream_st *other : state().streams)
        if (other->blocking)
            drain(other);
}

/* A host that polls must get on, so each query lets the device do one thing. */
cudaError_t query(Queue &queue, uint64_t place)
{
    if (queue.done < place)
        drain_until(queue, queue.done + 1);
    return queue.done < place ? cudaErrorNotReady : take_failure();
}

} // namespace

CUstream_st *find_stream(cudaStream_t handle)
{
    if (handle == nullptr || handle == cudaStreamLegacy)
        return &state().legacy;
    if (state().streams.count(handle))
        return handle;
    report("invalid handle", "%p is no live stream", static_cast<void *>(handle));
    return nullptr;
}

void enqueue(CUstream_st *stream, Work work)
{
    wait_for_others(stream);
    stream->queue->work.push_back(std::move(work));
    stream->queue->pushed++;
    if (!switches().lazy)
        drain(stream);
}

void drain(CUstream_st *stream)
{
    drain_until(*stream->queue, stream->queue->pushed);
}

void drain_all()
{
    drain(&state().legacy);
    for (CUstream_st *stream : state().streams)
        drain(stream);
}

cudaError_t wait_for(CUstream_st *stream)
{
    counts().host_waits++;
    drain(stream);
    return take_failure();
}

} // namespace fakecuda

using namespace fakecuda;

extern "C" {

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *out, unsigned int flags)
{
    return enter([&] {
        cudaError_t error = create(state().streams, out);

        if (error == cudaSuccess)
            (*out)->blocking = !(flags & cudaStreamNonBlocking);
        return error;
    });
}

cudaError_t cudaStreamCreate(cudaStream_t *out)
{
    return cudaStreamCreateWithFlags(out, cudaStreamDefault);
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t *out, unsigned int flags, int)
{
    return cudaStreamCreateWithFlags(out, flags);
}

cudaError_t cudaStreamDestroy(cudaStream_t handle)
{
    return enter([&] {
        CUstream_st *stream = find_stream(handle);

        if (!stream || stream == &state().legacy)
            return cudaErrorInvalidResourceHandle;
        drain(stream);
        destroy(state().streams, stream);
        return cudaSuccess;
    });
}

cudaError_t cudaStreamSynchronize(cudaStream_t handle)
{
    return enter([&] {
        CUstream_st *stream = find_stream(handle);

        if (!stream)
            return cudaErrorInvalidResourceHandle;
        wait_for_others(stream);
        return wait_for(stream);
    });
}

cudaError_t cudaStreamQuery(cudaStream_t handle)
{
    return enter([&] {
        CUstream_st *stream = find_stream(handle);

        if (!stream)
            return cudaErrorInvalidResourceHandle;
        return query(*stream->queue, stream->queue->pushed);
    });
}

cudaError_t cudaDeviceSynchronize(void)
{
    return enter([&] {
        drain_all();
        return wait_for(&state().legacy);
    });
}

cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event_handle, unsigned int)
{
    return enter([&] {
        CUstream_st *stream = find_stream(handle);
        const CUevent_st *event = find_event(event_handle);

        if (!stream || !event)
            return cudaErrorInvalidResourceHandle;
        if (event->is_complete())
            return cudaSuccess;
        enqueue(stream, [other = event->queue, place = event->place] {
            drain_until(*other, place);
            return true;
        });
        return cudaSuccess;
    });
}

cudaError_t cudaLaunchHostFunc(cudaStream_t handle, cudaHostFn_t function, void *data)
{
    return enter([&] {
        CUstream_st *stream = find_stream(handle);

        if (!stream)
            return cudaErrorInvalidResourceHandle;
        enqueue(stream, [function, data] {
            function(data);
            return true;
        });
        return cudaSuccess;
    });
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *out, unsigned int)
{
    return enter([&] { return create(state().events, out); });
}

cudaError_t cudaEventCreate(cudaEvent_t *out)
{
    return cudaEventCreateWithFlags(out, cudaEventDefault);
}

cudaError_t cudaEventDestroy(cudaEvent_t handle)
{
    return enter([&] {
        CUevent_st *event = find_event(handle);

        if (!event)
            return cudaErrorInvalidResourceHandle;
        destroy(state().events, event);
        return cudaSuccess;
    });
}

cudaError_t cudaEventRecord(cudaEvent_t handle, cudaStream_t stream_handle)
{
    return enter([&] {
        CUevent_st *event = find_event(handle);
        CUstream_st *stream = find_stream(stream_handle);

        if (!event || !stream)
            return cudaErrorInvalidResourceHandle;
        event->queue = stream->queue;
        event->place = stream->queue->pushed;
        return cudaSuccess;
    });
}

cudaError_t cudaEventSynchronize(cudaEvent_t handle)
{
    return enter([&] {
        const CUevent_st *event = find_event(handle);

        if (!event)
            return cudaErrorInvalidResourceHandle;
        counts().host_waits++;
        if (event->queue)
            drain_until(*event->queue, event->place);
        return take_failure();
    });
}

cudaError_t cudaEventQuery(cudaEvent_t handle)
{
    return enter([&] {
        const CUevent_st *event = find_event(handle);

        if (!event)
            return cudaErrorInvalidResourceHandle;
        return event->is_complete() ? take_failure() : query(*event->queue, event->place);
    });
}

/* Time means nothing here; a constant shows at least that both events are complete. */
cudaError_t cudaEventElapsedTime(float *milliseconds, cudaEvent_t start, cudaEvent_t end)
{
    return enter([&] {
        const CUevent_st *first = find_event(start), *second = find_event(end);

        if (!first || !second || !first->queue || !second->queue)
            return cudaErrorInvalidResourceHandle;
        if (!first->is_complete() || !second->is_complete())
            return cudaErrorNotReady;
        *milliseconds = 1.0f;
        return cudaSuccess;
    });
}

} // extern "C"
