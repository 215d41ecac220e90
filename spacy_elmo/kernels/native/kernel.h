// All of the kernel that is compiled for each instruction set, behind its vectors; see isas.h.

#include "products.h"
#ifdef NATIVE_AMX
#include "tiles.h"
#else
struct Tiles {  // there are none
    Tiles() {}
};
#endif
#include "rows.h"
#include "cell.h"
#include "direction.h"
#include "lstm.h"
#include "partial.h"
#include "operands.h"
#include "lstm_training.h"
#include "softmax_training.h"
#include "tasks.h"
