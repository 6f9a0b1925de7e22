#define USE_AMX
#include "rollout.h"
