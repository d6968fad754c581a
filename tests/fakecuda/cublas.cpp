/*
 * cuBLASLt on the fake device: handles, descriptors, the heuristic and the product. Only what the
 * backend may use: column-major bf16 or f32 in, f32 or bf16 out, float32 accumulation; anything
 * else is refused with the status that cuBLASLt gives for it. TF32 is not among it: the backend's
 * f32 promises plain products.
 *
 * An algorithm is a number of parts that the sum over k is cut into: its split-K count, times two
 * for algorithm 1. So another algorithm gives other bits, as on a device, and one algorithm gives
 * the same bits for any number of columns.
 */
#include "tests/fakecuda/runtime.h"

#include <algorithm>
#include <cstring>
#include <set>
#include <vector>

#include <cublasLt.h>

#include "tests/fakecuda/cublas_product.h"

namespace fakecuda
{

namespace
{

struct Handle {
};

struct Description { /* behind cublasLtMatmulDesc_t */
    cublasComputeType_t compute;
    cudaDataType_t scale;
    int32_t pointer_mode = CUBLASLT_POINTER_MODE_HOST;
    int32_t a_op = CUBLAS_OP_N;
    int32_t b_op = CUBLAS_OP_N;
    uint32_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
    const void *bias = nullptr;
    int32_t bias_type = -1; /* -1: that of D */
};

struct Layout {
    uint32_t type;
    int32_t order = CUBLASLT_ORDER_COL;
    uint64_t rows, cols;
    int64_t ld;
    int32_t batch = 1;
};

struct Preference {
    uint64_t workspace = 0;
    uint32_t schemes = CUBLASLT_REDUCTION_SCHEME_MASK;
    uint32_t alignment[4] = {256, 256, 256, 256}; /* A, B, C, D */
};

/* What lies in the opaque words of cublasLtMatmulAlgo_t. */
struct Algorithm {
    uint64_t magic;
    int32_t id;
    int32_t splits;
    uint32_t scheme;
    uint32_t tile, swizzle, custom, stages; /* kept, without effect */
    uint16_t inner, cluster;
    uint16_t alignment[4];
};
static_assert(sizeof(Algorithm) <= sizeof(cublasLtMatmulAlgo_t), "fits its words");
constexpr uint64_t ALGORITHM_MAGIC = 0x756d616c676f0001;
constexpr int32_t ALGORITHMS = 2;
constexpr int32_t SPLITS_MAX = 32;
constexpr uint64_t FEW_COLUMNS = 32;

/* The live objects of one kind; a handle that is not among them is refused. */
template <class T> class Table
{
  public:
    template <class Opaque> cublasStatus_t create(Opaque *out, const T &value)
    {
        if (allocation_fails())
            return CUBLAS_STATUS_ALLOC_FAILED;
        T *object = new T(value);
        live_.insert(object);
        counts().live_objects++;
        counts().objects_created++;
        *out = reinterpret_cast<Opaque>(object);
        return CUBLAS_STATUS_SUCCESS;
    }
    T *find(const void *handle) const
    {
        T *object = static_cast<T *>(const_cast<void *>(handle));

        return live_.count(object) ? object : nullptr;
    }
    cublasStatus_t destroy(const void *handle, cublasStatus_t unknown)
    {
        T *object = find(handle);

        if (!object)
            return unknown;
        live_.erase(object);
        delete object;
        counts().live_objects--;
        return CUBLAS_STATUS_SUCCESS;
    }

  private:
    std::set<T *> live_;
};

struct State {
    Table<Handle> handles;
    Table<Description> descriptions;
    Table<Layout> layouts;
    Table<Preference> preferences;
};

State &state()
{
    static State *const state = new State; /* lives on: used by exit handlers */
    return *state;
}

template <class Body> cublasStatus_t enter_blas(Body &&body)
{
    std::lock_guard<std::recursive_mutex> guard(runtime_lock());

    return body();
}

/* ---- attributes -------------------------------------------------------------------------- */

template <class T> cublasStatus_t set_value(T *to, const void *from, size_t bytes)
{
    if (!from || bytes != sizeof *to)
        return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(to, from, bytes);
    return CUBLAS_STATUS_SUCCESS;
}

template <class T> cublasStatus_t get_value(T from, void *to, size_t bytes, size_t *written)
{
    if (written)
        *written = sizeof from;
    if (bytes == 0)
        return written ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_INVALID_VALUE;
    if (!to || bytes != sizeof from)
        return CUBLAS_STATUS_INVALID_VALUE;
    memcpy(to, &from, bytes);
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t set_description(Description *desc, cublasLtMatmulDescAttributes_t which,
                               const void *value, size_t bytes)
{
    switch (which) {
    case CUBLASLT_MATMUL_DESC_POINTER_MODE:
        return set_value(&desc->pointer_mode, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSA:
        return set_value(&desc->a_op, value, bytes);
    case CUBLASLT_MATMUL_DESC_TRANSB:
        return set_value(&desc->b_op, value, bytes);
    case CUBLASLT_MATMUL_DESC_EPILOGUE:
        return set_value(&desc->epilogue, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER:
        return set_value(&desc->bias, value, bytes);
    case CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE:
        return set_value(&desc->bias_type, value, bytes);
    default:
        report("not emulated", "cublasLtMatmulDescAttributes_t %d", static_cast<int>(which));
        return CUBLAS_STATUS_NOT_SUPPORTED;
    }
}

cublasStatus_t set_layout(Layout *layout, cublasLtMatrixLayoutAttribute_t which, const void *value,
                          size_t bytes)
{
    switch (which) {
    case CUBLASLT_MATRIX_LAYOUT_TYPE:
        return set_value(&layout->type, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_ORDER:
        return set_value(&layout->order, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_ROWS:
        return set_value(&layout->rows, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_COLS:
        return set_value(&layout->cols, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_LD:
        return set_value(&layout->ld, value, bytes);
    case CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT:
        return set_value(&layout->batch, value, bytes);
    default:
        report("not emulated", "cublasLtMatrixLayoutAttribute_t %d", static_cast<int>(which));
        return CUBLAS_STATUS_NOT_SUPPORTED;
    }
}

cublasStatus_t set_preference(Preference *preference, cublasLtMatmulPreferenceAttributes_t which,
                              const void *value, size_t bytes)
{
    switch (which) {
    case CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES:
        return set_value(&preference->workspace, value, bytes);
    case CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK:
        return set_value(&preference->schemes, value, bytes);
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES:
    case CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES:
        return set_value(&preference->alignment[which - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES],
                         value, bytes);
    default:
        report("not emulated", "cublasLtMatmulPreferenceAttributes_t %d", static_cast<int>(which));
        return CUBLAS_STATUS_NOT_SUPPORTED;
    }
}

/* ---- algorithms --------------------------------------------------------------------------- */

Algorithm unpack(const cublasLtMatmulAlgo_t *words)
{
    Algorithm algorithm;

    memcpy(&algorithm, words->data, sizeof algorithm);
    return algorithm;
}

void pack(const Algorithm &algorithm, cublasLtMatmulAlgo_t *words)
{
    memcpy(words->data, &algorithm, sizeof algorithm);
}

cublasStatus_t set_algorithm(Algorithm *algorithm, cublasLtMatmulAlgoConfigAttributes_t which,
                             const void *value, size_t bytes)
{
    switch (which) {
    case CUBLASLT_ALGO_CONFIG_TILE_ID:
        return set_value(&algorithm->tile, value, bytes);
    case CUBLASLT_ALGO_CONFIG_SPLITK_NUM:
        return set_value(&algorithm->splits, value, bytes);
    case CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME:
        return set_value(&algorithm->scheme, value, bytes);
    case CUBLASLT_ALGO_CONFIG_CTA_SWIZZLING:
        return set_value(&algorithm->swizzle, value, bytes);
    case CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION:
        return set_value(&algorithm->custom, value, bytes);
    case CUBLASLT_ALGO_CONFIG_STAGES_ID:
        return set_value(&algorithm->stages, value, bytes);
    case CUBLASLT_ALGO_CONFIG_INNER_SHAPE_ID:
        return set_value(&algorithm->inner, value, bytes);
    case CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID:
        return set_value(&algorithm->cluster, value, bytes);
    default: /* the id is read-only */
        return CUBLAS_STATUS_INVALID_VALUE;
    }
}

cublasStatus_t get_algorithm(const Algorithm &algorithm, cublasLtMatmulAlgoConfigAttributes_t which,
                             void *value, size_t bytes, size_t *written)
{
    switch (which) {
    case CUBLASLT_ALGO_CONFIG_ID:
        return get_value(algorithm.id, value, bytes, written);
    case CUBLASLT_ALGO_CONFIG_TILE_ID:
        return get_value(algorithm.tile, value, bytes, written);
    case CUBLASLT_ALGO_CONFIG_SPLITK_NUM:
        return get_value(algorithm.splits, value, bytes, written);
    case CUBLASLT_ALGO_CONFIG_REDUCTION_SCHEME:
        return get_value(algorithm.scheme, value, bytes, written);
    case CUBLASLT_ALGO_CONFIG_CTA_SWIZZLING:
        return get_value(algorithm.swizzle, value, bytes, written);
    case CUBLASLT_ALGO_CONFIG_CUSTOM_OPTION:
        return get_value(algorithm.custom, value, bytes, written);
    case CUBLASLT_ALGO_CONFIG_STAGES_ID:
        return get_value(algorithm.stages, value, bytes, written);
    case CUBLASLT_ALGO_CONFIG_INNER_SHAPE_ID:
        return get_value(algorithm.inner, value, bytes, written);
    case CUBLASLT_ALGO_CONFIG_CLUSTER_SHAPE_ID:
        return get_value(algorithm.cluster, value, bytes, written);
    default:
        return CUBLAS_STATUS_INVALID_VALUE;
    }
}

/* ---- a product ---------------------------------------------------------------------------- */

/* The objects of one call, all of them live. */
struct Problem {
    const Description *desc;
    const Layout *a, *b, *c, *d;

    uint64_t m() const
    {
        return d->rows;
    }
    uint64_t n() const
    {
        return d->cols;
    }
    uint64_t k() const
    {
        return desc->a_op == CUBLAS_OP_N ? a->cols : a->rows;
    }
};

bool find_problem(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, cublasLtMatrixLayout_t a,
                  cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                  Problem *out)
{
    *out = Problem{state().descriptions.find(desc), state().layouts.find(a),
                   state().layouts.find(b), state().layouts.find(c), state().layouts.find(d)};
    return state().handles.find(handle) && out->desc && out->a && out->b && out->c && out->d;
}

bool is_op(int32_t op)
{
    return op == CUBLAS_OP_N || op == CUBLAS_OP_T;
}

cublasStatus_t check_types(const Problem &p)
{
    const bool f32 = p.a->type == CUDA_R_32F && p.c->type == CUDA_R_32F;
    const bool bf16 =
        p.a->type == CUDA_R_16BF && (p.c->type == CUDA_R_32F || p.c->type == CUDA_R_16BF);
    const bool computes =
        p.desc->compute == CUBLAS_COMPUTE_32F || p.desc->compute == CUBLAS_COMPUTE_32F_PEDANTIC;

    if (!(f32 || bf16) || p.a->type != p.b->type || p.c->type != p.d->type || !computes ||
        p.desc->scale != CUDA_R_32F || p.desc->pointer_mode != CUBLASLT_POINTER_MODE_HOST)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    for (const Layout *layout : {p.a, p.b, p.c, p.d})
        if (layout->order != CUBLASLT_ORDER_COL || layout->batch != 1)
            return CUBLAS_STATUS_NOT_SUPPORTED;
    if (p.desc->epilogue &
        ~static_cast<uint32_t>(CUBLASLT_EPILOGUE_DEFAULT | CUBLASLT_EPILOGUE_RELU_BIAS))
        return CUBLAS_STATUS_NOT_SUPPORTED;
    if ((p.desc->epilogue & CUBLASLT_EPILOGUE_BIAS) && p.desc->bias_type != -1 &&
        static_cast<uint32_t>(p.desc->bias_type) != p.d->type)
        return CUBLAS_STATUS_NOT_SUPPORTED;
    return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t check_problem(const Problem &p)
{
    const cublasStatus_t status = check_types(p);

    if (status != CUBLAS_STATUS_SUCCESS)
        return status;
    if (!is_op(p.desc->a_op) || !is_op(p.desc->b_op))
        return CUBLAS_STATUS_INVALID_VALUE;
    const bool a_plain = p.desc->a_op == CUBLAS_OP_N, b_plain = p.desc->b_op == CUBLAS_OP_N;
    if ((a_plain ? p.a->rows : p.a->cols) != p.m() || (b_plain ? p.b->cols : p.b->rows) != p.n() ||
        (b_plain ? p.b->rows : p.b->cols) != p.k() || p.c->rows != p.m() || p.c->cols != p.n())
        return CUBLAS_STATUS_INVALID_VALUE;
    for (const Layout *layout : {p.a, p.b, p.c, p.d})
        if (layout->rows == 0 || layout->cols == 0 || layout->ld < 0 ||
            static_cast<uint64_t>(layout->ld) < layout->rows)
            return CUBLAS_STATUS_INVALID_VALUE;
    return CUBLAS_STATUS_SUCCESS;
}

/* Partial sums of a split lie in the workspace. */
size_t workspace_of(const Problem &p, const Algorithm &algorithm)
{
    return algorithm.splits > 1 ? static_cast<size_t>(algorithm.splits) * p.m() * p.n() * 4 : 0;
}

cublasStatus_t check_algorithm(const Algorithm &algorithm)
{
    if (algorithm.magic != ALGORITHM_MAGIC || algorithm.id < 0 || algorithm.id >= ALGORITHMS)
        return CUBLAS_STATUS_INVALID_VALUE;
    const bool split = algorithm.splits > 1;
    if (algorithm.splits < 1 || algorithm.splits > SPLITS_MAX ||
        split != (algorithm.scheme != CUBLASLT_REDUCTION_SCHEME_NONE))
        return CUBLAS_STATUS_NOT_SUPPORTED;
    return CUBLAS_STATUS_SUCCESS;
}

Algorithm make_algorithm(int32_t id, int32_t splits, const Preference &preference)
{
    Algorithm algorithm = {};

    algorithm.magic = ALGORITHM_MAGIC;
    algorithm.id = id;
    algorithm.splits = splits;
    algorithm.scheme =
        splits > 1 ? CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE : CUBLASLT_REDUCTION_SCHEME_NONE;
    algorithm.tile = CUBLASLT_MATMUL_TILE_128x128;
    algorithm.stages = CUBLASLT_MATMUL_STAGES_64x4;
    for (int i = 0; i < 4; i++)
        algorithm.alignment[i] = static_cast<uint16_t>(preference.alignment[i]);
    return algorithm;
}

/* Best first. */
std::vector<Algorithm> candidates(const Problem &p, const Preference &preference)
{
    std::vector<Algorithm> all = {make_algorithm(0, 1, preference),
                                  make_algorithm(0, 2, preference),
                                  make_algorithm(1, 1, preference)};

    if (switches().splits_by_shape && p.n() < FEW_COLUMNS)
        all = {make_algorithm(1, 4, preference), make_algorithm(1, 1, preference)};
    auto refused = [&](const Algorithm &algorithm) {
        const bool scheme_allowed =
            algorithm.splits == 1 || (preference.schemes & algorithm.scheme) != 0;

        return !scheme_allowed || workspace_of(p, algorithm) > preference.workspace;
    };
    all.erase(std::remove_if(all.begin(), all.end(), refused), all.end());
    return all;
}

void fill_result(const Problem &p, const Algorithm &algorithm, cublasLtMatmulHeuristicResult_t *out)
{
    memset(out, 0, sizeof *out);
    pack(algorithm, &out->algo);
    out->workspaceSize = workspace_of(p, algorithm);
    out->state = CUBLAS_STATUS_SUCCESS;
    out->wavesCount = 1.0f;
}

Element element_of(const Layout *layout)
{
    return layout->type == CUDA_R_32F ? Element::f32 : Element::bf16;
}

size_t span_of(const Layout *layout)
{
    return ((layout->cols - 1) * static_cast<size_t>(layout->ld) + layout->rows) *
           bytes_of(element_of(layout));
}

struct Operands {
    const void *a, *b, *c;
    void *d;
    const void *bias;
    void *workspace;
    size_t workspace_bytes;
};

bool is_aligned(const void *data, size_t bytes)
{
    return reinterpret_cast<uintptr_t>(data) % bytes == 0;
}

/* The ranges are in device memory and as well aligned as the algorithm was told. */
cublasStatus_t check_operands(const Problem &p, const Algorithm &algorithm, const Operands &o)
{
    const void *data[] = {o.a, o.b, o.c, o.d};
    const Layout *layouts[] = {p.a, p.b, p.c, p.d};
    static const char *const names[] = {"cublasLtMatmul A", "cublasLtMatmul B", "cublasLtMatmul C",
                                        "cublasLtMatmul D"};

    for (int i = 0; i < 4; i++) {
        if (!data[i])
            return CUBLAS_STATUS_INVALID_VALUE;
        if (!is_aligned(data[i], algorithm.alignment[i])) {
            report("cublas alignment",
                   "%s: %p is not aligned to %d bytes as the algorithm's "
                   "preference said",
                   names[i], data[i], algorithm.alignment[i]);
            return CUBLAS_STATUS_INVALID_VALUE;
        }
        if (!check_device_range(data[i], span_of(layouts[i]), names[i]))
            return CUBLAS_STATUS_INVALID_VALUE;
    }
    if (o.c == o.d && p.c->ld != p.d->ld)
        return CUBLAS_STATUS_INVALID_VALUE;
    if ((p.desc->epilogue & CUBLASLT_EPILOGUE_BIAS) &&
        (!o.bias ||
         !check_device_range(o.bias, p.m() * bytes_of(element_of(p.d)), "cublasLtMatmul bias")))
        return CUBLAS_STATUS_INVALID_VALUE;
    const size_t needed = workspace_of(p, algorithm);
    if (needed > o.workspace_bytes ||
        (needed > 0 && !check_device_range(o.workspace, needed, "cublasLtMatmul workspace")))
        return CUBLAS_STATUS_INVALID_VALUE;
    return CUBLAS_STATUS_SUCCESS;
}

Product to_product(const Problem &p, const Algorithm &algorithm, const Operands &o, float alpha,
                   float beta)
{
    Product product = {};

    product.m = static_cast<int64_t>(p.m());
    product.n = static_cast<int64_t>(p.n());
    product.k = static_cast<int64_t>(p.k());
    product.a = {o.a, element_of(p.a), p.a->ld, p.desc->a_op == CUBLAS_OP_T};
    product.b = {o.b, element_of(p.b), p.b->ld, p.desc->b_op == CUBLAS_OP_T};
    product.c = {o.c, element_of(p.c), p.c->ld, false};
    product.d = o.d;
    product.d_ld = p.d->ld;
    product.alpha = alpha;
    product.beta = beta;
    product.bias = p.desc->epilogue & CUBLASLT_EPILOGUE_BIAS ? o.bias : nullptr;
    product.relu = (p.desc->epilogue & CUBLASLT_EPILOGUE_RELU) != 0;
    product.parts = algorithm.splits * (algorithm.id + 1);
    return product;
}

} // namespace

} // namespace fakecuda

using namespace fakecuda;

extern "C" {

size_t cublasLtGetVersion(void)
{
    return CUBLAS_VERSION;
}

const char *cublasLtGetStatusName(cublasStatus_t status)
{
    switch (status) {
    case CUBLAS_STATUS_SUCCESS:
        return "CUBLAS_STATUS_SUCCESS";
    case CUBLAS_STATUS_NOT_INITIALIZED:
        return "CUBLAS_STATUS_NOT_INITIALIZED";
    case CUBLAS_STATUS_ALLOC_FAILED:
        return "CUBLAS_STATUS_ALLOC_FAILED";
    case CUBLAS_STATUS_INVALID_VALUE:
        return "CUBLAS_STATUS_INVALID_VALUE";
    case CUBLAS_STATUS_EXECUTION_FAILED:
        return "CUBLAS_STATUS_EXECUTION_FAILED";
    case CUBLAS_STATUS_NOT_SUPPORTED:
        return "CUBLAS_STATUS_NOT_SUPPORTED";
    default:
        return "unknown cublasStatus_t";
    }
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t *out)
{
    return enter_blas([&] { return state().handles.create(out, Handle{}); });
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle)
{
    return enter_blas(
        [&] { return state().handles.destroy(handle, CUBLAS_STATUS_NOT_INITIALIZED); });
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t *out, cublasComputeType_t compute,
                                        cudaDataType_t scale)
{
    return enter_blas([&] {
        Description desc = {};

        desc.compute = compute;
        desc.scale = scale;
        return state().descriptions.create(out, desc);
    });
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t desc)
{
    return enter_blas(
        [&] { return state().descriptions.destroy(desc, CUBLAS_STATUS_INVALID_VALUE); });
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t desc,
                                              cublasLtMatmulDescAttributes_t which,
                                              const void *value, size_t bytes)
{
    return enter_blas([&] {
        Description *found = state().descriptions.find(desc);

        return found ? set_description(found, which, value, bytes) : CUBLAS_STATUS_INVALID_VALUE;
    });
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t *out, cudaDataType type,
                                          uint64_t rows, uint64_t cols, int64_t ld)
{
    return enter_blas([&] {
        Layout layout = {};

        layout.type = type;
        layout.rows = rows;
        layout.cols = cols;
        layout.ld = ld;
        return state().layouts.create(out, layout);
    });
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout)
{
    return enter_blas([&] { return state().layouts.destroy(layout, CUBLAS_STATUS_INVALID_VALUE); });
}

cublasStatus_t cublasLtMatrixLayoutSetAttribute(cublasLtMatrixLayout_t layout,
                                                cublasLtMatrixLayoutAttribute_t which,
                                                const void *value, size_t bytes)
{
    return enter_blas([&] {
        Layout *found = state().layouts.find(layout);

        return found ? set_layout(found, which, value, bytes) : CUBLAS_STATUS_INVALID_VALUE;
    });
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t *out)
{
    return enter_blas([&] { return state().preferences.create(out, Preference{}); });
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference)
{
    return enter_blas(
        [&] { return state().preferences.destroy(preference, CUBLAS_STATUS_INVALID_VALUE); });
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t which,
                                                    const void *value, size_t bytes)
{
    return enter_blas([&] {
        Preference *found = state().preferences.find(preference);

        return found ? set_preference(found, which, value, bytes) : CUBLAS_STATUS_INVALID_VALUE;
    });
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int requested,
                                              cublasLtMatmulHeuristicResult_t results[],
                                              int *returned)
{
    return enter_blas([&] {
        Problem problem;
        const Preference *wanted = state().preferences.find(preference);

        *returned = 0;
        if (!find_problem(handle, desc, a, b, c, d, &problem) || !wanted || requested < 1)
            return CUBLAS_STATUS_INVALID_VALUE;
        const cublasStatus_t status = check_problem(problem);
        if (status != CUBLAS_STATUS_SUCCESS)
            return status;
        for (const Algorithm &algorithm : candidates(problem, *wanted))
            if (*returned < requested)
                fill_result(problem, algorithm, &results[(*returned)++]);
        return *returned ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
    });
}

cublasStatus_t cublasLtMatmulAlgoCheck(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc,
                                       cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                       cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                       const cublasLtMatmulAlgo_t *algo,
                                       cublasLtMatmulHeuristicResult_t *result)
{
    return enter_blas([&] {
        Problem problem;

        if (!find_problem(handle, desc, a, b, c, d, &problem) || !algo)
            return CUBLAS_STATUS_INVALID_VALUE;
        cublasStatus_t status = check_problem(problem);
        if (status == CUBLAS_STATUS_SUCCESS)
            status = check_algorithm(unpack(algo));
        if (status == CUBLAS_STATUS_SUCCESS)
            fill_result(problem, unpack(algo), result);
        return status;
    });
}

cublasStatus_t cublasLtMatmulAlgoConfigSetAttribute(cublasLtMatmulAlgo_t *algo,
                                                    cublasLtMatmulAlgoConfigAttributes_t which,
                                                    const void *value, size_t bytes)
{
    Algorithm algorithm = unpack(algo);
    const cublasStatus_t status = set_algorithm(&algorithm, which, value, bytes);

    pack(algorithm, algo);
    return status;
}

cublasStatus_t cublasLtMatmulAlgoConfigGetAttribute(const cublasLtMatmulAlgo_t *algo,
                                                    cublasLtMatmulAlgoConfigAttributes_t which,
                                                    void *value, size_t bytes, size_t *written)
{
    return get_algorithm(unpack(algo), which, value, bytes, written);
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t desc, const void *alpha,
                              const void *a, cublasLtMatrixLayout_t a_layout, const void *b,
                              cublasLtMatrixLayout_t b_layout, const void *beta, const void *c,
                              cublasLtMatrixLayout_t c_layout, void *d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t *algo,
                              void *workspace, size_t workspace_bytes, cudaStream_t stream_handle)
{
    return enter_blas([&] {
        Problem problem;
        CUstream_st *stream = find_stream(stream_handle);

        if (!find_problem(handle, desc, a_layout, b_layout, c_layout, d_layout, &problem) ||
            !alpha || !beta || !stream)
            return CUBLAS_STATUS_INVALID_VALUE;
        cublasStatus_t status = check_problem(problem);
        if (status != CUBLAS_STATUS_SUCCESS)
            return status;
        Preference plain;
        std::fill(plain.alignment, plain.alignment + 4, 1u);
        const Algorithm algorithm = algo ? unpack(algo) : make_algorithm(0, 1, plain);
        status = check_algorithm(algorithm);
        if (status != CUBLAS_STATUS_SUCCESS)
            return status;
        const Operands operands = {a, b, c, d, problem.desc->bias, workspace, workspace_bytes};
        status = check_operands(problem, algorithm, operands);
        if (status != CUBLAS_STATUS_SUCCESS)
            return status;
        if (launch_fails())
            return CUBLAS_STATUS_EXECUTION_FAILED;
        counts().matmuls++;
        enqueue(stream, [product = to_product(problem, algorithm, operands,
                                              *static_cast<const float *>(alpha),
                                              *static_cast<const float *>(beta))] {
            multiply(product);
            return true;
        });
        return CUBLAS_STATUS_SUCCESS;
    });
}

} // extern "C"
