// The custom-operator library for onnxruntime: mambaad::SelectiveScan, version 1.
//
// Register the library in the session's options, and the operator takes the place of the model's
// own function of that name. Its work is done by the session's intra-op threads. What onnxruntime
// passes is checked before anything is read: a wrong shape is an error of the run.
#include <algorithm>
#include <cstdlib>
#include <exception>
#include <functional>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "onnxruntime_api.h"
#include "selective_scan.hpp"

namespace mambaad {
namespace {

// What onnxruntime answered where it refused something.
struct Refused {
  OrtStatusPtr status;
};

using Sizes = std::vector<int64_t>;

std::string text(const Sizes& sizes) {
  std::string all;
  for (int64_t size : sizes) all += (all.empty() ? "" : " x ") + std::to_string(size);
  return all.empty() ? "a scalar" : all;
}

// What a run gives and takes. Throws Refused where onnxruntime does.
class Context {
 public:
  Context(const OrtApi& api, OrtKernelContext* context) : api_(api), context_(context) {}

  void check(OrtStatusPtr status) const {
    if (status) throw Refused{status};
  }

  const OrtValue* input(size_t i) const {
    const OrtValue* value = nullptr;
    check(api_.KernelContext_GetInput(context_, i, &value));
    if (!value) throw std::invalid_argument("an input is missing");
    return value;
  }

  Sizes sizes(const OrtValue* value) const {
    OrtTensorTypeAndShapeInfo* info = nullptr;
    check(api_.GetTensorTypeAndShape(value, &info));
    const std::unique_ptr<OrtTensorTypeAndShapeInfo, decltype(api_.ReleaseTensorTypeAndShapeInfo)>
        held(info, api_.ReleaseTensorTypeAndShapeInfo);
    size_t count = 0;
    check(api_.GetDimensionsCount(info, &count));
    Sizes sizes(count);
    check(api_.GetDimensions(info, sizes.data(), count));
    return sizes;
  }

  // onnxruntime (1.17) has no function that gives constant data.
  template <class T>
  T* data(const OrtValue* value) const {
    void* data = nullptr;
    check(api_.GetTensorMutableData(const_cast<OrtValue*>(value), &data));
    return static_cast<T*>(data);
  }

  float* output(const Sizes& sizes) const {
    OrtValue* value = nullptr;
    check(api_.KernelContext_GetOutput(context_, 0, sizes.data(), sizes.size(), &value));
    return data<float>(value);
  }

  // The tasks 0 .. count - 1 on the session's threads. Nothing may be thrown through onnxruntime.
  void run(int64_t count, const std::function<void(int64_t)>& task) const {
    struct Work {
      const std::function<void(int64_t)>& task;
      std::mutex mutex;
      std::exception_ptr error;
    } work{task, {}, {}};
    check(api_.KernelContext_ParallelFor(
        context_,
        [](void* data, size_t i) {
          Work& work = *static_cast<Work*>(data);
          try {
            work.task(int64_t(i));
          } catch (...) {
            std::lock_guard lock(work.mutex);
            work.error = std::current_exception();
          }
        },
        size_t(count), 0, &work));
    if (work.error) std::rethrow_exception(work.error);
  }

 private:
  const OrtApi& api_;
  OrtKernelContext* context_;
};

const char* const names[] = {"u", "proj", "dt_weight", "dt_bias", "A", "skip", "order"};
constexpr size_t dimensions[] = {3, 3, 3, 2, 3, 2, 2};
constexpr size_t inputs = std::size(names), order_input = inputs - 1;

// The sizes that the inputs agree on. Throws std::invalid_argument where they do not.
Shape checked_shape(const std::vector<Sizes>& of) {
  for (size_t i = 0; i < inputs; ++i)
    if (of[i].size() != dimensions[i])
      throw std::invalid_argument(std::string(names[i]) + " has " + std::to_string(of[i].size()) +
                                  " dimensions, expected " + std::to_string(dimensions[i]));
  const Shape s{of[0][0], of[0][1], of[0][2], of[4][0], of[4][2], of[2][2]};
  const Sizes expected[] = {of[0],
                            {s.batch, s.length, s.rows()},
                            {s.directions, s.channels, s.rank},
                            {s.directions, s.channels},
                            {s.directions, s.channels, s.states},
                            {s.directions, s.channels},
                            {s.directions, s.length}};
  for (size_t i = 0; i < inputs; ++i)
    if (of[i] != expected[i])
      throw std::invalid_argument(std::string(names[i]) + " is " + text(of[i]) + ", expected " +
                                  text(expected[i]));
  return s;
}

struct Kernel {
  const OrtApi& api;
  std::string variant;

