/*
 * Pseudo-random weights of any shape, made tensor by tensor: what `unmask bench` measures with when
 * there is no checkpoint. Norms are 1, biases 0, matrices uniform with variance 1/in, so that
 * activations keep their scale through any number of layers.
 */
#ifndef UM_MODEL_SYNTHETIC_H
#define UM_MODEL_SYNTHETIC_H

#include "core/model/weights.h"

/* `dtype` (UM_F32 or UM_BF16) is borrowed as long as the source is used. */
um_tensor_source um_synthetic_source(const um_dtype *dtype);

#endif
