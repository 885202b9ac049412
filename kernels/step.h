// The start of a step as both devices do it: one row of numbers, and what all rows share (kernels/ops/step_rules.h has the formulas).
#pragma once
#include "abi.h"
#include "ops/step_rules.h"

DLK_BEGIN

template <class Rule>
DLK_FN void numbers_of(int rule, int& at, double t, const double* option, double* carried, double* p) {
  if (rule == at++) Rule::at(t, option, carried, p);
}

DLK_FN double number_at(const void* p, Dtype d) {
  return d == Dtype::f64 ? *static_cast<const double*>(p) : double(*static_cast<const float*>(p));
}

// What all rows share, and the report.
DLK_FN void begin_step(const StepArgs& a) {
  StepControl& c = *a.control;
  if (a.goes_on) return;
  const double scale = a.scale_at == nullptr ? a.scale : number_at(a.scale_at, a.scale_dtype);
  double squares = 0;
  for (int k = 0; k < a.parts; ++k) squares = squares + a.squares[k];
  if (a.checks) {
    step_rules::judge(squares, scale, a.max_norm, c.norm, c.factor, c.found_inf);
  } else {
    c.norm = 0;
    c.factor = 1 / scale;
    c.found_inf = 0;
  }
  c.updates = c.updates + (c.found_inf != 0 ? 0 : 1);
  if (a.report != nullptr) {
    a.report[0] = c.norm;
    a.report[1] = c.found_inf;
  }
}

template <class... Rule>
DLK_FN void make_row(const StepArgs& a, const StepRow& row, list<Rule...>) {
  StepRecord& record = a.record[row.slot];
  double* const numbers = a.numbers + std::int64_t(row.slot) * kRowNumbers;
  double option[kMaxOptions];
  for (int k = 0; k < kMaxOptions; ++k) option[k] = row.option[k];
  if (row.rate != nullptr) option[0] = number_at(row.rate, row.rate_dtype);
  record.step = record.step + 1;
  numbers[0] = row.maximize ? -a.control->factor : a.control->factor;
  int at = 0;
  (numbers_of<Rule>(row.rule, at, record.step, option, record.carried, numbers + 1), ...);
}
// A step that is skipped counts for nothing.
DLK_FN void make_row(const StepArgs& a, const StepRow& row) {
  if (a.control->found_inf == 0) make_row(a, row, all_step_rules());
}

template <class Rule>
DLK_FN void trust_of(int rule, int& at, const double* sums, double* row) {
  if (rule == at++) Rule::trust(sums[0], sums[1], row);
}
// The row of a tensor, from that of its group and its sums.
template <class... Rule>
DLK_FN void own_row(int rule, const double* group, const double* sums, double* row, list<Rule...>) {
  for (int k = 0; k < kRowNumbers; ++k) row[k] = group[k];
  int at = 0;
  (trust_of<Rule>(rule, at, sums, row), ...);
}
DLK_FN void own_row(int rule, const double* group, const double* sums, double* row) {
  own_row(rule, group, sums, row, all_step_rules());
}

template <class... Rule>
struct step_table {
  static constexpr StepRule rows[] = {{Rule::name, Rule::options, Rule::carried, Rule::numbers}...};
};
template <class L>
struct step_rules_of;
template <class... Rule>
struct step_rules_of<list<Rule...>> : step_table<Rule...> {};

DLK_END
