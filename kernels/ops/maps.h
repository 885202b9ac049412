// Everything the map loop runs: which passes of which ops.
#pragma once
#include "activations.h"
#include "random.h"

DLK_BEGIN

using map_ops = join<each<pass::value, activations>, each<pass::grad, activations>,
                     each<pass::grad_y, activations_from_y>, random_ops>;

DLK_END
