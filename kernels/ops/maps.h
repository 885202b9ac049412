// Everything the map loop runs: which passes of which ops.
#pragma once
#include "activations.h"
#include "losses.h"
#include "random.h"

DLK_BEGIN

using map_ops =
    join<each<pass::value, activations>, each<pass::grad, activations>, each<pass::grad_y, activations_from_y>,
         each<pass::loss, losses>, each<pass::loss_grad, losses>, random_ops>;

DLK_END
