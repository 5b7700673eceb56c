/* A native function that does nothing, a batch at a time. */
#include <sluice/function.h>

static void handle_batch(void *user, struct sluice_delivery *const *deliveries, size_t count, enum sluice_err *codes)
{
    (void)user, (void)deliveries, (void)count, (void)codes;
}

int main(void)
{
    return sluice_function_run(&(struct sluice_function){ .handle_batch = handle_batch });
}
