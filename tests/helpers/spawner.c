/* What `sluiced --spawner LOCKFILE` does, alone, for the tests of the spawner. */
#include <string.h>

#include "broker/edge/spawner.h"

int main(int argc, char **argv)
{
    return argc == 3 && strcmp(argv[1], "--spawner") == 0 ? spawner_main(argv[2]) : 2;
}
