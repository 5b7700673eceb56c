#include "broker/api/api_internal.h"
void metrics_head(struct call *call) { call_refuse(call, 404, "later"); }
