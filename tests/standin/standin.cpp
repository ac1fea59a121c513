// A stand-in for an accelerator, for machines without one: its own kind of memory, kernels that run on the CPU, and the properties
// of an accelerator that a harness has to handle.
//
// - The first use initialises it; a process forked after that cannot use it.
// - Its driver opens files and fails without them.
// - Errors of kernels are asynchronous: the next synchronization raises them, and the process cannot use the device any more.
// - Its memory has its own limit; a process can be restricted to a fraction of it.

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/EmptyTensor.h>
#include <ATen/TensorUtils.h>
#include <ATen/core/Tensor.h>
#include <ATen/detail/PrivateUse1HooksInterface.h>
#include <ATen/native/CPUFallback.h>
#include <ATen/native/Resize.h>
#include <ATen/ops/_reshape_alias_native.h>
#include <ATen/ops/as_strided_native.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/from_blob.h>
#include <ATen/ops/resize_native.h>
#include <ATen/ops/set_native.h>
#include <ATen/ops/unfold_native.h>
#include <ATen/ops/view_as_complex_native.h>
#include <ATen/ops/view_as_real_native.h>
#include <ATen/ops/view_native.h>
#include <c10/core/Allocator.h>
#include <c10/core/impl/DeviceGuardImplInterface.h>
#include <torch/library.h>

#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>

namespace {

constexpr auto kDevice = c10::DeviceType::PrivateUse1;
constexpr int64_t kTotal = int64_t{4} << 30;  // bytes that the device has

pid_t owner = 0;                     // the process that initialised the device
int driver[] = {-1, -1, -1};         // files that its driver has open
bool lost = false;                   // a kernel failed in this process
std::atomic<int64_t> used{0};        // bytes
std::atomic<int64_t> limit{kTotal};  // bytes that this process may use

c10::Device here() {
  return {kDevice, 0};
}

void initialize() {
  if (!owner) {
    owner = getpid();
    for (int& file : driver) file = eventfd(0, EFD_CLOEXEC);
  }
  TORCH_CHECK(owner == getpid(), "Cannot re-initialize standin in forked subprocess");
  for (int file : driver) lost |= fcntl(file, F_GETFD) < 0;
}

void synchronize() {
  if (lost) throw c10::AcceleratorError({__func__, __FILE__, __LINE__}, 710, "standin error: device-side assert triggered");
}

void use() {
  initialize();
  synchronize();
}

struct Allocator final : c10::Allocator {
  c10::DataPtr allocate(size_t bytes) override {
    use();
    auto size = static_cast<int64_t>(bytes);
    TORCH_CHECK_WITH(OutOfMemoryError, used + size <= limit, "standin out of memory: tried to allocate ", size, " bytes");
    if (!bytes) return {nullptr, nullptr, &release, here()};
    auto* block = static_cast<int64_t*>(std::aligned_alloc(64, (bytes + 64 + 63) / 64 * 64));
    TORCH_CHECK_WITH(OutOfMemoryError, block, "standin out of memory: tried to allocate ", size, " bytes");
    used += *block = size;
    return {block + 8, block, &release, here()};
  }

  static void release(void* block) {
    if (!block) return;
    used -= *static_cast<int64_t*>(block);
    std::free(block);
  }

  c10::DeleterFnPtr raw_deleter() const override {
    return &release;
  }