  void compute(OrtKernelContext* given) const {
    const Context context(api, given);
    const OrtValue* values[inputs];
    std::vector<Sizes> sizes;
    for (size_t i = 0; i < inputs; ++i) {
      values[i] = context.input(i);
      sizes.push_back(context.sizes(values[i]));
    }
    const Shape s = checked_shape(sizes);
    const auto of = [&](size_t i) { return context.data<const float>(values[i]); };
    const Inputs in{of(0), of(1), of(2), of(3),
                    of(4), of(5), context.data<const int32_t>(values[order_input])};
    for (int64_t i = 0; i < s.directions * s.length; ++i)
      if (in.order[i] < 0 || in.order[i] >= s.length)
        throw std::invalid_argument("order names position " + std::to_string(in.order[i]) +
                                    " of a map of " + std::to_string(s.length));
    float* const y = context.output(sizes[0]);
    if (s.batch * s.length * s.channels == 0) return;
    // A session does not say how many threads it has. To be divided finer than that costs little.
    const int threads = int(std::max(1u, std::thread::hardware_concurrency()));
    selective_scan(variant, threads, s, in, y, nullptr,
                   [&](int64_t count, const auto& task) { context.run(count, task); });
  }
};

// Calls `function` and makes a status of what it throws.
template <class F>
OrtStatusPtr guarded(const OrtApi& api, const F& function) {
  const auto failed = [&](OrtErrorCode code, const std::string& why) {
    return api.CreateStatus(code, ("mambaad::SelectiveScan: " + why).c_str());
  };
  try {
    function();
  } catch (const Refused& refused) {
    return refused.status;
  } catch (const std::invalid_argument& error) {
    return failed(ORT_INVALID_ARGUMENT, error.what());
  } catch (const std::exception& error) {
    return failed(ORT_FAIL, error.what());
  }
  return nullptr;
}

// The variant that MAMBAAD_KERNEL names, or the fastest; its other values are those of PyTorch's
// backends. Throws std::invalid_argument for a variant that this processor does not have.
std::string chosen_variant() {
  const char* wanted = std::getenv("MAMBAAD_KERNEL");
  const std::string name = wanted ? wanted : "";
  const std::vector<std::string> possible = variants();
  for (const char* other : {"", "auto", "triton", "torch"})
    if (name == other) return possible.front();
  std::string all;
  for (const std::string& variant : possible) {
    if (variant == name) return name;
    all += (all.empty() ? "" : ", ") + variant;
  }
  throw std::invalid_argument("MAMBAAD_KERNEL: expected one of " + all + ", got '" + name + "'");
}

// The operator as one onnxruntime sees it.
struct Operator : OrtCustomOp {
  const OrtApi& api;

