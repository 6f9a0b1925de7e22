#define USE_BF16
#include "rollout.h"