  void copy_data(void* to, const void* from, size_t bytes) const override {
    std::memcpy(to, from, bytes);
  }
};

Allocator allocator;
REGISTER_ALLOCATOR(kDevice, &allocator);

struct Guard final : c10::impl::DeviceGuardImplInterface {
  c10::DeviceType type() const override {
    return kDevice;
  }
  c10::Device exchangeDevice(c10::Device) const override {
    return here();
  }
  c10::Device getDevice() const override {
    return here();
  }
  void setDevice(c10::Device device) const override {
    TORCH_CHECK(device.index() <= 0, "standin has one device");
  }
  void uncheckedSetDevice(c10::Device) const noexcept override {}
  c10::Stream getStream(c10::Device device) const override {
    return c10::Stream(c10::Stream::DEFAULT, device);
  }
  c10::Stream getDefaultStream(c10::Device device) const override {
    return getStream(device);
  }
  c10::Stream exchangeStream(c10::Stream stream) const override {
    return stream;
  }
  c10::DeviceIndex deviceCount() const noexcept override {
    return 1;
  }
  void synchronizeDevice(const c10::DeviceIndex) const override {
    use();
  }
  void synchronizeStream(const c10::Stream&) const override {
    use();
  }
};

C10_REGISTER_GUARD_IMPL(PrivateUse1, Guard);

struct Generator final : at::CPUGeneratorImpl {
  Generator() {
    device_ = here();
    key_set_ = c10::DispatchKeySet(c10::DispatchKey::PrivateUse1);
  }
};

struct Hooks final : at::PrivateUse1HooksInterface {
  bool isBuilt() const override {
    return true;
  }
  bool isAvailable() const override {
    return true;
  }
  bool hasPrimaryContext(c10::DeviceIndex) const override {
    return owner == getpid();
  }
  c10::DeviceIndex deviceCount() const override {
    return 1;
  }
  c10::DeviceIndex getCurrentDevice() const override {
    return 0;
  }
  void setCurrentDevice(c10::DeviceIndex) const override {}
  c10::DeviceIndex exchangeDevice(c10::DeviceIndex) const override {
    return 0;
  }
  c10::DeviceIndex maybeExchangeDevice(c10::DeviceIndex) const override {
    return 0;
  }
  at::Device getDeviceFromPtr(void*) const override {
    return here();
  }
  const at::Generator& getDefaultGenerator(c10::DeviceIndex) const override {
    static at::Generator generator = at::make_generator<Generator>();
    return generator;
  }
  at::Generator getNewGenerator(c10::DeviceIndex) const override {
    return at::make_generator<Generator>();
  }
  void resizePrivateUse1Bytes(const c10::Storage& storage, size_t bytes) const override {
    auto data = allocator.allocate(bytes);
    std::memcpy(data.get(), storage.data(), std::min(bytes, storage.nbytes()));
    storage.unsafeGetStorageImpl()->set_data_ptr_noswap(std::move(data));
    storage.unsafeGetStorageImpl()->set_nbytes(bytes);
  }
};

[[maybe_unused]] const bool registered = [] {
  at::RegisterPrivateUse1HooksInterface(new Hooks());
  return true;
}();

// --- kernels for its memory; all others fall back on the CPU -------------------------------------------------------------------

at::Tensor empty(
    c10::IntArrayRef size,
    std::optional<c10::ScalarType> dtype,
    std::optional<c10::Layout>,
    std::optional<c10::Device>,
    std::optional<bool> pinned,
    std::optional<c10::MemoryFormat> format) {
  TORCH_CHECK(!pinned.value_or(false), "Only dense CPU tensors can be pinned");
  return at::detail::empty_generic(
      size, &allocator, c10::DispatchKeySet(c10::DispatchKey::PrivateUse1), c10::dtype_or_default(dtype), format);
}

at::Tensor empty_strided(
    c10::IntArrayRef size,
    c10::IntArrayRef stride,
    std::optional<c10::ScalarType> dtype,
    std::optional<c10::Layout>,
    std::optional<c10::Device>,
    std::optional<bool> pinned) {
  TORCH_CHECK(!pinned.value_or(false), "Only dense CPU tensors can be pinned");
  return at::detail::empty_strided_generic(
      size, stride, &allocator, c10::DispatchKeySet(c10::DispatchKey::PrivateUse1), c10::dtype_or_default(dtype));
}

// A CPU tensor over the same memory.
at::Tensor on_cpu(const at::Tensor& tensor) {
  if (tensor.device().is_cpu()) return tensor;
  auto storage = tensor.storage();
  auto options = tensor.options().device(c10::kCPU);
  auto past = static_cast<int64_t>(storage.nbytes() / tensor.element_size());
  auto flat = at::from_blob(storage.mutable_data(), {past}, [storage](void*) {}, options);
  auto view = flat.as_strided(tensor.sizes(), tensor.strides(), tensor.storage_offset());
  view._set_conj(tensor.is_conj());
  view._set_neg(tensor.is_neg());
  return view;
}

at::Tensor copy_from(const at::Tensor& self, const at::Tensor& to, bool) {
  use();
  on_cpu(to).copy_(on_cpu(self));
  return to;
}

at::Tensor copy_from_and_resize(const at::Tensor& self, const at::Tensor& to) {
  at::native::resize_output(to, self.sizes());
  return copy_from(self, to, false);
}

at::Scalar local_scalar_dense(const at::Tensor& self) {
  use();
  return on_cpu(self).item();
}

at::Tensor& set_(at::Tensor& self) {
  return self.set_(at::empty({0}, self.options()));
}

at::Tensor& set_storage_(
    at::Tensor& self, c10::Storage source, int64_t offset, c10::IntArrayRef size, c10::IntArrayRef stride) {
  at::native::checkSetStorage(self, std::move(source), offset, size, stride);
  self.unsafeGetTensorImpl()->set_storage_offset(offset);
  at::native::setStrided(self, size, stride.data() ? stride : c10::IntArrayRef(at::detail::defaultStrides(size)), offset);
  return self;
}

void run_on_cpu(const c10::OperatorHandle& op, torch::jit::Stack* stack) {
  use();
  at::native::cpu_fallback(op, stack);
}

TORCH_LIBRARY_IMPL(aten, PrivateUse1, library) {
  library.impl("empty.memory_format", empty);
  library.impl("empty_strided", empty_strided);
  library.impl("_copy_from", copy_from);
  library.impl("_copy_from_and_resize", copy_from_and_resize);
  library.impl("_local_scalar_dense", local_scalar_dense);
  library.impl("as_strided", at::native::as_strided_tensorimpl);
  library.impl("_reshape_alias", at::native::_reshape_alias);
  library.impl("resize_", at::native::resize_);
  library.impl("set_", set_);
  library.impl("set_.source_Storage", TORCH_FN(static_cast<at::Tensor& (*)(at::Tensor&, at::Storage)>(at::native::set_)));
  library.impl("set_.source_Storage_storage_offset", set_storage_);
  library.impl("set_.source_Tensor", at::native::set_tensor_);
  library.impl("unfold", at::native::unfold);
  library.impl("view", TORCH_FN(static_cast<at::Tensor (*)(const at::Tensor&, at::IntArrayRef)>(at::native::view)));
  library.impl("view.dtype", at::native::view_dtype);
  library.impl("view_as_complex", at::native::view_as_complex);
  library.impl("view_as_real", at::native::view_as_real);
}

// Without this, copying resolves these bits first, by a copy.
TORCH_LIBRARY_IMPL(aten, Conjugate, library) {
  library.impl("_copy_from", torch::CppFunction::makeFallthrough());
}

TORCH_LIBRARY_IMPL(aten, Negative, library) {
  library.impl("_copy_from", torch::CppFunction::makeFallthrough());
}

TORCH_LIBRARY_IMPL(_, PrivateUse1, library) {
  library.fallback(torch::CppFunction::makeFromBoxedFunction<&run_on_cpu>());
}

// --- operators for tests ---------------------------------------------------------------------------------------------------------

// Kernels that assert that no element is negative, or zero.
at::Tensor assert_positive(const at::Tensor& x) {
  auto result = x.clone();
  lost = on_cpu(x).lt(0).any().item<bool>();
  return result;
}

at::Tensor assert_nonzero(const at::Tensor& x) {
  auto result = x.clone();
  lost = on_cpu(x).eq(0).any().item<bool>();
  return result;
}

// A kernel of a library that reports errors with its own message.
at::Tensor library_call(const at::Tensor& x) {
  auto result = assert_positive(x);
  TORCH_CHECK(!lost, "standin error: LIBRARY_STATUS_EXECUTION_FAILED");
  return result;
}

// Kernels for the CPU and for the device; the one of doubled is wrong on the device, for numbers that are not small.
at::Tensor doubled(const at::Tensor& x) {
  return x.add(x);
}

at::Tensor wrongly_doubled(const at::Tensor& x) {
  return doubled(on_cpu(x).clamp_max(100)).to(x.device());
}

at::Tensor rightly_doubled(const at::Tensor& x) {
  return doubled(on_cpu(x)).to(x.device());
}

at::Tensor like(const at::Tensor& x) {
  return at::empty_like(x);
}

at::Tensor longer(const at::Tensor& x) {
  return at::empty({x.numel() + 1}, x.options());
}

TORCH_LIBRARY(standin, library) {
  library.def("assert_positive(Tensor x) -> Tensor", {at::Tag::pt2_compliant_tag});
  library.def("library_call(Tensor x) -> Tensor", {at::Tag::pt2_compliant_tag});
  library.def("lying_assert_nonzero(Tensor x) -> Tensor", {at::Tag::pt2_compliant_tag});
  library.def("doubled(Tensor x) -> Tensor", {at::Tag::pt2_compliant_tag});
  library.def("rightly_doubled(Tensor x) -> Tensor", {at::Tag::pt2_compliant_tag});
}

TORCH_LIBRARY_IMPL(standin, CPU, library) {
  library.impl("doubled", doubled);
  library.impl("rightly_doubled", doubled);
}

TORCH_LIBRARY_IMPL(standin, PrivateUse1, library) {
  library.impl("assert_positive", assert_positive);
  library.impl("library_call", library_call);
  library.impl("lying_assert_nonzero", assert_nonzero);
  library.impl("doubled", wrongly_doubled);
  library.impl("rightly_doubled", rightly_doubled);
}

TORCH_LIBRARY_IMPL(standin, Meta, library) {
  library.impl("assert_positive", like);
  library.impl("library_call", like);
  library.impl("lying_assert_nonzero", longer);
  library.impl("doubled", like);
  library.impl("rightly_doubled", like);
}

// In this namespace fake tensors fall back on the real kernel, with zeros.
TORCH_LIBRARY_FRAGMENT(quantized, library) {
  library.def("standin_assert_nonzero(Tensor x) -> Tensor");
}

TORCH_LIBRARY_IMPL(quantized, PrivateUse1, library) {
  library.impl("standin_assert_nonzero", assert_nonzero);
}

} // namespace

extern "C" void limit_memory(int64_t bytes) {
  limit = bytes;
}
