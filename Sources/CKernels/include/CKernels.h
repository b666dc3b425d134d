#ifndef TSPEFT_CKERNELS_H
#define TSPEFT_CKERNELS_H
#include "tspeft_parallel.h"
#include "tspeft_compute.h"
#include "tspeft_levels.h"
#include "tspeft_blocks.h"
#include "tspeft_files.h"
#include "tspeft_map_faults.h"
#include "tspeft_merge.h"
#include "tspeft_sha256.h"
#include "tspeft_statistics.h"
#endif
