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

/* Device memory of `count` elements, filled as cudaMalloc fills it. */
template <class T> class Buffer
{
  public:
    explicit Buffer(size_t count) : values_(count)
    {
        memset(static_cast<void *>(values_.data()), 0xff, count * sizeof(T));
        memory().add(values_.data(), count * sizeof(T), MemoryKind::device);
    }
    explicit Buffer(const std::vector<T> &values) : Buffer(values.size())
    {
        std::copy(values.begin(), values.end(), values_.begin());
    }
    ~Buffer()
    {
        memory().remove(values_.data());
    }
    Buffer(const Buffer &) = delete;
    Buffer &operator=(const Buffer &) = delete;

    T *device()
    {
        return values_.data();
    }
    T &operator[](size_t i)
    {
        return values_[i];
    }
    size_t size() const
    {
        return values_.size();
    }

  private:
    std::vector<T> values_;
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
