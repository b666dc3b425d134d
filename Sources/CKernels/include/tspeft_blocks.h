#ifndef TSPEFT_BLOCKS_H
#define TSPEFT_BLOCKS_H
#include <stddef.h>
#include <stdint.h>
#endif
