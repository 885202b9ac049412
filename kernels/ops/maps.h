// Everything the map loop runs: which passes of which ops.
#pragma once
#include "activations.h"
#include "arithmetic.h"
#include "gates.h"
#include "random.h"
#include "slopes.h"

DLK_BEGIN

using map_ops =
    join<each<pass::value, activations>, each<pass::grad, activations>, each<pass::grad_y, activations_from_y>,
         each<pass::gated, gates>, each<pass::gated_grad, gates>, slope_maps, random_ops, arithmetic>;

// No test of bits would see a brief form that is not found.
static_assert(same<brief<pass::value<ops::silu>>, pass::brief_value<ops::silu>>::value &&
              same<brief<pass::grad<ops::silu>>, pass::grad<ops::silu>>::value);

DLK_END
