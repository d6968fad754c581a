/* For tests of the interpreter without the runtime: a module from a .ptx file, buffers that are
 * device memory, and launches that give back the fault. */
#ifndef FAKECUDA_PTX_FIXTURE_H
#define FAKECUDA_PTX_FIXTURE_H

#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "tests/fakecuda/ptx.h"

namespace fakecuda
{

inline std::string read_text(const std::string &path)
{
    std::ifstream file(path);
    std::stringstream text;

    text << file.rdbuf();
    return text.str();
}

/* Device memory of `count` elements, aligned and filled as cudaMalloc does it. */
template <class T> class Buffer
{
  public:
    explicit Buffer(size_t count) : count_(count)
    {
        const size_t alignment = 256, bytes = count * sizeof(T);

        values_ = static_cast<T *>(
            aligned_alloc(alignment, (bytes + alignment - 1) / alignment * alignment));
        if (!values_)
            abort();
        memset(static_cast<void *>(values_), 0xff, bytes);
        memory().add(values_, bytes, MemoryKind::device);
    }
    explicit Buffer(const std::vector<T> &values) : Buffer(values.size())
    {
        memcpy(static_cast<void *>(values_), values.data(), values.size() * sizeof(T));
    }
    ~Buffer()
    {
        memory().remove(values_);
        free(values_);
    }
    Buffer(const Buffer &) = delete;
    Buffer &operator=(const Buffer &) = delete;

    T *device()
    {
        return values_;
    }
    T &operator[](size_t i)
    {
        return values_[i];
    }
    size_t size() const
    {
        return count_;
    }

  private:
    T *values_;
    size_t count_;
};

class TestModule
{
  public:
    explicit TestModule(const std::string &text)
    {
        set_report_hook([this](const Report &fault) { fault_ = fault.line(); });
        module_ = load_module(text.data(), text.size());
    }
    ~TestModule()
    {
        unload_module(module_);
        set_report_hook(nullptr);
    }
    TestModule(const TestModule &) = delete;
    TestModule &operator=(const TestModule &) = delete;

    /* Runs the kernel; the line of its fault, "" if there was none. */
    template <class... A>
    std::string launch(const char *name, Dim grid, Dim block, size_t shared, A... args)
    {
        const Kernel *kernel = module_ ? find_kernel(module_, name) : nullptr;
        void *pointers[] = {static_cast<void *>(&args)..., nullptr};

        if (!kernel)
            return fault_.empty() ? "no kernel " + std::string(name) : fault_;
        fault_.clear();

        const Launch launch{kernel, grid, block, shared, pointers};
        return fakecuda::launch(launch) ? "" : fault_;
    }
    const std::string &fault() const
    {
        return fault_;
    }
    Module *get()
    {
        return module_;
    }

  private:
    Module *module_ = nullptr;
    std::string fault_;
};

} // namespace fakecuda

#endif
