/* Reads nvcc's fat binary. See fatbin.h. The layout is NVIDIA's and not documented; the fields
 * used here are checked, so that another layout is refused instead of misread. */
#include "tests/fakecuda/fatbin.h"

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace fakecuda
{

namespace
{

constexpr uint32_t WRAPPER_MAGIC = 0x466243b1;
constexpr uint32_t FATBIN_MAGIC = 0xba55ed50;
constexpr uint16_t KIND_PTX = 1;
constexpr uint64_t FLAGS_COMPRESSED = 0xf000;

struct Wrapper { /* __fatBinC_Wrapper_t */
    uint32_t magic;
    uint32_t version;
    const unsigned char *data;
    const void *more;
};

struct Header {
    uint32_t magic;
    uint16_t version;
    uint16_t header_bytes;
    uint64_t payload_bytes; /* all entries */
};

struct Entry {
    uint16_t kind;
    uint16_t version;
    uint32_t header_bytes;
    uint64_t payload_bytes;
    uint32_t unused[3];
    uint32_t arch; /* 80 for compute_80 */
    uint32_t name[2];
    uint64_t flags;
};
static_assert(sizeof(Entry) == 48, "fields used lie in the first 48 bytes of an entry");

template <class T> T read_at(const unsigned char *data)
{
    T value;

    memcpy(&value, data, sizeof value);
    return value;
}

std::string_view text_of(const unsigned char *payload, uint64_t bytes)
{
    const char *text = reinterpret_cast<const char *>(payload);

    return std::string_view(text, strnlen(text, bytes)); /* padded with zeros */
}

} // namespace

std::string_view find_ptx(const void *wrapper_data, std::string *fault)
{
    Wrapper wrapper = read_at<Wrapper>(static_cast<const unsigned char *>(wrapper_data));
    std::string_view best;
    uint32_t best_arch = 0;
    bool compressed = false;

    if (wrapper.magic != WRAPPER_MAGIC || read_at<Header>(wrapper.data).magic != FATBIN_MAGIC) {
        *fault = "the object's device code is no fat binary of a known layout";
        return {};
    }
    const Header header = read_at<Header>(wrapper.data);
    const unsigned char *at = wrapper.data + header.header_bytes;
    const unsigned char *end = at + header.payload_bytes;
    while (end - at >= static_cast<ptrdiff_t>(sizeof(Entry))) {
        const Entry entry = read_at<Entry>(at);
        const uint64_t left = static_cast<uint64_t>(end - at);

        if (entry.header_bytes < sizeof(Entry) || entry.header_bytes > left ||
            entry.payload_bytes > left - entry.header_bytes) {
            *fault = "an entry of the object's fat binary reaches beyond its end";
            return {};
        }
        if (entry.kind == KIND_PTX && entry.arch <= DEVICE_ARCH && entry.arch >= best_arch) {
            compressed = (entry.flags & FLAGS_COMPRESSED) != 0;
            best = text_of(at + entry.header_bytes, entry.payload_bytes);
            best_arch = entry.arch;
        }
        at += entry.header_bytes + entry.payload_bytes;
    }
    if (compressed) {
        *fault = "the object's PTX is compressed; build it with nvcc --no-compress";
        return {};
    }
    if (best.empty())
        *fault = "the object holds no PTX up to compute_90; add a virtual architecture";
    return best;
}

} // namespace fakecuda
