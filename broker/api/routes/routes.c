#include "broker/api/routes/routes.h"
bool routes_host_head(struct call *call) { (void)call; return false; }
bool routes_path_head(struct call *call) { (void)call; return false; }
void stream_free(struct stream *stream) { (void)stream; }
