// All of the kernel that is compiled for each instruction set, behind its vectors; see isas.h.

#include "products.h"
#include "rows.h"
#include "cell.h"
#include "lstm.h"
#include "training.h"
#include "tasks.h"
