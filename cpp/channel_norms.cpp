// batch_norm, group_norm and instance_norm. A row of the kernels is the run of one channel in one example, or, where that would be short,
// the whole channel, gathered. Their moments and sums are combined by row calls on small arrays of the compute type.
#include "device.h"
#include "norms.h"
#include "rows.h"
#include "target.h"

namespace dlk {
namespace {

constexpr std::int64_t kShortRun = 16;  // elements of a channel in one example, below which channels are gathered

struct Shape {
  std::int64_t batch, channels, inner;
  bool gathered;           // rows are channels; else rows are (example, channel)
  std::int64_t parts;      // rows per channel
  std::int64_t groups;     // of the statistics: channels, or batch x groups
  std::int64_t per_group;  // rows of the kernels per group, neighbors unless over the batch
  Element compute;

  explicit Shape(const ChannelNormCall& c) {
    const TensorView& x = *c.x;
    batch = x.shape[0];
    channels = x.shape[1];
    inner = 1;
    for (int d = 2; d < x.ndim; ++d) inner *= x.shape[d];
    const bool over_batch = c.groups == 0;
    gathered = over_batch && inner < kShortRun;
    parts = gathered ? 1 : batch;
    groups = over_batch ? channels : batch * c.groups;
    per_group = over_batch ? parts : channels / c.groups;
    compute = compute_element(x.element);
  }
  std::int64_t rows() const { return parts * channels; }
  std::int64_t item() const { return item_size(compute); }
  double row_elements() const { return static_cast<double>(gathered ? batch * inner : inner); }
};

// Numbers of the call's own, where x is.
TensorView numbers(const ChannelNormCall& c, const void* data, Element element,
                   std::initializer_list<std::int64_t> shape, std::initializer_list<std::int64_t> steps) {
  TensorView v;
  v.data = const_cast<void*>(data);
  v.element = element;
  v.device = c.x->device;
  v.device_id = c.x->device_id;
  v.readonly = false;
  v.queue = c.x->queue;
  v.ndim = 0;
  for (const std::int64_t n : shape) v.shape[v.ndim++] = n;
  int d = 0;
  for (const std::int64_t step : steps) v.stride[d++] = step * item_size(element);
  return v;
}

// x, dy, y or dx as the rows of the kernels.
TensorView as_rows(const TensorView& t, const Shape& s) {
  TensorView v = t;
  if (s.gathered) {
    v.shape[0] = t.shape[1];
    v.shape[1] = t.shape[0];
    v.stride[0] = t.stride[1];
    v.stride[1] = t.stride[0];
  }
  return v;
}

RowCall call_rows(const ChannelNormCall& c, const Shape& s, int index) {
  RowCall r{};
  r.op = c.op;
  r.index = index;
  r.dtype = dtype_of(c.x->element);
  r.axis = s.gathered ? 1 : 2;
  r.axes = c.x->ndim - r.axis;
  return r;
}

// Combines numbers that there are one of per row of the kernels into one per group: `a` and `b`, and, if `weight` is not null, a number
// per channel that multiplies both.
void combine(const ChannelNormCall& c, const Shape& s, int index, const double* params, const void* a, const void* b,
             const void* weight, void* const* values) {
  RowCall r{};
  r.op = c.op;
  r.index = index;
  r.dtype = dtype_of(s.compute);
  r.params = params;
  TensorView in[3];
  const void* data[3] = {a, b, weight};
  r.ins = weight == nullptr ? 2 : 3;
  for (int k = 0; k < r.ins; ++k) {
    if (c.groups == 0) {
      in[k] = numbers(c, data[k], s.compute, {s.parts, s.channels}, {k == 2 ? 0 : s.channels, 1});
    } else {
      in[k] =
          numbers(c, data[k], s.compute, {s.batch, c.groups, s.per_group}, {k == 2 ? 0 : s.channels, s.per_group, 1});
    }
    r.in[k] = &in[k];
  }
  r.axis = c.groups == 0 ? 0 : 2;
  for (int k = 0; k < kMaxOut; ++k) r.value[k] = values[k];
  run(r);
}

// A number per channel in the compute type: what a weight is to the kernels.
const void* widened(const ChannelNormCall& c, const Shape& s, const TensorView* t, const Workspace& workspace) {
  if (t == nullptr) return nullptr;
  const void* data = contiguous(*t, c.op, workspace);
  if (t->element == s.compute) return data;
  static const int index = required(find_rows("widen", ""));
  void* const wide = workspace(static_cast<std::size_t>(s.channels * s.item()));
  TensorView in = numbers(c, data, t->element, {s.channels, 1}, {1, 1});
  RowCall r{};
  r.op = c.op;
  r.index = index;
  r.dtype = dtype_of(t->element);
  r.in[0] = &in;
  r.ins = 1;
  r.axis = 1;
  r.value[0] = wide;
  run(r);
  return wide;
}

const void* zeros(const ChannelNormCall& c, std::int64_t n, const Shape& s, const Workspace& workspace) {
  void* const z = workspace(static_cast<std::size_t>(n * s.item()));
  clear(c.op, *c.x, z, n * s.item());
  return z;
}

// The operands per row that every pass has: mean, r, weight, bias.
void fill_scalars(const ChannelNormCall& c, const Shape& s, const ChannelStats& stats, RowCall& r,
                  const Workspace& workspace) {
  const PerRow per_group = c.groups == 0 ? PerRow{nullptr, 1, s.channels} : PerRow{nullptr, s.per_group};
  r.scalar[0] = r.scalar[1] = per_group;
  r.scalar[0].data = stats.mean;
  r.scalar[1].data = stats.rstd;
  r.scalar[2] = r.scalar[3] = PerRow{nullptr, 1, s.channels};
  r.scalar[2].data = widened(c, s, c.weight, workspace);
  r.scalar[3].data = widened(c, s, c.bias, workspace);
  if (r.scalar[3].data == nullptr) r.scalar[3].data = zeros(c, s.channels, s, workspace);
}

}  // namespace

void channel_moments(const ChannelNormCall& c, const ChannelStats& stats, const Workspace& workspace) {
  static const int moments = required(find_rows("moments", "")), together = required(find_rows("combine_moments", ""));
  const Shape s(c);
  const TensorView x = as_rows(*c.x, s);
  RowCall r = call_rows(c, s, moments);
  r.in[0] = &x;
  r.ins = 1;
  for (int k = 0; k < 2; ++k) r.value[k] = workspace(static_cast<std::size_t>(s.rows() * s.item()));
  run(r);
  const double params[] = {s.row_elements(), c.eps};
  void* const values[kMaxOut] = {stats.mean, stats.rstd, stats.var};
  combine(c, s, together, params, r.value[0], r.value[1], nullptr, values);
}

void rstd_of(const ChannelNormCall& c, const void* var, void* rstd) {
  static const int index = required(find_rows("widen.rsqrt", ""));
  const Shape s(c);
  TensorView in = numbers(c, var, s.compute, {s.channels, 1}, {1, 1});
  RowCall r{};
  r.op = c.op;
  r.index = index;
  r.dtype = dtype_of(s.compute);
  r.in[0] = &in;
  r.ins = 1;
  r.axis = 1;
  r.params = &c.eps;
  r.value[0] = rstd;
  run(r);
}

void run_normalize(const ChannelNormCall& c, const ChannelStats& stats, const TensorView& out,
                   const Workspace& workspace) {
  static const int index = required(find_rows("normalize", ""));
  const Shape s(c);
  const TensorView x = as_rows(*c.x, s), y = as_rows(out, s);
  RowCall r = call_rows(c, s, index);
  r.in[0] = &x;
  r.ins = 1;
  r.out[0] = &y;
  r.params = &c.lowest;
  fill_scalars(c, s, stats, r, workspace);
  run(r);
}

void run_normalize_grad(const ChannelNormCall& c, const TensorView& upstream, const ChannelStats& stats, bool constant,
                        const TensorView& gradient, void* dweight, void* dbias, const Workspace& workspace) {
  static const int sums = required(find_rows("normalize", "sums")), grad = required(find_rows("normalize", "grad")),
                   plain = required(find_rows("pair_sums", "")),
                   weighted = required(find_rows("pair_sums.weighted", ""));
  const Shape s(c);
  const TensorView x = as_rows(*c.x, s), dy = as_rows(upstream, s), dx = as_rows(gradient, s);
  RowCall r = call_rows(c, s, sums);
  r.in[0] = &dy;
  r.in[1] = &x;
  r.ins = 2;
  r.params = &c.lowest;
  fill_scalars(c, s, stats, r, workspace);
  void* per_row[2];
  for (void*& p : per_row) p = workspace(static_cast<std::size_t>(s.rows() * s.item()));
  r.value[0] = per_row[0];
  r.value[1] = per_row[1];
  run(r);

  ChannelNormCall over_batch = c;
  over_batch.groups = 0;
  Shape per_channel = s;
  per_channel.groups = s.channels;
  const double one[] = {1};
  void* const of_channel[kMaxOut] = {dbias, dweight, nullptr};
  combine(over_batch, per_channel, plain, one, per_row[0], per_row[1], nullptr, of_channel);

  r.index = grad;
  r.value[0] = r.value[1] = nullptr;
  r.out[0] = &dx;
  r.scalar[4] = r.scalar[5] = r.scalar[0];
  if (constant) {
    r.scalar[4].data = r.scalar[5].data = zeros(c, s.groups, s, workspace);
  } else {
    void* mean[kMaxOut] = {};
    for (int k = 0; k < 2; ++k) mean[k] = workspace(static_cast<std::size_t>(s.groups * s.item()));
    const double count[] = {s.row_elements() * static_cast<double>(s.per_group)};
    const bool has_weight = r.scalar[2].data != nullptr;
    combine(c, s, has_weight ? weighted : plain, count, per_row[0], per_row[1], r.scalar[2].data, mean);
    r.scalar[4].data = mean[0];
    r.scalar[5].data = mean[1];
  }
  run(r);
}

void copy_numbers(const ChannelNormCall& c, const void* from, void* to) {
  const Shape s(c);
  const TensorView a = numbers(c, from, s.compute, {s.channels}, {1}), b = numbers(c, to, s.compute, {s.channels}, {1});
  copy(c.op, a, b);
}

void update_running(const ChannelNormCall& c, void* running, const void* batch, double momentum, double scale) {
  static const int index = required(find_map("blend", ""));
  const Shape s(c);
  TensorView a = numbers(c, running, s.compute, {s.channels}, {1}), b = numbers(c, batch, s.compute, {s.channels}, {1});
  const double params[] = {momentum, scale};
  MapCall m{};
  m.op = c.op;
  m.index = index;
  m.dtype = dtype_of(s.compute);
  m.in[0] = &a;
  m.in[1] = &b;
  m.ins = 2;
  m.out[0] = &a;
  m.params = params;
  run(m);
}

}  // namespace dlk
