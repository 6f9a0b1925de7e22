#include "rollout.h"