  explicit Operator(const OrtApi& api) : OrtCustomOp{}, api(api) {
    version = ORT_API_VERSION;
    GetName = [](const OrtCustomOp*) { return "SelectiveScan"; };
    GetExecutionProviderType = [](const OrtCustomOp*) -> const char* { return nullptr; };
    GetInputTypeCount = [](const OrtCustomOp*) { return inputs; };
    GetInputType = [](const OrtCustomOp*, size_t i) {
      return i == order_input ? ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32
                              : ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
    };
    GetOutputTypeCount = [](const OrtCustomOp*) { return size_t(1); };
    GetOutputType = [](const OrtCustomOp*, size_t) {
      return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
    };
    GetInputCharacteristic = GetOutputCharacteristic = [](const OrtCustomOp*, size_t) {
      return INPUT_OUTPUT_REQUIRED;
    };
    GetInputMemoryType = [](const OrtCustomOp*, size_t) { return OrtMemTypeDefault; };
    GetVariadicInputMinArity = GetVariadicInputHomogeneity = GetVariadicOutputMinArity =
        GetVariadicOutputHomogeneity = [](const OrtCustomOp*) { return 1; };
    GetStartVersion = GetEndVersion = [](const OrtCustomOp*) { return 1; };
    CreateKernelV2 = [](const OrtCustomOp*, const OrtApi* api, const OrtKernelInfo*,
                        void** kernel) {
      return guarded(*api, [&] { *kernel = new Kernel{*api, chosen_variant()}; });
    };
    KernelComputeV2 = [](void* kernel, OrtKernelContext* context) {
      const Kernel& scan = *static_cast<Kernel*>(kernel);
      return guarded(scan.api, [&] { scan.compute(context); });
    };
    KernelDestroy = [](void* kernel) { delete static_cast<Kernel*>(kernel); };
    InferOutputShapeFn = [](const OrtCustomOp* op,
                            OrtShapeInferContext* context) -> OrtStatusPtr {
      const OrtApi& api = static_cast<const Operator*>(op)->api;
      OrtTensorTypeAndShapeInfo* u = nullptr;  // the context's
      if (OrtStatusPtr status = api.ShapeInferContext_GetInputTypeShape(context, 0, &u))
        return status;
      size_t count = 0;  // 0 where even their number is unknown
      if (OrtStatusPtr status = api.GetDimensionsCount(u, &count)) return status;
      std::vector<int64_t> sizes(count);
      if (OrtStatusPtr status = api.GetDimensions(u, sizes.data(), count)) return status;
      std::vector<const char*> names(count);
      if (OrtStatusPtr status = api.GetSymbolicDimensions(u, names.data(), count)) return status;
      // A size without a number or name would be taken for the number -1, and folded into graphs.
      for (size_t i = 0; i < count; ++i)
        if (sizes[i] < 0 && !*names[i]) return nullptr;
      return count == 0 ? nullptr : api.ShapeInferContext_SetOutputTypeShape(context, 0, u);
    };
  }
};

// The operator's domain in each onnxruntime of this process (a program may have two, each with
// its table). Sessions go on using it, so that it is never released.
OrtCustomOpDomain* domain_of(const OrtApi& api) {
  static std::mutex mutex;
  static std::map<const OrtApi*, OrtCustomOpDomain*>& domains =
      *new std::map<const OrtApi*, OrtCustomOpDomain*>;
  const std::lock_guard lock(mutex);
  OrtCustomOpDomain*& domain = domains[&api];
  if (!domain) {
    OrtCustomOpDomain* made = nullptr;
    if (OrtStatusPtr status = api.CreateCustomOpDomain("mambaad", &made)) throw Refused{status};
    if (OrtStatusPtr status = api.CustomOpDomain_Add(made, new Operator(api))) {
      api.ReleaseCustomOpDomain(made);
      throw Refused{status};
    }
    domain = made;
  }
  return domain;
}

}  // namespace
}  // namespace mambaad

// The function that onnxruntime looks for when the library is registered.
extern "C" __attribute__((visibility("default"))) OrtStatusPtr ORT_API_CALL
RegisterCustomOps(OrtSessionOptions* options, const OrtApiBase* base) {
  const OrtApi* const api = base->GetApi(ORT_API_VERSION);
  if (!api) {  // an onnxruntime before 1.17, whose version 1 can say so
    const std::string version = base->GetVersionString();
    return base->GetApi(1)->CreateStatus(
        ORT_FAIL,
        ("mambaad::SelectiveScan: expected onnxruntime 1.17 or newer, got " + version).c_str());
  }
  return mambaad::guarded(*api, [&] {
    mambaad::chosen_variant();  // refused here rather than in the middle of a model
    OrtCustomOpDomain* const domain = mambaad::domain_of(*api);
    if (OrtStatusPtr status = api->AddCustomOpDomain(options, domain))
      throw mambaad::Refused{status};
  });
}
