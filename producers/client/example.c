/* Publishes one event and waits until it is on disk:  client_example [SOURCE [TYPE [JSON]]] */
#include <sluice/producer.h>
#include <stdio.h>

int main(int argc, char **argv)
{
    struct sluice_event event = { .source = argc > 1 ? argv[1] : "example",
                                  .type = argc > 2 ? argv[2] : "greeting",
                                  .detail = argc > 3 ? argv[3] : "{\"hello\":\"world\"}" };
    struct sluice_producer *producer;
    struct sluice_error error;

    if (sluice_producer_open(NULL, &producer, &error) != SLUICE_OK || sluice_publish(producer, &event, &error) != SLUICE_OK) {
        fprintf(stderr, "%s\n", error.text);
        return 1;
    }
    printf("on disk\n");
    return sluice_producer_close(producer, 1000, NULL) != SLUICE_OK;
}
