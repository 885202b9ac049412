// Everything the map loop runs: which passes of which ops.
#pragma once
#include "activations.h"
<<<<<<< HEAD
#include "gates.h"
=======
#include "arithmetic.h"
>>>>>>> 59320ca (Normalization: layer, rms, batch, group and instance norm; residual and ReLU fused, deterministic gradients, layers)
#include "random.h"
#include "slopes.h"

DLK_BEGIN

<<<<<<< HEAD
using map_ops =
    join<each<pass::value, activations>, each<pass::grad, activations>, each<pass::grad_y, activations_from_y>,
         each<pass::gated, gates>, each<pass::gated_grad, gates>, slope_maps, random_ops>;
=======
using map_ops = join<each<pass::value, activations>, each<pass::grad, activations>,
                     each<pass::grad_y, activations_from_y>, random_ops, arithmetic>;
>>>>>>> 59320ca (Normalization: layer, rms, batch, group and instance norm; residual and ReLU fused, deterministic gradients, layers)

DLK_END
