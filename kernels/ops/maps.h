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

DLK_END
