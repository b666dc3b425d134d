// The block formats without vector instructions of their own.
#include "blocks.h"
#include "look_up_plain.h"
#include "level.h"

const block_functions tspeft_plain_blocks[FORMAT_COUNT] = BLOCK_FUNCTIONS;
